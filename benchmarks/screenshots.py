"""Take the pictures of the Draw tab: ``python benchmarks/screenshots.py``.

Writes the README's `docs/draw-desktop.png` (English, light) and `docs/draw-phone.png` (Chinese,
dark), and into `maml/demo/public` what previews of links show: `preview.png` and `icon.png`.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from browser import ROOT, chromium, running_app
from PIL import Image
from playwright.sync_api import Browser, Page


@dataclass(frozen=True)
class View:
    """How one picture is taken: language, theme, example set, window and pixels of a CSS pixel."""

    locale: str
    theme: str
    chosen: str
    window: tuple[int, int]
    scale: float = 1.0


VIEWS = {
    "docs/draw-desktop.png": View("en-GB", "light", "runes", (1366, 768)),
    "docs/draw-phone.png": View("zh-CN", "dark", "planets", (390, 844), 2),
    "maml/demo/public/preview.png": View("en-GB", "light", "runes", (1500, 788), 0.8),
}
ICON = "maml/demo/public/icon.png"
ICON_SIDE = 180


def take(page: Page, chosen: str) -> None:
    """Let the page answer an example set's question."""
    page.wait_for_selector(".maml-sketchpad[data-ready=yes]")
    page.locator(".tools select").select_option(chosen)
    page.locator(".tools .primary").click()
    page.wait_for_function("/%/.test(document.querySelector('#answer').textContent)")
    page.locator(".dock > .icon").click()  # no hint
    if page.locator(".dock-ask").is_visible():
        page.locator(".dock-ask").click()
    page.wait_for_timeout(7000)  # the bars have come to rest, the message is gone


def render_icon(browser: Browser, path: Path) -> None:
    page = browser.new_page(viewport={"width": ICON_SIDE, "height": ICON_SIDE})
    page.set_content(
        "<style>html, body { margin: 0 } svg { display: block; width: 100vw }</style>"
        + (ROOT / ICON).with_suffix(".svg").read_text(encoding="utf-8")
    )
    page.screenshot(path=path, omit_background=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=ROOT)
    folder = parser.parse_args().folder
    with running_app() as url, chromium() as browser:
        for name, view in VIEWS.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            width, height = view.window
            page = browser.new_page(
                locale=view.locale,
                viewport={"width": width, "height": height},
                device_scale_factor=view.scale,
            )
            page.goto(f"{url}/?__theme={view.theme}")
            take(page, view.chosen)
            page.screenshot(path=path)
            with Image.open(path) as taken:
                taken.convert("RGB").save(path, optimize=True)
            print(path)
        render_icon(browser, folder / ICON)
        print(folder / ICON)


if __name__ == "__main__":
    main()

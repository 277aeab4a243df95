"""Take the README's pictures of the Draw tab: ``python benchmarks/screenshots.py``.

Writes `docs/draw-desktop.png` (English, light) and `docs/draw-phone.png` (Chinese, dark).
"""

from __future__ import annotations

import argparse
from pathlib import Path

from browser import ROOT, chromium, running_app

VIEWS = {
    "draw-desktop.png": ("en-GB", "light", "runes", {"width": 1280, "height": 1000}, 1),
    "draw-phone.png": ("zh-CN", "dark", "planets", {"width": 390, "height": 844}, 2),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=ROOT / "docs")
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    with running_app() as url, chromium() as browser:
        for name, (locale, theme, chosen, viewport, scale) in VIEWS.items():
            page = browser.new_page(locale=locale, viewport=viewport, device_scale_factor=scale)
            page.goto(f"{url}/?__theme={theme}")
            page.wait_for_selector(".maml-sketchpad[data-ready=yes]")
            page.locator(".tools select").select_option(chosen)
            page.locator(".tools .primary").click()
            page.wait_for_function("/%/.test(document.querySelector('#answer').textContent)")
            page.wait_for_timeout(800)  # the bars have come to rest
            page.screenshot(path=folder / name)
            print(folder / name)


if __name__ == "__main__":
    main()

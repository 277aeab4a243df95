"""How the page looks in a real Chromium: every screen, both themes and languages, the keyboard, and
what keeps people from using it."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

import pytest
from page import DARK, FRAMES, STILL, MakeVisitor, Visitor, drop_picture


@pytest.mark.parametrize(
    ("touch", "locale", "switch"),
    [(False, "en-GB", "切换到中文"), (True, "zh-CN", "Switch to English")],
    ids=["desk", "phone"],
)
def test_nothing_keeps_people_from_using_the_page(
    visitors: MakeVisitor, touch: bool, locale: str, switch: str
) -> None:
    from axe_playwright_python.sync_playwright import Axe

    width = 390 if touch else 1366
    visitor = visitors(touch=touch, locale=locale, viewport={"width": width, "height": 800})
    page = visitor.page
    visitor.show_for(message=1)
    page.locator(".tools .primary").click()
    visitor.wait_for_answer("")
    while page.locator(".card").count() < 20:  # every colour is seen
        page.locator(".cards > .add").click()
    for dark in (False, True):
        if dark:  # and in the other language
            page.evaluate(DARK, True)
            page.get_by_role("button", name=switch).click()
            page.locator(".maml-sketchpad[data-ready=yes]").wait_for()
            visitor.wait_for_answer("")
        page.locator(".bars > .button").click()
        page.wait_for_function("!document.querySelector('.status').textContent")
        page.wait_for_function(STILL)
        found = Axe().run(page).response["violations"]
        severe = [one for one in found if one["impact"] in ("serious", "critical")]
        assert severe == [], (dark, json.dumps(severe, indent=1)[:4000])


def in_language(visitor: Visitor, language: str) -> None:
    """Switch the page to "en" or "zh", if it speaks the other."""
    name = {"en": "Switch to English", "zh": "切换到中文"}[language]
    switch = visitor.page.locator(".maml-header").get_by_role("button", name=name)
    if switch.is_visible():
        switch.click()
        switch.wait_for(state="hidden")
        visitor.page.locator(".maml-sketchpad[data-ready=yes]").wait_for()
        visitor.wait_for_answer("")


COLOURS = """() => {
    const root = document.querySelector('.maml-sketchpad');
    const probe = document.createElement('span');
    root.append(probe);
    const rgb = (name) => { probe.style.color = `var(${name})`;
        return getComputedStyle(probe).color.match(/[0-9.]+/g).slice(0, 3).map(Number); };
    const symbols = Array.from({length: 20}, (_, k) => rgb(`--symbol-${k + 1}`));
    return {symbols, grounds: ['--paper', '--ground', '--pad-paper'].map(rgb),
        texts: ['--text', '--faint', '--accent', '--good', '--bad'].map(rgb)}; }"""


def contrast(one: Sequence[float], other: Sequence[float]) -> float:
    """Of two colours, by WCAG 2.2."""

    def luminance(colour: Sequence[float]) -> float:
        linear = [
            value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4
            for value in (part / 255 for part in colour)
        ]
        return sum(w * v for w, v in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_every_colour_has_contrast(visitors: MakeVisitor) -> None:
    page = visitors().page
    for dark in (False, True):
        page.evaluate(DARK, dark)
        colours = page.evaluate(COLOURS)
        for colour in colours["symbols"] + colours["texts"]:
            least = min(contrast(colour, ground) for ground in colours["grounds"][:2])
            assert least >= 4.5, (dark, colour)
        assert len({tuple(colour) for colour in colours["symbols"]}) == 20


IN_SIGHT = (".ask canvas.pad", "#answer", ".ask .rows", ".row.unknown", ".figures", ".slider")


def test_question_answer_and_adaptation_fit_on_one_screen_and_stay_there(
    visitors: MakeVisitor,
) -> None:
    visitor = visitors()
    visitor.show_for(message=1)
    visitor.press("Load example set")
    visitor.wait_for_answer("Elk")
    page = visitor.page
    page.wait_for_selector(".map[role=img]")
    for language, width, height in (
        ("en", 1920, 1080),
        ("en", 1366, 768),
        ("zh", 1366, 768),
        ("zh", 1920, 1080),
    ):
        in_language(visitor, language)
        page.set_viewport_size({"width": width, "height": height})
        assert page.evaluate("scrollY") == 0
        dock = page.locator(".dock").bounding_box()
        assert dock["y"] + dock["height"] == height
        for one in IN_SIGHT:
            box = page.locator(one).first.bounding_box()
            seen = box["y"] >= 0 and box["y"] + box["height"] <= dock["y"]
            assert seen, (one, language, width)
        assert page.locator(".maml-header").bounding_box()["height"] < 120
        boxes = [one.bounding_box() for one in page.locator(".panel").all()]
        right = max(box["x"] + box["width"] for box in boxes)
        assert width - right < 60  # the window is used whole
        # The mean cross-entropy of five symbols at chance is ln 5.
        page.locator(".curve_loss .chart[aria-label*='1.6']").wait_for()
    in_language(visitor, "en")
    # Visiting Train and coming back moves nothing.
    page.wait_for_function("!document.querySelector('.status').textContent")
    places = """() => [...document.querySelectorAll('.panel, .pad, .maml-header, .dock, .tools')]
        .map((one) => Object.values(one.getBoundingClientRect().toJSON()))"""
    before = page.evaluate(places)
    page.get_by_role("tab", name="Train").click()
    page.locator(".maml-header").get_by_role("button", name="切换到中文").wait_for()
    page.wait_for_selector(".maml-training[data-ready=yes]")
    page.get_by_role("tab", name="Draw").click()
    page.wait_for_function(
        f"""before => JSON.stringify(({places})().filter((box) => box.some(Boolean))
        .slice(0, before.length)) === JSON.stringify(before)""",
        arg=before,
    )


def test_the_page_speaks_chinese_by_the_browser_and_by_the_switch(visitors: MakeVisitor) -> None:
    visitor = visitors(locale="zh-CN")
    visitor.page.get_by_role("tab", name="绘制").wait_for()
    told = "[document.documentElement.lang, document.title]"
    assert visitor.page.evaluate(told) == ["zh-Hans", "MAML 画板"]
    # So does what the server finds.
    drop_picture(visitor, 0, lines=False)
    visitor.page.get_by_text("符号 A 的第 1 幅未采用：图片中看不到线条。").wait_for()
    visitor.page.get_by_role("button", name="载入示例").click()
    visitor.wait_for_answer("麋鹿")
    visitor.page.get_by_role("button", name="Switch to English").click()
    visitor.page.get_by_role("tab", name="Draw").wait_for()
    assert visitor.page.get_by_text("Your drawings stay in this browser").is_visible()
    visitor.wait_for_answer("麋鹿")  # names are the person's own
    assert visitor.page.evaluate(told) == ["en", "MAML Sketchpad"]
    visitor.reload()
    visitor.page.get_by_role("button", name="Load example set").wait_for()
    visitor.press("切换到中文")
    visitor.page.get_by_text("你的画只留在这个浏览器").wait_for()


@pytest.mark.parametrize(
    ("touch", "sizes", "opened"),
    [
        (True, ((320, 700), (390, 844), (844, 390), (768, 1024)), "light"),
        (False, ((1280, 800), (1366, 768), (1920, 1080)), "dark"),
    ],
    ids=["touch", "mouse"],
)
def test_it_fits_every_screen(
    visitors: MakeVisitor, touch: bool, sizes: Sequence[tuple[int, int]], opened: str
) -> None:
    visitor = visitors(touch=touch, path=f"/?__theme={opened}")
    visitor.press("Load example set")
    visitor.wait_for_answer("Elk")
    page = visitor.page
    targets = page.locator(".maml-sketchpad :is(button, select, input:not([hidden])):visible")
    tabs = page.locator("button[role=tab]:visible, .maml-header button, footer button:visible")
    for theme in (opened, "light" if opened == "dark" else "dark"):
        if theme != opened:
            page.evaluate(DARK, theme == "dark")
        in_language(visitor, "en" if theme == opened else "zh")
        for width, height in sizes:
            page.set_viewport_size({"width": width, "height": height})
            wide = "document.documentElement.scrollWidth - window.innerWidth"
            assert page.evaluate(wide) <= 0, (theme, width)
            small = targets.or_(tabs).evaluate_all(
                """all => all.map((one) => [one.outerHTML.slice(0, 120),
                    one.getBoundingClientRect()])
                .filter(([_, box]) => box.width < 43.5 || box.height < 43.5)
                .map(([html]) => html)"""
            )
            assert small == [], (theme, width)
        ink, paper = page.locator("canvas.pad").first.evaluate(
            """pad => { const style = getComputedStyle(pad);
            return [style.getPropertyValue('--pad-ink'), style.backgroundColor]; }"""
        )
        dark_paper = sum(map(int, re.findall(r"\d+", paper)[:3])) < 200
        assert dark_paper == (theme == "dark") and (ink.strip() > "#8") == dark_paper


SHIFTS = """window.moved = [];
new PerformanceObserver((list) => {
    for (const { value } of list.getEntries()) window.moved.push(value);
}).observe({ type: 'layout-shift', buffered: true });"""


@pytest.mark.parametrize(
    "size", [(390, 844), (844, 390), (1366, 768)], ids=["phone", "sideways", "laptop"]
)
def test_nothing_jumps_while_the_page_loads(visitors: MakeVisitor, size: tuple[int, int]) -> None:
    visitor = visitors(viewport=dict(zip(("width", "height"), size, strict=True)))
    visitor.page.add_init_script(SHIFTS)
    visitor.reload()
    visitor.page.wait_for_load_state("load")
    visitor.page.locator("footer").wait_for()
    visitor.page.evaluate(f"document.fonts.ready.then(() => {FRAMES})")
    assert visitor.page.evaluate("window.moved.reduce((one, other) => one + other, 0)") < 0.1
    assert visitor.page.locator(".maml-header").bounding_box()["height"] < 120


def test_the_keyboard_reaches_everything(visitors: MakeVisitor) -> None:
    visitor = visitors()
    visitor.press("Load example set")
    visitor.wait_for_answer("Elk")
    page = visitor.page
    page.locator(".adapt button:enabled").wait_for()  # a frame after the answer
    wanted = page.locator(
        ".maml-sketchpad :is(button:enabled, select, input:not([hidden]), canvas.pad):visible"
    ).count()
    page.get_by_role("combobox", name="Example set").focus()
    seen = set()
    for _ in range(wanted + 20):
        focus = page.evaluate(
            """() => { const one = document.activeElement;
            if (!one.closest('.maml-sketchpad')) return null;
            const style = getComputedStyle(one);
            return [one.getAttribute('aria-label') || one.textContent, style.outlineStyle,
                parseFloat(style.outlineWidth)]; }"""
        )
        if focus is None:
            break
        label, outline, width = focus
        assert outline == "solid" and width >= 2, label
        seen.add(label)
        page.keyboard.press("Tab")
    assert len(seen) == wanted
    page.get_by_role("button", name="Remove Wealth", exact=True).focus()
    page.keyboard.press("Enter")
    page.get_by_text("Wealth removed. Undo brings it back.").wait_for()

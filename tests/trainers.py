"""People at the Train tab in a real Chromium."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from page import FRAMES, note_errors

ROOM = {"viewport": {"width": 1280, "height": 1000}}
GROWN = """least => (document.querySelector('.maml-training svg .train polyline')
    ?.getAttribute('points') ?? '').split(' ').length >= least"""
"""Whether the first chart's curve has so many points."""


class Trainer:
    """A person at the Train tab.

    Args:
        page: theirs, still empty.
        url: of the app.
    """

    def __init__(self, page: Any, url: str) -> None:
        self.page = page
        self.context = page.context
        self.errors: list[str] = []
        note_errors(self.page, self.errors)
        self.open(url)

    def open(self, url: str) -> None:
        """Open the app at its Train tab."""
        self.page.goto(url)
        self.page.wait_for_selector(".maml-sketchpad[data-ready=yes]")
        self.tab("Train")
        self.page.wait_for_selector(".maml-training[data-ready=yes]")
        self.page.evaluate(FRAMES)  # see `open_group`

    def open_again(self) -> None:
        """Close the page and open a new one in the same browser."""
        url = self.page.url
        self.page.close()
        self.page = self.context.new_page()
        note_errors(self.page, self.errors)
        self.open(url)

    def tab(self, name: str) -> None:
        self.page.get_by_role("tab", name=name, exact=True).click()

    def button(self, name: str) -> Any:
        return self.page.get_by_role("button", name=name, exact=True)

    def press(self, name: str) -> None:
        self.button(name).click()

    def set(self, group: str, values: dict[str, str]) -> None:
        """Open a group of settings and fill some in."""
        self.open_group(group)
        self.fill(values)

    def open_group(self, name: str) -> None:
        """Open a group of fields.

        Gradio gives them their first values once more, a frame after they can be seen: no hand is
        so quick, but a test is.
        """
        button = self.page.get_by_role("button", name=name)
        button.click()
        button.locator("xpath=following::input").first.wait_for()
        self.page.evaluate(FRAMES)

    def fill(self, values: dict[str, str]) -> None:
        """Fill settings in that can be seen."""
        for label, value in values.items():
            field = self.page.get_by_label(label, exact=True)
            field.fill(value)
            field.press("Tab")

    def choose_small_training(self, iterations: int = 20_000) -> None:
        """Small steps; by default so many that none of the tests sees the end of them.

        The curves have at most about 300 points: with fewer steps, one every few steps.
        """
        self.page.get_by_role("radio", name="Generated alphabets").check()
        small = {"Width": "8", "Test tasks": "10", "Pre-training episodes": "0"}
        length = {"Iterations": str(iterations), "Iterations of an epoch": "50"}
        self.set("Length, network, seed", {**small, **length})

    def start(self, step: int = 5) -> None:
        self.press("Start training")
        self.wait_for_step(step)

    def wait_for_step(self, step: int) -> None:
        self.page.wait_for_function(
            "step => document.querySelector('.maml-training')?.dataset.iteration >= step",
            arg=step,
        )

    def wait_for_state(self, state: str) -> None:
        self.page.wait_for_selector(f".maml-training[data-state={state}]", state="attached")

    @property
    def step(self) -> int:
        return int(self.page.locator(".maml-training").get_attribute("data-iteration"))

    @property
    def status(self) -> str:
        return str(self.page.inner_text("#train-status"))

    def curve(self, which: str) -> int:
        """Points of the latest run's curve in the first chart."""
        line = self.page.locator(f".maml-training svg .{which} polyline").first
        return len((line.get_attribute("points") or "").split())

    def legend(self, *texts: str) -> Any:
        """The line of the legend that holds these texts."""
        lines = self.page.locator(".maml-training .runs li")
        for text in texts:
            lines = lines.filter(has_text=text)
        return lines

    def download(self, name: str) -> bytes:
        with self.page.expect_download() as waiting:
            self.press(name)
        return Path(waiting.value.path()).read_bytes()

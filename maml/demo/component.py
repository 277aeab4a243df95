"""A Gradio component whose part of the page lies in `assets/`, in files of its own."""

from __future__ import annotations

import contextlib
import functools
import json
from importlib import resources
from pathlib import Path
from typing import Any, ClassVar

import gradio as gr


@functools.cache
def asset(name: str) -> str:
    """The text of a file in `assets/`."""
    return resources.files("maml.demo").joinpath("assets", name).read_text(encoding="utf-8")


def script_of(constants: str, values: dict[str, Any], *assets: str) -> str:
    """One script of the asset files, in an order in which each finds what it needs.

    Words and style travel as constants of the script, not as props: Gradio compares all props as
    JSON and compiles `css_template` anew whenever one of them changes.

    Args:
        constants: the name under which the scripts find `values`.
        values: ready for JSON.
        assets: names of the files.
    """
    # Escaped as JSON is by default: a line separator would end a line of script.
    text = json.dumps(values)
    return "\n".join([f"const {constants} = {text};", *map(asset, assets)])


def page_settings(html: str, js: str, settings: dict[str, Any]) -> dict[str, Any]:
    """What `gr.HTML` is made with.

    Args:
        html: name of the asset file that is the template.
        js: the script.
        settings: further ones; Gradio makes a copy of a component for every update, and hands over
            all that it was made with before.
    """
    return {
        **settings,
        "html_template": asset(html),
        "js_on_load": js,
        "apply_default_css": False,
    }


def drop_stub(module: str) -> None:
    """Delete the stub that Gradio wrote beside a component's module, where it would hide the module
    from type checkers and grow stale.

    Args:
        module: its ``__file__``.
    """
    with contextlib.suppress(OSError):
        Path(module).with_suffix(".pyi").unlink(missing_ok=True)


class AssetComponent(gr.HTML):
    """What the app's own components share.

    A subclass names its `page_events`: those that its script raises beside Gradio's own.
    """

    page_events: ClassVar[frozenset[str]] = frozenset()

    def __getattr__(self, name: str) -> Any:
        """An event of the page.

        Gradio takes every name that the script speaks of for an event: props too, and it searches
        the whole script for dozens of names whenever it makes its copy for an update.
        """
        if name not in type(self).page_events:
            raise AttributeError(f"{type(self).__name__} has no event {name!r}.")
        return super().__getattr__(name)

    def postprocess(self, value: Any) -> Any:
        """Hand a value to the page as it is."""
        return value


drop_stub(__file__)

"""Components whose texts follow the page's language."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradio as gr

from maml.demo.train_strings import TRAIN_STRINGS
from maml.sessions.document import Language

Settings = dict[str, Any]
"""Settings of a component by name, as for `gr.update`."""


class TranslatedComponents:
    """Components and what they say in each language."""

    def __init__(self) -> None:
        self.components: list[Any] = []
        self._says: list[Callable[[Language], Settings]] = []

    def add(self, component: Any, says: Callable[[Language], Settings]) -> Any:
        """Take a component in and let it speak English.

        Args:
            component: made without texts.
            says: its settings in a language.
        """
        self.components.append(component)
        self._says.append(says)
        for name, value in says("en").items():
            setattr(component, name, value)
        return component

    def explained(self, component: Any, key: str) -> Any:
        """A component with a label and a line that explains it."""
        return self.add(component, lambda language: explanation(key, language))

    def labelled(self, component: Any, key: str) -> Any:
        """A component with a label."""
        return self.add(component, lambda language: {"label": TRAIN_STRINGS[language][key]})

    def text(self, component: Any, key: str) -> Any:
        """A component whose value is a text."""
        return self.add(component, lambda language: {"value": TRAIN_STRINGS[language][key]})

    def button(self, key: str, **settings: Any) -> gr.Button:
        """A new button."""
        button: gr.Button = self.text(gr.Button("", min_width=60, **settings), key)
        return button

    def translate(self, language: Language) -> list[Any]:
        """Updates of the components, in their order."""
        return [gr.update(**says(language)) for says in self._says]


def explanation(key: str, language: Language) -> Settings:
    """The label and the line that explains it, of the texts `key` and `key`_info."""
    words = TRAIN_STRINGS[language]
    return {"label": words[key], "info": words[f"{key}_info"]}

"""The sketchpad component, and the words of the page."""

from __future__ import annotations

import json
import re
from typing import Any

from maml.demo.sketchpad import Sketchpad
from maml.demo.strings import STRINGS


def test_the_component_takes_a_language_and_nothing_else() -> None:
    pad = Sketchpad()
    assert pad.preprocess({"language": "zh"}) == "zh"
    for payload in (None, "zh", {"language": ["zh"]}, {"language": "xx"}, {}):
        assert pad.preprocess(payload) == "en"


def test_every_text_exists_in_both_languages_with_the_same_places_for_values() -> None:
    assert STRINGS["en"].keys() == STRINGS["zh"].keys()
    for key, text in STRINGS["en"].items():
        places = set(re.findall(r"\{\w+\}", text))
        assert set(re.findall(r"\{\w+\}", STRINGS["zh"][key])) == places, key


def test_the_schema_is_complete_enough_for_gradio_to_launch() -> None:
    def walk(schema: dict[str, Any]) -> None:
        if schema.get("type") == "array":
            assert "items" in schema, json.dumps(schema)
            walk(schema["items"])
        for part in schema.get("properties", {}).values():
            walk(part)

    walk(Sketchpad().api_info())

"""The sketchpad component, and the words of the page."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

import maml
from maml.demo.sketchpad import Sketchpad
from maml.demo.strings import STRINGS
from maml.demo.train_board import TrainingBoard
from maml.demo.train_pulse import Arrival, TrainPulse
from maml.demo.train_strings import TRAIN_STRINGS
from maml.sessions.document import Language


def test_the_component_takes_a_language_and_nothing_else() -> None:
    pad = Sketchpad()
    assert pad.preprocess({"language": "zh"}) == "zh"
    for payload in (None, "zh", {"language": ["zh"]}, {"language": "xx"}, {}):
        assert pad.preprocess(payload) == "en"


@pytest.mark.parametrize("strings", [STRINGS, TRAIN_STRINGS], ids=["draw", "train"])
def test_every_text_exists_in_both_languages_with_the_same_places_for_values(
    strings: dict[Language, dict[str, str]],
) -> None:
    assert strings["en"].keys() == strings["zh"].keys()
    for key, text in strings["en"].items():
        places = set(re.findall(r"\{\w+\}", text))
        assert set(re.findall(r"\{\w+\}", strings["zh"][key])) == places, key


@pytest.mark.parametrize("strings", [STRINGS, TRAIN_STRINGS], ids=["draw", "train"])
def test_every_text_is_asked_for(strings: dict[Language, dict[str, str]]) -> None:
    package = Path(maml.__file__).parent
    sources = [*package.rglob("*.py"), *package.glob("demo/assets/*.js")]
    code = "".join(
        path.read_text(encoding="utf-8") for path in sources if not path.name.endswith("strings.py")
    )
    begins = "set|pen|start|in|recipe|source|algorithm|stage|caption|terms?"
    made = rf"({begins})_\w+|\w+_(info|described)"
    for key in strings["en"]:
        assert re.fullmatch(made, key) or re.search(rf"""["'`.]{key}\b""", code), key


@pytest.mark.parametrize(
    ("component", "means"),
    [(Sketchpad, "en"), (TrainingBoard, 1), (TrainPulse, Arrival(token="", first=True, link=""))],
)
def test_a_component_takes_the_example_that_it_gives(component: Any, means: object) -> None:
    made = component()
    assert made.preprocess(made.example_payload()) == means
    assert made.example_value() == made.example_payload()
    assert set(made.example_payload()) <= set(made.api_info()["properties"])


def test_gradio_leaves_no_stub_beside_a_component() -> None:
    assert not list((Path(maml.__file__).parent / "demo").glob("*.pyi"))


def test_every_class_that_python_gives_is_known_to_the_styles_or_scripts() -> None:
    folder = Path(maml.__file__).parent / "demo"
    assets = "".join(
        path.read_text(encoding="utf-8")
        for path in folder.glob("assets/*")
        if path.suffix in (".css", ".js", ".html")
    )
    given = {
        name
        for path in folder.glob("*.py")
        for names in re.findall(r"elem_classes=\[?([^])\n]+)", path.read_text(encoding="utf-8"))
        for name in re.findall(r"maml-[\w-]+", names)
    }
    assert "maml-command" in given and len(given) > 10
    given.remove("maml-command")  # which the tests look for
    assert {name for name in given if not re.search(rf"[.\"'`]{name}\b", assets)} == set()


def test_the_schema_is_complete_enough_for_gradio_to_launch() -> None:
    def walk(schema: dict[str, Any]) -> None:
        if schema.get("type") == "array":
            assert "items" in schema, json.dumps(schema)
            walk(schema["items"])
        for part in schema.get("properties", {}).values():
            walk(part)

    walk(Sketchpad().api_info())

"""The Train tab as Gradio sees it: settings explained in both languages, nothing public."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import gradio as gr
import pytest
from apart import apart

from maml.demo.train_board import TrainingBoard
from maml.demo.train_form import TrainForm
from maml.demo.train_pulse import Arrival, TrainPulse
from maml.demo.train_results import WeightsBanner
from maml.demo.train_strings import TRAIN_STRINGS
from maml.demo.train_tab import TrainTab, build_train_tab
from maml.demo.translated import TranslatedComponents
from maml.recipes import RECIPES, live
from maml.sessions.form import ALGORITHMS, SETTINGS, changes_of, recipes_of, values_of
from maml.sessions.progress import BROKEN, OVER
from maml.sessions.settings import ServerSettings
from maml.sessions.sources import Sources


def build(folder: Path, minutes: float = 0) -> tuple[gr.Blocks, TrainTab]:
    # Outside of an event loop Gradio makes one for each of its locks and never closes it.
    return apart(asyncio.run, _build(folder, minutes))


async def _build(folder: Path, minutes: float) -> tuple[gr.Blocks, TrainTab]:
    settings = ServerSettings(training_minutes=minutes, runs=folder)
    with gr.Blocks() as demo:
        weights = gr.State(None)
        with gr.Tabs() as tabs:
            with gr.Tab("Draw", id="draw"):
                banner = WeightsBanner()
            with gr.Tab("Train", id="train"):
                pulse = TrainPulse(render=False)
                tab = build_train_tab(weights, banner, tabs, pulse, settings)
        pulse.render()
    return demo, tab


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[gr.Blocks, TrainTab]:
    return build(tmp_path_factory.mktemp("runs"))


def components(demo: gr.Blocks, kind: type) -> list[Any]:
    return [block for block in demo.blocks.values() if isinstance(block, kind)]


def test_every_text_is_there_in_both_languages_with_the_same_places_for_values() -> None:
    places = re.compile(r"\{(\w+)\}")
    english, chinese = TRAIN_STRINGS["en"], TRAIN_STRINGS["zh"]
    assert english.keys() == chinese.keys()
    for key, text in english.items():
        assert set(places.findall(text)) == set(places.findall(chinese[key])), key


def test_every_setting_has_a_line_that_explains_it(built: tuple[gr.Blocks, TrainTab]) -> None:
    demo, _ = built
    fields = [*components(demo, gr.Number), *components(demo, gr.Checkbox)]
    by_label = {field.label: field for field in fields}
    shown = values_of(RECIPES["live"])
    for setting in SETTINGS:
        for language in TRAIN_STRINGS.values():
            assert language[setting.key] and "\n" not in language[f"{setting.key}_info"]
        field = by_label[TRAIN_STRINGS["en"][setting.key]]
        assert field.info == TRAIN_STRINGS["en"][f"{setting.key}_info"]
        assert field.value == shown[setting.key]
        if not setting.is_switch and setting.key != "seed":
            assert f"{setting.high:,.10g}" in field.info, setting.key


def test_the_buttons_that_others_rely_on(built: tuple[gr.Blocks, TrainTab]) -> None:
    names = {button.value for button in components(built[0], gr.Button)}
    assert {"Start training", "Stop training", "Pause", "Go on", "Draw with these weights"} <= names


def test_no_event_is_public(built: tuple[gr.Blocks, TrainTab]) -> None:
    listeners = built[0].fns.values()
    assert listeners and all(one.api_visibility == "private" for one in listeners if one.fn)


def test_texts_are_translated_in_their_order(built: tuple[gr.Blocks, TrainTab]) -> None:
    _, tab = built
    chinese = tab.translate("zh")
    assert len(chinese) == len(tab.texts) and chinese[0] == "zh"
    start = next(
        index
        for index, component in enumerate(tab.texts)
        if getattr(component, "value", None) == "Start training"
    )
    assert chinese[start]["value"] == "开始训练"


@pytest.mark.parametrize(
    ("payload", "number"),
    [({"remove": 3}, 3), ({"remove": "3"}, None), ({"remove": True}, None), ("<b>", None)],
)
def test_what_the_page_sends_is_checked(payload: Any, number: int | None) -> None:
    assert TrainingBoard().preprocess(payload) == number


@pytest.mark.parametrize(
    ("payload", "arrival"),
    [
        ({"token": "abc", "first": True}, Arrival("abc", True)),
        ({"token": "abc", "first": 1}, Arrival("abc", False)),
        ({"token": 5}, Arrival("", False)),
        ({"link": "recipe=live"}, Arrival("", False, "recipe=live")),
        ("abc", Arrival("", False)),
        (None, Arrival("", False)),
    ],
)
def test_what_a_page_says_of_itself_is_checked(payload: Any, arrival: Arrival) -> None:
    assert TrainPulse().preprocess(payload) == arrival


def test_a_choice_that_needs_a_download_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("OMNIGLOT_DIR", str(tmp_path))
    form = TrainForm(0, Sources())
    english, chinese = (dict(form.source_says(one)["choices"]) for one in ("en", "zh"))
    assert "Omniglot: 1,623 characters of 50 alphabets; will be downloaded (15 MB)" in english
    assert any("15 MB" in text for text in chinese)
    for name in ("images_background", "images_evaluation"):
        (tmp_path / name).mkdir()
    assert "15 MB" not in str(form.source_says("en")["choices"])


def test_a_cap_on_minutes_is_shown(tmp_path: Path) -> None:
    demo, _ = build(tmp_path, minutes=10)
    minutes = next(one for one in components(demo, gr.Number) if one.label == "Minutes at most")
    assert minutes.value == 10 and "10 is the most here" in minutes.info


def test_the_script_of_the_board_carries_its_texts() -> None:
    script = TrainingBoard().js_on_load
    assert script is not None
    first = script.splitlines()[0]
    constants = json.loads(first.removeprefix("const TRAIN_CONSTANTS = ").removesuffix(";"))
    assert constants["STRINGS"] == TRAIN_STRINGS
    assert constants["OVER"] == sorted(OVER) and constants["BROKEN"] == sorted(BROKEN)
    texts = TRAIN_STRINGS["en"]
    assert not {*OVER, *BROKEN} - texts.keys(), "every end has its words"


def test_the_configuration_of_the_page_is_plain(built: tuple[gr.Blocks, TrainTab]) -> None:
    found = [
        component["props"]
        for component in built[0].get_config_file()["components"]
        if component["props"].get("elem_id") == "training-board"
    ]
    assert len(found) == 1 and found[0]["props"]["language"] == "en"
    settings = {**found[0], **found[0]["props"]}
    assert not any(callable(value) for value in settings.values())


def given(**changes: Any) -> list[Any]:
    """What the form sends for the recipe "live"."""
    values = list(values_of(RECIPES["live"]).values())
    sent = {"name": "live", "source": "generated", "device": "cpu", "minutes": 0}
    return [*{**sent, "algorithms": ["anil"], **changes}.values(), *values]


def test_the_form_is_read_and_checked() -> None:
    form = TrainForm(0, Sources())
    choice = form.read(*given(minutes=2.5))
    assert choice.recipes == (RECIPES["live"],) and choice.source == "generated"
    assert choice.device == "cpu" and choice.limit_minutes == 2.5
    for changes, message in (
        ({"name": "slow"}, "the recipe must be one of .*; got 'slow'"),
        ({"source": "mnist"}, "must be one of omniglot, quickdraw, generated; got 'mnist'"),
        ({"device": "tpu"}, "the device must be one of cpu.*; got 'tpu'"),
        ({"minutes": -1}, "minutes must be 0 .* or more; got -1"),
        ({"minutes": None}, "got None"),
        ({"minutes": "5"}, "minutes must be 0 .*; got '5'"),
        ({"minutes": [5]}, r"minutes must be 0 .*; got \[5\]"),
        ({"minutes": "x" * 100_000}, "minutes must be 0 .*; got 'x+\\.\\.\\.x+'$"),
        ({"name": ["live"]}, r"the recipe must be one of .*; got \['live'\]"),
        ({"name": {"live": 1}}, "the recipe must be one of"),
        ({"source": ["generated"]}, "must be one of omniglot"),
        ({"minutes": float("nan")}, "minutes must be"),
        ({"algorithms": []}, "choose 1 to 3 algorithms; got 0"),
        ({"algorithms": [*ALGORITHMS]}, "choose 1 to 3 algorithms; got 5"),
        ({"algorithms": ["sgd"]}, r"the algorithms must be of maml, .*; got \['sgd'\]"),
        ({"algorithms": "anil"}, "the algorithms must be of maml, .*; got 'anil'"),
    ):
        with pytest.raises(ValueError, match=message):
            form.read(*given(**changes))
    with pytest.raises(ValueError, match="the recipe must be one of"):
        form.fill(["live"])  # type: ignore[arg-type]


def test_a_comparison_changes_in_each_algorithm_what_was_changed() -> None:
    form = TrainForm(0, Sources())
    form.choices(TranslatedComponents())
    values = [*values_of(RECIPES["live"]).values()]
    keys = [setting.key for setting in SETTINGS]
    values[keys.index("iterations")] = 77
    # Another first algorithm: its own inner loop, and what was changed.
    filled = form.fill_for("live", ["anil"], ["reptile", "maml"], values)
    expected = {**values_of(live("maml")), "iterations": 77}
    assert dict(zip(keys, filled, strict=True)) == expected
    recipes = form.read_recipes("live", "omniglot", ["reptile", "maml"], filled)
    assert [recipe.training.algorithm for recipe in recipes] == ["maml", "reptile"]
    assert all(changes_of(recipe) == {"iterations": 77} for recipe in recipes)
    assert form.fill_for("live", ["reptile", "maml"], ["anil"], filled) == values, "and back"
    assert form.fill_for("notebook", [], [], values) == values
    with pytest.raises(ValueError, match="'fomaml' takes no second derivatives"):
        recipes_of("live", ("fomaml",), {**values_of(live("fomaml")), "second_order": True})


@pytest.mark.parametrize(("asked", "granted"), [(0, 10), (3, 3), (10, 10), (11, 10), (1e5, 10)])
def test_a_server_with_a_limit_grants_no_more(asked: float, granted: float) -> None:
    assert TrainForm(10, Sources()).read(*given(minutes=asked)).limit_minutes == granted

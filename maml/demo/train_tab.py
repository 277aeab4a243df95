"""The Train tab: settings, a board that shows a training while it runs, and what to do with it.

The trainings themselves are `maml.sessions.visitors`' business; here its runs are put on a page.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
import torch

from maml.config import Recipe
from maml.demo.component import AssetComponent, asset, drop_stub, page_settings, script_of
from maml.demo.train_strings import TRAIN_STRINGS
from maml.recipes import RECIPES
from maml.sessions.document import Language
from maml.sessions.form import SETTINGS, recipe_of, values_of
from maml.sessions.hub import push_to_hub
from maml.sessions.process import SOURCE_NAMES
from maml.sessions.progress import Run
from maml.sessions.visitors import TrainingSlots, TrainSession, follow, limit_from_environment

_RECIPE = "quick"
_UNWATCHED_SECONDS = 1.0
"""How often a board that nobody sees is brought up to date."""
_GROUPS = {
    "group_tasks": ("ways", "shots", "queries", "within_alphabet"),
    "group_inner": (
        "inner_steps",
        "evaluation_steps",
        "inner_rate",
        "learned_rates",
        "second_order",
    ),
    "group_outer": ("outer_rate", "cosine", "meta_batch", "augment"),
    "group_run": ("iterations", "epoch", "evaluation_tasks", "pretraining", "channels", "seed"),
}
# Hands the file that has just been written to the browser.
_TAKE_FILE = """() => {
    const link = document.querySelector('#train-file a, a#train-file');
    (link ?? document.querySelector('#train-file')).click();
}"""


@functools.cache
def _script() -> str:
    values = {"STRINGS": TRAIN_STRINGS, "STYLE": asset("base.css") + asset("train_board.css")}
    return script_of("TRAIN_CONSTANTS", values, "dom.js", "train_chart.js", "train_board.js")


class TrainingBoard(AssetComponent):
    """State, curves, tasks just solved, accuracy by inner step, log and earlier runs.

    Python shows things through props: `live`, `run`, `glance`, `earlier`, each JSON text (Gradio
    would wrap every array in a proxy and compare all of it), and `language`.  The page's event
    ``remove`` brings the number of a run; while a run is not over, ``watched`` or ``unwatched``
    comes every second, as the board can be seen or not, and whenever that changes.
    """

    page_events = frozenset({"remove", "watched", "unwatched"})

    def __init__(
        self,
        value: Any = None,
        *,
        live: Any = None,
        run: Any = None,
        glance: Any = None,
        earlier: Any = None,
        language: Language = "en",
        **settings: Any,
    ) -> None:
        super().__init__(
            value=value,
            live=live,
            run=run,
            glance=glance,
            earlier=earlier,
            language=language,
            **page_settings("train_board.html", _script(), settings),
        )

    def preprocess(self, payload: Any) -> int | None:  # type: ignore[override]
        """The number of the run to remove, or None if what came is no such number."""
        number = payload.get("remove") if isinstance(payload, dict) else None
        return number if isinstance(number, int) and not isinstance(number, bool) else None

    def api_info(self) -> dict[str, Any]:
        """What the page sends."""
        return {"type": "object", "properties": {"remove": {"type": "integer"}}}

    def example_payload(self) -> Any:
        """The first run."""
        return {"remove": 1}

    def example_value(self) -> Any:
        """The first run."""
        return self.example_payload()


drop_stub(__file__)


@dataclass(frozen=True, eq=False)
class TrainTab:
    """What the rest of the page needs of the Train tab.

    Args:
        texts: components whose texts depend on the language.
        translate: updates of `texts`, in their order.
    """

    texts: Sequence[Any]
    translate: Callable[[Language], list[Any]]


class WeightsBanner:
    """Says, above the sketchpad, that it draws with a session's own weights, and leads back."""

    def __init__(self) -> None:
        words = TRAIN_STRINGS["en"]
        with gr.Row(visible=False, elem_classes="maml-banner") as self.row:
            self.text = gr.Markdown()
            self.back = gr.Button(words["draw_back"], min_width=110, scale=0)

    def updates(self, text: str | None) -> dict[Any, Any]:
        """Show a text, or with None nothing."""
        return {self.row: gr.update(visible=text is not None), self.text: text or ""}


def build_train_tab(
    session_weights: gr.State,
    banner: WeightsBanner,
    tabs: gr.Tabs,
    *,
    at_a_time: int | None = None,
    folder: str | os.PathLike[str] | None = None,
) -> TrainTab:
    """Put the Train tab's components and events into the surrounding blocks.

    Args:
        session_weights: gets the path of a checkpoint, for the Draw tab of the same session, or
            None for the shipped weights.
        banner: in the Draw tab.
        tabs: whose tab "draw" is shown when weights were chosen.
        at_a_time: how many trainings may run at once; None takes `MAML_TRAININGS`, else 1.
        folder: where runs are kept; None takes `MAML_RUNS`, else a temporary folder.

    Raises:
        ValueError: if a variable of the environment does not make sense.
    """
    slots = TrainingSlots(at_a_time or int(os.environ.get("MAML_TRAININGS", "1")))
    most_minutes = limit_from_environment()
    sessions = _Sessions(folder or os.environ.get("MAML_RUNS"))
    words = TRAIN_STRINGS["en"]
    devices = ["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]

    session_state = gr.State(None, delete_callback=_close)
    language_state = gr.State("en")
    texts = _Texts()
    with gr.Row(elem_classes="maml-train"):
        with gr.Column(scale=4, min_width=300, elem_classes="maml-left"):
            with gr.Column(elem_classes="maml-first"):
                recipe = texts.add(
                    gr.Radio(value=_RECIPE, choices=_recipe_choices("en"), **_labels("recipe")),
                    lambda language: {
                        **_labels("recipe", language),
                        "choices": _recipe_choices(language),
                    },
                )
                source = texts.add(
                    gr.Radio(value="omniglot", choices=_source_choices("en"), **_labels("source")),
                    lambda language: {
                        **_labels("source", language),
                        "choices": _source_choices(language),
                    },
                )
                with gr.Row(elem_classes="maml-buttons"):
                    start = texts.add_button("start", variant="primary")
                    pause = texts.add_button("pause", interactive=False)
                    go_on = texts.add_button("go_on", visible=False)
                    stop = texts.add_button("stop", interactive=False)
                resume = texts.add_button("resume", visible=False)
                problem = gr.Markdown(visible=False, elem_classes="maml-problem")
            with gr.Column(elem_classes="maml-later"):
                values = values_of(RECIPES[_RECIPE])
                inputs: dict[str, Any] = {}
                for group, keys in _GROUPS.items():
                    with (
                        texts.add(
                            gr.Accordion(words[group], open=group == "group_tasks"),
                            functools.partial(_label_only, group),
                        ),
                        gr.Row(elem_classes="maml-settings"),
                    ):
                        for key in keys:
                            inputs[key] = texts.add_labelled(_setting(key, values[key]), key)
                        if group == "group_run":
                            device = texts.add_labelled(
                                gr.Dropdown(value="cpu", choices=devices, min_width=140), "device"
                            )
                            minutes = texts.add(
                                gr.Number(value=most_minutes, min_width=140),
                                lambda language: _minutes_labels(most_minutes, language),
                            )
        with gr.Column(scale=9, min_width=320):
            board = TrainingBoard(elem_id="training-board")
            with gr.Row(elem_classes="maml-buttons"):
                draw_with = texts.add_button("draw_with", variant="primary", interactive=False)
                checkpoint = texts.add_button("download_checkpoint")
                figure = texts.add_button("download_figure")
                table = texts.add_button("download_csv")
            file = gr.DownloadButton(visible="hidden", elem_id="train-file")
            with texts.add(
                gr.Accordion(words["hub"], open=False), functools.partial(_label_only, "hub")
            ):
                texts.add(
                    gr.Markdown(words["hub_note"], elem_classes="maml-note"),
                    lambda language: {"value": TRAIN_STRINGS[language]["hub_note"]},
                )
                with gr.Row(elem_classes="maml-settings"):
                    hub_name = texts.add_labelled(gr.Textbox(max_lines=1), "hub_name")
                    hub_token = texts.add_labelled(
                        gr.Textbox(type="password", max_lines=1), "hub_token"
                    )
                    hub_private = texts.add(
                        gr.Checkbox(value=True, min_width=110),
                        functools.partial(_label_only, "hub_private"),
                    )
                hub_push = texts.add_button("hub_push")
                hub_done = gr.Markdown()

    ordered = [inputs[setting.key] for setting in SETTINGS]
    controls = [board, start, pause, go_on, stop, resume, draw_with]
    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}

    # ---- settings

    def on_recipe(name: str) -> list[Any]:
        shown = values_of(_recipe(name))
        return [shown[setting.key] for setting in SETTINGS]

    def read_settings(name: str, given: Sequence[Any]) -> Recipe:
        keys = (setting.key for setting in SETTINGS)
        return recipe_of(name, dict(zip(keys, given, strict=True)))

    def on_settings(language: Language, name: str, *given: Any) -> Any:
        try:
            read_settings(name, given)
        except ValueError as error:
            text = TRAIN_STRINGS[language]["bad_settings"].format(text=error)
            return gr.update(value=text, visible=True)
        return gr.update(visible=False)

    recipe.input(on_recipe, recipe, ordered, **quiet)
    gr.on(
        [component.change for component in ordered],
        on_settings,
        [language_state, recipe, *ordered],
        problem,
        trigger_mode="always_last",
        **quiet,
    )

    # ---- training

    def buttons(run: Run) -> dict[Any, dict[str, Any]]:
        return {
            start: {"interactive": run.ended},
            pause: {
                "interactive": run.state in ("training", "evaluating"),
                "visible": run.state != "paused",
            },
            go_on: {"visible": run.state == "paused"},
            stop: {"interactive": not run.over and run.state != "stopping"},
            resume: {"visible": run.ended and run.can_go_on},
            draw_with: {"interactive": run.has_weights},
        }

    def board_of(run: Run, watched: bool) -> dict[str, str]:
        """What the board shows; curves and drawings only if somebody sees them."""
        pictures = {"run": run.outline(), "glance": run.glance()} if watched else {}
        return {key: json.dumps(value) for key, value in {"live": run.live(), **pictures}.items()}

    def earlier_runs(session: TrainSession) -> str:
        return json.dumps([run.outline() for run in session.earlier])

    def train(session: TrainSession, run: Run, *, again: bool) -> Iterator[dict[Any, Any]]:
        yield {session_state: session, board: gr.update(earlier=earlier_runs(session))}
        shown: dict[Any, dict[str, Any]] = {}
        told = 0.0
        session.expect_page()
        for _ in follow(run, slots, resume=again):
            if not session.look_for_page():
                run.abandon("lost")
            news: dict[Any, dict[str, Any]] = buttons(run)
            pressing = run.ended or any(shown.get(key) != value for key, value in news.items())
            now = time.monotonic()
            if not (session.watched or pressing or now - told > _UNWATCHED_SECONDS):
                continue
            told = now
            news[board] = board_of(run, session.watched or run.ended)
            # What has not changed need not travel: a button that is told so loses its focus.
            changes = {
                component: {
                    key: value
                    for key, value in values.items()
                    if shown.get(component, {}).get(key) != value
                }
                for component, values in news.items()
            }
            for component, values in news.items():
                shown.setdefault(component, {}).update(values)
            yield {
                component: gr.update(**values) for component, values in changes.items() if values
            } or {board: gr.skip()}

    def on_start(
        session: TrainSession | None,
        name: str,
        chosen_source: str,
        chosen_device: str,
        chosen_minutes: float | None,
        *given: Any,
    ) -> Iterator[dict[Any, Any]]:
        session = session or sessions.new()
        with _as_page_errors():
            chosen = read_settings(name, given)
            limit = _limit(chosen_minutes, most_minutes)
            run = session.add(
                chosen, _source(chosen_source), _device(chosen_device, devices), limit
            )
            yield from train(session, run, again=False)

    def on_resume(session: TrainSession | None, language: Language) -> Iterator[dict[Any, Any]]:
        run = session.current if session else None
        if session is None or run is None or not run.can_go_on:
            raise gr.Error(TRAIN_STRINGS[language]["no_runs"], print_exception=False)
        with _as_page_errors():
            yield from train(session, run, again=True)

    def on_pause(session: TrainSession | None) -> None:
        if session is not None and session.current is not None:
            session.current.pause()

    def on_go_on(session: TrainSession | None) -> None:
        if session is not None and session.current is not None:
            session.current.go_on()

    def on_stop(session: TrainSession | None) -> None:
        if session is not None and session.current is not None:
            session.current.stop()

    def on_watched(session: TrainSession | None) -> None:
        if session is not None:
            session.hear()

    def on_unwatched(session: TrainSession | None) -> None:
        if session is not None:
            session.hear(watched=False)

    def on_remove(session: TrainSession | None, number: int | None) -> Any:
        if session is None or number is None:
            return gr.skip()
        with _as_page_errors():
            session.remove(number)
        return gr.update(earlier=earlier_runs(session))

    # A place in Gradio's queue could not be shown in the page's language, nor be left by the button
    # that stops: whose turn it is is decided by `slots`.
    long: dict[str, Any] = {**quiet, "concurrency_limit": None}
    settings = [recipe, source, device, minutes, *ordered]
    # "Once", which buttons have by default, would drop a click made before the last run's event has
    # quite ended; a second run is refused by the session.
    again: dict[str, Any] = {**long, "trigger_mode": "multiple"}
    start.click(on_start, [session_state, *settings], [session_state, *controls], **again)
    resume.click(on_resume, [session_state, language_state], [session_state, *controls], **again)
    pause.click(on_pause, session_state, None, **long)
    go_on.click(on_go_on, session_state, None, **long)
    stop.click(on_stop, session_state, None, **long)
    # "Once" would drop the signs of life that come while the app is slow to take one in.
    life: dict[str, Any] = {**quiet, "queue": False, "trigger_mode": "multiple"}
    board.watched(on_watched, session_state, None, **life)
    board.unwatched(on_unwatched, session_state, None, **life)
    board.remove(on_remove, [session_state, board], board, trigger_mode="multiple", **long)

    # ---- the result

    def on_draw_with(session: TrainSession | None, language: Language) -> dict[Any, Any]:
        run = _latest(session, TRAIN_STRINGS[language]["no_weights"])
        assert session is not None
        with _as_page_errors():
            path = session.frozen_weights(run)
        text = TRAIN_STRINGS[language]["drawing_with"].format(number=run.number)
        return {
            session_weights: str(path),
            tabs: gr.Tabs(selected="draw"),
            **banner.updates(text),
        }

    def on_draw_back() -> dict[Any, Any]:
        return {session_weights: None, **banner.updates(None)}

    def download(make: Callable[[TrainSession, Run], Path]) -> Callable[..., str]:
        def write(session: TrainSession | None, language: Language) -> str:
            run = _latest(session, TRAIN_STRINGS[language]["no_runs"])
            assert session is not None
            with _as_page_errors():
                return str(make(session, run))

        return write

    def on_push(
        session: TrainSession | None, language: Language, name: str, token: str, private: bool
    ) -> Iterator[dict[Any, Any]]:
        run = _latest(session, TRAIN_STRINGS[language]["no_weights"])
        assert session is not None
        yield {hub_token: "", hub_done: ""}
        with _as_page_errors():
            path = session.frozen_weights(run)
            url = push_to_hub(path, name, token, private=bool(private))
        yield {hub_done: TRAIN_STRINGS[language]["hub_done"].format(url=url)}

    whose = [session_state, language_state]
    banner_parts = [session_weights, banner.row, banner.text]
    chosen = draw_with.click(on_draw_with, whose, [tabs, *banner_parts], **quiet)
    chosen.success(None, None, None, js="() => window.scrollTo(0, 0)")
    banner.back.click(on_draw_back, None, banner_parts, **quiet)
    for button, make in (
        (checkpoint, TrainSession.checkpoint),
        (figure, TrainSession.figure),
        (table, lambda session, run: session.csv()),
    ):
        written = button.click(download(make), whose, file, **quiet)
        written.success(None, None, None, js=_TAKE_FILE)
    hub_push.click(
        on_push, [*whose, hub_name, hub_token, hub_private], [hub_token, hub_done], **quiet
    )

    def translate(language: Language) -> list[Any]:
        back = TRAIN_STRINGS[language]["draw_back"]
        return [language, gr.update(language=language), back, *texts.translate(language)]

    return TrainTab([language_state, board, banner.back, *texts.components], translate)


# ---- small parts ---------------------------------------------------------------------------------


class _Sessions:
    """Makes sessions, each with a folder of its own."""

    def __init__(self, folder: str | os.PathLike[str] | None) -> None:
        # Removed when the app ends in an orderly way; sessions remove their own before.
        self._temporary = tempfile.TemporaryDirectory(prefix="maml-train-")
        self._folder = Path(folder or self._temporary.name)

    def new(self) -> TrainSession:
        with contextlib.suppress(OSError):  # the run says what is wrong with the folder
            self._folder.mkdir(parents=True, exist_ok=True)
            return TrainSession(Path(tempfile.mkdtemp(prefix="session-", dir=self._folder)))
        return TrainSession(self._folder / "session")


class _Texts:
    """Components whose texts follow the page's language."""

    def __init__(self) -> None:
        self.components: list[Any] = []
        self._updates: list[Callable[[Language], dict[str, Any]]] = []

    def add(self, component: Any, update: Callable[[Language], dict[str, Any]]) -> Any:
        self.components.append(component)
        self._updates.append(update)
        for name, value in update("en").items():
            setattr(component, name, value)
        return component

    def add_labelled(self, component: Any, key: str) -> Any:
        return self.add(component, functools.partial(_labels, key))

    def add_button(self, key: str, **settings: Any) -> Any:
        button = gr.Button(TRAIN_STRINGS["en"][key], min_width=60, **settings)
        self.components.append(button)
        self._updates.append(lambda language: {"value": TRAIN_STRINGS[language][key]})
        return button

    def translate(self, language: Language) -> list[Any]:
        return [gr.update(**update(language)) for update in self._updates]


def _labels(key: str, language: Language = "en") -> dict[str, Any]:
    words = TRAIN_STRINGS[language]
    return {"label": words[key], "info": words[f"{key}_info"]}


def _label_only(key: str, language: Language) -> dict[str, Any]:
    return {"label": TRAIN_STRINGS[language][key]}


def _minutes_labels(most: float, language: Language) -> dict[str, Any]:
    words = TRAIN_STRINGS[language]
    info = words["minutes_capped"].format(minutes=f"{most:g}") if most else words["minutes_info"]
    return {"label": words["minutes"], "info": info}


def _recipe_choices(language: Language) -> list[tuple[str, str]]:
    names = (_RECIPE, *(name for name in RECIPES if name != _RECIPE))
    return [(TRAIN_STRINGS[language][f"recipe_{name}"], name) for name in names]


def _source_choices(language: Language) -> list[tuple[str, str]]:
    return [(TRAIN_STRINGS[language][f"source_{name}"], name) for name in SOURCE_NAMES]


def _setting(key: str, value: Any) -> Any:
    setting = next(one for one in SETTINGS if one.key == key)
    if setting.is_switch:
        return gr.Checkbox(value=value, min_width=140)
    return gr.Number(value=value, step=1 if setting.whole else 0.001, min_width=140)


def _recipe(name: str) -> Recipe:
    if name not in RECIPES:
        raise gr.Error(f"There is no recipe {name!r}.", print_exception=False)
    return RECIPES[name]


def _source(name: str) -> Any:
    if name not in SOURCE_NAMES:
        raise ValueError(f"Characters must be one of {', '.join(SOURCE_NAMES)}; {name!r} came.")
    return name


def _device(name: str, devices: Sequence[str]) -> str:
    if name not in devices:
        raise ValueError(f"Device must be one of {', '.join(devices)}; {name!r} came.")
    return name


def _limit(minutes: float | None, most: float) -> float:
    """The limit of a run: what was asked for, within what is allowed; 0 is none."""
    if minutes is None or not 0 <= minutes < 1e6:
        raise ValueError(f"minutes must be 0 (no limit) or more; {minutes!r} came.")
    if not most:
        return float(minutes)
    return min(float(minutes), most) if minutes else most


def _latest(session: TrainSession | None, text: str) -> Run:
    run = session.current if session else None
    if run is None:
        raise gr.Error(text, print_exception=False)
    return run


def _close(session: TrainSession | None) -> None:
    if session is not None:
        session.close()


@contextlib.contextmanager
def _as_page_errors() -> Iterator[None]:
    """Show what the library refuses, and what the disk does, on the page."""
    try:
        yield
    except (ValueError, OSError) as error:
        raise gr.Error(str(error), print_exception=False) from error

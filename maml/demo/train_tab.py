"""The Train tab: a form, a board that shows a training while it runs, and what to do with it.

Trainings belong to `maml.sessions.visitors`; here they are put on a page.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from maml.demo.page_errors import as_page_errors
from maml.demo.train_board import TrainingBoard
from maml.demo.train_form import TrainForm
from maml.demo.train_pulse import Arrival, TrainPulse
from maml.demo.train_results import TrainResults, WeightsBanner
from maml.demo.train_strings import TRAIN_STRINGS
from maml.demo.translated import Settings, TranslatedComponents
from maml.sessions.document import Language
from maml.sessions.settings import ServerSettings
from maml.sessions.sources import Sources
from maml.sessions.training import Training
from maml.sessions.visitors import Page, TrainingQueue, TrainSession, Visitors

_UPDATE_SECONDS = 0.25
"""Between two updates of the page."""
_UNWATCHED_SECONDS = 1.0
"""Between two updates of a board that nobody sees."""
_DEFAULTS = ServerSettings()
_QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}


@dataclass(frozen=True, eq=False)
class TrainTab:
    """What the rest of the page needs of the Train tab.

    Args:
        texts: components whose texts depend on the language.
        translate: updates of `texts`, in their order.
        visitors: who train; to be closed at the end.
    """

    texts: Sequence[Any]
    translate: Callable[[Language], list[Any]]
    visitors: Visitors


def build_train_tab(
    session_weights: gr.State,
    banner: WeightsBanner,
    tabs: gr.Tabs,
    pulse: TrainPulse,
    settings: ServerSettings = _DEFAULTS,
) -> TrainTab:
    """Put the Train tab's components and events into the surrounding blocks.

    Args:
        session_weights: gets the path of a checkpoint, for the Draw tab of the same session, or
            None for the shipped weights.
        banner: in the Draw tab.
        tabs: whose tab "draw" is shown when weights were chosen.
        pulse: outside the tabs; made with ``render=False`` and put into the page later.
        settings: how many trainings may run, how long, and where.
    """
    visitors = Visitors(settings.runs, TrainingQueue(settings.trainings), settings.grace_seconds)
    sources = Sources()
    sources.look()
    form = TrainForm(settings.training_minutes, sources)
    session_state = gr.State(None)
    language_state = gr.State("en")
    texts = TranslatedComponents()
    with gr.Row(elem_classes="maml-train"):
        with gr.Column(scale=4, min_width=300, elem_classes="maml-left"):
            with gr.Column(elem_classes="maml-choices"):
                form.choices(texts)
            with gr.Column(elem_classes="maml-controls"):
                with gr.Row(elem_classes="maml-buttons"):
                    start = texts.button("start", variant="primary")
                    pause = texts.button("pause", interactive=False)
                    unpause = texts.button("unpause", visible=False)
                    stop = texts.button("stop", interactive=False)
                resume = texts.button("resume", visible=False)
                use_generated = texts.button("use_generated", visible=False)
                problem = gr.Markdown(visible=False, elem_classes="maml-problem")
            with gr.Column(elem_classes="maml-later"):
                form.settings(texts)
        with gr.Column(scale=9, min_width=320, elem_classes="maml-right"):
            board = TrainingBoard(elem_id="training-board")
            with gr.Column(elem_classes="maml-results"):
                results = TrainResults(texts)

    # ---- settings

    def on_recipe(name: str) -> list[Any]:
        with as_page_errors():
            return form.fill(name)

    def on_settings(language: Language, name: str, *values: Any) -> Any:
        try:
            form.read_recipe(name, values)
        except ValueError as error:
            text = TRAIN_STRINGS[language]["bad_settings"].format(text=error)
            return gr.update(value=text, visible=True)
        return gr.update(visible=False)

    form.recipe.input(on_recipe, form.recipe, form.fields, **_QUIET)
    gr.on(
        [field.change for field in form.fields],
        on_settings,
        [language_state, form.recipe, *form.fields],
        problem,
        trigger_mode="always_last",
        **_QUIET,
    )

    # ---- training

    def controls(session: TrainSession) -> dict[Any, Settings]:
        """What can be done now."""
        training = session.current
        state = training.state if training else "idle"
        ended = training is None or training.ended
        return {
            start: {"interactive": ended},
            pause: {
                "interactive": state in ("training", "evaluating"),
                "visible": state != "paused",
            },
            unpause: {"visible": state == "paused"},
            stop: {"interactive": not ended and state != "stopping"},
            resume: {"visible": training is not None and ended and training.resumable},
            use_generated: {"visible": training is not None and ended and training.without_data},
            **results.controls(session),
        }

    def board_of(session: TrainSession, watched: bool = True) -> Settings:
        """What the board shows; curves and drawings only if somebody sees them."""
        training = session.current
        if training is None:
            return {"live": "null", "run": "null", "solved": "null"}
        shows: dict[str, Any] = {"live": {**training.live(), "place": session.place(training)}}
        if watched:
            shows |= {"run": training.outline(), "solved": training.solved_tasks()}
        return {key: json.dumps(value) for key, value in shows.items()}

    def earlier_runs(session: TrainSession) -> Settings:
        return {"earlier": json.dumps([training.outline() for training in session.earlier])}

    def watch(session: TrainSession, key: str | None) -> Iterator[dict[Any, Any]]:
        """Keep a page up to date until its visitor's training has ended, or another watch does.

        Args:
            session: of the visitor.
            key: of the page.
        """
        page = session.presence.page(key or "")
        page.watch += 1
        page.attached = True
        this = page.watch
        try:
            yield from _updates(session, page, this)
        finally:
            if page.watch == this:
                page.attached = False

    def _updates(session: TrainSession, page: Page, this: int) -> Iterator[dict[Any, Any]]:
        yield {
            session_state: session,
            pulse: gr.update(token=session.token, running=True),
            board: gr.update(**earlier_runs(session)),
        }
        shown: dict[Any, Settings] = {}
        told = 0.0
        while page.watch == this:
            training = session.current
            ended = training is None or training.ended
            news = controls(session)
            pressing = ended or any(shown.get(one) != value for one, value in news.items())
            now = time.monotonic()
            if page.watched or pressing or now - told > _UNWATCHED_SECONDS:
                told = now
                news[board] = board_of(session, page.watched or ended)
                news[pulse] = {"told": round(1000 * now), "running": not ended}
                yield _changes(shown, news)
            if ended or training is None:
                if training is not None and training.without_data:
                    sources.download_failed()
                return
            if training.state in ("waiting", "preparing", "paused"):
                training.wait(_UPDATE_SECONDS)
            else:
                time.sleep(_UPDATE_SECONDS)

    def on_arrive(
        arrival: Arrival, language: Language, request: gr.Request
    ) -> Iterator[dict[Any, Any]]:
        """A page opens, or gets no updates any more."""
        if arrival.first:
            sources.look()
            says = form.source_says(language)
            if sources.default() == "generated":
                says["value"] = "generated"  # else a choice that was made meanwhile would be undone
            yield {form.source: gr.update(**says)}
        session = visitors.find(arrival.token)
        if session is not None:
            yield from watch(session, request.session_hash)

    def on_start(
        session: TrainSession | None, request: gr.Request, *given: Any
    ) -> Iterator[dict[Any, Any]]:
        session = session or visitors.welcome()
        with as_page_errors():
            choice = form.read(*given)
            session.add(choice.recipe, choice.source, choice.device, choice.limit_minutes)
        yield from watch(session, request.session_hash)

    def on_use_generated(
        session: TrainSession | None, request: gr.Request, *given: Any
    ) -> Iterator[dict[Any, Any]]:
        yield {form.source: "generated"}
        name, _, *others = given
        yield from on_start(session, request, name, "generated", *others)

    def on_resume(
        session: TrainSession | None, language: Language, request: gr.Request
    ) -> Iterator[dict[Any, Any]]:
        if session is None:
            raise gr.Error(TRAIN_STRINGS[language]["no_runs"], print_exception=False)
        with as_page_errors():
            session.resume()
        yield from watch(session, request.session_hash)

    def steer(act: Callable[[Training], None]) -> Callable[[TrainSession | None], None]:
        def on_press(session: TrainSession | None) -> None:
            if session is not None and session.current is not None:
                act(session.current)

        return on_press

    def on_watched(session: TrainSession | None, request: gr.Request) -> None:
        if session is not None:
            session.presence.hear(request.session_hash or "", watched=True)

    def on_unwatched(session: TrainSession | None, request: gr.Request) -> None:
        if session is not None:
            session.presence.hear(request.session_hash or "", watched=False)

    def on_remove(session: TrainSession | None, number: int | None) -> dict[Any, Any]:
        if session is None or number is None:
            return {board: gr.skip()}
        with as_page_errors():
            session.remove(number)
        news = controls(session)
        news[board] = {**board_of(session), **earlier_runs(session)}
        return {component: gr.update(**settings) for component, settings in news.items()}

    # A place in Gradio's queue could not be shown in the page's language, nor be left by the button
    # that stops: whose turn it is is decided by the `TrainingQueue`.
    long: dict[str, Any] = {**_QUIET, "concurrency_limit": None}
    # "Once", which buttons have by default, would drop a click made before the last run's event has
    # quite ended; a second run is refused by the session.
    again: dict[str, Any] = {**long, "trigger_mode": "multiple"}
    steered = [start, pause, unpause, stop, resume, use_generated, *results.buttons]
    shown = [session_state, pulse, board, *steered]
    pulse.arrive(on_arrive, [pulse, language_state], [form.source, *shown], **again)
    start.click(on_start, [session_state, *form.inputs], shown, **again)
    use_generated.click(
        on_use_generated, [session_state, *form.inputs], [form.source, *shown], **again
    )
    resume.click(on_resume, [session_state, language_state], shown, **again)
    pause.click(steer(Training.pause), session_state, None, **long)
    unpause.click(steer(Training.unpause), session_state, None, **long)
    stop.click(steer(Training.stop), session_state, None, **long)
    # "Once" would drop the signs of life that come while the app is slow to take one in.
    life: dict[str, Any] = {**_QUIET, "queue": False, "trigger_mode": "multiple"}
    pulse.watched(on_watched, session_state, None, **life)
    pulse.unwatched(on_unwatched, session_state, None, **life)
    board.remove(on_remove, [session_state, board], [board, *steered], **again)
    results.connect(session_state, language_state, session_weights, banner, tabs)

    def translate(language: Language) -> list[Any]:
        back = TRAIN_STRINGS[language]["draw_back"]
        return [language, gr.update(language=language), back, *texts.translate(language)]

    translated = [language_state, board, banner.back, *texts.components]
    return TrainTab(translated, translate, visitors)


def _changes(shown: dict[Any, Settings], news: dict[Any, Settings]) -> dict[Any, Any]:
    """Updates of what differs from `shown`, which is brought up to date.

    What has not changed need not travel: a button that is told so loses its focus.
    """
    updates = {}
    for component, settings in news.items():
        known = shown.setdefault(component, {})
        changed = {key: value for key, value in settings.items() if known.get(key) != value}
        if changed:
            updates[component] = gr.update(**changed)
        known.update(changed)
    return updates

"""The Train tab: a form, a board that shows a training while it runs, and what to do with it.

Trainings belong to `maml.sessions.visitors`; here they are put on a page.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from maml.demo.page_errors import as_page_errors
from maml.demo.rates import address_of, is_loopback
from maml.demo.train_board import TrainingBoard
from maml.demo.train_form import TrainForm
from maml.demo.train_pulse import LINK, Arrival, TrainPulse
from maml.demo.train_results import TrainResults, WeightsBanner
from maml.demo.train_strings import TRAIN_STRINGS
from maml.demo.translated import Settings, TranslatedComponents
from maml.sessions.disk import MEGABYTE, DiskQuota
from maml.sessions.document import Language
from maml.sessions.presence import Page
from maml.sessions.settings import ServerSettings
from maml.sessions.sources import Sources
from maml.sessions.training import Training
from maml.sessions.turns import TrainingQueue
from maml.sessions.visitors import TrainSession, Visitors

_UPDATE_SECONDS = 0.25
"""Between two updates of the page."""
_CURVE_SECONDS = 1.0
"""Between two updates of curves and solved tasks."""
_UNWATCHED_SECONDS = 1.0
"""Between two updates of a board that nobody sees."""
_LINGER_SECONDS = 3.0
"""How long a watch goes on after the end of a training, so that the next one begins before it ends.

With its last event a page's stream of messages closes, and what was pressed at that moment is lost.
"""
_DEFAULTS = ServerSettings()
_QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}


_COPY_LINK = f"""(fragment) => {{
    const link = location.origin + location.pathname + "{LINK}" + fragment;
    navigator.clipboard?.writeText(link).catch(() => {{}});
    return link;
}}"""


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
    together = settings.runs_megabytes * MEGABYTE
    visitors = Visitors(
        settings.runs,
        TrainingQueue(settings.trainings),
        settings.grace_seconds,
        DiskQuota(together // 10, together),
        settings.trainer,
    )
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
                copy_link = texts.button("copy_link")
                link = gr.Code(
                    language=None, visible=False, show_label=False, elem_classes="maml-command"
                )
        with gr.Column(scale=9, min_width=320, elem_classes="maml-right"):
            board = TrainingBoard(elem_id="training-board")
            with gr.Column(elem_classes="maml-results"):
                results = TrainResults(texts)

    # ---- settings

    def on_recipe(name: str) -> list[Any]:
        with as_page_errors():
            chosen, *values = form.fill(name)
            return [chosen["value"], chosen, *values]

    def on_algorithms(name: str, before: Any, chosen: Any, *values: Any) -> list[Any]:
        try:
            return [chosen, *form.fill_for(name, before, chosen, values)]
        except ValueError:  # the settings below say what is wrong
            return [before, *values]

    def on_settings(
        language: Language, name: str, source: str, algorithms: Any, *values: Any
    ) -> Any:
        try:
            form.read_recipes(name, source, algorithms, values)
        except ValueError as error:
            text = TRAIN_STRINGS[language]["bad_settings"].format(text=error)
            return gr.update(value=text, visible=True)
        return gr.update(visible=False)

    filled_for = gr.State(form.algorithms.value)
    filled = [filled_for, form.algorithms, *form.fields]
    form.recipe.input(on_recipe, form.recipe, filled, **_QUIET)
    form.algorithms.input(
        on_algorithms,
        [form.recipe, filled_for, form.algorithms, *form.fields],
        [filled_for, *form.fields],
        **_QUIET,
    )
    gr.on(
        [one.change for one in (form.source, form.algorithms, *form.fields)],
        on_settings,
        [language_state, form.recipe, form.source, form.algorithms, *form.fields],
        problem,
        trigger_mode="always_last",
        **_QUIET,
    )

    def on_copy_link(name: str, source: str, algorithms: Any, *values: Any) -> Any:
        with as_page_errors():
            return gr.update(value=form.link(name, source, algorithms, values), visible=True)

    given_settings = [form.recipe, form.source, form.algorithms, *form.fields]
    written = copy_link.click(on_copy_link, given_settings, link, **_QUIET)
    written.success(None, link, link, js=_COPY_LINK)

    # ---- training

    def controls(session: TrainSession) -> dict[Any, Settings]:
        """What can be done now."""
        training = session.current
        state = training.state if training else "idle"
        ended = not session.busy
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

    def board_of(session: TrainSession, curves: bool = True) -> Settings:
        """What the board shows; `curves`: these and drawings as well."""
        training = session.current
        if training is None:
            return {"live": "null", "run": "null", "solved": "null"}
        place, planned = session.place(training), len(session.planned)
        shows: dict[str, Any] = {"live": {**training.live(), "place": place, "planned": planned}}
        if curves:
            shows |= {"run": training.outline(), "solved": training.solved_tasks()}
        return {key: json.dumps(value) for key, value in shows.items()}

    def earlier_runs(session: TrainSession) -> Settings:
        return {"earlier": json.dumps([training.outline() for training in session.earlier])}

    def watch(session: TrainSession, key: str | None) -> Iterator[dict[Any, Any]]:
        """Keep a page up to date until its visitor's training has ended, or another watch begins.

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
        """All that the page shows, each time anew.

        An update must not rely on the one before: of those that reach a busy page together,
        Gradio's client applies the last one's values only.
        """
        shown: dict[Any, Settings] = {board: {}}
        told = drawn = 0.0
        listed: Sequence[Training] | None = None
        ends = math.inf
        while True:
            now = time.monotonic()
            training = session.current
            ended = not session.busy
            if not ended:
                ends = math.inf
            elif ends == math.inf:
                ends = now + _LINGER_SECONDS
                if training is not None and training.without_data:
                    sources.download_failed(training.job.source)
            # Gradio repeats the last update when this watch has ended, so it must be a recent one.
            last = page.watch != this or now >= ends
            news = controls(session)
            pressing = last or any(shown.get(one) != value for one, value in news.items())
            if page.watched or pressing or now - told > _UNWATCHED_SECONDS:
                told = now
                draws = ended or (page.watched and (pressing or now - drawn > _CURVE_SECONDS))
                drawn = now if draws else drawn
                shown |= news
                shown[board] |= board_of(session, draws)
                if (earlier := session.earlier) != listed:
                    listed = earlier
                    shown[board] |= earlier_runs(session)
                shown[pulse] = {
                    "token": session.token,
                    "told": round(1000 * now),
                    "running": not ended,
                }
                updates = {
                    component: gr.update(**settings) for component, settings in shown.items()
                }
                yield {session_state: session, **updates}
            if last:
                return
            if training is not None and training.state in ("waiting", "preparing", "paused"):
                training.wait(_UPDATE_SECONDS)
            else:
                time.sleep(_UPDATE_SECONDS)

    def on_open(arrival: Arrival, language: Language) -> dict[Any, Any]:
        """A page has just been opened: where data may come from, and settings of its link."""
        says: Settings = {}
        if arrival.first:
            sources.look()
            says = form.source_says(language)
            if sources.default() == "generated":
                says["value"] = "generated"  # else a choice that was made meanwhile would be undone
        updates: dict[Any, Any] = {}
        if arrival.link:
            try:
                updates, chosen = form.follow(arrival.link)
                updates |= {filled_for: chosen, tabs: gr.Tabs(selected="train")}
                says["value"] = updates[form.source]
            except ValueError as error:
                gr.Warning(TRAIN_STRINGS[language]["bad_settings"].format(text=error))
        return {**updates, form.source: gr.update(**says)}

    def on_arrive(arrival: Arrival, request: gr.Request) -> Iterator[dict[Any, Any]]:
        """A page opens, or gets no updates any more."""
        session = visitors.find(arrival.token)
        if session is None:
            yield {pulse: gr.skip()}  # a generator that yields nothing empties all its outputs
        else:
            yield from watch(session, request.session_hash)

    def kept(session: TrainSession | None) -> TrainSession | None:
        """A page's session, unless it was closed while the page did nothing for long."""
        return None if session is None else visitors.find(session.token)

    def on_start(
        session: TrainSession | None, language: Language, request: gr.Request, *given: Any
    ) -> Iterator[dict[Any, Any]]:
        with as_page_errors(language):
            choice = form.read(*given)
            known = kept(session)
            session = known or visitors.welcome(_address(request))
            try:
                first, *then = choice.recipes
                session.add(first, choice.source, choice.device, choice.limit_minutes, then)
            except ValueError:
                if known is None:
                    visitors.dismiss(session)
                raise
        yield from watch(session, request.session_hash)

    def on_use_generated(
        session: TrainSession | None, language: Language, request: gr.Request, *given: Any
    ) -> Iterator[dict[Any, Any]]:
        name, _, *others = given
        yield from on_start(session, language, request, name, "generated", *others)

    def on_resume(
        session: TrainSession | None, language: Language, request: gr.Request
    ) -> Iterator[dict[Any, Any]]:
        if session is None:
            raise gr.Error(TRAIN_STRINGS[language]["no_runs"], print_exception=False)
        with as_page_errors(language):
            session.resume()
        yield from watch(session, request.session_hash)

    def _address(request: gr.Request) -> str:
        """Of the client; "" for one on this machine: the operator, or a proxy not named."""
        if request.request is None:
            return ""
        address = address_of(request.request.scope, settings.proxies)
        return "" if is_loopback(address) else address

    def steer(act: Callable[[Training], None]) -> Callable[[TrainSession | None], None]:
        def on_press(session: TrainSession | None) -> None:
            if session is not None and session.current is not None:
                act(session.current)

        return on_press

    def on_stop(session: TrainSession | None) -> None:
        if session is not None:
            session.stop()

    def on_life(watched: bool) -> Callable[..., Any]:
        """A page says that it is there.

        By its token, which no state that Gradio keeps for a while must hold.  Who has lost that
        state gets the session back.
        """

        def on_word(arrival: Arrival, session: TrainSession | None, request: gr.Request) -> Any:
            found = visitors.find(arrival.token) or session
            if found is None:
                return gr.skip()
            found.presence.hear(request.session_hash or "", watched=watched)
            return gr.skip() if found is session else found

        return on_word

    def on_remove(session: TrainSession | None, number: int | None) -> dict[Any, Any]:
        if session is None or number is None:
            return {board: gr.skip()}
        with as_page_errors():
            session.remove(number)
        # Of a run that goes on, its updates alone speak: this might arrive after its end.
        news = {} if session.busy else controls(session)
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
    pulse.arrive(on_open, [pulse, language_state], [tabs, filled_for, *given_settings], **again)
    pulse.arrive(on_arrive, pulse, shown, **again)
    given = [session_state, language_state, *form.inputs]
    start.click(on_start, given, shown, **again)
    use_generated.click(lambda: "generated", None, form.source, **_QUIET)
    use_generated.click(on_use_generated, given, shown, **again)
    resume.click(on_resume, [session_state, language_state], shown, **again)
    pause.click(steer(Training.pause), session_state, None, **long)
    unpause.click(steer(Training.unpause), session_state, None, **long)
    stop.click(on_stop, session_state, None, **long)
    board.pause(steer(Training.pause), session_state, None, **long)
    board.unpause(steer(Training.unpause), session_state, None, **long)
    # "Once" would drop the signs of life that come while the app is slow to take one in.
    life: dict[str, Any] = {**_QUIET, "queue": False, "trigger_mode": "multiple"}
    spoken = [pulse, session_state]
    pulse.seen(visitors.expect, None, None, **life)
    pulse.watched(on_life(True), spoken, session_state, **life)
    pulse.unwatched(on_life(False), spoken, session_state, **life)
    board.remove(on_remove, [session_state, board], [board, *steered], **again)
    results.connect(session_state, language_state, session_weights, banner, tabs)

    def translate(language: Language) -> list[Any]:
        back = TRAIN_STRINGS[language]["draw_back"]
        return [language, gr.update(language=language), back, *texts.translate(language)]

    translated = [language_state, board, banner.back, *texts.components]
    return TrainTab(translated, translate, visitors)

"""What to do with a training's result: draw with it, download it, push it to the Hub."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from maml.demo.page_errors import as_page_errors
from maml.demo.train_strings import TRAIN_STRINGS
from maml.demo.translated import Settings, TranslatedComponents
from maml.sessions import downloads
from maml.sessions.document import Language
from maml.sessions.hub import push_to_hub
from maml.sessions.training import Training
from maml.sessions.visitors import TrainSession

_QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
_TAKE_FILE = """() => {
    const link = document.querySelector('#train-file a, a#train-file');
    (link ?? document.querySelector('#train-file')).click();
}"""
"""Hands the file that has just been written to the browser."""

_HIDDEN_RUNS = """(session, language) => [session, language,
    document.querySelector('.maml-training').dataset.hidden ?? '']"""
"""Numbers of the runs that the page does not show, with commas between them."""
_LONGEST_HIDDEN = 1000

_COPY_TEXT = "(text) => { navigator.clipboard?.writeText(text).catch(() => {}); }"
"""It is shown as well: a browser may refuse to have it copied."""


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


class TrainResults:
    """Buttons below the board, in the surrounding blocks."""

    def __init__(self, texts: TranslatedComponents) -> None:
        with gr.Row(elem_classes="maml-buttons"):
            self._draw_with = texts.button("draw_with", variant="primary", interactive=False)
            self._checkpoint = texts.button("download_checkpoint", interactive=False)
            self._figure = texts.button("download_figure", interactive=False)
            self._vector = texts.button("download_svg", interactive=False)
            self._table = texts.button("download_csv", interactive=False)
            self._command = texts.button("copy_command", interactive=False)
        self._commanded = gr.Code(
            language="shell", visible=False, show_label=False, elem_classes="maml-command"
        )
        self._file = gr.DownloadButton(visible="hidden", elem_id="train-file")
        self._hidden = gr.Textbox(visible="hidden", max_length=_LONGEST_HIDDEN)
        with texts.labelled(gr.Accordion(open=False), "hub"):
            texts.text(gr.Markdown(), "hub_note")
            with gr.Row(elem_classes="maml-settings"):
                self._name = texts.explained(gr.Textbox(max_lines=1), "hub_name")
                self._token = texts.explained(gr.Textbox(type="password"), "hub_token")
                self._private = texts.labelled(
                    gr.Checkbox(value=True, min_width=110), "hub_private"
                )
            self._push = texts.button("hub_push", interactive=False)
            self._pushed = gr.Markdown()

    @property
    def buttons(self) -> list[Any]:
        """Those that `controls` speaks of."""
        return [
            self._draw_with,
            self._checkpoint,
            self._figure,
            self._vector,
            self._table,
            self._command,
            self._push,
        ]

    def controls(self, session: TrainSession | None) -> dict[Any, Settings]:
        """What can be done with a session's trainings now."""
        training = session.current if session else None
        weights = {"interactive": training is not None and training.has_weights}
        figures = {"interactive": training is not None and training.iteration > 0}
        any_run = session is not None and any(one.iteration > 0 for one in session.trainings)
        return {
            self._draw_with: weights,
            self._checkpoint: weights,
            self._push: weights,
            self._figure: figures,
            self._vector: figures,
            self._command: {"interactive": training is not None},
            self._table: {"interactive": any_run},
        }

    def connect(
        self,
        session_state: gr.State,
        language_state: gr.State,
        session_weights: gr.State,
        banner: WeightsBanner,
        tabs: gr.Tabs,
    ) -> None:
        """Let the buttons act.

        Args:
            session_state: holds the visitor's `TrainSession`, or None.
            language_state: holds the page's language.
            session_weights: gets the path of a checkpoint to draw with, or None.
            banner: in the Draw tab.
            tabs: whose tab "draw" is shown when weights were chosen.
        """
        whose = [session_state, language_state]

        def on_draw_with(session: TrainSession | None, language: Language) -> dict[Any, Any]:
            session, training = _latest(session, TRAIN_STRINGS[language]["no_weights"])
            with as_page_errors():
                path = session.frozen_weights(training)
            text = TRAIN_STRINGS[language]["drawing_with"].format(number=training.number)
            return {
                session_weights: str(path),
                tabs: gr.Tabs(selected="draw"),
                **banner.updates(text),
            }

        def on_draw_back() -> dict[Any, Any]:
            return {session_weights: None, **banner.updates(None)}

        banner_parts = [session_weights, banner.row, banner.text]
        chosen = self._draw_with.click(on_draw_with, whose, [tabs, *banner_parts], **_QUIET)
        chosen.success(None, None, None, js="() => window.scrollTo(0, 0)")
        banner.back.click(on_draw_back, None, banner_parts, **_QUIET)

        def write_checkpoint(session: TrainSession, training: Training) -> Path:
            return session.keep(f"maml-run-{training.number}.zip", downloads.checkpoint(training))

        def write_figure(session: TrainSession, training: Training, hidden: str) -> Path:
            content = downloads.figure(_shown(session.trainings, hidden))
            return session.keep("maml-runs.png", content)

        def write_vector(session: TrainSession, training: Training, hidden: str) -> Path:
            content = downloads.figure(_shown(session.trainings, hidden), "svg")
            return session.keep("maml-runs.svg", content)

        def write_table(session: TrainSession, training: Training) -> Path:
            return session.keep("maml-runs.csv", downloads.records_table(session.trainings))

        shown = {"inputs": [*whose, self._hidden], "js": _HIDDEN_RUNS}
        for button, write, given in (
            (self._checkpoint, write_checkpoint, {"inputs": whose}),
            (self._figure, write_figure, shown),
            (self._vector, write_vector, shown),
            (self._table, write_table, {"inputs": whose}),
        ):
            written = button.click(_download(write), outputs=self._file, **given, **_QUIET)
            written.success(None, None, None, js=_TAKE_FILE)

        def on_command(session: TrainSession | None, language: Language) -> Any:
            _, training = _latest(session, TRAIN_STRINGS[language]["no_runs"])
            return gr.update(value=downloads.train_command(training), visible=True)

        told = self._command.click(on_command, whose, self._commanded, **_QUIET)
        told.success(None, self._commanded, None, js=_COPY_TEXT)

        def on_push(
            session: TrainSession | None, language: Language, name: str, token: str, private: bool
        ) -> Iterator[dict[Any, Any]]:
            session, training = _latest(session, TRAIN_STRINGS[language]["no_weights"])
            yield {self._token: "", self._pushed: ""}
            with as_page_errors(), session.copied_weights(training) as path:
                url = push_to_hub(path, name, token, private=bool(private))
            text = TRAIN_STRINGS[language]["hub_done"].format(url=url)
            yield {self._token: "", self._pushed: text}  # both: see `train_tab._updates`

        self._push.click(
            on_push,
            [*whose, self._name, self._token, self._private],
            [self._token, self._pushed],
            **_QUIET,
        )


def _download(write: Callable[..., Path]) -> Callable[..., str]:
    """Has `write` make a file of a session and its latest training, and of what else is given."""

    def on_download(session: TrainSession | None, language: Language, *more: str) -> str:
        session, training = _latest(session, TRAIN_STRINGS[language]["no_runs"])
        with as_page_errors():
            return str(write(session, training, *more))

    return on_download


def _shown(trainings: Sequence[Training], hidden: str) -> list[Training]:
    """The trainings whose numbers are not among those hidden; all if none is left."""
    numbers = set(hidden.split(","))
    return [one for one in trainings if str(one.number) not in numbers] or list(trainings)


def _latest(session: TrainSession | None, text: str) -> tuple[TrainSession, Training]:
    """The session and its latest training.

    Raises:
        gr.Error: with the text given, if there is none.
    """
    if session is None or session.current is None:
        raise gr.Error(text, print_exception=False)
    return session, session.current

"""MAML Sketchpad, the app: a tab to draw in and a tab to train in."""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Any

import gradio as gr
from starlette.middleware import Middleware

import maml
from maml.demo.draw_tab import build_draw_tab
from maml.demo.gate import Gate
from maml.demo.headers import Headers, page_headers
from maml.demo.janitor import Janitor
from maml.demo.messages import MessagesToPages
from maml.demo.page_head import PageHead
from maml.demo.public_files import public_path, public_routes
from maml.demo.service import DrawService
from maml.demo.strings import STRINGS
from maml.demo.terms import source_routes
from maml.demo.train_pulse import TrainPulse
from maml.demo.train_results import WeightsBanner
from maml.demo.train_tab import build_train_tab
from maml.model import MetaNetwork
from maml.sessions.answers import warm_up
from maml.sessions.document import Language
from maml.sessions.memory import OfferedWeights
from maml.sessions.settings import ServerSettings, SettingError
from maml.sessions.starts import StartingPoint, starting_points
from maml.sessions.visitors import Visitors

__all__ = ["STRINGS", "SketchpadApp", "build_demo"]

_DEFAULTS = ServerSettings()
_KEPT_MODELS = 4

_LAUNCH: dict[str, Any] = {
    "ssr_mode": False,
    "max_file_size": "1mb",
    "favicon_path": str(public_path("icon.svg")),
    "footer_links": ["api", "settings"],
    "run_history": False,  # drawings are kept nowhere but in the page's own storage
    "theme": gr.themes.Default(
        primary_hue="blue", neutral_hue="stone", font=["system-ui", "sans-serif"]
    ).set(
        # 4.5:1 at least, of text on what lies behind it.
        body_text_color_subdued="*neutral_500",
        body_text_color_subdued_dark="*neutral_400",
        block_info_text_color="*neutral_500",
        block_info_text_color_dark="*neutral_400",
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_hover="*primary_700",
        color_accent="*primary_600",
    ),
    "css": """
        .gradio-container { max-width: 1920px !important; padding: 0 !important;
            overflow: clip !important; /* "hidden" would keep everything inside from sticking */ }
        .gradio-container .main.app { padding: 4px clamp(8px, 2vw, 24px) !important;
            max-width: none !important; }
        .gradio-container .main.app > .wrap { gap: 0 !important; position: relative; }
        .gradio-container .tabitem { border: 0; padding: 0 0 8px !important; }
        .gradio-container .html-container { padding: 0 !important; }
        .gradio-container .main.app > .wrap { min-height: 100vh; }
        /* Room for what the scripts will fill: nothing moves when they have come. */
        .gradio-container .tabs { gap: 0 !important; min-height: 100vh; }
        #header { min-height: 82px; }
        @media (max-width: 480px) { #header { min-height: 100px; } }
        @media (max-width: 699px) { /* The tabs may come before the header. */
            .gradio-container .main.app > .wrap:not(:has(#header)) { padding-top: 116px; } }
        /* The title, the tabs and the rest of the header share a line. */
        @media (min-width: 1000px), (min-width: 700px) and (max-height: 500px) {
            #header { position: absolute; inset: 0 0 auto; min-height: 48px; z-index: 1;
                pointer-events: none; }
            #header button { pointer-events: auto; } }
        .gradio-container .tab-wrapper { height: 48px !important; padding: 0 !important; }
        .dark .gradio-container button[role=tab][aria-selected=true] { color: #7fa2ff; }
        .gradio-container button[role=tab] { min-height: 44px; min-width: 44px; }
        .gradio-container button[role=tab].selected { color: #2f5fd0; }
        .dark .gradio-container button[role=tab].selected,
        .gradio-container.dark button[role=tab].selected { color: #7fa2ff; }
        .gradio-container:not(:has([data-ready=yes])) footer { visibility: hidden; }
        .gradio-container footer :is(button, a) { min-height: 44px; min-width: 44px;
            color: var(--body-text-color) !important; }
    """,
}


class SketchpadApp(gr.Blocks):
    """The app's blocks; `launch` serves them together with the routes of `service`.

    Args:
        service: answers the Draw tab's questions.
        proxies: how many proxies stand in front of the app.
        mcp: whether agents may call the endpoint by the Model Context Protocol.
        settings: as those of `gr.Blocks`.
    """

    def __init__(
        self, service: DrawService, proxies: int = 0, mcp: bool = False, **settings: Any
    ) -> None:
        super().__init__(**settings)
        self.service = service
        self.proxies = proxies
        self.mcp = mcp
        self.visitors: Visitors | None = None

    def get_config_file(self) -> Any:
        """`gr.Blocks.get_config_file`; pages open no heartbeat, see `maml.demo.janitor`."""
        return {**super().get_config_file(), "connect_heartbeat": False}

    def validate_inputs(self, block_fn: Any, inputs: list[Any]) -> None:
        """`gr.Blocks.validate_inputs`; a program that sends too few values is refused in one line.

        Raises:
            gr.Error: if the number of values does not fit.
        """
        try:
            super().validate_inputs(block_fn, inputs)
        except ValueError as error:
            wanted, found = len(block_fn.inputs), len(inputs)
            text = f"The event takes {wanted} values; got {found}"
            raise gr.Error(text, print_exception=False) from error

    def end(self) -> None:
        """End all trainings and questions at once, and remove their files."""
        self.service.close()
        if self.visitors is not None:
            self.visitors.close()

    def launch(self, **changes: Any) -> Any:  # type: ignore[override]
        """`gr.Blocks.launch` with the app's settings; `changes` come before them."""
        headers = page_headers(on_a_space=bool(os.environ.get("SPACE_ID")))
        served = {
            "routes": [*self.service.routes(), *public_routes(), *source_routes()],
            "middleware": [
                Middleware(Headers, headers=headers),
                Middleware(PageHead),
                Middleware(Gate, proxies=self.proxies),
            ],
            "lifespan": Janitor(self, self.service.memory).lifespan,
        }
        own = {**_LAUNCH, "app_kwargs": served, "mcp_server": self.mcp}
        return super().launch(**{**own, **changes})


def build_demo(settings: ServerSettings = _DEFAULTS) -> SketchpadApp:
    """Build the app.

    Args:
        settings: with which weights, and how many may train how long.

    Returns:
        Blocks to `launch()`.

    Raises:
        SettingError: if the weights cannot be loaded.
    """
    own = _load_own(settings.weights)
    warm_up(own)

    @functools.lru_cache(maxsize=_KEPT_MODELS)
    def load(path: str, changed: int) -> MetaNetwork:
        return maml.load_pretrained(path)

    def load_model(path: str | None) -> MetaNetwork:
        return own if path is None else load(path, Path(path).stat().st_mtime_ns)

    weights_of_pages = OfferedWeights()

    @functools.cache
    def load_starts() -> tuple[StartingPoint, ...]:
        return starting_points(own if settings.weights is None else None)

    service = DrawService(load_model, weights_of_pages, load_starts=load_starts)
    with SketchpadApp(
        service,
        settings.proxies,
        settings.mcp,
        title="MAML Sketchpad",
        analytics_enabled=False,
        delete_cache=(3600, 3600),
        fill_width=True,
    ) as demo:
        session_weights = gr.State(None)
        # The sketchpad's script fills it: it stands above both tabs.
        gr.HTML('<header class="maml-header"></header>', elem_id="header", apply_default_css=False)
        pulse = TrainPulse(render=False, visible="hidden")
        with gr.Tabs() as tabs:
            with gr.Tab(STRINGS["en"]["tab_draw"], id="draw") as draw_tab:
                banner = WeightsBanner()
                sketchpad = build_draw_tab(load_model, service.arithmetic)
            with gr.Tab(STRINGS["en"]["tab_train"], id="train") as train_tab:
                training = build_train_tab(session_weights, banner, tabs, pulse, settings)
        pulse.render()

        def on_language(language: Language) -> list[Any]:
            words = STRINGS[language]
            return [
                gr.Tab(label=words["tab_draw"]),
                gr.Tab(label=words["tab_train"]),
                *training.translate(language),
            ]

        sketchpad.language(
            on_language,
            sketchpad,
            [draw_tab, train_tab, *training.texts],
            trigger_mode="always_last",
            show_progress="hidden",
            api_visibility="private",
        )
        # Other weights make the page ask again.
        session_weights.change(
            lambda path: gr.update(weights=weights_of_pages.offer(path) if path else ""),
            session_weights,
            sketchpad,
            show_progress="hidden",
            api_visibility="private",
        )
    demo.visitors = training.visitors
    demo.queue(max_size=64)
    demo._queue.pending_messages_per_session = MessagesToPages(demo._queue)
    return demo


def _load_own(weights: str | None) -> MetaNetwork:
    try:
        return maml.load_pretrained(weights)
    except Exception as error:  # a file is somebody's: whatever it brings about is its fault
        if weights is None:
            raise
        raise SettingError(f"MAML_WEIGHTS: {error or type(error).__name__}") from error

"""Terms that can be opened where they stand, each with the line of code that it corresponds to."""

from __future__ import annotations

import functools
import html
import re
from importlib import resources
from typing import Any

import gradio as gr
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from maml.demo.train_strings import TRAIN_STRINGS
from maml.demo.translated import Settings, TranslatedComponents
from maml.sessions.document import Language

TERMS = {
    "way": ("config.py", "ways: int = 5"),
    "shot": ("config.py", "shots: int = 1"),
    "support": ("inner_loop.py", "losses = model.support_loss(logits, labels)"),
    "query": ("outer_loop.py", "logits = state.answer(features[:, support:])"),
    "inner": ("inner_loop.py", "tensor - rate * gradient"),
    "outer": ("train.py", "(found.sum() / len(episodes)).backward()"),
    "order": (
        "inner_loop.py",
        "losses.sum(), self.tensors, create_graph=self.second_order, materialize_grads=True",
    ),
}
"""Module of `maml` and line of each term."""

_MARK = re.compile(r"\[\[(\w+)\|([^\]]+)\]\]")


@functools.cache
def source(file: str) -> str:
    """The text of one of the modules that `TERMS` names."""
    return resources.files("maml").joinpath(file).read_text(encoding="utf-8")


@functools.cache
def quotations() -> dict[str, dict[str, Any]]:
    """File, number and text of each term's line, for the page.

    Raises:
        ValueError: if a line is not in its file.
    """
    found = {}
    for term, (file, code) in TERMS.items():
        lines = [line.strip() for line in source(file).splitlines()]
        if code not in lines:
            raise ValueError(f"The line quoted for {term!r} is not in {file}: {code!r}.")
        found[term] = {"file": f"maml/{file}", "line": lines.index(code) + 1, "code": code}
    return found


def source_routes() -> list[Route]:
    """Serve the quoted modules as they run, at ``/source/maml/...``."""
    files = {file for file, _ in TERMS.values()}

    async def show(request: Request) -> Response:
        file = request.path_params["file"]
        if file not in files:
            return PlainTextResponse("There is no such file.", 404)
        return PlainTextResponse(source(file))

    return [Route("/source/maml/{file}", show)]


def terms_line(texts: TranslatedComponents, key: str) -> gr.HTML:
    """A line of terms; the board's script opens them.

    Args:
        texts: takes the component in.
        key: of the line's text.
    """

    def says(language: Language) -> Settings:
        return {"value": f'<p class="maml-terms">{_with_terms(TRAIN_STRINGS[language][key])}</p>'}

    line: gr.HTML = texts.add(gr.HTML(apply_default_css=False), says)
    return line


def _with_terms(text: str) -> str:
    return _MARK.sub(
        r'<a class="maml-term" role="button" tabindex="0" aria-haspopup="dialog" '
        r'data-term="\1">\2</a>',
        html.escape(text),
    )

"""The Draw tab: what is asked is adapted to and answered, per visitor and from what the page sends.

`answer`, `find_mixups` and `pack_learner` know nothing of Gradio; `build_draw_tab` wires them up.
A visitor's `DrawSession` is all that the server remembers, and it ends with the session.
"""

from __future__ import annotations

import base64
import io
import json
import tempfile
import threading
import time
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save
from torch import Tensor

from maml.adapt import AdaptedLearner, adapt_features
from maml.checkpoint import save_model
from maml.config import Framing
from maml.data.episodes import SupportSet, as_ink_batch
from maml.demo.sketchpad import (
    Document,
    Drawing,
    Sketchpad,
    example_sets,
    parse_document,
    parse_drawing,
)
from maml.model import MetaNetwork

_KEPT_LEARNERS = 4
_KEPT_DRAWINGS = 500  # more than a document can hold
_LARGEST_QUERIES = 100
_SESSION_SECONDS = 3600
_REPORT_EVERY = 0.25

LoadModel = Callable[[str | None], MetaNetwork]
"""Gives the network for a session's weights: None for the app's own, else a checkpoint's path."""


@dataclass(eq=False)
class DrawSession:
    """What the server remembers of one visitor, so that a stroke costs a prediction and no more.

    Args:
        inks: 28 x 28 pictures by the content of the drawing.
        sent: contents whose picture the page has.
        seen: what each network's stem makes of a drawing: a new example costs one look, not all.
        learners: adapted learners by what they were adapted to.
    """

    inks: OrderedDict[bytes, NDArray[np.float32]] = field(default_factory=OrderedDict)
    sent: set[bytes] = field(default_factory=set)
    seen: OrderedDict[tuple[MetaNetwork, bytes], Tensor] = field(default_factory=OrderedDict)
    learners: OrderedDict[tuple[Any, ...], AdaptedLearner] = field(default_factory=OrderedDict)

    def ink(self, drawing: Drawing) -> NDArray[np.float32]:
        """The ink of a drawing, made once.

        Raises:
            ValueError: if the drawing is a picture that gives none.
        """
        ink = self.inks.get(drawing.key)
        if ink is None:
            ink = drawing.ink()
            self.inks[drawing.key] = ink
            if len(self.inks) > _KEPT_DRAWINGS:
                self.inks.popitem(last=False)
        return ink

    @torch.no_grad()
    def features(self, model: MetaNetwork, drawings: Sequence[Drawing]) -> Tensor:
        """`model.features` (n, ...) of drawings whose ink is sound."""
        new = {one.key: one for one in drawings if (model, one.key) not in self.seen}
        if new:
            inks = torch.from_numpy(np.stack([self.ink(one) for one in new.values()]))
            made = model.eval().features(as_ink_batch(inks))
            self.seen |= {(model, key): one.clone() for key, one in zip(new, made, strict=True)}
        for one in drawings:
            self.seen.move_to_end((model, one.key))
        features = torch.stack([self.seen[model, one.key] for one in drawings])
        while len(self.seen) > _KEPT_DRAWINGS:
            self.seen.popitem(last=False)
        return features

    def adapted(
        self, model: MetaNetwork, groups: list[list[Drawing]], names: list[str], steps: int | None
    ) -> AdaptedLearner:
        """A learner that is adapted to these drawings, one group for each name."""
        features = self.features(model, [drawing for group in groups for drawing in group])
        steps = model.inner.evaluation_steps if steps is None else steps
        return adapt_features(model, features, labels_of(groups), tuple(names), steps)

    def learner(
        self, model: MetaNetwork, groups: list[list[Drawing]], names: list[str], steps: int | None
    ) -> AdaptedLearner:
        """`adapted`, anew only when a drawing or its place is new."""
        keys = tuple(tuple(drawing.key for drawing in group) for group in groups)
        key = (id(model), steps, keys)
        learner = self.learners.get(key)
        if learner is None:
            learner = self.adapted(model, groups, names, steps)
            self.learners[key] = learner
            if len(self.learners) > _KEPT_LEARNERS:
                self.learners.popitem(last=False)
        else:
            self.learners.move_to_end(key)
        return learner

    def support(self, groups: list[list[Drawing]], names: list[str]) -> SupportSet:
        """The drawings, one group for each name, as a support set."""
        inks = [self.ink(drawing) for group in groups for drawing in group]
        return SupportSet(torch.from_numpy(np.stack(inks)), labels_of(groups), tuple(names))


def labels_of(groups: list[list[Drawing]]) -> Tensor:
    """For each drawing of the groups in turn, the number of its group."""
    return torch.tensor([label for label, group in enumerate(groups) for _ in group])


def answer(document: Document, session: DrawSession, model: MetaNetwork) -> dict[str, Any]:
    """Adapt to what was taught and answer what was asked.

    Args:
        document: what the page sent.
        session: the visitor's memory; gains inks and learners.
        model: the starting point.

    Returns:
        What the page shows, ready for JSON.  ``slots`` are the places of the symbols that take
        part; without two of them, or without a query, the fields of an answer are absent.
    """
    began = time.perf_counter()
    document = document.framed(framing_of(model))
    news: dict[str, Any] = {"revision": document.revision, "inks": []}
    groups, slots, problems = _sound_drawings(document, session)
    for place, number, drawing in _places(document):
        if drawing.key in session.inks and drawing.key not in session.sent:
            session.sent.add(drawing.key)
            news["inks"].append(
                {"symbol": place, "drawing": number, "ink": _encode(session.inks[drawing.key])}
            )
    if problems:
        news["error"] = " ".join(problems)
    news["steps"] = model.inner.evaluation_steps if document.steps is None else document.steps
    if document.query is not None:
        news["queryInk"] = _encode(session.ink(document.query))
    if len(groups) < 2:
        return news
    names = [document.symbols[slot].name for slot in slots]
    try:
        learner = session.learner(model, groups, names, document.steps)
    except ValueError as error:
        return {**news, "error": str(error)}
    adapted = time.perf_counter()
    news |= {
        "slots": slots,
        "names": names,
        "threshold": model.unknown_threshold,
        "trajectory": [
            {"loss": _finite(one.loss), "accuracy": _finite(one.accuracy)}
            for one in learner.trajectory
        ],
        "adapted_ms": 1000 * (adapted - began),
    }
    if document.query is not None:
        query = session.features(model, [document.query])
        path = learner.path_of_features(query)[:, 0]
        shares = path[-1]
        unknown = float(learner.unknown_of_features(query)[0])
        leader = int(shares.argmax())
        news |= {
            "probabilities": _rounded(shares),
            "unknown": round(unknown, 4),
            "leader": leader,
            "winner": None if unknown > model.unknown_threshold else leader,
            "path": [_rounded(row) for row in path],
        }
    news["answered_ms"] = 1000 * (time.perf_counter() - adapted)
    return news


def framing_of(model: MetaNetwork) -> Framing:
    """How the ink was framed that a network was trained on."""
    framing: Framing = model.provenance.get("framing", "fit")
    return framing


def warm_up(model: MetaNetwork) -> None:
    """Answer once, so that the first visitor does not wait for libraries to set themselves up."""
    document = parse_document(example_sets()[0]["document"])
    answer(document, DrawSession(), model)


def _sound_drawings(
    document: Document, session: DrawSession
) -> tuple[list[list[Drawing]], list[int], list[str]]:
    """The drawings of each symbol that have ink, the symbols' places, and what is wrong."""
    groups: list[list[Drawing]] = []
    slots: list[int] = []
    problems: list[str] = []
    for place, symbol in enumerate(document.symbols):
        group: list[Drawing] = []
        for number, drawing in enumerate(symbol.drawings, 1):
            try:
                session.ink(drawing)
            except ValueError as error:
                problems.append(f"{symbol.name}, {number}: {error}")
            else:
                group.append(drawing)
        if group:
            groups.append(group)
            slots.append(place)
    return groups, slots, problems


def _places(document: Document) -> Iterator[tuple[int, int, Drawing]]:
    for place, symbol in enumerate(document.symbols):
        for number, drawing in enumerate(symbol.drawings):
            yield place, number, drawing


def _encode(ink: NDArray[np.float32]) -> str:
    return base64.b64encode(np.rint(ink * 255).astype(np.uint8).tobytes()).decode()


def _rounded(row: Tensor) -> list[float]:
    return [round(value, 4) for value in row.tolist()]


def _finite(value: float) -> float:
    return round(value, 5) if np.isfinite(value) else 1e6


def find_mixups(
    document: Document, session: DrawSession, model: MetaNetwork
) -> Iterator[dict[str, Any]]:
    """Leave each drawing out in turn and ask about it.

    Yields:
        How far the check is, a few times a second; last, what it found: ``right`` of ``total``,
        the ``pairs`` of symbols that were confused, the ``mistakes``, and the ``oddest`` drawing,
        the one recognised with the smallest probability (None if all are sure).
    """
    document = document.framed(framing_of(model))
    groups, slots, _ = _sound_drawings(document, session)
    names = [document.symbols[slot].name for slot in slots]
    trials = [
        (label, drawing)
        for label, group in enumerate(groups)
        if len(group) > 1
        for drawing in group
    ]
    far = {"revision": document.revision, "total": len(trials)}
    yield {**far, "done": 0}
    pairs: dict[tuple[int, int], int] = {}
    mistakes = []
    oddest: dict[str, Any] | None = None
    reported = time.perf_counter()
    for done, (label, drawing) in enumerate(trials):
        others = [
            [one for one in group if not (place == label and one is drawing)]
            for place, group in enumerate(groups)
        ]
        learner = session.adapted(model, others, names, document.steps)
        shares = learner.path_of_features(session.features(model, [drawing]))[-1, 0]
        said = int(shares.argmax())
        number = document.symbols[slots[label]].drawings.index(drawing)
        one = {
            "symbol": slots[label],
            "drawing": number,
            "probability": round(float(shares[label]), 4),
        }
        if said != label:
            pair = (min(said, label), max(said, label))
            pairs[pair] = pairs.get(pair, 0) + 1
            mistakes.append(one)
        if one["probability"] < (oddest["probability"] if oddest else 0.8):
            oddest = one
        if time.perf_counter() - reported > _REPORT_EVERY and done + 1 < len(trials):
            reported = time.perf_counter()
            yield {**far, "done": done + 1}
    yield {
        **far,
        "done": len(trials),
        "right": len(trials) - len(mistakes),
        "pairs": [
            {"a": slots[a], "b": slots[b], "count": count}
            for (a, b), count in sorted(pairs.items(), key=lambda item: -item[1])
        ],
        "mistakes": mistakes,
        "oddest": oddest,
    }


RUN_PY = '''"""Name drawings with this folder's adapted network: python run.py picture.png ..."""

import json
import sys
from pathlib import Path

import torch
from PIL import Image
from safetensors import safe_open

import maml

HERE = Path(__file__).parent
model = maml.load_pretrained(HERE / "base.safetensors")  # where adaptation started
with safe_open(HERE / "adapted.safetensors", "pt") as file:
    names = json.loads(file.metadata()["names"])
    shots = float(file.metadata()["shots"])
    tensors = {name: file.get_tensor(name) for name in file.keys()}
support = tensors.pop("support")
network, _ = model.task_network(len(names))


def logits(ink):
    return torch.func.functional_call(network, tensors, model.features(ink))


framing = model.provenance.get("framing", "fit")
pictures = [maml.image_to_ink(Image.open(path), framing) for path in sys.argv[1:]]
with torch.no_grad():
    if model.normalisation == "batch":  # its statistics are those of the examples
        network.train()
        logits(support)
    network.eval()
    for path, picture in zip(sys.argv[1:], pictures):
        ink = torch.from_numpy(picture)[None, None]
        shares = (logits(ink) / model.temperature(len(names), shots)).softmax(-1)[0]
        print(json.dumps({"file": path, "name": names[int(shares.argmax())],
                          "probabilities": dict(zip(names, shares.tolist()))}, ensure_ascii=False))
'''
"""Runs what `pack_learner` packs."""


def pack_learner(document: Document, session: DrawSession, model: MetaNetwork) -> bytes:
    """Pack the adapted network so that it runs elsewhere.

    Returns:
        A zip of `adapted.safetensors` (the adapted tensors and the examples; the symbols' names in
        its metadata), `base.safetensors` with its `.json` (the network before adaptation) and
        `run.py`.

    Raises:
        ValueError: if fewer than two symbols have drawings.
    """
    document = document.framed(framing_of(model))
    groups, slots, _ = _sound_drawings(document, session)
    names = [document.symbols[slot].name for slot in slots]
    if len(groups) < 2:
        raise ValueError(f"{len(groups)} symbols have drawings; draw at least two first.")
    learner = session.learner(model, groups, names, document.steps)
    support = session.support(groups, names)
    metadata = {
        "names": json.dumps(names, ensure_ascii=False),
        "shots": str(len(support.labels) / len(names)),
        "steps": str(learner.steps),
    }
    adapted = save({**learner.state_dict(), "support": support.images}, metadata)
    packed = io.BytesIO()
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(packed, "w") as archive:
        base = Path(folder) / "base.safetensors"
        save_model(base, model, model.provenance)
        archive.write(base, base.name)
        archive.write(base.with_suffix(".json"), "base.json")
        archive.writestr("adapted.safetensors", adapted)
        archive.writestr("run.py", RUN_PY)
    return packed.getvalue()


def adapt_and_classify(
    model: MetaNetwork,
    symbols: list[dict[str, Any]],
    queries: list[dict[str, Any]],
    steps: int | None = None,
) -> dict[str, Any]:
    """Adapt to examples and name drawings; what the API's endpoint of the same name does.

    Args:
        model: the starting point.
        symbols: 2 to 20 of ``{"name": "...", "examples": [drawing, ...]}``, 1 to 20 examples each.
        queries: up to 100 drawings.
        steps: gradient steps, 0 to 20; None takes those the weights were trained for.

    Returns:
        ``names``; ``answers``, one a query: ``name`` (the likeliest symbol, or None for none of
        these), ``probabilities`` in the order of `names`, ``unknown``; ``trajectory``: ``loss`` and
        ``accuracy`` on the examples, step 0 first.

    Raises:
        ValueError: says what is wrong with the input.
    """
    framing = framing_of(model)
    read = parse_document({"version": 1, "symbols": symbols, "steps": steps, "query": []})
    read = read.framed(framing)
    if len(read.symbols) < 2:
        raise ValueError(f"{len(read.symbols)} symbols came; at least two are needed.")
    for place, symbol in enumerate(read.symbols, 1):
        if not symbol.drawings:
            raise ValueError(f"symbol {place} has no examples; at least one is needed.")
    if not isinstance(queries, list) or not 1 <= len(queries) <= _LARGEST_QUERIES:
        raise ValueError(f"queries must be a list of 1 to {_LARGEST_QUERIES} drawings.")
    asked = (parse_drawing(query, f"query {k}") for k, query in enumerate(queries, 1))
    drawings = [replace(query, framing=framing) for query in asked]
    session = DrawSession()
    names = [symbol.name for symbol in read.symbols]
    groups = [list(symbol.drawings) for symbol in read.symbols]
    learner = session.learner(model, groups, names, read.steps)
    prediction = learner.predict(torch.from_numpy(np.stack([one.ink() for one in drawings])))
    return {
        "names": names,
        "answers": [
            {
                "name": None if unknown > model.unknown_threshold else names[int(shares.argmax())],
                "probabilities": _rounded(shares),
                "unknown": round(unknown, 4),
            }
            for shares, unknown in zip(
                prediction.probabilities, prediction.unknown.tolist(), strict=True
            )
        ],
        "trajectory": [
            {"loss": _finite(one.loss), "accuracy": _finite(one.accuracy)}
            for one in learner.trajectory
        ],
    }


def build_draw_tab(load_model: LoadModel, session_weights: gr.State) -> Sketchpad:
    """Put the Draw tab's component and its events into the surrounding blocks.

    Args:
        load_model: gives the network; called with what `session_weights` holds.
        session_weights: None, or the path of a checkpoint for this session only.

    Returns:
        The sketchpad; its event ``language`` tells that the page's language changed.
    """
    sketchpad = Sketchpad(elem_id="sketchpad")
    memory = gr.State(None, time_to_live=_SESSION_SECONDS)
    one_answer = threading.Lock()

    def on_ask(
        document: Document, session: DrawSession | None, weights: str | None
    ) -> tuple[Any, DrawSession]:
        session = session or DrawSession()
        with one_answer:
            news = answer(document, session, load_model(weights))
        return gr.update(answer=json.dumps(news)), session

    def on_check(
        document: Document, session: DrawSession | None, weights: str | None
    ) -> Iterator[Any]:
        try:
            for news in find_mixups(document, session or DrawSession(), load_model(weights)):
                yield gr.update(mixups=json.dumps(news))
        except ValueError as error:
            news = {"revision": document.revision, "error": str(error)}
            yield gr.update(mixups=json.dumps(news))

    inputs = [sketchpad, memory, session_weights]
    # Past the queue, which would open a stream of messages for each stroke and bring the whole page
    # up to date five times; a visitor's page has at most one question of either kind under way.
    for event in (sketchpad.ask, sketchpad.live):
        event(
            on_ask,
            inputs,
            [sketchpad, memory],
            trigger_mode="always_last",
            show_progress="hidden",
            queue=False,
            api_visibility="private",
        )
    sketchpad.check(
        on_check,
        inputs,
        sketchpad,
        trigger_mode="always_last",
        show_progress="hidden",
        concurrency_id="check",
        concurrency_limit=1,
        api_visibility="private",
    )

    def on_export(document: Document, session: DrawSession | None, weights: str | None) -> str:
        try:
            packed = pack_learner(document, session or DrawSession(), load_model(weights))
        except ValueError as error:
            raise gr.Error(str(error), print_exception=False) from error
        folder = Path(tempfile.mkdtemp(dir=_cache(package)))
        path = folder / "adapted-network.zip"
        path.write_bytes(packed)
        return str(path)

    # The page takes the file from this hidden component, which Gradio serves it through.
    package = gr.File(visible="hidden")
    sketchpad.export(
        on_export,
        inputs,
        package,
        trigger_mode="once",
        show_progress="hidden",
        concurrency_id="infer",
        api_visibility="private",
    ).success(None, package, None, js=_OFFER_FILE)

    def adapt_and_classify_(
        symbols: list[dict[str, Any]], queries: list[dict[str, Any]], steps: int | None = None
    ) -> dict[str, Any]:
        try:
            return adapt_and_classify(load_model(None), symbols, queries, steps)
        except ValueError as error:
            raise gr.Error(str(error), print_exception=False) from error

    gr.api(
        adapt_and_classify_,
        api_name="adapt_and_classify",
        api_description=_API_DESCRIPTION,
        concurrency_id="infer",
        concurrency_limit=1,
    )
    return sketchpad


_OFFER_FILE = """(file) => {
    if (!file) return;
    const link = document.createElement("a");
    link.href = file.url;
    link.download = file.orig_name || "adapted-network.zip";
    link.click();
}"""

_API_DESCRIPTION = (
    "Adapts to a few examples of 2 to 20 symbols and names further drawings. "
    'A drawing is {"strokes": [[[x, y], ...], ...]} (x to the right, y downwards, any unit) or '
    '{"picture": "data:image/png;base64,..."}. symbols: [{"name": "...", "examples": [drawing, '
    "...]}, ...]; queries: [drawing, ...]; steps: 0 to 20, or null. Gives names; answers with "
    "name (null: none of these), probabilities, unknown; trajectory with loss and accuracy."
)


def _cache(component: gr.File) -> str:
    """The component's folder of files that Gradio serves and later deletes."""
    Path(component.GRADIO_CACHE).mkdir(parents=True, exist_ok=True)
    return component.GRADIO_CACHE

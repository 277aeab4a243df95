"""The Draw tab: what is asked is adapted to and answered, per visitor and from what the page sends.

`answer`, `find_mixups` and `pack_learner` know nothing of Gradio; `build_draw_tab` wires them up.
A visitor's `DrawSession` is all that the server remembers, and it ends with the session.
"""

from __future__ import annotations

import base64
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from maml.adapt import AdaptedLearner, adapt_features
from maml.config import Framing
from maml.data.episodes import SupportSet, as_ink_batch
from maml.model import MetaNetwork
from maml.sessions.document import (
    LARGEST_PICTURE_SIDE,
    Document,
    Drawing,
    PictureError,
    example_sets,
    parse_document,
    parse_drawing,
)

_KEPT_LEARNERS = 4
_KEPT_DRAWINGS = 500  # more than a document can hold
_LARGEST_QUERIES = 100
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


class Refusal(ValueError):
    """What the page has its own words for, in each language.

    Args:
        code: the key of those words.
        details: what they need.
    """

    def __init__(self, code: str, **details: Any) -> None:
        self.record: dict[str, Any] = {"code": code, **details}
        super().__init__(f"{code} {details}" if details else code)


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
    groups, slots, problems = sound_drawings(document, session)
    for place, number, drawing in _places(document):
        if drawing.key in session.inks and drawing.key not in session.sent:
            session.sent.add(drawing.key)
            news["inks"].append(
                {"symbol": place, "drawing": number, "ink": _encode(session.inks[drawing.key])}
            )
    if problems:
        news["problems"] = problems
    news["steps"] = model.inner.evaluation_steps if document.steps is None else document.steps
    if document.query is not None:
        news["queryInk"] = _encode(session.ink(document.query))
    if len(groups) < 2:
        return news
    names = [document.symbols[slot].name for slot in slots]
    try:
        require_ways(groups, model)
    except Refusal as refusal:
        return {**news, "problems": [*problems, refusal.record]}
    learner = session.learner(model, groups, names, document.steps)
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


def sound_drawings(
    document: Document, session: DrawSession
) -> tuple[list[list[Drawing]], list[int], list[dict[str, Any]]]:
    """The drawings of each symbol that have ink, the symbols' places, and what is wrong."""
    groups: list[list[Drawing]] = []
    slots: list[int] = []
    problems: list[dict[str, Any]] = []
    for place, symbol in enumerate(document.symbols):
        group: list[Drawing] = []
        for number, drawing in enumerate(symbol.drawings, 1):
            try:
                session.ink(drawing)
            except PictureError as error:
                problems.append(
                    {
                        "code": "picture_" + error.code,
                        "name": symbol.name,
                        "number": number,
                        "most": LARGEST_PICTURE_SIDE,
                    }
                )
            else:
                group.append(drawing)
        if group:
            groups.append(group)
            slots.append(place)
    return groups, slots, problems


def require_ways(groups: list[list[Drawing]], model: MetaNetwork) -> None:
    """See that there are as many symbols with ink as the network can tell apart.

    Raises:
        Refusal: if not.
    """
    if len(groups) < 2:
        raise Refusal("missing_two")
    wanted = model.fixed_ways or len(groups)
    if len(groups) != wanted:
        raise Refusal("wrong_ways", wanted=wanted, found=len(groups))


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
    groups, slots, _ = sound_drawings(document, session)
    require_ways(groups, model)
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

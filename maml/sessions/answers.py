"""What was taught is adapted to, what is asked is answered."""

from __future__ import annotations

import base64
import math
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from maml.adapt import AdaptedLearner
from maml.model import MetaNetwork
from maml.prediction import shares_of
from maml.sessions.document import (
    VERSION,
    Document,
    Drawing,
    Symbol,
    example_sets,
    parse_document,
    parse_drawings,
)
from maml.sessions.draw_session import ANY_INK, FREELY, DrawSession, InkBudget, require_ways
from maml.sessions.refusal import Refusal

LARGEST_QUERIES = 100
_ENDPOINT_SECONDS = 10.0
"""How long the endpoint may take to make all ink."""

LoadModel = Callable[[str | None], MetaNetwork]
"""Gives the network for a session's weights: None for the app's own, else a checkpoint's path."""


def answer(
    document: Document,
    session: DrawSession,
    model: MetaNetwork,
    *,
    budget: InkBudget = ANY_INK,
    arithmetic: AbstractContextManager[object] = FREELY,
) -> dict[str, Any]:
    """Adapt to what was taught and answer what was asked.

    Args:
        document: what the page sent.
        session: the visitor's memory; gains inks, features and learners.
        model: the starting point.
        budget: of ink to make for this question.
        arithmetic: entered for adapting and answering, once all ink is made: a lock, so that
            threads do not wait for each other within every operation.

    Returns:
        What the page shows, ready for JSON; numbers that are not finite are None.

        * Always: ``revision``; ``steps``; ``inks`` of the drawings that the page has not seen;
          ``problems``, coded; ``waiting``, how many drawings the budget did not reach and the
          answer leaves out.  To ask again answers with more of them.
        * With a query that has ink: ``query_ink``.
        * With two symbols: their ids as ``symbols``, ``shots`` of each, ``threshold``,
          ``trajectory``, ``adapted_ms``, ``answered_ms``.
        * With both: ``shares`` in the order of ``symbols`` and, last, of none of these; they sum
          to 1; ``shares_path``, the same after each step; ``probabilities`` among the symbols
          alone; ``path``, the same after each step; ``unknown``; ``leader``, the likeliest symbol's
          id, and ``winner``, that with the largest share.  No winner means none of these; before
          the first step there is no leader either.
        * With a step taken: ``query_places`` on the map after each step, and ``map`` if the page
          wants it: those of all examples, symbol by symbol, see `DrawingMap`.
    """
    began = time.perf_counter()
    symbols, problems, waiting = session.sound(document, model, budget)
    steps = model.inner.evaluation_steps if document.steps is None else document.steps
    news: dict[str, Any] = {
        "revision": document.revision,
        "steps": steps,
        "problems": problems,
        "waiting": waiting,
        "inks": _unseen_inks(document, session, model),
    }
    query = document.query
    if query is not None:
        try:
            news["query_ink"] = _encode(session.ink(model, query))
        except Refusal as refusal:
            problems.append({"code": "query_left_out", "reason": refusal.record})
            query = None
    if len(symbols) < 2:
        return news
    try:
        require_ways(symbols, model)
    except Refusal as refusal:
        problems.append(refusal.record)
        return news
    with arithmetic:
        learner = session.learner(model, symbols, steps)
        adapted = time.perf_counter()
        news |= {
            "symbols": [symbol.id for symbol in symbols],
            "shots": [len(symbol.drawings) for symbol in symbols],
            "threshold": model.unknown_threshold,
            "trajectory": trajectory_of(learner),
            "adapted_ms": 1000 * (adapted - began),
        }
        # A map of answers that are all alike would show the noise of rounding.
        mapped = steps > 0 and all(math.isfinite(one.loss) for one in learner.trajectory)
        if mapped and document.wants_map:
            news["map"] = _rounded(session.map(learner, symbols).places, 3)
        if query is not None:
            features = session.features(model, [query])
            path, unknown_path = (one[:, 0] for one in learner.answers_by_step(features))
            news["path"] = _rounded(path, 4)
            said = said_of(learner, path, unknown_path, symbols)
            if said is None:
                problems.append({"code": "no_finite_answer"})
            else:
                if mapped:
                    news["query_places"] = _rounded(session.map(learner, symbols).place(path), 3)
                news |= {
                    **said,
                    "probabilities": news["path"][-1],
                    "unknown": round(float(unknown_path[-1]), 4),
                    "shares": said["shares_path"][-1],
                }
        news["answered_ms"] = 1000 * (time.perf_counter() - adapted)
    return news


def said_of(
    learner: AdaptedLearner, path: Tensor, unknown_path: Tensor, symbols: Sequence[Symbol]
) -> dict[str, Any] | None:
    """What a learner says of a drawing: ``shares_path``, ``leader`` and ``winner`` of `answer`.

    Args:
        learner: adapted to `symbols`.
        path: the drawing's probabilities after each step, (steps + 1, ways).
        unknown_path: its `Prediction.unknown` after each step, (steps + 1,).
        symbols: in the order of the ways.

    Returns:
        Plain values; None if the last ones are not finite.
    """
    shares = shares_of(path, unknown_path, learner.model.unknown_threshold)
    if not shares[-1].isfinite().all():
        return None
    # Before the first step every symbol is as likely as the next: none is claimed.
    leader = symbols[int(path[-1].argmax())].id if learner.steps else None
    return {
        # Digits enough to tell the later steps apart: most is done after the first.
        "shares_path": _rounded(shares, 6),
        "leader": leader,
        "winner": None if int(shares[-1].argmax()) == len(symbols) else leader,
    }


def warm_up(model: MetaNetwork) -> None:
    """Answer once, so that the first visitor does not wait for libraries to set themselves up."""
    answer(parse_document(example_sets()[0]["document"]), DrawSession(), model)


def adapt_and_classify(
    model: MetaNetwork,
    symbols: list[dict[str, Any]],
    queries: list[dict[str, Any]],
    steps: int | None = None,
    *,
    arithmetic: AbstractContextManager[object] = FREELY,
) -> dict[str, Any]:
    """Adapt to examples and name drawings; what the API's endpoint of the same name does.

    Args:
        model: the starting point.
        symbols: 2 to 20 of ``{"name": "...", "examples": [drawing, ...]}``, 1 to 20 examples each.
        queries: 1 to 100 drawings.
        steps: gradient steps, 0 to 20; None takes those the weights were trained for.
        arithmetic: as for `answer`.

    Returns:
        ``names``; ``answers``, one a query: ``name`` (the likeliest symbol, or None for none of
        these), ``shares`` in the order of `names` and, last, of none of these, ``probabilities``
        among the names alone, ``unknown``; ``trajectory``: ``loss`` (mean cross-entropy) and
        ``accuracy`` on the examples, step 0 first.

    Raises:
        Refusal: says what is wrong with the input.
    """
    document = parse_document({"version": VERSION, "symbols": symbols, "steps": steps})
    session = DrawSession()
    deadline = time.monotonic() + _ENDPOINT_SECONDS
    for place, symbol in enumerate(document.symbols, 1):
        where = {"code": "in_symbol", "number": place}
        if not symbol.drawings:
            raise Refusal("no_example", where=[where])
        for number, drawing in enumerate(symbol.drawings, 1):
            place_of_it = where, {"code": "in_example", "number": number}
            _ink(session, model, drawing, deadline, *place_of_it)
    require_ways(document.symbols, model)
    drawings = parse_drawings(queries, "in_query_number", 1, LARGEST_QUERIES)
    inks = [
        _ink(session, model, drawing, deadline, {"code": "in_query_number", "number": number})
        for number, drawing in enumerate(drawings, 1)
    ]
    with arithmetic:
        learner = session.learner(model, document.symbols, document.steps)
        prediction = learner.predict(torch.from_numpy(np.stack(inks)))
    return {
        "names": list(learner.names),
        "answers": [
            {
                "name": winner,
                "shares": shares,
                "probabilities": probabilities,
                "unknown": unknown,
            }
            for winner, shares, probabilities, unknown in zip(
                prediction.winners,
                _rounded(prediction.shares, 4),
                _rounded(prediction.probabilities, 4),
                _rounded(prediction.unknown, 4),
                strict=True,
            )
        ],
        "trajectory": trajectory_of(learner),
    }


def _ink(
    session: DrawSession,
    model: MetaNetwork,
    drawing: Drawing,
    deadline: float,
    *where: dict[str, Any],
) -> NDArray[np.float32]:
    if time.monotonic() > deadline:
        raise Refusal("too_slow", most=_ENDPOINT_SECONDS)
    try:
        return session.ink(model, drawing)
    except Refusal as refusal:
        raise Refusal("at", where=list(where), reason=refusal.record) from refusal


def _unseen_inks(
    document: Document, session: DrawSession, model: MetaNetwork
) -> list[dict[str, Any]]:
    """The inks that the page asks for; those of drawings without ink are left out."""
    owners = {symbol.id: symbol for symbol in document.symbols}
    inks = []
    for symbol, place in document.unseen:
        if symbol not in owners or place >= len(owners[symbol].drawings):
            continue
        drawing = owners[symbol].drawings[place]
        if not session.has_ink(model, drawing):
            continue
        try:
            ink = session.ink(model, drawing)
        except Refusal:
            continue
        inks.append({"symbol": symbol, "drawing": place, "ink": _encode(ink)})
    return inks


def _encode(ink: NDArray[np.float32]) -> str:
    return base64.b64encode(np.rint(ink * 255).astype(np.uint8).tobytes()).decode()


def trajectory_of(learner: AdaptedLearner) -> list[dict[str, float | None]]:
    """Mean cross-entropy ``loss`` (nats) and ``accuracy`` on the examples, step 0 first."""
    return [
        {
            "loss": _finite(learner.model.mean_loss(one.loss, learner.ways), 5),
            "accuracy": _finite(one.accuracy, 5),
        }
        for one in learner.trajectory
    ]


def _rounded(values: Tensor, digits: int) -> list[Any]:
    """Lists of plain numbers; None stands for those that are not finite."""
    exact = values.double().numpy().round(digits)
    plain = exact.astype(object)
    plain[~np.isfinite(exact)] = None
    return list(plain.tolist())


def _finite(value: float, digits: int) -> float | None:
    return round(value, digits) if math.isfinite(value) else None

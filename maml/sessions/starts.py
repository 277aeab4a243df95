"""Starting points compared: the same drawings and as many gradient steps, from three networks."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from maml.checkpoint import load_pretrained
from maml.data.episodes import as_ink_batch
from maml.model import MetaNetwork
from maml.networks import build_model
from maml.sessions.answers import said_of, trajectory_of
from maml.sessions.document import Document, Drawing, drawings_of
from maml.sessions.draw_session import (
    ANY_INK,
    FREELY,
    DrawSession,
    InkBudget,
    adapt_symbols,
)
from maml.sessions.refusal import Refusal


@dataclass(frozen=True, eq=False)
class StartingPoint:
    """A network to adapt from.

    Args:
        name: of it, as the page words it: "untrained", "live" or "shipped".
        model: the network.
    """

    name: str
    model: MetaNetwork


def starting_points(shipped: MetaNetwork | None = None) -> tuple[StartingPoint, ...]:
    """The three starting points.

    Args:
        shipped: the shipped network, if it is loaded already.

    Returns:
        The network that the recipe `live` starts with, the one it ends with, and the shipped one.

    Raises:
        CheckpointError: if bundled weights are missing.
    """
    live = load_pretrained("live")
    seed = torch.Generator().manual_seed(live.provenance["seed"])
    untrained = build_model(live.settings, live.inner, seed).eval()
    return (
        StartingPoint("untrained", untrained),
        StartingPoint("live", live),
        StartingPoint("shipped", shipped or load_pretrained()),
    )


def compare_starts(
    document: Document,
    session: DrawSession,
    points: Sequence[StartingPoint],
    model: MetaNetwork,
    *,
    budget: InkBudget = ANY_INK,
    arithmetic: AbstractContextManager[object] = FREELY,
) -> dict[str, Any]:
    """Adapt from each starting point to what was taught, and answer what was asked.

    Args:
        document: what the page sent.
        session: the visitor's memory.
        points: the starting points.
        model: the page's network: where it is a starting point too, what `session` holds serves.
        budget: of ink, as for `maml.sessions.answers.answer`.
        arithmetic: entered for each starting point anew, so that others get their turn.

    Returns:
        Ready for JSON: ``revision``, ``waiting``, the ids ``symbols``, and ``starts``, one for each
        point: ``name``, ``trajectory``, and unless its answer is not finite ``shares_path``,
        ``leader`` and ``winner``, all as in `maml.sessions.answers.answer`.  There are none unless
        two symbols are taught and something is asked.
    """
    shipped = points[-1].model
    symbols, _, waiting = session.sound(document, shipped, budget)
    news: dict[str, Any] = {
        "revision": document.revision,
        "waiting": waiting,
        "symbols": [symbol.id for symbol in symbols],
        "starts": [],
    }
    query = document.query
    if query is None or len(symbols) < 2:
        return news
    try:
        session.ink(shipped, query)
    except Refusal:  # a picture without ink: the page's own answer says so
        return news
    steps = shipped.inner.evaluation_steps if document.steps is None else document.steps
    for point in points:
        inks = _inks(session, point.model, [*drawings_of(symbols), query])
        with arithmetic:
            if point.model is model:
                learner = session.learner(model, symbols, steps)
                asked = session.features(model, [query])
            else:
                # Not kept: the small networks take milliseconds, and would crowd out the page's.
                with torch.no_grad():
                    features = point.model.features(inks)
                learner = adapt_symbols(point.model, features[:-1], symbols, steps)
                asked = features[-1:]
            path, unknown_path = (one[:, 0] for one in learner.answers_by_step(asked))
            said = said_of(learner, path, unknown_path, symbols)
        start = {"name": point.name, "trajectory": trajectory_of(learner)}
        news["starts"].append(start | (said or {}))
    return news


def _inks(session: DrawSession, model: MetaNetwork, drawings: Sequence[Drawing]) -> torch.Tensor:
    return as_ink_batch(torch.from_numpy(np.stack([session.ink(model, one) for one in drawings])))

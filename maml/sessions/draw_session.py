"""What the server remembers of one visitor to the Draw tab."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from maml.adapt import AdaptedLearner, adapt_features
from maml.config import Framing
from maml.data.episodes import as_ink_batch
from maml.drawing import INK_SIZE
from maml.model import MetaNetwork
from maml.sessions.document import Document, Drawing, Symbol, drawings_of
from maml.sessions.drawing_map import DrawingMap
from maml.sessions.refusal import Refusal

_KEPT_LEARNERS = 1
"""One of five symbols with three drawings each holds 0.16 MB, one of 20 with 20 holds 3 MB."""
_KEPT_DRAWINGS = 40
"""Drawings that are remembered beside those of the latest document."""


@dataclass(frozen=True)
class InkBudget:
    """How much ink one question may have made.

    Args:
        pictures: how many; opening one takes up to an eighth of a second.
        seconds: after which no further drawing is begun.
    """

    pictures: int
    seconds: float


FREELY: AbstractContextManager[object] = nullcontext()
"""Arithmetic that nobody else has to wait for."""
ANY_INK = InkBudget(10_000, 3600.0)
"""For a program of one's own."""


@dataclass(eq=False)
class DrawSession:
    """Caches that make a stroke cost one prediction and no more.

    Several threads may use one, as long as only one of them at a time calls `features` and what
    builds on it.

    Args:
        inks: pictures (28, 28) by framing and content of a drawing; for a picture that gives none,
            the refusal's record.
        seen: `MetaNetwork.features` of a drawing by network and content.
        maps: where drawings lie, by adapted learner.
        learners: adapted learners by network, steps and content of all drawings.
        kept: how many drawings are remembered; `sound` fits it to the document.
    """

    inks: OrderedDict[tuple[Framing, bytes], NDArray[np.float32] | dict[str, Any]] = field(
        default_factory=OrderedDict
    )
    seen: OrderedDict[tuple[MetaNetwork, bytes], Tensor] = field(default_factory=OrderedDict)
    learners: OrderedDict[tuple[Any, ...], AdaptedLearner] = field(default_factory=OrderedDict)
    maps: WeakKeyDictionary[AdaptedLearner, DrawingMap] = field(default_factory=WeakKeyDictionary)
    kept: int = 500
    _lock: threading.RLock = field(default_factory=threading.RLock)

    @property
    def nbytes(self) -> int:
        """About how many bytes the caches hold."""
        learners = list(self.learners.values())
        return (
            len(self.inks) * 4 * INK_SIZE**2
            + sum(one.nbytes for one in list(self.seen.values())[:1]) * len(self.seen)
            + sum(learner.nbytes for learner in learners)
        )

    def has_ink(self, model: MetaNetwork, drawing: Drawing) -> bool:
        """Whether `ink` has nothing left to make."""
        return (model.framing, drawing.key) in self.inks

    def ink(self, model: MetaNetwork, drawing: Drawing) -> NDArray[np.float32]:
        """The ink of a drawing as a network sees it, made once.

        Raises:
            Refusal: if the drawing is a picture that gives none.
        """
        key = (model.framing, drawing.key)
        with self._lock:
            ink = self.inks.get(key)
            if ink is not None:
                self.inks.move_to_end(key)
        if ink is None:
            try:
                ink = drawing.ink(model.framing)
            except Refusal as refusal:
                ink = refusal.record
            with self._lock:
                self.inks[key] = ink
                _forget_oldest(self.inks, self.kept)
        if isinstance(ink, dict):
            raise Refusal(**ink)
        return ink

    def unseen(self, model: MetaNetwork, drawings: Sequence[Drawing]) -> list[Drawing]:
        """Those that the network has not seen yet, each once."""
        new = {one.key: one for one in drawings if (model, one.key) not in self.seen}
        return list(new.values())

    @torch.no_grad()
    def features(self, model: MetaNetwork, drawings: Sequence[Drawing]) -> Tensor:
        """`model.features` (n, ...) of drawings that have ink, each computed once."""
        new = self.unseen(model, drawings)
        if new:
            made = _features(model, [self.ink(model, one) for one in new])
            self.seen |= {(model, one.key): seen for one, seen in zip(new, made, strict=True)}
        for one in drawings:
            self.seen.move_to_end((model, one.key))
        features = torch.stack([self.seen[model, one.key] for one in drawings])
        _forget_oldest(self.seen, self.kept)
        return features

    def adapted(
        self, model: MetaNetwork, symbols: Sequence[Symbol], steps: int | None
    ) -> AdaptedLearner:
        """A learner adapted to these symbols, each of which has a drawing with ink."""
        steps = model.inner.evaluation_steps if steps is None else steps
        return adapt_symbols(model, self.features(model, drawings_of(symbols)), symbols, steps)

    def learner(
        self, model: MetaNetwork, symbols: Sequence[Symbol], steps: int | None
    ) -> AdaptedLearner:
        """`adapted`, but made anew only when a drawing or its place is new.

        Its names are those of the time when it was made: a symbol may have been renamed since.
        """
        keys = tuple(tuple(drawing.key for drawing in symbol.drawings) for symbol in symbols)
        key = (model, steps, keys)
        learner = self.learners.get(key)
        if learner is None:
            learner = self.adapted(model, symbols, steps)
            self.learners[key] = learner
            _forget_oldest(self.learners, _KEPT_LEARNERS)
        else:
            self.learners.move_to_end(key)
        return learner

    def map(self, learner: AdaptedLearner, symbols: Sequence[Symbol]) -> DrawingMap:
        """The map of these symbols' drawings, which the learner was adapted to."""
        found = self.maps.get(learner)
        if found is None:
            features = self.features(learner.model, drawings_of(symbols))
            found = self.maps[learner] = DrawingMap(learner.path_of_features(features))
        return found

    def sound(
        self, document: Document, model: MetaNetwork, budget: InkBudget = ANY_INK
    ) -> tuple[tuple[Symbol, ...], list[dict[str, Any]], int]:
        """The symbols with those of their drawings that have ink, and what the others lack.

        Returns:
            The symbols that are left with a drawing; a coded problem for each drawing that is left
            out; and how many drawings the budget did not reach.
        """
        began = time.monotonic()
        drawings = drawings_of(document.symbols)
        with self._lock:
            self.kept = len(drawings) + _KEPT_DRAWINGS
            known = {one.key for one in drawings if self.has_ink(model, one)}
        pictures = waiting = 0
        symbols: list[Symbol] = []
        problems: list[dict[str, Any]] = []
        for symbol in document.symbols:
            left: list[Drawing] = []
            for number, drawing in enumerate(symbol.drawings, 1):
                if drawing.key not in known:
                    pictures += drawing.picture is not None
                    if pictures > budget.pictures or time.monotonic() - began > budget.seconds:
                        waiting += 1
                        continue
                    known.add(drawing.key)
                try:
                    self.ink(model, drawing)
                except Refusal as refusal:
                    reason = refusal.record
                    problems.append(
                        {
                            "code": "left_out",
                            "name": symbol.name,
                            "number": number,
                            "reason": reason,
                        }
                    )
                else:
                    left.append(drawing)
            if left:
                symbols.append(Symbol(symbol.id, symbol.name, tuple(left)))
        return tuple(symbols), problems, waiting


def see_together(model: MetaNetwork, asked: Sequence[tuple[DrawSession, Drawing]]) -> None:
    """Compute `DrawSession.features` of several visitors' drawings in one pass, for less than one
    pass each would take; the sessions remember them.

    Args:
        model: the network that all of them ask.
        asked: visitors' sessions, each with a drawing that has ink.
    """
    new = [(session, one) for session, one in asked if session.unseen(model, [one])]
    if new:
        made = _features(model, [session.ink(model, one) for session, one in new])
        for (session, one), features in zip(new, made, strict=True):
            session.seen[model, one.key] = features


def adapt_symbols(
    model: MetaNetwork, features: Tensor, symbols: Sequence[Symbol], steps: int
) -> AdaptedLearner:
    """A learner adapted to symbols.

    Args:
        model: the starting point.
        features: `model.features` (n, ...) of `drawings_of` the symbols.
        symbols: what was taught.
        steps: inner steps to take.
    """
    labels = [way for way, symbol in enumerate(symbols) for _ in symbol.drawings]
    names = tuple(symbol.name for symbol in symbols)
    return adapt_features(model, features, torch.tensor(labels), names, steps)


@torch.no_grad()
def _features(model: MetaNetwork, inks: Sequence[NDArray[np.float32]]) -> list[Tensor]:
    if model.training:
        model.eval()
    made = model.features(as_ink_batch(torch.from_numpy(np.stack(inks))))
    return [one.clone() for one in made]


def require_ways(symbols: Sequence[Symbol], model: MetaNetwork) -> None:
    """Check that there are as many symbols as the network can tell apart.

    Raises:
        Refusal: if not.
    """
    if len(symbols) < 2:
        raise Refusal("missing_two")
    wanted = model.fixed_ways or len(symbols)
    if len(symbols) != wanted:
        raise Refusal("wrong_ways", wanted=wanted, found=len(symbols))


def _forget_oldest(cache: OrderedDict[Any, Any], kept: int) -> None:
    while len(cache) > kept:
        cache.popitem(last=False)

"""Timing of adaptation and answers."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import maml.bench
from maml import InnerLoop
from maml.bench import bench
from maml.config import NetworkSettings
from maml.model import MetaNetwork
from maml.networks import build_model


def model(kind: str, ways: int = 5) -> MetaNetwork:
    settings = NetworkSettings(kind, channels=4, ways=ways)  # type: ignore[arg-type]
    return build_model(settings, InnerLoop(steps=1, evaluation_steps=1), torch.Generator())


def test_every_size_is_timed() -> None:
    rows = list(bench(model("sketch"), repeats=2))
    assert [row.what for row in rows] == [
        f"{ways}-way {shots}-shot, {what}"
        for ways, shots in ((5, 1), (5, 5), (20, 1), (20, 5))
        for what in ("adapt", "one answer")
    ]
    assert all(0 < row.median_ms <= row.p95_ms < 60_000 for row in rows)


def test_fixed_networks_are_timed_at_their_ways() -> None:
    rows = list(bench(model("notebook", ways=3), repeats=1))
    assert [row.what.partition(",")[0] for row in rows] == ["3-way 1-shot"] * 2 + [
        "3-way 5-shot"
    ] * 2


def test_figures_are_those_of_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Adapting takes 1, 2, 3 ... ms by this clock, answering always 0.25 ms; two do not count."""
    durations = [step for k in range(1, 8) for step in (k / 1000, 0.00025, 0.0)]
    ticks = iter(np.concatenate([[0], np.cumsum(durations * 4)]).tolist())
    clock = type("Clock", (), {"perf_counter": staticmethod(lambda: next(ticks))})
    monkeypatch.setattr(maml.bench, "time", clock)
    rows = list(bench(model("sketch"), repeats=5))
    for adapting, answering in zip(rows[::2], rows[1::2], strict=True):
        assert adapting.median_ms == pytest.approx(5)  # of 3, 4, 5, 6, 7
        assert adapting.p95_ms == pytest.approx(6.8)
        assert answering.median_ms == pytest.approx(0.25)


def test_no_repeats_are_refused() -> None:
    with pytest.raises(ValueError, match="repeats must be a whole number from 1 to 10000; got 0"):
        next(bench(model("sketch"), repeats=0))

"""Timing of an outer step against a plain loop on `higher`."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

import maml.bench_training
from maml.bench_training import StepTiming, bench_training
from maml.config import EpisodeShape, HeadKind, InnerLoop, NetworkSettings, Recipe
from maml.embedding import EmbeddingNetwork
from maml.networks import NotebookNet
from maml.recipes import RECIPES


def recipe(
    kind: str, shapes: tuple[EpisodeShape, ...], meta_batch: int, head: HeadKind = "linear"
) -> Recipe:
    return Recipe(
        name=f"small {kind}",
        summary="",
        framing="fit",
        network=NetworkSettings(kind, channels=4, ways=3, head=head),  # type: ignore[arg-type]
        training=replace(
            RECIPES["notebook"].training,
            shapes=shapes,
            evaluation=shapes[0],
            transductive=False,
            meta_batch=meta_batch,
            inner=InnerLoop(steps=2, evaluation_steps=2, rate=0.1, engine="higher"),
        ),
        seed=0,
    )


SMALL = [
    recipe("notebook", (EpisodeShape(3, 2, 2),), 3),
    recipe("live", (EpisodeShape(3, 1, 2), EpisodeShape(4, 2, 1)), 2),
    recipe("sketch", (EpisodeShape(3, 2, 2),), 2, "cosine"),
]


@pytest.fixture(scope="module")
def rows() -> list[StepTiming]:
    return list(bench_training(SMALL, repeats=2))


def test_each_recipe_is_timed(rows: list[StepTiming]) -> None:
    assert [(row.recipe, row.meta_batch) for row in rows] == [
        ("small notebook", 3),
        ("small live", 2),
        ("small sketch", 2),
    ]
    for row in rows:
        assert 0 < row.batched_ms < 60_000
        assert 0 < row.higher_ms < 60_000
        assert 0.01 < row.ratio < 100
        assert row.agreement < 1e-9


@pytest.mark.parametrize("faulty", ["support_loss", "rates"])
def test_a_gradient_that_differs_is_told(faulty: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The batched loop asks for the losses of all tasks at once; the plain one for one by one."""
    if faulty == "support_loss":
        right = NotebookNet.support_loss

        def wrong(self: NotebookNet, logits: Tensor, labels: Tensor) -> Tensor:
            return right(self, logits, labels) * (1 if len(logits) == 1 else 1.01)

        monkeypatch.setattr(NotebookNet, "support_loss", wrong)
        (row,) = bench_training(SMALL[:1], repeats=1)
    else:
        calls = iter(range(10_000))
        rates = EmbeddingNetwork.rates

        def varying(self: EmbeddingNetwork, *args: int) -> list[Tensor]:
            return [rate * (1 + next(calls) % 7 / 100) for rate in rates(self, *args)]

        monkeypatch.setattr(EmbeddingNetwork, "rates", varying)
        (row,) = bench_training(SMALL[1:2], repeats=1)
    assert row.agreement > 1e-5


def test_times_are_those_of_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plain 8, 60, 70, 80 ms, batched 4, 20, 10, 40 ms; the first of each does not count."""
    plain, batched = (0.008, 0.06, 0.07, 0.08), (0.004, 0.02, 0.01, 0.04)
    ticks, now = list[float](), 0.0
    for pair in zip(plain, batched, strict=True):
        for seconds in pair:
            ticks += [now, now + seconds]
            now += seconds + 1
    ticks += [now] * 12  # while memory is measured, three times each
    each = iter(ticks)
    clock = type("Clock", (), {"perf_counter": staticmethod(lambda: next(each))})
    monkeypatch.setattr(maml.bench_training, "time", clock)
    one_shape = recipe("live", (EpisodeShape(3, 1, 2),), 2)
    (row,) = bench_training([one_shape], repeats=3)
    assert row.higher_ms == pytest.approx(70)
    assert row.batched_ms == pytest.approx(20)
    assert row.ratio == pytest.approx(3)  # of 3, 7 and 2


def test_peak_memory_grows_with_what_a_step_keeps(
    rows: list[StepTiming], monkeypatch: pytest.MonkeyPatch
) -> None:
    right = NotebookNet.stem

    def greedy(self: NotebookNet, images: Tensor) -> Tensor:
        torch.ones(12_500_000)  # 50 MB, given back at once
        return right(self, images)

    before = rows[0]
    monkeypatch.setattr(NotebookNet, "stem", greedy)
    (after,) = bench_training(SMALL[:1], repeats=1)
    if before.higher_mb is None or before.batched_mb is None:
        pytest.skip("this system does not tell the peak of a process's memory")
    assert after.higher_mb is not None
    assert after.batched_mb is not None
    assert before.batched_mb < 30
    assert 40 < after.batched_mb < 90
    assert 40 < after.higher_mb < 90


def test_torchopt_is_timed_beside_it_where_it_is_installed() -> None:
    pytest.importorskip("torchopt")
    notebook, live = bench_training(SMALL[:2], repeats=1)
    assert notebook.torchopt_ms is not None
    assert 0 < notebook.torchopt_ms < 60_000
    assert live.torchopt_ms is None  # It knows no learned rates and no head for any ways.


def test_every_recipe_is_measured_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = maml.bench_training._all_recipes()
    sizes = [(one.name, one.training.meta_batch) for one in asked]
    assert sizes[:2] == [("notebook", 4), ("notebook", 32)]
    assert {name for name, _ in sizes} == set(RECIPES)


def test_no_repeats_are_refused() -> None:
    with pytest.raises(ValueError, match="repeats must be a whole number from 1 to 10000; got 0"):
        next(bench_training(SMALL, repeats=0))

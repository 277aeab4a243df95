"""The long scripts of trust, for a few seconds each; `benchmarks/` says how they run whole."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from apart import apart
from apps import quiet_app

from benchmarks.containers import grown, run
from benchmarks.kills import gaps, kill_apps, kill_trainings
from benchmarks.malformed import attack
from benchmarks.soak import Soak

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with quiet_app(tmp_path_factory.mktemp("app")) as number:
        yield number


def test_malformed_documents_and_requests_are_refused(port: int) -> None:
    statuses, wrong, _ = apart(asyncio.run, attack(port, documents=60, requests=25, seed=5))
    assert not wrong
    assert statuses[400] > 10 and statuses[200] > 3 and statuses[404] > 1


def test_a_round_of_everything_leaves_the_app_well(port: int) -> None:
    soak = Soak(port)
    apart(asyncio.run, soak.round(3))
    assert all(soak.done[what] for what in ("pages", "answers", "runs"))


def test_no_container_grows_with_the_pages() -> None:
    summary, longer = apart(run, 5)
    assert not longer, summary


def test_a_container_that_grows_is_found() -> None:
    def sizes(length: int) -> dict[str, tuple[str, int, str]]:
        return {"1": ("dict", length, "kept"), "2": ("list", 5, ""), "3": ("set", 100 - length, "")}

    assert grown([sizes(10), sizes(20), sizes(30)], 9) == ["dict of 10, 20, 30: kept"]
    assert not grown([sizes(10), sizes(20), sizes(20)], 9)


def test_a_killed_training_goes_on_without_a_gap() -> None:
    steps, wrong = kill_trainings(1, seed=3, longest=1.5)
    assert steps > 0 and not wrong
    records = [(step, "train", 0.0, 0.0) for step in (1, 2, 4)]
    assert gaps(records) and not gaps(records[:2])


def test_a_killed_app_leaves_nothing_that_stays() -> None:
    assert not kill_apps(1, seed=2, longest=6.0)

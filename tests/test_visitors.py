"""Whose turn it is, whether a page is still there, and what belongs to whom."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from trainings import PATIENCE, SCRIPTED, Clock, small_recipe, wait_until

from maml.sessions import visitors as module
from maml.sessions.presence import Presence
from maml.sessions.process import Job
from maml.sessions.refusal import Refusal
from maml.sessions.training import Training
from maml.sessions.turns import TrainingQueue
from maml.sessions.visitors import KEEP_SECONDS, MOST_RUNS, TrainSession, Visitors
from maml.sessions.warm import WarmStart


def session_in(folder: Path, queue: TrainingQueue, grace_seconds: float = 60.0) -> TrainSession:
    return TrainSession(folder, queue, grace_seconds, warm=WarmStart(SCRIPTED))


def visitors_in(folder: Path) -> Visitors:
    return Visitors(folder, TrainingQueue(), trainer=SCRIPTED)


pytestmark = pytest.mark.process


def waiting(folder: Path) -> Training:
    return Training(1, Job(small_recipe(10), "generated", folder))


# ---- the queue


def test_who_comes_first_trains_first(tmp_path: Path) -> None:
    queue = TrainingQueue(at_a_time=2, longest=1)
    first, second, third, fourth = (waiting(tmp_path) for _ in range(4))
    for one in (first, second, third):
        queue.join(one)
    assert [queue.place(one) for one in (first, second, third)] == [0, 0, 1]
    with pytest.raises(Refusal, match="queue_full {'waiting': 1}"):
        queue.join(fourth)
    queue.leave(first)
    assert queue.place(third) == 0
    queue.leave(first)  # a second time changes nothing
    queue.join(fourth)
    assert queue.place(fourth) == 1


def test_one_address_cannot_take_all_places(tmp_path: Path) -> None:
    queue = TrainingQueue(at_a_time=1, longest=5)
    first = waiting(tmp_path)
    queue.join(first, "198.51.100.7")
    for _ in range(2):
        queue.join(waiting(tmp_path), "198.51.100.7")
    with pytest.raises(Refusal, match="address_full {'most': 3}"):
        queue.join(waiting(tmp_path), "198.51.100.7")
    queue.join(waiting(tmp_path), "198.51.100.8")
    queue.leave(first)
    queue.join(waiting(tmp_path), "198.51.100.7")
    for _ in range(2):
        queue.join(waiting(tmp_path))
    with pytest.raises(Refusal, match="queue_full"):
        queue.join(waiting(tmp_path), "198.51.100.9")


def test_a_queue_in_which_nobody_trains_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1; got 0"):
        TrainingQueue(at_a_time=0)


# ---- the page


def silence_after(presence: Presence, clock: Clock, seconds: float, look: float = 0.25) -> float:
    silence = 0.0
    for _ in range(round(seconds / look)):
        clock.now += look
        silence = presence.silence()
    return silence


def test_silence_lasts_from_one_word_to_the_next(clock: Clock) -> None:
    presence = Presence()
    assert silence_after(presence, clock, 15) == 15  # the page is still loading
    presence.hear("page")
    assert silence_after(presence, clock, 3) == 3
    presence.hear("another page")
    assert silence_after(presence, clock, 1) == 1
    presence.expect()
    assert silence_after(presence, clock, 0.5) == 0.5
    # An app that stood still could not have heard anything.
    presence.hear("page")
    assert silence_after(presence, clock, 60, look=30) == 1


def test_every_page_says_whether_anybody_sees_it(clock: Clock) -> None:
    presence = Presence()
    assert presence.page("one").watched
    presence.hear("one", watched=False)
    presence.hear("two")
    assert not presence.page("one").watched and presence.page("two").watched
    presence.page("one").attached = True
    clock.now += 60
    presence.hear("three")
    assert not presence.page("one").watched, "a page that is kept up to date is remembered"
    presence.page("one").attached = False
    presence.hear("three")
    assert presence.page("one").watched, "one that is gone is not"


# ---- sessions


def test_a_comparison_goes_on_when_a_run_has_finished_and_waits_for_one_that_was_stopped(
    tmp_path: Path,
) -> None:
    queue = TrainingQueue()
    # Another one trains, so that nothing is started here.
    TrainSession(tmp_path / "other", queue).add(small_recipe(10), "generated")
    session = TrainSession(tmp_path / "mine", queue)
    recipes = [small_recipe(10 + number) for number in range(3)]
    first = session.add(recipes[0], "generated", limit_minutes=7, then=recipes[1:])
    session.stop()
    session.tend()
    assert (session.current, session.busy) == (first, False), "stopped, it makes no way"
    session.resume()
    first.stop("limit")
    assert (session.current, session.busy) == (first, True), "the next one follows"
    session.tend()
    second = session.current
    assert second is not None and second.job.recipe == recipes[1] and second.limit_minutes == 7
    assert second.number == 2 and second.state == "waiting" and session.place(second) == 1
    second.stop("limit")
    session.stop()  # between two runs: no other follows
    session.tend()
    assert (session.current, session.busy) == (second, False)


def test_two_visitors_take_turns(tmp_path: Path) -> None:
    """One story, since a process takes a while to start."""
    queue = TrainingQueue()
    mine, theirs = (session_in(tmp_path / name, queue) for name in ("mine", "theirs"))

    def tend_until(reached: Any) -> None:
        def tended() -> Any:
            for session in (mine, theirs):
                session.presence.hear("page")
                session.tend()
            return reached()

        wait_until(tended)

    first = mine.add(small_recipe(10_000), "generated")
    second = theirs.add(small_recipe(10_000), "generated")
    tend_until(lambda: first.has_weights)
    assert second.state == "waiting" and second.process is None
    assert mine.place(first) == 0 and theirs.place(second) == 1
    with pytest.raises(ValueError, match="still running"):
        mine.add(small_recipe(10), "generated")
    with pytest.raises(ValueError, match="still running"):
        mine.resume()
    with pytest.raises(ValueError, match="Run 1 is not over"):
        mine.remove(1)
    second.stop()  # leaves the queue
    tend_until(lambda: second.ended)
    assert second.process is None
    theirs.add(small_recipe(10_000), "generated")
    assert theirs.current is not second and theirs.earlier == [second]
    first.stop()
    tend_until(lambda: first.ended)
    third = theirs.current
    assert third is not None
    tend_until(lambda: third.iteration > 0)
    assert theirs.folder / "run-2" == third.folder.path

    # Resumed, it waits for its turn again and continues where it was.
    stopped = first.iteration
    weights = mine.frozen_weights(first)
    assert weights.exists()
    assert mine.resume() is first and mine.place(first) == 1
    process = third.process
    assert process is not None
    theirs.close()
    assert process.wait(PATIENCE) and third.state == "stopped" and not theirs.folder.exists()
    tend_until(lambda: first.iteration > stopped)
    first.stop()
    tend_until(lambda: first.ended)
    mine.remove(1)
    assert mine.trainings == [] and not first.folder.path.exists() and weights.exists()
    with pytest.raises(ValueError, match="There is no run 1"):
        mine.remove(1)
    with pytest.raises(ValueError, match="no run to resume"):
        mine.resume()


def test_a_run_gives_up_its_place_although_nobody_saw_it_end(tmp_path: Path) -> None:
    queue = TrainingQueue()
    mine, theirs = (session_in(tmp_path / name, queue) for name in ("mine", "theirs"))
    first = mine.add(small_recipe(10_000), "generated")
    mine.tend()
    wait_until(lambda: first.iteration)
    second = theirs.add(small_recipe(10_000), "generated")
    first.stop()
    wait_until(lambda: first.over)
    mine.remove(1)
    assert first.process is not None and first.process.wait(PATIENCE)
    theirs.tend()
    assert second.state == "preparing", "the first one was removed before it was tended"
    second.stop()
    wait_until(lambda: second.ended)
    third = theirs.add(small_recipe(10_000), "generated")
    assert queue.place(third) == 0, "the second one was followed before it was tended"
    fourth = mine.add(small_recipe(10_000), "generated")
    third.stop()
    assert theirs.resume() is third
    assert (queue.place(fourth), queue.place(third)) == (0, 1)


def test_a_training_without_its_visitor_is_saved_and_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr("maml.sessions.presence.time", SimpleNamespace(monotonic=clock))
    queue = TrainingQueue()
    session = session_in(tmp_path, queue, grace_seconds=3)
    training = session.add(small_recipe(10_000), "generated")

    def tended(reached: Callable[[], Any]) -> Callable[[], Any]:
        def look() -> Any:
            session.tend()
            return reached()

        return look

    wait_until(tended(lambda: training.iteration))
    process = training.process
    assert process is not None
    session.presence.hear("page")
    for _ in range(12):
        clock.now += 0.25
        session.tend()
        assert training.state == "training", "within the grace time it goes on"
    clock.now += 0.25
    wait_until(tended(lambda: training.ended))
    assert training.state == "lost" and training.resumable and not process.running
    assert int(training.folder.state.read_text()) == training.iteration
    assert queue.place(training) == 0
    other = session_in(tmp_path / "other", queue).add(small_recipe(10), "generated")
    assert queue.place(other) == 0


def test_the_oldest_of_too_many_runs_makes_room(tmp_path: Path) -> None:
    session = TrainSession(tmp_path, TrainingQueue())
    for number in range(1, MOST_RUNS + 3):
        training = session.add(small_recipe(10), "generated")
        training.folder.path.mkdir(parents=True)
        training.stop()
        session.tend()
        assert training.number == number
    assert [one.number for one in session.trainings] == list(range(3, MOST_RUNS + 3))
    assert not (tmp_path / "run-2").exists() and (tmp_path / "run-3").exists()


def test_a_full_queue_leaves_a_session_as_it_was(tmp_path: Path) -> None:
    queue = TrainingQueue(at_a_time=1, longest=0)
    TrainSession(tmp_path / "other", queue).add(small_recipe(10), "generated")
    session = TrainSession(tmp_path / "mine", queue)
    with pytest.raises(Refusal, match="queue_full {'waiting': 0}"):
        session.add(small_recipe(10), "generated")
    assert session.trainings == [] and not session.busy


def test_files_are_kept_in_the_sessions_folder(tmp_path: Path) -> None:
    session = TrainSession(tmp_path / "mine", TrainingQueue())
    path = session.keep("table.csv", b"1,2")
    assert path.name == "table.csv" and path.read_bytes() == b"1,2"
    assert path.is_relative_to(session.folder)
    session.close()
    assert not path.exists()


# ---- all visitors


def test_every_visitor_has_a_folder_and_is_tended(tmp_path: Path) -> None:
    visitors = visitors_in(tmp_path / "runs")
    first, second = visitors.welcome(), visitors.welcome()
    assert first.folder != second.folder
    assert first.folder.parent == second.folder.parent
    assert first.folder.parent.parent == tmp_path / "runs"
    training = first.add(small_recipe(10_000), "generated")
    wait_until(lambda: training.iteration)
    process = training.process
    visitors.dismiss(first)
    assert process is not None and process.wait(PATIENCE)
    assert not first.folder.exists() and second.folder.exists()
    visitors.dismiss(first)  # a second time changes nothing
    visitors.close()
    assert list((tmp_path / "runs").iterdir()) == []


def test_the_end_waits_for_processes_and_leaves_nothing(tmp_path: Path) -> None:
    visitors = visitors_in(tmp_path)
    session = visitors.welcome()
    training = session.add(small_recipe(10_000), "generated")

    def step_taken() -> int:
        session.presence.hear("page")
        return training.iteration

    wait_until(step_taken)
    process = training.process
    assert process is not None
    os.kill(process.pid, signal.SIGSTOP)  # it will not obey
    visitors.close()
    assert not process.running and list(tmp_path.iterdir()) == []


def test_weights_are_copied_for_drawing_once_and_for_an_upload_until_it_is_over(
    tmp_path: Path,
) -> None:
    session = TrainSession(tmp_path / "session", TrainingQueue())
    training = session.add(small_recipe(10), "generated")
    training.folder.path.mkdir(parents=True)
    for suffix in (".safetensors", ".json"):
        training.folder.weights.with_suffix(suffix).write_text("weights")
    paths = [session.frozen_weights(training) for _ in range(3)]
    assert [path.exists() for path in paths] == [False, False, True]
    with session.copied_weights(training) as copy:
        assert copy.read_text() == "weights" and copy.with_suffix(".json").exists()
    assert not copy.exists()
    session.close()


def test_only_its_token_leads_to_a_session(tmp_path: Path) -> None:
    visitors = visitors_in(tmp_path)
    first, second = visitors.welcome(), visitors.welcome()
    assert first.token != second.token and len(first.token) >= 32
    assert visitors.find(first.token) is first and visitors.find(second.token) is second
    for token in ("", first.token[:-1], first.token + "a", None, 7, ["x"]):
        assert visitors.find(token) is None
    visitors.dismiss(first)
    assert visitors.find(first.token) is None
    visitors.close()


def test_runs_stay_for_an_hour_after_their_visitor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_TEND_SECONDS", 0.02)
    tended: list[str] = []
    visitors = visitors_in(tmp_path)
    idle, seen, busy = (visitors.welcome() for _ in range(3))
    ended = idle.add(small_recipe(10), "generated")
    ended.stop()
    monkeypatch.setattr(busy, "tend", lambda: tended.append("busy"))
    busy.add(small_recipe(10), "generated")
    now = time.monotonic
    offset = [KEEP_SECONDS - 60]
    monkeypatch.setattr(time, "monotonic", lambda: now() + offset[0])
    rounds = len(tended)
    wait_until(lambda: len(tended) > rounds + 2)
    assert idle.folder.exists() and visitors.find(seen.token) is seen
    offset[0] += 120
    wait_until(lambda: not idle.folder.exists())
    assert visitors.find(idle.token) is None
    for act in (lambda: idle.add(small_recipe(10), "generated"), idle.resume):
        with pytest.raises(Refusal, match="session_closed"):
            act()
    assert visitors.find(seen.token) is seen and visitors.find(busy.token) is busy
    visitors.close()


def test_of_too_many_sessions_the_one_unseen_for_longest_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_SESSIONS", 2)
    visitors = visitors_in(tmp_path)
    first, second = visitors.welcome(), visitors.welcome()
    visitors.find(first.token)
    third = visitors.welcome()
    wait_until(lambda: not second.folder.exists())
    assert first.folder.exists() and third.folder.exists()
    visitors.close()


def test_sessions_of_one_address_do_not_push_out_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_OF_AN_ADDRESS", 2)
    visitors = visitors_in(tmp_path)
    other, local = visitors.welcome("198.51.100.8"), visitors.welcome()
    many = [visitors.welcome("198.51.100.7") for _ in range(4)]
    wait_until(lambda: not many[1].folder.exists())
    tended: list[str] = []
    monkeypatch.setattr(other, "tend", lambda: tended.append("other"))
    wait_until(lambda: len(tended) > 2)
    alive = [visitors.find(one.token) is one for one in many]
    assert alive == [False, False, True, True]
    assert visitors.find(other.token) is other and visitors.find(local.token) is local
    visitors.close()


def test_one_visitors_trouble_is_not_the_others(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    visitors = visitors_in(tmp_path)
    broken, sound = visitors.welcome(), visitors.welcome()
    tended: list[str] = []

    def fail() -> None:
        tended.append("broken")
        raise RuntimeError("a fault in the code")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(broken, "tend", fail)
        patch.setattr(sound, "tend", lambda: tended.append("sound"))
        wait_until(lambda: len(tended) > 5)
        visitors.close()
    assert tended[:4] == ["broken", "sound", "broken", "sound"]
    assert "a fault in the code" in caplog.text


def test_a_folder_that_cannot_be_made_is_the_runs_failure(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    visitors = visitors_in(tmp_path / "file" / "runs")
    training = visitors.welcome().add(small_recipe(10), "generated")
    wait_until(lambda: training.ended)
    assert training.state == "failed" and "file" in training.live()["text"]
    visitors.close()

"""How much of the disk trainings may take, for each visitor and for all."""

from __future__ import annotations

from pathlib import Path

import pytest
from trainings import SCRIPTED, small_recipe, wait_until

from maml.demo.strings import STRINGS, worded
from maml.sessions import visitors as module
from maml.sessions.disk import DiskQuota, folder_bytes
from maml.sessions.refusal import Refusal
from maml.sessions.visitors import TrainingQueue, TrainSession, Visitors


def fill(session: TrainSession, number: int, nbytes: int) -> None:
    """A run that has ended, with files of so many bytes."""
    training = session.add(small_recipe(10), "generated")
    assert training.number == number
    training.folder.path.mkdir(parents=True)
    training.folder.weights.write_bytes(b"x" * nbytes)
    training.stop()
    session.tend()
    session.weigh()


def test_bytes_of_a_folder_are_those_of_its_files(tmp_path: Path) -> None:
    (tmp_path / "deep" / "deeper").mkdir(parents=True)
    (tmp_path / "one").write_bytes(b"x" * 100)
    (tmp_path / "deep" / "deeper" / "two").write_bytes(b"x" * 50)
    (tmp_path / "deep" / "loop").symlink_to(tmp_path)
    assert folder_bytes(tmp_path) - (tmp_path / "deep" / "loop").lstat().st_size == 150
    assert folder_bytes(tmp_path / "none") == 0


def test_unless_told_otherwise_a_visitor_gets_a_tenth_of_two_gigabytes() -> None:
    disk = DiskQuota()
    assert (disk.each, disk.together) == (200e6, 2000e6)


def test_a_visitor_whose_share_is_full_removes_a_run_first(tmp_path: Path) -> None:
    disk = DiskQuota(each=1_000_000, together=10_000_000)
    session = TrainSession(tmp_path / "mine", TrainingQueue(), disk=disk)
    other = TrainSession(tmp_path / "other", TrainingQueue(), disk=disk)
    fill(session, 1, 600_000)
    fill(session, 2, 600_000)
    for act in (lambda: session.add(small_recipe(10), "generated"), session.resume):
        with pytest.raises(Refusal) as refusal:
            act()
        assert worded(refusal.value.record, "en").startswith("Your runs take 1 MB on the server")
        assert "1 MB" in worded(refusal.value.record, "zh")
    assert len(session.trainings) == 2 and disk.total == 1_200_000
    other.add(small_recipe(10), "generated")
    session.remove(1)
    session.resume()
    session.close()
    assert disk.total == 0


def test_what_all_may_take_is_refused_to_everybody(tmp_path: Path) -> None:
    disk = DiskQuota(each=1_000_000, together=1_000_000)
    full, mine = (TrainSession(tmp_path / name, TrainingQueue(), disk=disk) for name in "ab")
    fill(full, 1, 900_000)
    fill(mine, 1, 200_000)
    with pytest.raises(Refusal, match="disk_together"):
        mine.add(small_recipe(10), "generated")
    full.close()
    mine.add(small_recipe(10), "generated")


@pytest.mark.process
def test_a_training_that_fills_its_share_is_saved_and_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_WEIGH_SECONDS", 0.1)
    disk = DiskQuota(each=5_000, together=10**9)
    visitors = Visitors(tmp_path, TrainingQueue(), disk=disk, trainer=SCRIPTED)
    session = visitors.welcome()
    training = session.add(small_recipe(100_000), "generated")

    def ended() -> bool:
        session.presence.hear("page")
        return training.ended

    wait_until(ended)
    assert training.state == "full" and training.resumable and training.iteration > 0
    assert "state.safetensors" in {path.name for path in training.folder.path.iterdir()}
    visitors.close()


def test_who_has_been_away_for_long_makes_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_WEIGH_SECONDS", 0.1)
    visitors = Visitors(tmp_path, TrainingQueue(), disk=DiskQuota(10**6, 10**6))
    away, here = visitors.welcome(), visitors.welcome()
    fill(here, 1, 500_000)
    fill(away, 1, 600_000)
    weighed = visitors._weighed
    wait_until(lambda: visitors._weighed > weighed + 0.2)
    assert away.folder.exists(), "nobody's runs go before ten minutes"
    away.presence.heard -= 601
    wait_until(lambda: not away.folder.exists())
    assert here.folder.exists()
    visitors.close()


def test_what_is_refused_is_said_in_both_languages() -> None:
    for code in ("disk_each", "disk_together", "queue_full", "address_full"):
        assert all(STRINGS[language][code] for language in STRINGS)

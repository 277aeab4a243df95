"""Who trains here, and the trainings of each visitor."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import shutil
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from maml.config import Recipe
from maml.sessions.disk import DiskQuota
from maml.sessions.downloads import weights_of
from maml.sessions.presence import Presence
from maml.sessions.process import Job, Source
from maml.sessions.refusal import Refusal
from maml.sessions.scratch import ScratchFolder
from maml.sessions.training import Training
from maml.sessions.turns import TrainingQueue
from maml.sessions.warm import WarmStart

MOST_RUNS = 12
"""Runs that a session keeps; the oldest makes room."""
MOST_SESSIONS = 200
"""Sessions that are kept; of those in which nothing runs the one unseen for longest makes room."""
KEEP_SECONDS = 3600.0
"""A session in which nothing runs and whose pages have been silent for so long is closed."""
MOST_OF_AN_ADDRESS = 50
"""Sessions of one client address that are kept while nothing runs in them."""
_MAKES_ROOM_SECONDS = 600.0
"""A session in which nothing runs and that has been unseen for so long makes room on the disk."""
_MAKES_WAY = ("finished", "limit")
"""States of a training after which the next one of a comparison begins."""
_TEND_SECONDS = 0.1
_WEIGH_SECONDS = 2.0
_END_SECONDS = 1.0

_log = logging.getLogger(__name__)


class TrainSession:
    """The trainings of one visitor, one at a time.

    The visitor comes back to it with its token.  Its pages and the thread that tends it act under
    one lock: a training that ended may be resumed or removed before it was seen to have ended.

    Args:
        folder: a folder of its own, made when it is first needed.
        queue: in which the visitors' trainings wait for each other.
        grace_seconds: a training whose visitor has been silent for longer is saved and stopped.
        disk: what the visitors' files may take.
        address: of the client; "" for one that is not limited.
        warm: starts their processes.
    """

    def __init__(
        self,
        folder: Path,
        queue: TrainingQueue,
        grace_seconds: float = 60.0,
        disk: DiskQuota | None = None,
        address: str = "",
        warm: WarmStart | None = None,
    ) -> None:
        self.folder = folder
        self.address = address
        self.token = secrets.token_urlsafe(24)
        self.trainings: list[Training] = []
        self.planned: list[Recipe] = []
        self.presence = Presence()
        self._grace = grace_seconds
        self._queue = queue
        self._disk = DiskQuota() if disk is None else disk
        self._warm = WarmStart() if warm is None else warm
        self._numbers = 0
        self._copies = 0
        self._lock = threading.RLock()
        self._closed = False

    @property
    def current(self) -> Training | None:
        """The latest training."""
        return self.trainings[-1] if self.trainings else None

    @property
    def earlier(self) -> list[Training]:
        """Those before it."""
        return self.trainings[:-1]

    @property
    def busy(self) -> bool:
        """Whether the latest training has not ended, or another one follows it."""
        return self.current is not None and (not self.current.ended or self._another_follows)

    @property
    def _another_follows(self) -> bool:
        current = self.current
        done = current is not None and current.ended and current.state in _MAKES_WAY
        return done and bool(self.planned)

    def add(
        self,
        recipe: Recipe,
        source: Source,
        device: str = "cpu",
        limit_minutes: float = 0,
        then: Sequence[Recipe] = (),
    ) -> Training:
        """Queue a new training; the oldest of too many is removed.

        Args:
            recipe: what to train and how.
            source: of the characters.
            device: to train on.
            limit_minutes: how long it may take; 0 for as long as it takes.
            then: what to train in the same way after it, one after another.  When one of them is
                stopped the others wait until it was resumed and has finished.

        Raises:
            ValueError: if the visitor's last one has not ended.
            Refusal: if there is no place in the queue, no room on the disk, or it is closed.
        """
        with self._lock:
            self._require_idle()
            training = self._join(recipe, source, device, limit_minutes)
            self.planned = list(then)
            self.presence.expect()
            return training

    def _join(self, recipe: Recipe, source: Source, device: str, limit_minutes: float) -> Training:
        self._disk.require_room(self.folder)
        if self.current is not None:
            self._queue.leave(self.current)
        job = Job(recipe, source, self.folder / f"run-{self._numbers + 1}", device)
        training = Training(self._numbers + 1, job, limit_minutes, self._warm.launch)
        self._queue.join(training, self.address)
        self._numbers += 1
        self.trainings.append(training)
        while len(self.trainings) > MOST_RUNS:
            self.remove(self.trainings[0].number)
        return training

    def resume(self) -> Training:
        """Queue the latest training again, to continue from its saved state.

        Raises:
            ValueError: if there is none that can be resumed.
            Refusal: as `add`.
        """
        with self._lock:
            self._require_idle()
            training = self.current
            if training is None or not training.resumable:
                raise ValueError("There is no run to resume; start a training.")
            self._disk.require_room(self.folder)
            self._queue.leave(training)
            self._queue.join(training, self.address)
            training.wait_for_turn(resume=True)
            self.presence.expect()
            return training

    def _require_idle(self) -> None:
        if self._closed:  # nobody would tend a training
            raise Refusal("session_closed")
        if self.busy:
            raise ValueError("Your training is still running; stop it before you start another.")

    def place(self, training: Training) -> int:
        """How many others must end before it is this training's turn."""
        return self._queue.place(training)

    def remove(self, number: int) -> None:
        """Forget a training that has ended, and its files.

        Raises:
            ValueError: if there is none of that number, or it has not ended.
        """
        with self._lock:
            training = next((one for one in self.trainings if one.number == number), None)
            if training is None:
                raise ValueError(f"There is no run {number}.")
            if not training.over:
                raise ValueError(f"Run {number} is not over; stop it first.")
            training.abandon()  # its process may still be at the end of its work
            self._queue.leave(training)
            self.trainings.remove(training)
            shutil.rmtree(training.folder.path, ignore_errors=True)
            self.weigh()

    def weigh(self) -> int:
        """Count the bytes of its files anew; a training that fills its share is stopped."""
        nbytes = self._disk.weigh(self.folder)
        if nbytes >= self._disk.each and self.current is not None:
            self.current.stop("full")
        return nbytes

    def tend(self) -> None:
        """Start the training whose turn it is, end what has to end; to be called often."""
        with self._lock:
            training = self.current
            if training is None:
                return
            silence = self.presence.silence()
            if not training.over:
                if silence > self._grace:
                    training.stop("lost")
                elif training.state == "waiting" and not self._queue.place(training):
                    training.start()
                    if self.planned:
                        self._warm.prepare()
            training.keep_time()
            if training.ended:
                self._queue.leave(training)
                self._go_on(training, silence)

    def _go_on(self, training: Training, silence: float) -> None:
        """Queue what was planned to follow a training, as soon as there is room for it."""
        if silence > self._grace:
            self.planned = []
        elif self._another_follows:
            job = training.job
            with contextlib.suppress(Refusal):
                self._join(self.planned[0], job.source, job.device, training.limit_minutes)
                self.planned = self.planned[1:]

    def stop(self) -> None:
        """Save and end what runs."""
        with self._lock:
            if self.current is None:
                return
            if self._another_follows:
                self.planned = []
            self.current.stop()

    def close(self) -> None:
        """End what runs and remove the files; no training can be added any more."""
        with self._lock:
            self._closed = True
            for training in self.trainings:
                training.abandon()
                self._queue.leave(training)
        shutil.rmtree(self.folder, ignore_errors=True)
        self._disk.forget(self.folder)

    # ---- files of its own

    def keep(self, name: str, content: bytes) -> Path:
        """Write a file that the visitor takes away."""
        folder = self.folder / "files"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / name
        path.write_bytes(content)
        self.weigh()
        return path

    def frozen_weights(self, training: Training) -> Path:
        """A copy of a training's weights that later steps leave as it is; the last one goes.

        Raises:
            ValueError: if it has none yet.
        """
        self._copies += 1
        folder = self.folder / f"drawing-{self._copies}"
        path = _copy_weights(training, folder)
        shutil.rmtree(self.folder / f"drawing-{self._copies - 1}", ignore_errors=True)
        self.weigh()
        return path

    @contextlib.contextmanager
    def copied_weights(self, training: Training) -> Iterator[Path]:
        """A copy of a training's weights that is removed after use.

        Raises:
            ValueError: if it has none yet.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self.folder) as folder:
            yield _copy_weights(training, Path(folder))


def _copy_weights(training: Training, folder: Path) -> Path:
    paths = weights_of(training)
    folder.mkdir(parents=True, exist_ok=True)
    for path in paths:
        shutil.copy2(path, folder / path.name)
    return folder / training.folder.weights.name


class Visitors:
    """All sessions, and a thread that tends them.

    Args:
        folder: below which their files go, in a scratch folder of this process; None takes the
            system's folder for temporary files.
        queue: in which their trainings wait for each other.
        grace_seconds: a training whose visitor has been silent for longer is saved and stopped.
        disk: what their files may take.
        trainer: the program that trains and its arguments; empty for `maml.sessions.worker`.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str] | None,
        queue: TrainingQueue,
        grace_seconds: float = 60.0,
        disk: DiskQuota | None = None,
        trainer: Sequence[str] = (),
    ) -> None:
        self._scratch: ScratchFolder | None = None
        with contextlib.suppress(OSError):  # the training says what is wrong with the folder
            self._scratch = ScratchFolder(Path(folder) if folder else None)
        self._folder = self._scratch.path if self._scratch else Path(folder or "")
        self._queue = queue
        self._grace = grace_seconds
        self._disk = DiskQuota() if disk is None else disk
        self._warm = WarmStart(trainer)
        self._weighed = 0.0
        self._lock = threading.Lock()
        self._sessions: dict[str, TrainSession] = {}
        self._thread: threading.Thread | None = None
        self._closed = threading.Event()

    def welcome(self, address: str = "") -> TrainSession:
        """A session for a new visitor, with a folder of its own.

        Args:
            address: of the client; "" for one that is not limited.
        """
        folder = self._new_folder()
        session = TrainSession(folder, self._queue, self._grace, self._disk, address, self._warm)
        with self._lock:
            self._sessions[session.token] = session
            if self._thread is None:
                self._thread = threading.Thread(target=self._tend, daemon=True, name="visitors")
                self._thread.start()
        return session

    def expect(self) -> None:
        """A page shows the board; its visitor may start a training soon."""
        self._warm.prepare()

    def find(self, token: object) -> TrainSession | None:
        """The session with a token, or None."""
        with self._lock:
            session = self._sessions.get(token) if isinstance(token, str) else None
        if session is not None:
            session.presence.expect()
        return session

    def dismiss(self, session: TrainSession) -> None:
        """Close a session."""
        with self._lock:
            self._sessions.pop(session.token, None)
        session.close()

    def close(self) -> None:
        """Close all sessions and end the thread; their processes get a second."""
        self._closed.set()
        self._warm.close()
        trainings = [one for session in list(self._sessions.values()) for one in session.trainings]
        for training in trainings:
            training.abandon()
        deadline = time.monotonic() + _END_SECONDS
        for training in trainings:
            # One that still writes would make its folder anew.
            training.await_end(max(0.0, deadline - time.monotonic()))
        for session in list(self._sessions.values()):
            self.dismiss(session)
        if self._thread is not None:
            self._thread.join()
        if self._scratch is not None:
            self._scratch.remove()

    def _new_folder(self) -> Path:
        with contextlib.suppress(OSError):  # the training says what is wrong with the folder
            self._folder.mkdir(parents=True, exist_ok=True)
            return Path(tempfile.mkdtemp(prefix="session-", dir=self._folder))
        return self._folder / "session"

    def _tend(self) -> None:
        while not self._closed.wait(_TEND_SECONDS):
            with self._lock:
                sessions = list(self._sessions.values())
            for session in sessions:
                try:
                    session.tend()
                except Exception:
                    # One visitor's trouble must not end the care for all others.
                    _log.exception("A session could not be tended.")
            for session in _dispensable(sessions):
                self.dismiss(session)
            if time.monotonic() - self._weighed > _WEIGH_SECONDS:
                self._weighed = time.monotonic()
                self._make_room()

    def _make_room(self) -> None:
        """Weigh the folders in which something runs; clear away or stop what is too much."""
        with self._lock:
            sessions = list(self._sessions.values())
        # Folders of the others were weighed when they last changed.
        busy = {session: session.weigh() for session in sessions if session.busy}
        unseen = time.monotonic() - _MAKES_ROOM_SECONDS
        idle = [one for one in _by_age(sessions) if one.presence.heard < unseen]
        while self._disk.total >= self._disk.together and idle:
            self.dismiss(idle.pop(0))
        if self._disk.total >= self._disk.together and busy:
            largest = max(busy, key=busy.__getitem__)
            if largest.current is not None:
                largest.current.stop("full")


def _by_age(sessions: Sequence[TrainSession]) -> list[TrainSession]:
    """Those in which nothing runs, the one unseen for longest first."""
    idle = [session for session in sessions if not session.busy]
    return sorted(idle, key=lambda session: session.presence.heard)


def _dispensable(sessions: Sequence[TrainSession]) -> list[TrainSession]:
    """Those that have been idle for too long, or are too many, of all or of one address."""
    idle = _by_age(sessions)
    oldest = time.monotonic() - KEEP_SECONDS
    stale = sum(session.presence.heard < oldest for session in idle)
    going = idle[: max(stale, len(sessions) - MOST_SESSIONS)]
    surplus = Counter(session.address for session in idle if session.address)
    for session in idle:
        if surplus[session.address] > MOST_OF_AN_ADDRESS and session not in going:
            surplus[session.address] -= 1
            going.append(session)
    return going

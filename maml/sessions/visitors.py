"""Who trains here: the trainings of each visitor, and whose turn it is."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from maml.config import Recipe
from maml.sessions.downloads import weights_of
from maml.sessions.process import Job, Source
from maml.sessions.scratch import ScratchFolder
from maml.sessions.training import Training

MOST_RUNS = 12
"""Runs that a session keeps; the oldest makes room."""
MOST_SESSIONS = 200
"""Sessions that are kept; of those in which nothing runs the one unseen for longest makes room."""
KEEP_SECONDS = 3600.0
"""A session in which nothing runs and whose pages have been silent for so long is closed."""
_PAGE_SECONDS = 10.0
"""A page that has been silent for so long sees nothing any more."""
_LOOK_SECONDS = 0.5
"""At most this much of the time between two looks counts as silence: when the app itself stands
still, on a machine that is too busy, it cannot hear the pages either."""
_TEND_SECONDS = 0.1
_END_SECONDS = 1.0

_log = logging.getLogger(__name__)

# ---- whose turn it is ----------------------------------------------------------------------------


class TrainingQueue:
    """So many train at a time; the others wait in the order in which they came.

    Args:
        at_a_time: how many.
        longest: how many may wait.

    Raises:
        ValueError: if not even one may train.
    """

    def __init__(self, at_a_time: int = 1, longest: int = 16) -> None:
        if at_a_time < 1:
            raise ValueError(f"trainings at a time must be at least 1; got {at_a_time}")
        self._at_a_time = at_a_time
        self._longest = longest
        self._lock = threading.Lock()
        self._queue: list[Training] = []

    def join(self, training: Training) -> None:
        """Take a place.

        Raises:
            ValueError: if the queue is full.
        """
        with self._lock:
            if len(self._queue) >= self._at_a_time + self._longest:
                raise ValueError(
                    f"{self._longest} people are waiting to train already; try again later."
                )
            self._queue.append(training)

    def place(self, training: Training) -> int:
        """How many must end before it is this training's turn; 0: now, or it has no place."""
        with self._lock:
            if training not in self._queue:
                return 0
            return max(0, self._queue.index(training) - self._at_a_time + 1)

    def leave(self, training: Training) -> None:
        """Give the place up, whether it came to a turn or not."""
        with self._lock:
            if training in self._queue:
                self._queue.remove(training)


# ---- a visitor -----------------------------------------------------------------------------------


@dataclass
class Page:
    """An open page of a visitor.

    Args:
        watched: whether anybody can see its board.
        heard: when it last spoke, on the monotonic clock.
        watch: number of the latest watch that keeps it up to date; earlier ones are to end.
        attached: whether a watch keeps it up to date.
    """

    watched: bool = True
    heard: float = field(default_factory=time.monotonic)
    watch: int = 0
    attached: bool = False


class Presence:
    """Whether a visitor is still there: every open page says so every second.

    The end of a connection is not always seen: a network may simply stop carrying anything.
    """

    def __init__(self) -> None:
        self._pages: dict[str, Page] = {}
        self._silence = 0.0
        self._looked = self.heard = time.monotonic()

    def page(self, key: str) -> Page:
        """The page with a key, a new one if it is not known."""
        self._forget_pages()
        return self._pages.setdefault(key, Page())

    def hear(self, key: str, watched: bool = True) -> Page:
        """A page has spoken.

        Args:
            key: of the page.
            watched: whether anybody can see its board.
        """
        page = self.page(key)
        self._silence, self.heard = 0.0, time.monotonic()
        page.heard, page.watched = self.heard, watched
        return page

    def expect(self) -> None:
        """A page has done something: silence counts from now."""
        self._silence, self._looked = 0.0, time.monotonic()
        self.heard = self._looked

    def silence(self) -> float:
        """Seconds since a page last spoke; to be asked a few times a second."""
        now = time.monotonic()
        self._silence += min(now - self._looked, _LOOK_SECONDS)
        self._looked = now
        return self._silence

    def _forget_pages(self) -> None:
        oldest = time.monotonic() - _PAGE_SECONDS
        for key in [key for key, page in self._pages.items() if page.heard < oldest]:
            if not self._pages[key].attached:
                del self._pages[key]


class TrainSession:
    """The trainings of one visitor, one at a time.

    The visitor comes back to it with its token.

    Args:
        folder: a folder of its own, made when it is first needed.
        queue: in which the visitors' trainings wait for each other.
        grace_seconds: a training whose visitor has been silent for longer is saved and stopped.
    """

    def __init__(self, folder: Path, queue: TrainingQueue, grace_seconds: float = 60.0) -> None:
        self.folder = folder
        self.token = secrets.token_urlsafe(24)
        self.trainings: list[Training] = []
        self.presence = Presence()
        self._grace = grace_seconds
        self._queue = queue
        self._numbers = 0
        self._copies = 0

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
        """Whether the latest training has not ended."""
        return self.current is not None and not self.current.ended

    def add(
        self, recipe: Recipe, source: Source, device: str = "cpu", limit_minutes: float = 0
    ) -> Training:
        """Queue a new training; the oldest of too many is removed.

        Raises:
            ValueError: if the visitor's last one has not ended, or the queue is full.
        """
        self._refuse_if_busy()
        job = Job(recipe, source, self.folder / f"run-{self._numbers + 1}", device)
        training = Training(self._numbers + 1, job, limit_minutes)
        self._queue.join(training)
        self._numbers += 1
        self.trainings.append(training)
        self.presence.expect()
        while len(self.trainings) > MOST_RUNS:
            self.remove(self.trainings[0].number)
        return training

    def resume(self) -> Training:
        """Queue the latest training again, to continue from its saved state.

        Raises:
            ValueError: if there is none that can be resumed, or the queue is full.
        """
        self._refuse_if_busy()
        training = self.current
        if training is None or not training.resumable:
            raise ValueError("There is no run to resume; start a training.")
        self._queue.join(training)
        training.wait_for_turn(resume=True)
        self.presence.expect()
        return training

    def _refuse_if_busy(self) -> None:
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
        training = next((one for one in self.trainings if one.number == number), None)
        if training is None:
            raise ValueError(f"There is no run {number}.")
        if not training.over:
            raise ValueError(f"Run {number} is not over; stop it first.")
        self.trainings.remove(training)
        shutil.rmtree(training.folder.path, ignore_errors=True)

    def tend(self) -> None:
        """Start the training whose turn it is, end what has to end; to be called often."""
        training = self.current
        if training is None:
            return
        silence = self.presence.silence()
        if not training.over:
            if silence > self._grace:
                training.stop("lost")
            elif training.state == "waiting" and not self._queue.place(training):
                training.start()
        training.keep_time()
        if training.ended:
            self._queue.leave(training)

    def close(self) -> None:
        """End what runs and remove the files."""
        for training in self.trainings:
            training.abandon()
            self._queue.leave(training)
        shutil.rmtree(self.folder, ignore_errors=True)

    # ---- files of its own

    def keep(self, name: str, content: bytes) -> Path:
        """Write a file that the visitor takes away."""
        folder = self.folder / "files"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / name
        path.write_bytes(content)
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
    """

    def __init__(
        self,
        folder: str | os.PathLike[str] | None,
        queue: TrainingQueue,
        grace_seconds: float = 60.0,
    ) -> None:
        self._scratch: ScratchFolder | None = None
        with contextlib.suppress(OSError):  # the training says what is wrong with the folder
            self._scratch = ScratchFolder(Path(folder) if folder else None)
        self._folder = self._scratch.path if self._scratch else Path(folder or "")
        self._queue = queue
        self._grace = grace_seconds
        self._lock = threading.Lock()
        self._sessions: dict[str, TrainSession] = {}
        self._thread: threading.Thread | None = None
        self._closed = threading.Event()

    def welcome(self) -> TrainSession:
        """A session for a new visitor, with a folder of its own."""
        session = TrainSession(self._new_folder(), self._queue, self._grace)
        with self._lock:
            self._sessions[session.token] = session
            if self._thread is None:
                self._thread = threading.Thread(target=self._tend, daemon=True, name="visitors")
                self._thread.start()
        return session

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


def _dispensable(sessions: Sequence[TrainSession]) -> list[TrainSession]:
    """Those that have been idle for too long, or are too many."""
    idle = sorted(
        (session for session in sessions if not session.busy),
        key=lambda session: session.presence.heard,
    )
    oldest = time.monotonic() - KEEP_SECONDS
    stale = sum(session.presence.heard < oldest for session in idle)
    return idle[: max(stale, len(sessions) - MOST_SESSIONS)]

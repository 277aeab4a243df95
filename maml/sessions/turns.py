"""Whose turn it is to train."""

from __future__ import annotations

import threading

from maml.sessions.refusal import Refusal
from maml.sessions.training import Training


class TrainingQueue:
    """So many train at a time; the others wait in order of arrival.

    One client address gets half of the places at most, so that others find one.

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
        self._share = max(1, (at_a_time + longest) // 2)
        self._lock = threading.Lock()
        self._queue: dict[Training, str] = {}

    def join(self, training: Training, address: str = "") -> None:
        """Take a place.

        Args:
            training: that is to be started.
            address: of the client; "" is not counted.

        Raises:
            Refusal: "queue_full", or "address_full" if the address has its share of places.
        """
        with self._lock:
            if len(self._queue) >= self._at_a_time + self._longest:
                raise Refusal("queue_full", waiting=self._longest)
            if address and list(self._queue.values()).count(address) >= self._share:
                raise Refusal("address_full", most=self._share)
            self._queue[training] = address

    def place(self, training: Training) -> int:
        """How many must end before it is this training's turn; 0: now, or it has no place."""
        with self._lock:
            if training not in self._queue:
                return 0
            return max(0, list(self._queue).index(training) - self._at_a_time + 1)

    def leave(self, training: Training) -> None:
        """Give the place up, whether it came to a turn or not."""
        with self._lock:
            self._queue.pop(training, None)

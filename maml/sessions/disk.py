"""How much of the disk the files of trainings may take."""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path

from maml.sessions.refusal import Refusal

MEGABYTE = 1_000_000


class DiskQuota:
    """Bytes in the folders of visitors, as they were last weighed.

    Args:
        each: the most that one visitor's runs may take.
        together: the most that all visitors' runs may take.
    """

    def __init__(self, each: int = 200 * MEGABYTE, together: int = 2000 * MEGABYTE) -> None:
        self.each = each
        self.together = together
        self._lock = threading.Lock()
        self._weights: dict[Path, int] = {}

    @property
    def total(self) -> int:
        """Bytes of all folders."""
        with self._lock:
            return sum(self._weights.values())

    def weigh(self, folder: Path) -> int:
        """Count a folder's bytes anew."""
        nbytes = folder_bytes(folder)
        with self._lock:
            self._weights[folder] = nbytes
        return nbytes

    def forget(self, folder: Path) -> None:
        """A folder has been removed."""
        with self._lock:
            self._weights.pop(folder, None)

    def require_room(self, folder: Path) -> None:
        """Refuse a training that would find no room.

        Raises:
            Refusal: "disk_each" or "disk_together".
        """
        if self.weigh(folder) >= self.each:
            raise Refusal("disk_each", megabytes=f"{self.each / MEGABYTE:g}")
        if self.total >= self.together:
            raise Refusal("disk_together")


def folder_bytes(folder: Path) -> int:
    """Bytes of the files in a folder and below it; files that go meanwhile do not count."""
    total, folders = 0, [os.fspath(folder)]
    while folders:
        with contextlib.suppress(OSError), os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                else:
                    with contextlib.suppress(OSError):
                        total += entry.stat(follow_symlinks=False).st_size
    return total

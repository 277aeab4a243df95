"""A folder that lives as long as the process that made it, even if that is killed."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import IO

if sys.platform != "win32":
    import fcntl

_PREFIX = "maml-sketchpad-"
_OWNER = "owner"

_log = logging.getLogger(__name__)


class ScratchFolder:
    """A new folder; those that dead processes have left beside it are removed.

    Its file `owner` holds the number of the process and is locked by it.  The system drops the lock
    however the process ends, so that a number that is used again misleads nobody.

    Args:
        parent: where the folder is made; None takes the system's folder for temporary files.

    Raises:
        OSError: if it cannot be made.
    """

    def __init__(self, parent: Path | None = None) -> None:
        parent = Path(tempfile.gettempdir()) if parent is None else parent
        parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(parent)
        # Until it is locked another process would take it for a leftover: it gets its name then.
        made = Path(tempfile.mkdtemp(prefix=f".{_PREFIX}", dir=parent))
        self._owner = (made / _OWNER).open("w", encoding="ascii")
        self._owner.write(f"{os.getpid()}\n")
        self._owner.flush()
        _lock(self._owner)
        self.path = made.rename(made.with_name(made.name.removeprefix(".")))

    def remove(self) -> None:
        """Remove the folder and all that is in it."""
        shutil.rmtree(self.path, ignore_errors=True)
        self._owner.close()


def remove_leftovers(parent: Path) -> None:
    """Remove scratch folders whose processes are dead."""
    for folder in parent.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError), (folder / _OWNER).open("r+", encoding="ascii") as owner:
            if _lock(owner):
                _log.info("Removed %s, which a dead process had left.", folder)
                shutil.rmtree(folder, ignore_errors=True)


def _lock(file: IO[str]) -> bool:
    if sys.platform == "win32":
        return False  # there leftovers stay
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True

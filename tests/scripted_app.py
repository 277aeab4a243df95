"""The app with a stand-in for its trainer, and with patience that tests exhaust.

SIGUSR1: every visitor's silence grows, at once, by `LEAP_SECONDS`: who is silent is lost after two
leaps, who speaks in between is not.  SIGUSR2: sessions in which nothing runs are closed, as after
hours.
"""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import replace
from typing import Any

from trainings import SCRIPTED, wait_until

from maml.sessions import process
from maml.sessions.presence import Page, Presence
from maml.sessions.settings import ServerSettings

GRACE_SECONDS = 600.0
LEAP_SECONDS = 0.6 * GRACE_SECONDS
LEAPT = "All visitors have been silent for longer."
"""What the app says of it."""
CLOSED = "Idle sessions have been closed."
"""What it says of that."""
HEARD = "A page says that it is there."
"""What it says of every such word."""


def main() -> None:
    settings = replace(
        ServerSettings.from_environment(), trainer=SCRIPTED, grace_seconds=GRACE_SECONDS
    )
    from maml.demo import build_demo
    from maml.demo.start import serve

    process.NICENESS = 0  # on a busy machine tests would wait for long
    hear = Presence.hear

    def hear_aloud(self: Presence, key: str, watched: bool = True) -> Page:
        page = hear(self, key, watched)
        print(HEARD, flush=True)
        return page

    Presence.hear = hear_aloud  # type: ignore[method-assign]
    demo = build_demo(settings)

    def leap(number: int, frame: Any) -> None:
        assert demo.visitors is not None
        for session in list(demo.visitors._sessions.values()):
            session.presence._silence += LEAP_SECONDS
        print(LEAPT, flush=True)

    def close_idle(number: int, frame: Any) -> None:
        assert demo.visitors is not None
        idle = [one for one in demo.visitors._sessions.values() if not one.busy]
        pages = [page for session in idle for page in list(session.presence._pages.values())]
        # After hours no watch lingers, to put the page back into a session that is closed.
        wait_until(lambda: not any(page.attached for page in pages))
        for session in idle:
            demo.visitors.dismiss(session)
        print(CLOSED, flush=True)

    signal.signal(signal.SIGUSR1, leap)
    signal.signal(signal.SIGUSR2, close_idle)
    serve(demo)
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()

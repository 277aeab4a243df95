"""Work on a thread of its own: Playwright leaves an event loop running in the tests' thread."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")


def apart(work: Callable[..., T], *given: Any) -> T:
    """What the work returns, done with what is given; `asyncio.run` finds no loop there."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(work, *given).result()

"""The kind of each test, and the promise of fast ones: they start no process."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

_STARTS = {"subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.system"}
_LONGEST_FIRST = ("browser", "process", "slow", "fast")
_fast: pytest.Item | None = None
_started: list[str] = []


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what uses the browser or the app, and as fast what has no mark of another kind."""
    for item in items:
        fixtures = getattr(item, "fixturenames", ())
        if "browser" in fixtures:
            item.add_marker(pytest.mark.browser)
        elif "app_url" in fixtures:
            item.add_marker(pytest.mark.process)
        elif not any(map(item.get_closest_marker, ("process", "slow"))):
            item.add_marker(pytest.mark.fast)
    # Long files first: at the end no worker is left alone with one.
    ranks: dict[Path, int] = {}
    for item in items:
        rank = next(k for k, kind in enumerate(_LONGEST_FIRST) if item.get_closest_marker(kind))
        ranks[item.path] = min(rank, ranks.get(item.path, rank))
    items.sort(key=lambda item: ranks[item.path])


def _notice(event: str, given: tuple[Any, ...]) -> None:
    # Records of a training name the commit of the code: git is asked in passing.
    if _fast and event in _STARTS and not (len(given) > 1 and given[1][:1] in (["git"], ("git",))):
        _started.append(f"{event} {given[:2]}")


sys.addaudithook(_notice)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Notice what a fast test starts, its fixtures included."""
    global _fast
    _fast = item if item.get_closest_marker("fast") else None
    _started.clear()
    try:
        return (yield)
    finally:
        _fast = None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Fail a fast test that started a process."""
    result = yield
    if _started:
        pytest.fail(f"A fast test started a process ({_started[0]}): mark it as `process`.")
    return result

"""Few descriptors: the app refuses, says so in a line a minute, and serves again afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import http.client
import logging
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from trainings import Clock, wait_until

from benchmarks.browser import free_port, start_app, stop_app
from maml.demo.descriptors import QuietHandler, are_short

_PROGRAM = """
import runpy, threading, resource, time, urllib.request, os

def shrink():
    address = "http://127.0.0.1:" + os.environ["GRADIO_SERVER_PORT"]
    while True:
        try:
            urllib.request.urlopen(address + "/config")
            break
        except OSError:
            time.sleep(0.2)
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    print("It may open 64 files.", flush=True)

threading.Thread(target=shrink, daemon=True).start()
runpy.run_path("app.py", run_name="__main__")
"""


@pytest.fixture
def app(tmp_path: Path) -> Iterator[tuple[int, Path]]:
    port, log = free_port(), tmp_path / "app.log"
    process = start_app(log, port, ("-c", _PROGRAM))
    wait_until(lambda: "It may open 64 files." in log.read_text())
    yield port, log
    stop_app(process)


def asked(port: int) -> int:
    """The status of a small question; 0 if the app does not accept it."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=3)
    with contextlib.closing(connection):
        try:
            connection.request("POST", "/sketchpad/leave", "x" * 30, {"Connection": "close"})
            return connection.getresponse().status
        except (OSError, http.client.HTTPException):
            return 0


@pytest.mark.slow
def test_with_64_descriptors_the_app_refuses_politely(app: tuple[int, Path]) -> None:
    port, log = app
    assert asked(port) == 204
    before = log.stat().st_size
    idle = []
    statuses: list[int] = []
    for _ in range(70):
        idle.append(socket.create_connection(("127.0.0.1", port), timeout=5))
        if len(idle) % 2 == 0 and (not statuses or statuses[-1] == 204):
            statuses.append(asked(port))
    assert statuses[-1] == 503, statuses
    wait_until(lambda: "No more connections" in log.read_text())
    for _ in range(3):
        asked(port)  # while others wait, which would fill the log
    said = log.read_text()[before:]
    assert said.count("\n") <= 3 and "Traceback" not in said, said[:2000]
    assert "No more connections can be accepted: Too many open files (ulimit -n)." in said
    for connection in idle:
        connection.close()
    wait_until(lambda: asked(port) == 204)


def test_enough_descriptors_are_no_reason_to_refuse() -> None:
    before = len(os.listdir("/proc/self/fd"))
    assert not are_short()
    assert len(os.listdir("/proc/self/fd")) == before


def test_other_faults_of_the_loop_are_logged_as_they_were(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    handler = QuietHandler(clock)
    loop = asyncio.new_event_loop()
    with contextlib.closing(loop), caplog.at_level(logging.WARNING):
        full = {"message": "accept", "exception": OSError(errno.EMFILE, "Too many open files")}
        for seconds in (0, 1, 58, 1):  # a line a minute
            clock.now += seconds
            handler(loop, full)
        assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]
        handler(loop, {"message": "another fault", "exception": ValueError("x")})
    assert "another fault" in caplog.text

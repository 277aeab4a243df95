"""Hostile requests by name, sent to a running app: no 500, no traceback, nobody else waits."""

from __future__ import annotations

import json
import select
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from apps import UNHURRIED, App, running

pytestmark = pytest.mark.process

DEEP = b"[" * 50_000 + b"]" * 50_000
TOKEN = "x" * 30


def post(path: str, body: bytes, kind: str = "application/json") -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\n"
    return (
        head.encode() + f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body
    )


def get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()


def asked(document: object, **more: object) -> bytes:
    return json.dumps({"visitor": TOKEN, "document": document, **more}).encode()


EMPTY = {"version": 1, "symbols": []}
HOSTILE: dict[str, bytes] = {
    "answer: nothing": post("/sketchpad/answer", b""),
    "answer: no UTF-8": post("/sketchpad/answer", b"\xff\xfe\x00"),
    "answer: deep nesting": post("/sketchpad/answer", DEEP),
    "answer: deep document": post(
        "/sketchpad/answer", b'{"visitor":"%s","document":%s}' % (TOKEN.encode(), DEEP)
    ),
    "answer: a number of 5,000 digits": post("/sketchpad/answer", b"9" * 5000),
    "answer: NaN": post("/sketchpad/answer", asked({**EMPTY, "revision": float("nan")})),
    "answer: 1e308": post("/sketchpad/answer", asked({**EMPTY, "query": [[[1e308, 1e308]]]})),
    "answer: __proto__": post("/sketchpad/answer", asked({**EMPTY, "__proto__": {"a": 1}})),
    "answer: another's weights": post("/sketchpad/answer", asked(EMPTY, weights="/etc/passwd")),
    "answer: weights that are a list": post("/sketchpad/answer", asked(EMPTY, weights=[1])),
    "answer: token with a line break": post(
        "/sketchpad/answer", json.dumps({"visitor": "a" * 30 + "\n", "document": EMPTY}).encode()
    ),
    "answer: by GET": get("/sketchpad/answer"),
    "answer: multipart": post("/sketchpad/answer", b"--x\r\n", "multipart/form-data; boundary=x"),
    "export: nothing to export": post("/sketchpad/export", asked(EMPTY)),
    "check: nothing to check": post("/sketchpad/check", asked(EMPTY)),
    "leave: another's token": post("/sketchpad/leave", b"../../" * 10),
    "traversal: file": get("/gradio_api/file=/etc/passwd"),
    "traversal: file, encoded": get("/gradio_api/file=%2e%2e/%2e%2e/etc/passwd"),
    "traversal: static": get("/static/../../../../etc/passwd"),
    "traversal: assets": get("/assets/..%2f..%2f..%2fetc/passwd"),
    "traversal: custom component": get("/gradio_api/custom_component/x/client/component/../../x"),
    "traversal: deep link": get("/?deep_link=../../../etc"),
    "proxy to elsewhere": get("/gradio_api/proxy=http://169.254.169.254/latest"),
    "upload": post("/gradio_api/upload", b"--x\r\n", "multipart/form-data; boundary=x"),
    "another's events": get("/gradio_api/queue/data?session_hash=another"),
    "another's deep link": get("/gradio_api/deep_link?session_hash=another"),
    "run: no such function": post("/gradio_api/run/predict", b'{"data":[],"fn_index":9999}'),
    "run: deep data": post("/gradio_api/run/predict", b'{"data":%s,"fn_index":0}' % DEEP),
    "run: data that is a string": post("/gradio_api/run/predict", b'{"data":"x","fn_index":0}'),
    "join: no session": post("/gradio_api/queue/join", b'{"data":[],"fn_index":0}'),
    "join: odd session": post(
        "/gradio_api/queue/join", b'{"data":[],"fn_index":0,"session_hash":{"a":1}}'
    ),
    "join: no such function": post(
        "/gradio_api/queue/join", b'{"data":[],"fn_index":-1,"session_hash":"s"}'
    ),
    "call: no such endpoint": post("/gradio_api/call/nothing", b'{"data":[]}'),
    "call v2: no such endpoint": post("/gradio_api/call/v2/nothing", b"{}"),
    "call: a result of nobody": get("/gradio_api/call/adapt_and_classify/nobody"),
    "cancel: nobody's event": post(
        "/gradio_api/cancel", b'{"session_hash":"a","fn_index":0,"event_id":"b"}'
    ),
    "component server": post("/gradio_api/component_server", b"{}"),
    "a header of 100 kB": b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 100_000 + b"\r\n\r\n",
    "no HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 20 + b"\r\n\r\n",
    "a length that is no number": b"POST /sketchpad/answer HTTP/1.1\r\nContent-Length: x\r\n\r\n",
    "two lengths": (
        b"POST /sketchpad/answer HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n"
        b"Content-Length: 2\r\n\r\nab"
    ),
}


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """An app behind a proxy: requests without its header come from this machine."""
    with running(tmp_path_factory.mktemp("app"), UNHURRIED, MAML_PROXIES="1") as app:
        yield app


@pytest.fixture
def port(app: App) -> Iterator[int]:
    """Of that app; nothing that is sent to it may leave a traceback in its log."""
    yield app.port
    app.check_log()


def exchange(port: int, request: bytes, seconds: float = 90.0) -> bytes:
    """The first bytes of what the app answers; empty if it hangs up."""
    with socket.create_connection(("127.0.0.1", port), timeout=seconds) as connection:
        try:
            connection.sendall(request)
            return connection.recv(4096)
        except ConnectionError:
            return b""


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_request_is_refused(port: int, name: str) -> None:
    answer = exchange(port, HOSTILE[name])
    head, _, body = answer.partition(b"\r\n\r\n")
    if head:
        status = int(head.split()[1])
        assert status < 500, (status, body[:300])
    assert b"root:" not in answer and b"Traceback" not in answer
    if "token" in name:
        assert TOKEN.encode() not in body


def test_slow_and_idle_connections_keep_nobody_waiting(port: int) -> None:
    with ExitStack() as held:
        slow = [
            held.enter_context(socket.create_connection(("127.0.0.1", port), timeout=90))
            for _ in range(100)
        ]
        for connection in slow:
            connection.sendall(b"POST /sketchpad/answer HTTP/1.1\r\nHost: x\r\nContent-Length: 9")
        for _ in range(5):
            assert exchange(port, post("/sketchpad/answer", asked(EMPTY))).split()[1] == b"200"
        # All of them were there the whole time.
        assert select.select(slow, [], [], 0)[0] == []


def from_address(address: bytes, request: bytes) -> bytes:
    return request.replace(b"Host: x\r\n", b"Host: x\r\nX-Forwarded-For: %s\r\n" % address)


def test_one_address_cannot_flood_the_queue(port: int) -> None:
    statuses = [b"200"]
    while statuses[-1] != b"429":
        body = b'{"data":[null],"fn_index":0,"session_hash":"flood%d"}' % len(statuses)
        request = from_address(b"198.51.100.7", post("/gradio_api/queue/join", body))
        statuses.append(exchange(port, request).split()[1])
        assert len(statuses) < 400
    another = from_address(b"198.51.100.8", post("/gradio_api/queue/join", body))
    assert exchange(port, another).split()[1] == b"200"
    own = from_address(b"198.51.100.7", post("/sketchpad/answer", asked(EMPTY)))
    assert exchange(port, own).split()[1] == b"200"


def test_one_address_cannot_keep_everybody_busy_with_large_bodies(port: int) -> None:
    large = from_address(b"198.51.100.9", post("/sketchpad/answer", b"[" + b" " * 9_800_000))
    statuses = [exchange(port, large).split()[1] for _ in range(5)]
    assert statuses == [b"400"] * 4 + [b"429"]

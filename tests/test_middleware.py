"""What stands between the server and Gradio, with an application of a few lines behind it."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Sequence
from typing import Any

import gradio as gr
import pytest
from apart import apart
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from maml.demo.gate import ENDPOINT, Gate
from maml.demo.page_errors import as_page_errors
from maml.demo.page_head import PageHead
from maml.sessions.refusal import Refusal

PAGE = b'<html><head><meta charset="utf-8" /><title>Gradio</title></head><body>ink</body></html>'


def asked(app: ASGIApp, path: str, body: bytes | None = None) -> list[Message]:
    """What an application sends when it is asked; with a body, by POST."""
    sent: list[Message] = []
    scope: Scope = {
        "type": "http",
        "method": "GET" if body is None else "POST",
        "path": path,
        "query_string": b"",
        "headers": [(b"host", b"localhost")],
        "client": ("127.0.0.1", 1),
        "server": ("localhost", 80),
        "scheme": "http",
        "app": None,
    }

    async def receive() -> Message:
        return {"type": "http.request", "body": body or b"", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    async def ask() -> None:
        await app(scope, receive, send)

    apart(asyncio.run, ask())
    return sent


def sends(parts: Sequence[bytes], fault: Exception | None = None, kind: str = "html") -> ASGIApp:
    """An application that answers in several parts, or fails on the way."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"content-type", f"text/{kind}".encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for number, part in enumerate(parts, 1):
            if fault is not None and number == len(parts):
                raise fault
            more = number < len(parts)
            await send({"type": "http.response.body", "body": part, "more_body": more})

    return app


def test_a_page_that_comes_in_parts_gets_its_head_once() -> None:
    start, body = asked(PageHead(sends([PAGE[:30], PAGE[30:60], PAGE[60:]])), "/")
    text = body["body"].decode()
    assert text.count("<title>") == 2 and text.count('<meta name="description"') == 1
    assert text.endswith("<body>ink</body></html>")
    assert dict(start["headers"])[b"content-length"] == str(len(body["body"])).encode()


@pytest.mark.parametrize(("path", "kind"), [("/config", "html"), ("/", "plain")])
def test_what_is_not_the_page_is_left_alone(path: str, kind: str) -> None:
    sent = asked(PageHead(sends([PAGE], kind=kind)), path)
    assert b"".join(message.get("body", b"") for message in sent) == PAGE


def test_an_answer_that_fails_on_its_way_ends_all_the_same() -> None:
    gate = Gate(sends([b"first part", b"second part"], RuntimeError("Gradio stumbled")))
    *_, first, last = asked(gate, "/gradio_api/queue/data")
    assert first["body"] == b"first part"
    assert (last["body"], last["more_body"]) == (b"", False)


def test_one_that_fails_before_is_refused_in_a_line() -> None:
    async def stumbles(scope: Scope, receive: Receive, send: Send) -> None:
        raise ValueError("what is this?")

    start, body = asked(Gate(stumbles), "/gradio_api/queue/data")
    assert start["status"] == 400 and b"not_understood" in body["body"]


@pytest.mark.parametrize(("beyond", "status"), [(0, 200), (1, 413)])
def test_a_body_may_be_as_large_as_its_limit(beyond: int, status: int) -> None:
    got: list[int] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        got.append(len((await receive())["body"]))
        await Response()(scope, receive, send)

    body = b" " * (ENDPOINT.size + beyond)
    start, *_ = asked(Gate(app), "/gradio_api/queue/join", body)
    assert start["status"] == status
    assert got == ([len(body)] if status == 200 else [])


def test_the_page_shows_what_was_refused_in_its_language() -> None:
    faults: list[Exception] = [
        Refusal("endpoint_busy"),
        ValueError("ways must be positive; got 0"),
        OSError(errno.ENOSPC, "No space left on device"),
    ]
    said: list[Any] = []
    for fault in faults:
        with pytest.raises(gr.Error) as shown, as_page_errors():
            raise fault
        said.append(shown.value.message)
    with pytest.raises(gr.Error) as shown, as_page_errors("zh"):
        raise faults[0]
    assert shown.value.message != said[0] and said[0].isascii()
    assert said[1:] == ["ways must be positive; got 0", "[Errno 28] No space left on device"]
    with pytest.raises(KeyError), as_page_errors():
        raise KeyError("a fault of our own")

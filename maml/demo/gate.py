"""What may reach the app: bodies are measured while they are read, before anything parses them.

Gradio's own routes read a body of any size, and take 2 microseconds for each value in it on the one
thread that serves everybody.  Routes of Gradio that this app has no use for are closed.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from dataclasses import dataclass
from urllib.parse import parse_qs

from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from maml.demo.descriptors import are_short
from maml.demo.rates import RateLimit, address_of, is_loopback
from maml.sessions.document import LARGEST_TEXT

_log = logging.getLogger(__name__)

CLOSED = (
    "upload",
    "upload_progress",
    "deep_link",
    "component_server",
    "process_recording",
    "vibe-edit",
    "undo-vibe-edit",
    "vibe-code",
    "vibe-starter-queries",
    "proxy=",
    "stream/",
    "run-history/",
    "runs",
    "mcp/sse",
    "mcp/messages/",
)
"""Routes of Gradio, below `/gradio_api/`, that are not served."""

_CALLS = ("queue/", "run/", "api/", "call/", "mcp")
_RUN = ("/gradio_api/run/", "/gradio_api/api/")
_READING_SECONDS = 60.0
"""A body that takes longer to arrive is given up."""
_READING_BYTES = 128_000_000
"""All bodies that are being read or answered at a time."""
_READ_ON = 5
"""How many times its limit of a refused body is read and thrown away."""


@dataclass(frozen=True)
class BodyLimit:
    """How much a request may bring.

    Args:
        size: bytes.
        values: brackets, braces and commas; None for any number.
    """

    size: int
    values: int | None = None


QUESTION = BodyLimit(LARGEST_TEXT + 1_000)
"""For the Draw tab's routes: the largest document, a token and a key."""
ENDPOINT = BodyLimit(4_000_000, 250_000)
"""For Gradio's events and `adapt_and_classify`, which agents call by `mcp`."""
OTHER = BodyLimit(10_000)


class Gate:
    """ASGI middleware.

    Args:
        app: what stands behind it.
        proxies: how many proxies stand in front of the app.
    """

    def __init__(self, app: ASGIApp, proxies: int = 0) -> None:
        self._app = app
        self._proxies = proxies
        self._held = 0
        # A school class behind one address stays far below these.
        self._events = RateLimit(burst=150, per_second=10)
        self._signs = RateLimit(burst=600, per_second=200)
        self._bytes = RateLimit(burst=40_000_000, per_second=1_000_000)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await Response(status_code=404)(scope, receive, send)
        elif scope["type"] != "http":
            await self._app(scope, receive, send)
        elif are_short():
            await _refusal(503, {"code": "busy"})(scope, receive, send)
        elif is_closed(scope):
            await _refusal(404, {"code": "closed"})(scope, receive, send)
        elif scope["method"] in ("GET", "HEAD", "OPTIONS"):
            await self._pass(scope, receive, send)
        elif not self._allows(scope):
            await _refusal(429, {"code": "busy"})(scope, receive, send)
        else:
            await self._with_body(scope, receive, send)

    def _allows(self, scope: Scope) -> bool:
        """Whether an address may ask Gradio's routes once more."""
        address = address_of(scope, self._proxies)
        if is_loopback(address) or not scope["path"].startswith("/gradio_api/"):
            return True
        # Events that join the queue take a place among its messages, agents' calls take time.
        counted = tuple(f"/gradio_api/{one}" for one in ("queue/", "call/", "mcp"))
        joins = scope["path"].startswith(counted)
        return (self._events if joins else self._signs).allows(address)

    def _allows_bytes(self, scope: Scope, size: int) -> bool:
        address = address_of(scope, self._proxies)
        return is_loopback(address) or self._bytes.allows(address, size)

    async def _pass(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand a request on; what Gradio's routes cannot make sense of is refused in one line."""
        if not scope["path"].startswith("/gradio_api/"):
            await self._app(scope, receive, send)
            return
        started = False

        async def noting(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                # So Gradio answers whatever a function refuses; its faults are in the log.
                if message["status"] == 500 and scope["path"].startswith(_RUN):
                    message["status"] = 400
            await send(message)

        try:
            await self._app(scope, receive, noting)
        except Exception as error:
            _log.warning("Refused %s %s: %r", scope["method"], scope["path"][:80], error)
            if started:
                with contextlib.suppress(OSError):
                    await send({"type": "http.response.body", "body": b"", "more_body": False})
            else:
                await _refusal(400, {"code": "not_understood"})(scope, receive, send)

    async def _with_body(self, scope: Scope, receive: Receive, send: Send) -> None:
        limit = limit_for(scope["path"])
        body = bytearray()
        try:
            async with asyncio.timeout(_READING_SECONDS):
                refusal = await self._read(limit, receive, body)
            if refusal is None and limit.values is not None and _values(body) > limit.values:
                refusal = _refusal(413, {"code": "too_many_values", "most": limit.values})
            if not self._allows_bytes(scope, len(body)):
                refusal = _refusal(429, {"code": "busy"})
            answering = self._pass if refusal is None else refusal
            await answering(scope, _replay(bytes(body), receive), send)
        except TimeoutError:
            await _refusal(408, {"code": "too_slow"})(scope, receive, send)
        except ClientDisconnect:
            pass
        finally:
            self._held -= len(body)

    async def _read(self, limit: BodyLimit, receive: Receive, body: bytearray) -> Response | None:
        """Read a body, or say why not."""
        read = 0
        refusal = None
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            part = message.get("body", b"")
            more = message.get("more_body", False)
            read += len(part)
            if read > limit.size:
                refusal = _refusal(413, {"code": "body_too_large", "most": limit.size})
            elif self._held + len(part) > _READING_BYTES:
                refusal = _refusal(503, {"code": "busy"})
            # Who is cut off while sending may not see the refusal: a little more is read for that.
            if refusal is not None and read > _READ_ON * limit.size:
                break
            if refusal is None:
                self._held += len(part)
                body += part
        return refusal


def is_closed(scope: Scope) -> bool:
    """Whether a request is for a route that this app does not serve."""
    path = scope["path"].removeprefix("/gradio_api/")
    if scope["path"].startswith("/monitoring") or path.startswith("dev/"):
        return True
    # The page itself would open a kept session of the name that stands there.
    if b"deep_link" in scope["query_string"] and "deep_link" in parse_qs(
        scope["query_string"].decode("latin-1"), keep_blank_values=True
    ):
        return True
    return path != scope["path"] and any(
        path.rstrip("/") == one if one[-1] not in "=/" else path.startswith(one) for one in CLOSED
    )


def limit_for(path: str) -> BodyLimit:
    """What a request to a path may bring."""
    if path.startswith("/sketchpad/"):
        return OTHER if path.endswith("/leave") else QUESTION
    if path.startswith(tuple(f"/gradio_api/{one}" for one in _CALLS)):
        return ENDPOINT
    return OTHER


def _values(body: bytes | bytearray) -> int:
    return body.count(b"[") + body.count(b"{") + body.count(b",")


def _replay(body: bytes, receive: Receive) -> Receive:
    """Gives the app the body that was read, and then what else comes."""
    given = False

    async def replay() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay


def _refusal(status: int, record: dict[str, object]) -> Response:
    headers = {"Retry-After": "1"} if status in (429, 503) else {}
    # What is left of the body is not read: the connection cannot be used again.
    headers["Connection"] = "close"
    return Response(json.dumps({"problems": [record]}), status, headers, "application/json")

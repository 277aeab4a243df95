"""Checks for mix-ups: so many at a time, from the moment they are let in until they are over."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from apart import apart
from drawings import CROSS, ROUND, TILTED, document, untrained_network
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect

from maml.demo import service as module
from maml.demo.service import DrawService
from maml.sessions.memory import OfferedWeights

SYMBOLS = [
    {"id": 1, "name": "Round", "examples": [{"strokes": ROUND}, {"strokes": ROUND}]},
    {"id": 2, "name": "Cross", "examples": [{"strokes": CROSS}, {"strokes": TILTED}]},
]
BODY = json.dumps({"visitor": "x" * 30, "document": document(symbols=SYMBOLS)}).encode()


class Page:
    """A page that asks for a check and takes the answer when it is let; played here, since no
    connection can be cut at a chosen line.

    Args:
        leaves: whether it is gone when the answer begins.
    """

    def __init__(self, leaves: bool = False) -> None:
        self.leaves = leaves
        self.status = 0
        self.told = b""
        self.answered = asyncio.Event()
        self.listens = asyncio.Event()

    async def check(self, app: Starlette) -> None:
        scope = {
            "type": "http",
            "method": "POST",
            "path": "/sketchpad/check",
            "headers": [],
            "query_string": b"",
            "asgi": {"spec_version": "2.4"},
        }
        await app(scope, self._receive, self._send)

    async def _receive(self) -> dict[str, Any]:
        return {"type": "http.request", "body": BODY}

    async def _send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.answered.set()
            if self.leaves:
                raise OSError("gone")
            await self.listens.wait()
        self.told += message.get("body", b"")


@pytest.fixture
def app() -> Iterator[Starlette]:
    """The Draw tab's routes, with an untrained network."""
    model = untrained_network()
    service = DrawService(lambda path: model, OfferedWeights())
    yield Starlette(routes=service.routes())
    service.close()


def test_pages_that_ask_at_once_are_let_in_up_to_the_limit(app: Starlette) -> None:
    async def ask() -> None:
        pages = [Page() for _ in range(module._CHECKS + 1)]
        checks = [asyncio.create_task(page.check(app)) for page in pages]
        for page in pages:
            await page.answered.wait()  # nothing has been sent yet
            page.listens.set()
        await asyncio.gather(*checks)
        statuses = sorted(page.status for page in pages)
        assert statuses == [200] * module._CHECKS + [503]
        for page in pages:
            last = json.loads(page.told.splitlines()[-1])
            assert (last["done"] == 4) if page.status == 200 else last["problems"]
        # Each that is over makes room.
        for _ in range(module._CHECKS + 1):
            page = Page()
            page.listens.set()
            await page.check(app)
            assert page.status == 200

    apart(asyncio.run, ask())


def test_a_page_that_leaves_before_the_first_line_makes_room(app: Starlette) -> None:
    async def ask() -> None:
        for _ in range(module._CHECKS + 1):
            page = Page(leaves=True)
            with pytest.raises(ClientDisconnect):
                await page.check(app)
            assert page.status == 200

    apart(asyncio.run, ask())

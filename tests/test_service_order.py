"""The Draw tab's routes: who is let in, and who waits for whom.  Pages are played here, without a
server: each takes its turn when the test lets it."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from apart import apart
from drawings import CROSS, ROUND, TILTED, document, picture, untrained_network
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect

from maml.demo import service as module
from maml.demo.service import DrawService
from maml.sessions.document import Drawing
from maml.sessions.memory import OfferedWeights

SYMBOLS = [
    {"id": 1, "name": "Round", "examples": [{"strokes": ROUND}, {"strokes": ROUND}]},
    {"id": 2, "name": "Cross", "examples": [{"strokes": CROSS}, {"strokes": TILTED}]},
]


class Page:
    """A page that asks once and takes the answer when it is let.

    Args:
        name: of its visitor.
        symbols: of its document.
        leaves: whether it is gone when the answer begins.
    """

    def __init__(
        self, name: str = "x", symbols: Sequence[Any] = SYMBOLS, leaves: bool = False
    ) -> None:
        asked = {"visitor": name.ljust(30, "-"), "document": document(symbols=symbols)}
        self.body = json.dumps(asked).encode()
        self.leaves = leaves
        self.status = 0
        self.told = b""
        self.answered = asyncio.Event()
        self.listens = asyncio.Event()

    async def ask(self, app: Starlette, route: str) -> None:
        scope = {
            "type": "http",
            "method": "POST",
            "path": f"/sketchpad/{route}",
            "headers": [],
            "query_string": b"",
            "asgi": {"spec_version": "2.4"},
        }
        await app(scope, self._receive, self._send)

    async def _receive(self) -> dict[str, Any]:
        return {"type": "http.request", "body": self.body}

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
        checks = [asyncio.create_task(page.ask(app, "check")) for page in pages]
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
            await page.ask(app, "check")
            assert page.status == 200

    apart(asyncio.run, ask())


def test_a_page_that_leaves_before_the_first_line_makes_room(app: Starlette) -> None:
    async def ask() -> None:
        for _ in range(module._CHECKS + 1):
            page = Page(leaves=True)
            with pytest.raises(ClientDisconnect):
                await page.ask(app, "check")
            assert page.status == 200

    apart(asyncio.run, ask())


def test_others_draw_on_while_somebodys_pictures_are_read(
    app: Starlette, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading, go_on = threading.Event(), threading.Event()
    real = Drawing.ink

    def slow_ink(drawing: Drawing, framing: Any) -> Any:
        if drawing.picture is not None:
            reading.set()
            go_on.wait(30)
        return real(drawing, framing)

    monkeypatch.setattr(Drawing, "ink", slow_ink)
    large = [{"picture": picture(side=300, pen=5 + k)} for k in range(20)]
    many = [{**SYMBOLS[0], "examples": large}, {**SYMBOLS[1], "examples": large}]

    async def ask() -> None:
        slow, quick = Page("slow", many), Page("quick")
        assert len(slow.body) > module._SMALL_QUESTION > len(quick.body)
        under_way = asyncio.create_task(slow.ask(app, "answer"))
        assert await asyncio.to_thread(reading.wait, 30)
        quick.listens.set()
        slow.listens.set()
        try:
            await quick.ask(app, "answer")
            assert quick.status == 200 and json.loads(quick.told)["winner"] and not slow.status
        finally:
            go_on.set()
        await under_way
        assert slow.status == 200

    apart(asyncio.run, ask())

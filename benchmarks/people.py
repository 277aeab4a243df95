"""People who draw as the page lets them, without a browser: one question at a time each."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import time
from typing import Any

import numpy as np

WAYS, SHOTS = 5, 3
_PATIENCE = 30.0


class Connection:
    """HTTP/1.1 on one socket that is kept open."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def post(self, path: str, body: bytes) -> tuple[int, bytes]:
        """The status and the body of the response."""
        if self._writer is not None:
            try:
                return await self._post(path, body)
            except (OSError, asyncio.IncompleteReadError):
                self.close()  # The server closes connections that rest; a browser opens another.
        return await self._post(path, body)

    async def _post(self, path: str, body: bytes) -> tuple[int, bytes]:
        if self._writer is None:
            self._reader, self._writer = await asyncio.open_connection(self._host, self._port)
        assert self._reader is not None
        head = (
            f"POST {path} HTTP/1.1\r\nHost: {self._host}:{self._port}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        self._writer.write(head.encode() + body)
        answer = await self._reader.readuntil(b"\r\n\r\n")
        lines = answer.decode("latin-1").split("\r\n")
        headers = {
            name.lower(): value.strip()
            for name, _, value in (line.partition(":") for line in lines[1:])
        }
        content = await self._reader.readexactly(int(headers.get("content-length", "0")))
        if headers.get("connection") == "close":
            self.close()
        return int(lines[0].split()[1]), content

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
        self._reader = self._writer = None


class Person:
    """Draws on a page of its own.

    Args:
        host, port: of the server.
        seed: of what is drawn.
    """

    def __init__(self, host: str, port: int, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        self._connection = Connection(host, port)
        self._token = secrets.token_urlsafe(24)
        self._revision = 0
        self._numbers = 0
        self._known: set[int] = set()
        self._shapes = [self._shape() for _ in range(WAYS)]
        self._symbols: list[dict[str, Any]] = [
            {"id": way + 1, "name": f"symbol {way}", "examples": []} for way in range(WAYS)
        ]
        for way in range(WAYS):
            for _ in range(SHOTS):
                self.teach(way)
        self._query: list[list[list[int]]] = []
        self.times: list[float] = []
        self.refused = 0
        self.failed = 0

    def _shape(self) -> list[np.ndarray]:
        strokes = []
        for _ in range(int(self._rng.integers(2, 5))):
            ends = self._rng.uniform(120, 880, (3, 2))
            share = np.linspace(0, 1, 14)[:, None]
            strokes.append(
                (1 - share) ** 2 * ends[0] + 2 * share * (1 - share) * ends[1] + share**2 * ends[2]
            )
        return strokes

    def drawing(self, way: int) -> list[list[list[int]]]:
        """A drawing of a symbol, by a shaky hand."""
        drawn = [stroke + self._rng.normal(0, 18, stroke.shape) for stroke in self._shapes[way]]
        return [np.clip(np.rint(stroke), 0, 1000).astype(int).tolist() for stroke in drawn]

    def teach(self, way: int) -> None:
        """Draw one more example; of twenty the first one goes."""
        self._numbers += 1
        examples: list[dict[str, Any]] = self._symbols[way]["examples"]
        examples.append({"id": self._numbers, "strokes": self.drawing(way)})
        del examples[:-20]

    def draw(self) -> None:
        """One more stroke, or the first of a new drawing."""
        if len(self._query) >= 4:
            self._query = []
        self._query = [*self._query, self.drawing(int(self._rng.integers(WAYS)))[0]]

    def rename(self, way: int, name: str) -> None:
        """Give a symbol another name."""
        self._symbols[way]["name"] = name

    def question(self) -> bytes:
        """What the page sends."""
        symbols = [
            {
                **symbol,
                "examples": [
                    {"same": one["id"]} if one["id"] in self._known else one
                    for one in symbol["examples"]
                ],
            }
            for symbol in self._symbols
        ]
        document = {
            "version": 1,
            "revision": self._revision,
            "language": "en",
            "steps": None,
            "symbols": symbols,
            "query": self._query,
            "unseen": [],
        }
        return json.dumps({"visitor": self._token, "weights": None, "document": document}).encode()

    async def ask(self) -> None:
        """Ask until there is an answer, as the page does, and note how long that took."""
        self._revision += 1
        began = time.perf_counter()
        wait = 0.3
        while time.perf_counter() - began < _PATIENCE:
            try:
                status, body = await self._connection.post("/sketchpad/answer", self.question())
            except (OSError, asyncio.IncompleteReadError):
                self._connection.close()
                self.failed += 1
                await asyncio.sleep(wait)
                continue
            if status == 200:
                if not json.loads(body)["waiting"]:
                    self._known = {
                        one["id"] for symbol in self._symbols for one in symbol["examples"]
                    }
                self.times.append(time.perf_counter() - began)
                return
            if status == 409:
                self._known.clear()
                continue
            if status not in (429, 503):
                raise RuntimeError(f"status {status}: {body[:200]!r}")
            self.refused += 1
            await asyncio.sleep(wait)
            wait = min(5.0, 2 * wait)
        self.failed += 1

    async def draw_for(self, seconds: float, pause: float) -> None:
        """A stroke every `pause` seconds, and with every twelfth one a new example; people begin to
        count at different numbers."""
        ends = time.perf_counter() + seconds
        await asyncio.sleep(float(self._rng.uniform(0, max(pause, 0.01))))
        strokes = int(self._rng.integers(12))
        while (began := time.perf_counter()) < ends:
            strokes += 1
            self.draw()
            if strokes % 12 == 0:
                self.teach(int(self._rng.integers(WAYS)))
            await self.ask()
            spent = time.perf_counter() - began
            await asyncio.sleep(max(0.0, pause * float(self._rng.uniform(0.7, 1.3)) - spent))

    def close(self) -> None:
        """Hang up without a word."""
        self._connection.close()

    async def leave(self) -> None:
        """Close the page."""
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await self._connection.post("/sketchpad/leave", self._token.encode())
        self._connection.close()

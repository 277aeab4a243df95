"""Everything at once for a while: ``python -m benchmarks.soak [SECONDS]``.

Pages come, draw, teach, export, check, train and leave; in the end everybody has left.  Prints what
the server holds before, after a first round and after the last one, and fails if descriptors,
threads, processes or files are more than after the first round, memory is 60 MB more, or the log
holds a traceback.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import tempfile
import time
from pathlib import Path

from benchmarks.browser import free_port, start_app, stop_app
from benchmarks.census import Census, census
from benchmarks.people import Person
from benchmarks.trainer import Page
from benchmarks.verdict import end_with

PEOPLE = 8
_ROUND_SECONDS = 60.0
_SETTLE_SECONDS = 40.0
_MORE_MEMORY = 60_000_000
_FILES = 1_000_000


class Soak:
    """One round of work after the other.

    Args:
        port: of the app.
        seed: of what everybody does.
    """

    def __init__(self, port: int, seed: int = 1) -> None:
        self._port = port
        self._rng = random.Random(seed)
        self._numbers = 0
        self.done: dict[str, int] = {"pages": 0, "answers": 0, "exports": 0, "checks": 0, "runs": 0}

    async def round(self, seconds: float) -> None:
        """Everybody comes, works and leaves."""
        ends = time.monotonic() + seconds
        await asyncio.gather(
            *(self._visit_until(ends) for _ in range(PEOPLE)), self._train_until(ends)
        )

    async def pages(self, count: int) -> None:
        """So many pages one after the other, a few at a time."""
        left = [count]

        async def visit() -> None:
            while left[0] > 0:
                left[0] -= 1
                await self._visit(time.monotonic() + 60, pause=0.0, always_leave=True)

        await asyncio.gather(*(visit() for _ in range(4)))

    async def _visit_until(self, ends: float) -> None:
        while time.monotonic() < ends:
            await self._visit(ends)

    async def _visit(self, ends: float, pause: float = 0.6, always_leave: bool = False) -> None:
        self._numbers += 1
        person = Person("127.0.0.1", self._port, self._numbers)
        self.done["pages"] += 1
        for _ in range(self._rng.randrange(3, 15)):
            if time.monotonic() > ends:
                break
            person.draw()
            if self._rng.random() < 0.2:
                person.teach(self._rng.randrange(3))
            await person.ask()
            self.done["answers"] += 1
            kind = self._rng.random()
            if kind < 0.15:
                await self._other(person, "export")
            elif kind < 0.25:
                await self._other(person, "check")
            await asyncio.sleep(self._rng.uniform(0, pause))
        if always_leave or self._rng.random() < 0.8:  # others close the browser without a word
            await person.leave()
        person.close()

    async def _other(self, person: Person, route: str) -> None:
        """An export or a check of what is drawn, on a connection of its own."""
        question = json.loads(person.question())
        for symbol in question["document"]["symbols"]:
            sent = [one for one in symbol["examples"] if "strokes" in one]
            symbol["examples"] = sent or [{"strokes": person.drawing(0)}]
        body = json.dumps(question).encode()
        head = f"POST /sketchpad/{route} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        with contextlib.suppress(OSError):
            reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
            writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            answer = await reader.read()
            status = int(answer.split(b" ", 2)[1])
            assert status in (200, 503), answer[:300]
            self.done[f"{route}s"] += status == 200
            writer.close()

    async def _train_until(self, ends: float) -> None:
        while time.monotonic() < ends:
            self._numbers += 1
            await asyncio.to_thread(self._train, ends)

    def _train(self, ends: float) -> None:
        page = Page(f"http://127.0.0.1:{self._port}", f"soak-{self._numbers}")
        page.start(iterations=1000, epoch=1000)
        stops = min(ends, time.monotonic() + self._rng.uniform(5, 20))
        while time.monotonic() < stops:
            page.speak()
            time.sleep(0.5)
        page.press("Stop training")
        deadline = time.monotonic() + 20
        while "stopped" not in page.states and time.monotonic() < deadline:
            page.speak()
            time.sleep(0.3)
        page.cut()
        self.done["runs"] += 1


def run(seconds: float, round_seconds: float = _ROUND_SECONDS) -> tuple[str, list[str]]:
    """What happened and what the server held, and what went wrong."""
    port = free_port()
    with tempfile.TemporaryDirectory() as name:
        log = Path(name) / "app.log"
        app = start_app(log, port)
        counted: list[Census] = [census(app.pid)]
        soak = Soak(port)
        try:
            ends = time.monotonic() + seconds
            while len(counted) < 3 or time.monotonic() < ends:
                asyncio.run(soak.round(round_seconds))
                time.sleep(min(_SETTLE_SECONDS, round_seconds))  # the janitor has come by
                counted.append(census(app.pid))
        finally:
            stop_app(app)
        text = log.read_text()
    first, last = counted[1], counted[-1]
    wrong = []
    # The thread pools fill up to their sizes in the course of time.
    for what, more in (("descriptors", 20), ("threads", 40), ("children", 0)):
        if getattr(last, what) > getattr(first, what) + more:
            wrong.append(f"{what}: {getattr(first, what)} -> {getattr(last, what)}")
    if last.memory > first.memory + _MORE_MEMORY:
        wrong.append(f"memory: {first.memory / 1e6:.0f} -> {last.memory / 1e6:.0f} MB")
    if last.files > first.files + _FILES * soak.done["runs"]:
        wrong.append(f"files: {first.files / 1e6:.1f} -> {last.files / 1e6:.1f} MB")
    if "Traceback" in text:
        wrong.append("a traceback: " + text[text.index("Traceback") :][-1500:])
    lines = [", ".join(f"{count} {what}" for what, count in soak.done.items())]
    lines += [f"before: {counted[0]}"]
    lines += [f"after round {k}: {one}" for k, one in enumerate(counted[1:], 1)]
    return "\n".join(lines), wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("seconds", nargs="?", type=float, default=600.0)
    summary, wrong = run(parser.parse_args().seconds)
    print(summary)
    end_with(wrong)


if __name__ == "__main__":
    main()

"""The Draw tab's questions and answers: JSON over HTTP, beside Gradio's own routes.

Gradio keeps a copy of a component for every update, opens a stream of messages for every queued
event and validates every value several times.  A question is asked at every stroke, so it goes past
all that: the page posts its document, the answer is the response.

| route | body | response |
|---|---|---|
| POST /sketchpad/answer | question | the answer; 204 if a newer question has come since |
| POST /sketchpad/check | question | one JSON record a line, as the check goes on |
| POST /sketchpad/compare | question | the answers from three starting points |
| POST /sketchpad/export | question | a zip file |
| POST /sketchpad/leave | the visitor's token | 204; the page is being closed |

A question is ``{"visitor": token, "weights": key or null, "document": {...}}``.  The page makes the
token up when it opens.  A drawing that has an ``"id"``, a number of the page's own, is remembered;
``{"same": id}`` stands for it from then on, so that a stroke does not send everything again.  What
is refused has ``{"problems": [{"code": ...}]}``, with the status 400 (unsound), 409 (a drawing is
forgotten: send all of them whole), 413 (too large) or 503 (too much to do: ask again).
"""

from __future__ import annotations

import asyncio
import json
import logging
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from maml.model import MetaNetwork
from maml.sessions.answers import LoadModel, answer
from maml.sessions.document import Document, Drawing, ForgottenDrawing, parse_document, parse_text
from maml.sessions.draw_session import DrawSession, InkBudget, see_together
from maml.sessions.export import pack_learner
from maml.sessions.memory import OfferedWeights, Visitor, VisitorMemory, is_token
from maml.sessions.mixups import find_mixups
from maml.sessions.refusal import Refusal
from maml.sessions.starts import StartingPoint, compare_starts, starting_points

_log = logging.getLogger(__name__)

_PATIENCE_SECONDS = 2.0
"""A question that has not been begun by then is refused: its page asks again."""
_SMALL_QUESTION = 65_536
"""Bytes of a question that is read among the quick ones."""
_NEW_DRAWINGS = 2
"""So few of a question are embedded along with those of others; a stroke makes one new drawing."""
_SLOW_WORKERS = 2
_TOGETHER = 16
"""Most questions that are answered together: with more, the first one would wait too long."""
_CHECKS = 2
"""Checks under way at a time."""
_QUESTION_INK = InkBudget(pictures=20, seconds=0.5)
_CHECK_INK = InkBudget(pictures=50, seconds=3.0)
"""Most of the ink has been made for the page's questions before."""

T = TypeVar("T")


class Busy(Exception):
    """There is too much to do to begin with this in time."""


class Overtaken(Exception):
    """The page has asked a newer question since."""


@dataclass(frozen=True)
class _Asked:
    """A question that waits for its answer.

    Args:
        body: what the page sent.
        deadline: `time.monotonic` by which it must have been begun.
        news: becomes the answer.
    """

    body: bytes
    deadline: float
    news: Future[dict[str, Any]] = field(default_factory=Future)

    @contextmanager
    def failing(self) -> Iterator[None]:
        """What is raised within becomes the answer."""
        try:
            yield
        except Exception as error:
            self.news.set_exception(error)


@dataclass(frozen=True)
class _Turn:
    """The lock on arithmetic, for a question that is worth an answer while it is the newest."""

    lock: threading.Lock
    visitor: Visitor
    revision: int
    deadline: float

    def __enter__(self) -> None:
        if not self.lock.acquire(timeout=max(0.0, self.deadline - time.monotonic())):
            raise Busy
        if self.revision < self.visitor.newest:
            self.lock.release()
            raise Overtaken

    def __exit__(self, *raised: object) -> None:
        self.lock.release()


class _Lines(StreamingResponse):
    """Lines of JSON, sent as they come.

    Args:
        lines: each ends with a line feed.
        over: called in the end, also if the page went away before the first line.
    """

    def __init__(self, lines: AsyncIterator[bytes], over: Callable[[], None]) -> None:
        headers = {"X-Accel-Buffering": "no"}
        super().__init__(lines, media_type="application/x-ndjson", headers=headers)
        self._over = over

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._over()


class DrawService:
    """Answers the pages' questions.

    Args:
        load_model: gives the network; called with the path of a checkpoint, or None for the app's.
        weights: those that were offered to pages.
        memory: of visitors.
        load_starts: gives the starting points that the page compares.
    """

    def __init__(
        self,
        load_model: LoadModel,
        weights: OfferedWeights,
        memory: VisitorMemory | None = None,
        load_starts: Callable[[], Sequence[StartingPoint]] = starting_points,
    ) -> None:
        self.memory = VisitorMemory() if memory is None else memory
        self._load_model = load_model
        self._weights = weights
        self._load_starts = load_starts
        # Small questions have a thread of their own, so that they never wait for large ones.  One:
        # two would only hand Python's lock to and fro.
        self._quick = ThreadPoolExecutor(1, "maml-answer")
        self._asked: deque[_Asked] = deque()
        self._slow = ThreadPoolExecutor(_SLOW_WORKERS, "maml-slow")
        self._one_at_a_time = threading.Lock()
        self._checks = 0

    @property
    def arithmetic(self) -> threading.Lock:
        """Held while anybody adapts or predicts."""
        return self._one_at_a_time

    def routes(self) -> list[Route]:
        """The routes, for Gradio's app."""
        handlers = {
            "answer": self._answer,
            "check": self._check,
            "compare": self._compare,
            "export": self._export,
            "leave": self._leave,
        }
        return [
            Route(f"/sketchpad/{name}", _refusing(handler), methods=["POST"])
            for name, handler in handlers.items()
        ]

    def close(self) -> None:
        """Begin nothing any more, and do not wait for what is under way."""
        for pool in (self._quick, self._slow):
            pool.shutdown(wait=False, cancel_futures=True)
        for asked in self._asked:
            asked.news.cancel()

    # ---- what is asked ---------------------------------------------------------------------------

    async def _answer(self, request: Request) -> Response:
        body = await request.body()
        asked = _Asked(body, time.monotonic() + _PATIENCE_SECONDS)
        if len(body) <= _SMALL_QUESTION:
            self._asked.append(asked)
            self._quick.submit(self._answer_next)
        else:
            self._slow.submit(self._answer_together, [asked])
        try:
            news = await asyncio.wrap_future(asked.news)
        except Overtaken:
            return Response(status_code=204)
        return _json(news)

    def _answer_next(self) -> None:
        """Answer the small questions that wait, the oldest ones first."""
        self._answer_together(
            [self._asked.popleft() for _ in range(min(_TOGETHER, len(self._asked)))]
        )

    def _answer_together(self, waiting: list[_Asked]) -> None:
        """Answer several pages; what they have newly drawn is embedded in one pass."""
        begun = [asked for asked in waiting if asked.news.set_running_or_notify_cancel()]
        read = []
        drawn = []
        for asked in begun:
            with asked.failing():
                if time.monotonic() > asked.deadline:
                    raise Busy
                visitor, document, model = self._read(asked.body)
                visitor.newest = max(visitor.newest, document.revision)
                read.append((asked, visitor, document, model))
                unseen = visitor.session.unseen(model, document.drawings)
                for drawing in unseen if len(unseen) <= _NEW_DRAWINGS else ():
                    with suppress(Refusal):  # of a picture without ink: `answer` says so
                        visitor.session.ink(model, drawing)
                        drawn.append((visitor, document.revision, drawing, model))
        new: dict[MetaNetwork, list[tuple[DrawSession, Drawing]]] = {}
        for visitor, revision, drawing, model in drawn:
            if revision >= visitor.newest:
                new.setdefault(model, []).append((visitor.session, drawing))
        for model, drawings in new.items():
            if len(drawings) > 1:
                with self._one_at_a_time:
                    see_together(model, drawings)
        for asked, visitor, document, model in read:
            with asked.failing():
                turn = _Turn(self._one_at_a_time, visitor, document.revision, asked.deadline)
                news = answer(
                    document, visitor.session, model, budget=_QUESTION_INK, arithmetic=turn
                )
                self.memory.weigh(visitor)
                asked.news.set_result(news)

    async def _check(self, request: Request) -> Response:
        body = await request.body()
        deadline = time.monotonic() + _PATIENCE_SECONDS
        visitor, document, model = await self._run(self._slow, deadline, self._read, body)
        if self._checks >= _CHECKS:
            raise Busy
        self._checks += 1  # admitted: nothing may be awaited between the question and this
        records = find_mixups(
            document,
            visitor.session,
            model,
            budget=_CHECK_INK,
            arithmetic=self._one_at_a_time,
        )

        async def lines() -> AsyncIterator[bytes]:
            loop = asyncio.get_running_loop()
            while record := await loop.run_in_executor(self._slow, _next, records):
                yield _text({"revision": document.revision, **record}) + b"\n"

        return _Lines(lines(), self._check_is_over)

    def _check_is_over(self) -> None:
        self._checks -= 1

    async def _compare(self, request: Request) -> Response:
        body = await request.body()
        deadline = time.monotonic() + _PATIENCE_SECONDS
        return _json(await self._run(self._slow, deadline, self._compare_now, body))

    def _compare_now(self, body: bytes) -> dict[str, Any]:
        visitor, document, model = self._read(body)
        news = compare_starts(
            document,
            visitor.session,
            self._load_starts(),
            model,
            budget=_QUESTION_INK,
            arithmetic=self._one_at_a_time,
        )
        self.memory.weigh(visitor)
        return news

    async def _export(self, request: Request) -> Response:
        body = await request.body()
        deadline = time.monotonic() + _PATIENCE_SECONDS
        packed = await self._run(self._slow, deadline, self._export_now, body)
        return Response(packed, media_type="application/zip")

    def _export_now(self, body: bytes) -> bytes:
        visitor, document, model = self._read(body)
        return pack_learner(
            document,
            visitor.session,
            model,
            budget=_CHECK_INK,
            arithmetic=self._one_at_a_time,
        )

    async def _leave(self, request: Request) -> Response:
        token = (await request.body()).decode("ascii", "replace")
        if is_token(token):
            self.memory.forget(token)
        return Response(status_code=204)

    # ---- how -------------------------------------------------------------------------------------

    def _read(self, body: bytes) -> tuple[Visitor, Document, MetaNetwork]:
        question = parse_text(body.decode("utf-8"))
        if not isinstance(question, dict) or not is_token(question.get("visitor")):
            raise Refusal("no_visitor")
        path = None
        if question.get("weights") is not None:
            path = self._weights.path(question["weights"])
            if path is None:
                raise Refusal("weights_gone")
        visitor = self.memory.visitor(question["visitor"])
        document = parse_document(question.get("document"), visitor.drawings)
        return visitor, document, self._load_model(None if path is None else str(path))

    async def _run(
        self, pool: ThreadPoolExecutor, deadline: float, work: Callable[..., T], *args: Any
    ) -> T:
        def in_time() -> T:
            if time.monotonic() > deadline:
                raise Busy
            return work(*args)

        return await asyncio.get_running_loop().run_in_executor(pool, in_time)


def _next(records: Iterator[dict[str, Any]]) -> dict[str, Any] | None:
    try:
        return next(records, None)
    except Refusal as refusal:
        return {"problems": [refusal.record]}


def _refusing(handler: Callable[[Request], Any]) -> Callable[[Request], Any]:
    """Turns what a handler refuses into a response that the page can put into words."""

    async def handle(request: Request) -> Response:
        try:
            return await handler(request)
        except Busy:
            return _problem(503, {"code": "busy"})
        except Refusal as refusal:
            return _problem(400, refusal.record)
        except ForgottenDrawing:
            return _problem(409, {"code": "forgotten_drawing"})
        except ClientDisconnect:
            return Response(status_code=204)
        except OSError as error:
            return _problem(507, {"code": "disk", "text": error.strerror or str(error)})
        except ValueError as error:
            return _problem(400, {"code": "refused_by_server", "text": str(error)})

    return handle


def _problem(status: int, record: dict[str, Any]) -> Response:
    headers = {"Retry-After": "1"} if status == 503 else None
    return _json({"problems": [record]}, status, headers)


def _json(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(
        _text(value), status, {"Cache-Control": "no-store", **(headers or {})}, "application/json"
    )


def _text(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()

"""Malformed documents and requests: ``python -m benchmarks.malformed [DOCUMENTS REQUESTS]``.

Documents are sound ones in which places were changed at random; they go to the routes of the Draw
tab and to the endpoint.  Requests are broken HTTP, wrong routes, wrong types.  Meanwhile somebody
draws on.  Fails on a status of 500 or more that is no "ask again", on a traceback in the app's log,
on an answer that holds another visitor's name, and if whoever draws waits longer than a second.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from benchmarks.browser import free_port, start_app, stop_app
from benchmarks.people import Person

SECRET = "Rumpelstiltskin"
"""The name of a symbol of whoever draws: nobody else may ever see it."""
_AT_A_TIME = 4
_ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 21, 1e308, -1e308, float("nan"), float("inf"), 2**63, 10**30, 0.5,
    "", "x", "\u0000", "\ud800", "\u202e", "<b>", "__proto__", "constructor", "../../etc/passwd",
    "x" * 5000, [], [[]], [[[]]], [[[0]]], [[[0, 0]]], [[["a", "b"]]], [0] * 3000, {}, {"a": 1},
    {"strokes": []}, {"same": 1}, {"same": -1}, {"picture": "data:image/png;base64,AAAA"},
    {"picture": "data:image/svg+xml;base64,AAAA"}, {"picture": 5}, {"__proto__": {"x": 1}},
)  # fmt: skip


def sound(seed: int) -> dict[str, Any]:
    """A document that the app takes."""
    rng = random.Random(seed)

    def strokes() -> list[list[list[int]]]:
        return [
            [[rng.randrange(1000), rng.randrange(1000)] for _ in range(rng.randrange(2, 9))]
            for _ in range(rng.randrange(1, 4))
        ]

    symbols = [
        {"id": k + 1, "name": f"n{k}", "examples": [{"strokes": strokes()}], "pad": []}
        for k in range(rng.randrange(2, 5))
    ]
    return {
        "version": 1, "revision": seed, "language": "en", "steps": 3,
        "symbols": symbols, "query": strokes(), "unseen": [],
    }  # fmt: skip


def damage(value: Any, rng: random.Random) -> Any:
    """The value with something inside it changed, left out, doubled or renamed."""
    places: list[tuple[Any, Any]] = []

    def walk(at: Any) -> None:
        keys = list(at) if isinstance(at, dict) else range(len(at)) if isinstance(at, list) else ()
        for key in keys:
            places.append((at, key))
            walk(at[key])

    walk(value)
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        at, key = rng.choice(places)
        kind = rng.randrange(5)
        try:
            if kind == 0:
                del at[key]
            elif kind == 1 and isinstance(at, list):
                at.extend(at[:50] * rng.choice((1, 40)))
            elif kind == 2 and isinstance(at, dict):
                at[str(rng.choice(_ODD))[:40]] = at.pop(key)
            else:
                at[key] = rng.choice(_ODD)
        except (IndexError, KeyError):
            continue  # an earlier change has taken it away
    return value


def document_request(seed: int) -> bytes:
    """One of the Draw tab's questions, or a call of the endpoint, damaged."""
    rng = random.Random(seed)
    document = sound(seed)
    token = f"malformed-documents-{seed % 50:04d}"
    kind = rng.randrange(10)
    if kind < 7:
        route = rng.choice(("answer", "answer", "answer", "check", "export"))
        path, body = f"/sketchpad/{route}", {"visitor": token, "document": document}
        body = damage({**body, "weights": None}, rng)
    else:
        taught = [{key: one[key] for key in ("name", "examples")} for one in document["symbols"]]
        path = "/gradio_api/run/adapt_and_classify"
        body = damage({"data": [taught, [{"strokes": document["query"]}], 3]}, rng)
    text = json.dumps(body).encode()
    if rng.random() < 0.1:
        cut = rng.randrange(len(text))
        text = text[:cut] + rng.choice((b"", b"\xff", b"]", b"[" * 3000)) + text[cut + 1 :]
    return post(path, text)


def post(path: str, body: bytes, *headers: str) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: x", "Content-Type: application/json", *headers]
    return "\r\n".join(
        [*lines, f"Content-Length: {len(body)}", "Connection: close", "", ""]
    ).encode("utf-8", "replace") + (body)


def odd_request(seed: int) -> bytes:
    """A request that no page makes."""
    rng = random.Random(seed)
    routes = (
        "/", "/config", "/info", "/sketchpad/answer", "/sketchpad/leave", "/sketchpad/none",
        "/gradio_api/queue/join", "/gradio_api/queue/data?session_hash=x", "/gradio_api/upload",
        "/gradio_api/run/predict", "/gradio_api/call/adapt_and_classify", "/gradio_api/call/x",
        "/gradio_api/file=/etc/passwd", "/gradio_api/startup-events", "/gradio_api/cancel",
        "/gradio_api/heartbeat/x", "/gradio_api/component_server", "/gradio_api/info",
        "/theme.css", "/static/../../etc/passwd", "/gradio_api/mcp/", "/login", "/logout",
        "/" + quote(str(rng.choice(_ODD))[:200].encode("utf-8", "replace")),
    )  # fmt: skip
    path = rng.choice(routes)
    method = rng.choice(("GET", "POST", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "X"))
    body = json.dumps(
        {
            name: rng.choice(_ODD)
            for name in ("data", "fn_index", "session_hash", "event_id", "event_data", "trigger_id")
            if rng.random() < 0.7
        }
    ).encode()
    request = post(path, body, f"X-Odd: {rng.choice(('a', 'b' * 3000))}")
    request = request.replace(b"POST", method.encode(), 1)
    kind = rng.randrange(12)
    if kind == 0:
        return request.replace(b"HTTP/1.1", b"HTTP/9.9", 1)
    if kind == 1:
        return rng.randbytes(rng.randrange(1, 400)) + b"\r\n\r\n"
    if kind == 2:
        return request.replace(b"Content-Length", b"Transfer-Encoding: chunked\r\nX", 1)
    if kind == 3:
        return request[: rng.randrange(1, len(request))]
    return request


async def send(port: int, request: bytes) -> tuple[int, bytes]:
    """The status, 0 if the app hangs up or waits for more, and the response."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    response = b""
    try:
        writer.write(request)
        async with asyncio.timeout(2.0):
            while (part := await reader.read(65_536)) and len(response) < 200_000:
                response += part
    except (OSError, TimeoutError):
        pass
    finally:
        writer.close()
    first = response.partition(b"\r\n")[0].split()
    return int(first[1]) if len(first) > 1 and first[1].isdigit() else 0, response


async def attack(
    port: int, documents: int, requests: int, seed: int
) -> tuple[Counter[int], list[str], float]:
    """How often each status came, what went wrong, the longest that whoever draws waited."""
    person = Person("127.0.0.1", port, seed)
    person.rename(0, SECRET)
    statuses: Counter[int] = Counter()
    wrong: list[str] = []
    work: list[tuple[Callable[[int], bytes], int]] = [
        *((document_request, seed + k) for k in range(documents)),
        *((odd_request, seed + k) for k in range(requests)),
    ]
    random.Random(seed).shuffle(work)
    done = asyncio.Event()

    async def draw() -> None:
        while not done.is_set():
            person.draw()
            await person.ask()
            await asyncio.sleep(0.2)

    async def hostile() -> None:
        while work:
            make, number = work.pop()
            status, response = await send(port, make(number))
            statuses[status] += 1
            where = f"{make.__name__}({number})"
            if status >= 500 and status not in (501, 503):
                wrong.append(f"{where}: {status} {response[-200:]!r}")
            if SECRET.encode() in response or b"Traceback" in response or b"root:" in response:
                wrong.append(f"{where}: says too much: {response[-200:]!r}")

    await person.ask()
    person.times.clear()
    drawing = asyncio.create_task(draw())
    await asyncio.gather(*(hostile() for _ in range(_AT_A_TIME)))
    done.set()
    await drawing
    await person.leave()
    return statuses, wrong, max(person.times)


def run(
    documents: int, requests: int, seed: int = 1, patience: float = 1.0
) -> tuple[str, list[str]]:
    """Start an app and send it all that; a summary, and what went wrong."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "app.log"
        app = start_app(log, port)
        began = time.monotonic()
        try:
            statuses, wrong, longest = asyncio.run(attack(port, documents, requests, seed))
        finally:
            alive = app.poll() is None
            stop_app(app)
        text = log.read_text()
    if not alive:
        wrong.append("the app has died")
    if "Traceback" in text:
        wrong.append("a traceback: " + text[text.index("Traceback") :][-1500:])
    if longest > patience:
        wrong.append(f"whoever drew waited {longest:.2f} s")
    counted = ", ".join(f"{status or 'no answer'}: {n}" for status, n in sorted(statuses.items()))
    summary = (
        f"{documents} documents and {requests} requests in {time.monotonic() - began:.0f} s; "
        f"{counted}; the longest wait of whoever drew: {1000 * longest:.0f} ms"
    )
    return summary, wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("documents", nargs="?", type=int, default=10_000)
    parser.add_argument("requests", nargs="?", type=int, default=2_000)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    summary, wrong = run(given.documents, given.requests, given.seed)
    print(summary)
    for one in wrong[:20]:
        print("WRONG:", one)
    if wrong:
        raise SystemExit(f"{len(wrong)} things went wrong")
    print("nothing went wrong")


if __name__ == "__main__":
    main()

"""The Draw tab's routes: what is remembered, how much, and what is refused."""

from __future__ import annotations

import base64
import contextlib
import http.client
import io
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from apps import UNHURRIED, App, running
from PIL import Image, ImageDraw

from benchmarks.browser import ROOT, free_port
from maml.demo.gate import ENDPOINT, OTHER, QUESTION
from maml.demo.headers import page_headers
from maml.sessions.memory import OfferedWeights, VisitorMemory, is_token

pytestmark = pytest.mark.process

CROSS = [[[200, 200], [800, 800]], [[800, 200], [200, 800]]]
CUP = [[[200, 200], [220, 600], [500, 850], [780, 600], [800, 200]]]
TOKEN = "a-visitor-of-the-test-suite"


def document(**changes: Any) -> dict[str, Any]:
    """Two symbols, and a question about a cup."""
    symbols = [
        {"id": 1, "name": "cross", "examples": [{"strokes": CROSS}], "pad": []},
        {"id": 2, "name": "cup", "examples": [], "pad": CUP},
    ]
    return {"version": 1, "revision": 1, "symbols": symbols, "query": CUP, **changes}


class Server:
    """Posts to a running app."""

    def __init__(self, port: int) -> None:
        self.port = port

    def post(self, path: str, body: bytes | str | dict[str, Any], **headers: str) -> Any:
        """The status and the response's bytes."""
        if isinstance(body, dict):
            body = json.dumps(body)
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request("POST", path, body, {"Content-Type": "application/json", **headers})
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def request(self, method: str, path: str) -> tuple[int, bytes]:
        """The status and the body that a request without a body gets."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def send_in_parts(self, path: str, parts: Sequence[bytes]) -> tuple[int, bytes]:
        """The status and the answer to a body that does not say how long it will be."""
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
        with socket.create_connection(("127.0.0.1", self.port), timeout=60) as connection:
            connection.sendall(head)
            with contextlib.suppress(ConnectionError):  # it hangs up when it has read enough
                for part in parts:
                    connection.sendall(b"%x\r\n%s\r\n" % (len(part), part))
                connection.sendall(b"0\r\n\r\n")
            response = http.client.HTTPResponse(connection)
            response.begin()
            return response.status, response.read()

    def ask(self, asked: Any, token: str = TOKEN, **more: Any) -> tuple[int, Any]:
        """The status and the answer to a document."""
        question = {"visitor": token, "document": asked, **more}
        status, body = self.post("/sketchpad/answer", question)
        return status, json.loads(body) if body else None


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    with running(tmp_path_factory.mktemp("app"), UNHURRIED) as app:
        yield app


@pytest.fixture
def server(app: App) -> Iterator[Server]:
    """A running app; nothing that is sent to it may leave a traceback in its log."""
    yield Server(app.port)
    app.check_log()


def test_a_question_is_answered(server: Server) -> None:
    status, news = server.ask(document(revision=7))
    assert status == 200 and news["revision"] == 7
    assert news["winner"] == 2 and news["probabilities"][1] > 0.5


def test_pages_that_ask_at_the_same_time_get_each_its_own_answer(server: Server) -> None:
    drawn = {"cup": CUP, "cross": CROSS, "left": CUP[0][:1], "refused": "no drawing"}
    asked = [(f"person-{number}-" * 4, name) for number in range(8) for name in drawn]

    def ask(person: tuple[str, str]) -> tuple[int, Any]:
        token, name = person
        return server.ask(document(query=drawn[name]), f"{token}-{name}")

    with ThreadPoolExecutor(len(asked)) as people:
        answers = list(people.map(ask, asked))
    alone = {name: server.ask(document(query=drawn[name]), f"alone-{name}-" * 4) for name in drawn}
    for (_, name), (status, news) in zip(asked, answers, strict=True):
        assert status == alone[name][0]
        if status == 200:
            assert news["shares"] == pytest.approx(alone[name][1]["shares"], abs=1e-4)
    assert alone["refused"][0] == 400 and alone["cup"][1]["shares"] != alone["cross"][1]["shares"]


def test_starting_points_are_compared(server: Server) -> None:
    question = {"visitor": TOKEN, "document": document(revision=7, steps=2)}
    status, body = server.post("/sketchpad/compare", question)
    compared = json.loads(body)
    assert status == 200 and compared["revision"] == 7
    assert [one["name"] for one in compared["starts"]] == ["untrained", "live", "shipped"]
    _, news = server.ask(document(revision=7, steps=2))
    assert compared["starts"][2]["shares_path"] == news["shares_path"]
    status, body = server.post("/sketchpad/compare", {**question, "visitor": "me"})
    assert status == 400 and json.loads(body)["problems"] == [{"code": "no_visitor"}]


def test_a_question_that_has_been_overtaken_gets_no_answer(server: Server) -> None:
    assert server.ask(document(revision=5), "overtaken-" * 3)[0] == 200
    assert server.ask(document(revision=4), "overtaken-" * 3) == (204, None)
    assert server.ask(document(revision=4), "another-one" * 3)[0] == 200


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"<script>", "not_json"),
        (b"\xff\xfe", "decode"),
        (b"[" * 100_000, "not_json"),
        ({"visitor": TOKEN, "document": {"version": 1, "symbols": "x"}}, "not_a_list"),
        ({"visitor": TOKEN, "document": document(query=[[[1e308, 0]]])}, "not_a_point"),
        ({"visitor": TOKEN, "document": document(query=[[[float("nan"), 0]]])}, "not_a_point"),
        ({"visitor": "short", "document": document()}, "no_visitor"),
        ({"visitor": ["a" * 30], "document": document()}, "no_visitor"),
        ({"visitor": TOKEN, "weights": "../../flagship", "document": document()}, "weights_gone"),
        ([], "no_visitor"),
    ],
)
def test_an_unsound_question_is_refused_with_the_reason(
    server: Server, body: Any, reason: str
) -> None:
    status, answer = server.post(
        "/sketchpad/answer", body if isinstance(body, bytes) else json.dumps(body)
    )
    assert status == 400 and reason in answer.decode()


def test_a_check_goes_line_by_line(server: Server) -> None:
    symbols = document()["symbols"]
    for symbol in symbols:
        symbol["examples"] = [{"strokes": CROSS if symbol["id"] == 1 else CUP}] * 2
        symbol["pad"] = []
    question = {"visitor": TOKEN, "document": document(symbols=symbols)}
    status, body = server.post("/sketchpad/check", question)
    first, *_, last = (json.loads(line) for line in body.splitlines())
    assert status == 200 and (first["done"], last["done"], last["total"]) == (0, 4, 4)
    asked: dict[str, Any] = {"visitor": TOKEN, "document": document(symbols=[])}
    status, body = server.post("/sketchpad/check", asked)
    assert status == 200 and json.loads(body)["problems"] == [{"code": "missing_two"}]


def test_an_export_is_sent_and_leaves_nothing(server: Server, tmp_path: Path) -> None:
    status, body = server.post("/sketchpad/export", {"visitor": TOKEN, "document": document()})
    assert status == 200 and body.startswith(b"PK") and len(body) > 100_000
    status, body = server.post(
        "/sketchpad/export", {"visitor": TOKEN, "document": document(symbols=[])}
    )
    assert status == 400 and json.loads(body)["problems"] == [{"code": "missing_two"}]


_MANY_ASKS = """
import gc, http.client, json, sys
import torch
torch.set_num_threads(1)
from maml.demo import build_demo
from maml.demo.sketchpad import Sketchpad
from maml.sessions.settings import ServerSettings

def census():
    gc.collect()
    pads = sum(isinstance(one, Sketchpad) for one in gc.get_objects())
    with open("/proc/self/statm") as file:
        return pads, int(file.read().split()[1]) * 4096

demo = build_demo(ServerSettings.from_environment())
_, url, _ = demo.launch(prevent_thread_lock=True, server_port=int(sys.argv[1]), quiet=True)
question = json.loads(sys.argv[2])
server = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]))

def ask(revision):
    question["document"] |= {"revision": revision, "query": [[[revision % 900, 100], [500, 900]]]}
    server.request("POST", "/sketchpad/answer", json.dumps(question))
    response = server.getresponse()
    assert response.status == 200, response.status
    assert json.load(response)["revision"] == revision

for revision in range(500):
    ask(revision)
before = census()
for revision in range(500, 2500):
    ask(revision)
print(json.dumps([before, census()]))
demo.close(verbose=False)
"""


def heavy_picture(seed: int) -> dict[str, str]:
    """512 x 512 pixels of scribble in less than 40,000 characters."""
    rng = np.random.default_rng(seed)
    image = Image.new("L", (512, 512), 255)
    ImageDraw.Draw(image).line([tuple(p) for p in rng.integers(20, 490, (40, 2))], 0, 6)
    file = io.BytesIO()
    image.save(file, "PNG")
    return {"picture": "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()}


def test_many_pictures_are_read_some_at_each_question(server: Server) -> None:
    symbols = [
        {"name": f"symbol {k}", "examples": [heavy_picture(20 * k + n) for n in range(20)]}
        for k in range(20)
    ]
    left = [400]
    for revision in range(3):
        asked = document(symbols=symbols, query=[], revision=revision)
        status, news = server.ask(asked, "with-pictures-" * 2)
        assert status == 200
        left.append(news["waiting"])
    assert left == sorted(set(left), reverse=True) and left[-1] > 300


def test_a_drawing_that_was_sent_is_named_by_its_number(server: Server) -> None:
    token = "with-numbers-" * 2
    whole = [
        {"name": "cross", "examples": [{"strokes": CROSS, "id": 1}]},
        {"name": "cup", "examples": [{"strokes": CUP, "id": 2}]},
    ]
    named = [
        {"name": "cross", "examples": [{"same": 1}]},
        {"name": "cup", "examples": [{"same": 2}]},
    ]
    forgotten = {"problems": [{"code": "forgotten_drawing"}]}
    assert server.ask(document(symbols=named, revision=1), token) == (409, forgotten)
    _, first = server.ask(document(symbols=whole, revision=2), token)
    status, again = server.ask(document(symbols=named, revision=3), token)
    assert status == 200 and again["probabilities"] == first["probabilities"]
    assert server.ask(document(symbols=named), "somebody-else-" * 2) == (409, forgotten)
    assert server.post("/sketchpad/leave", token)[0] == 204
    assert server.ask(document(symbols=named, revision=4), token) == (409, forgotten)


@pytest.mark.slow
def test_two_thousand_questions_leave_no_component_and_no_memory_behind() -> None:
    # By a small network, for what is left behind is not the network's.
    question = {"visitor": TOKEN, "document": document(steps=1)}
    run = subprocess.run(
        [sys.executable, "-c", _MANY_ASKS, str(free_port()), json.dumps(question)],
        cwd=ROOT,
        env={**os.environ, "MAML_WEIGHTS": str(ROOT / "weights" / "live.safetensors")},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.returncode == 0, run.stderr
    (pads, memory), (pads_after, memory_after) = json.loads(run.stdout.splitlines()[-1])
    assert pads_after == pads == 1
    assert memory_after - memory < 8e6


def test_every_response_says_what_the_page_may_do(server: Server) -> None:
    for method, path in (
        ("GET", "/"),
        ("GET", "/config"),
        ("POST", "/sketchpad/answer"),
        ("POST", "/gradio_api/upload"),
        ("GET", "/nowhere"),
    ):
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        connection.request(method, path)
        headers = connection.getresponse().headers
        connection.close()
        policy = headers["Content-Security-Policy"]
        assert "default-src 'self'" in policy and "frame-ancestors 'self';" not in policy
        assert policy.endswith("frame-ancestors 'self'")
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "same-origin"
    assert page_headers(on_a_space=True)["Content-Security-Policy"].endswith(
        "frame-ancestors 'self' https://huggingface.co https://*.huggingface.co"
    )


# ---- the gate ----------------------------------------------------------------------------------


def test_a_body_that_is_too_large_is_refused_before_it_is_parsed(server: Server) -> None:
    for path, most in (
        ("/sketchpad/answer", QUESTION.size),
        ("/gradio_api/queue/join", ENDPOINT.size),
        ("/gradio_api/run/predict", ENDPOINT.size),
        ("/gradio_api/call/adapt_and_classify", ENDPOINT.size),
        ("/gradio_api/cancel", OTHER.size),
        ("/sketchpad/leave", OTHER.size),
    ):
        points = b"[0,0]," * (most // 3)  # no JSON: a parser would have another complaint
        status, body = server.post(path, points)
        assert (status, json.loads(body)["problems"][0]["most"]) == (413, most), path
        parts = [points[k : k + 60_000] for k in range(0, len(points), 60_000)]
        status, body = server.send_in_parts(path, parts)
        assert (status, json.loads(body)["problems"][0]["most"]) == (413, most), path


def test_many_small_values_are_refused_too(server: Server) -> None:
    body = b'{"data": [[' + b"0," * 300_000 + b'0]], "fn_index": 0, "session_hash": "a"}'
    status, answer = server.post("/gradio_api/run/predict", body)
    assert status == 413 and json.loads(answer)["problems"][0]["code"] == "too_many_values"


def test_others_are_answered_while_large_bodies_arrive(server: Server) -> None:
    points = b"[" + b"[0,0]," * 600_000 + b"[0,0]]"
    sent: list[int] = []

    def flood() -> None:
        for path in ("/gradio_api/run/predict", "/sketchpad/answer") * 5:
            sent.append(server.post(path, points)[0])

    thread = threading.Thread(target=flood)
    thread.start()
    while thread.is_alive():
        before = len(sent)
        assert server.ask(document(), "undisturbed-" * 3)[0] == 200
        assert len(sent) - before <= 5, "it waits for what is being read, not for all of it"
    thread.join()


def test_the_largest_document_passes(server: Server) -> None:
    drawing = {"strokes": [[[k % 1000, (7 * k) % 1000] for k in range(1500)]]}
    symbols = [{"name": f"symbol {k}", "examples": [drawing] * 20, "pad": []} for k in range(20)]
    for revision in range(1, 10):
        asked = document(symbols=symbols, query=[], revision=revision)
        assert 6_000_000 < len(json.dumps(asked)) < QUESTION.size
        status, news = server.ask(asked, "the-largest-" * 3)
        assert status == 200
        if not news["waiting"]:  # a slow machine does not make all ink for the first question
            break
    assert len(news["symbols"]) == 20


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/gradio_api/upload"),
        ("POST", "/gradio_api/upload/"),
        ("GET", "/gradio_api/upload_progress?upload_id=a"),
        ("GET", "/gradio_api/deep_link?session_hash=a"),
        ("GET", "/?deep_link=../../etc"),
        ("GET", "/config?deep_link=a"),
        ("POST", "/gradio_api/component_server"),
        ("POST", "/gradio_api/process_recording"),
        ("GET", "/gradio_api/proxy=https://huggingface.co/"),
        ("GET", "/gradio_api/runs"),
        ("GET", "/gradio_api/run-history/records"),
        ("POST", "/gradio_api/vibe-edit/"),
        ("GET", "/monitoring"),
        ("GET", "/monitoring/summary"),
    ],
)
def test_what_the_app_has_no_use_for_is_closed(server: Server, method: str, path: str) -> None:
    status, body = server.request(method, path)
    assert status == 404 and json.loads(body) == {"problems": [{"code": "closed"}]}


# ---- what is remembered ------------------------------------------------------------------------


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_visitors_are_forgotten_by_number_and_by_age() -> None:
    clock = Clock()
    memory = VisitorMemory(most=3, seconds=60, clock=clock)
    first = memory.visitor("a")
    for name in "bca":
        memory.visitor(name)
    assert memory.visitor("a") is first and len(memory) == 3
    memory.visitor("d")  # "b" asked least recently
    assert len(memory) == 3 and memory.visitor("a") is first
    clock.now = 61
    memory.sweep()
    assert len(memory) == 0
    memory.visitor("a")
    memory.forget("a")
    assert len(memory) == 0


def test_visitors_are_forgotten_by_the_size_of_their_caches() -> None:
    memory = VisitorMemory(most_bytes=20 * 3136)
    for name in "abc":
        visitor = memory.visitor(name)
        for k in range(9):
            visitor.session.inks["fit", bytes([k])] = np.zeros((28, 28), np.float32)
        memory.weigh(visitor)
    assert len(memory) == 2 and memory.nbytes == 18 * 3136
    first = visitor
    memory.forget("c")
    memory.weigh(first)  # its last answer came after it had left
    assert memory.nbytes == 9 * 3136


def test_weights_are_found_by_their_key_alone(tmp_path: Path) -> None:
    weights = OfferedWeights(most=2)
    files = [tmp_path / f"{k}.safetensors" for k in range(3)]
    for file in files:
        file.touch()
    keys = [weights.offer(file) for file in files]
    assert len(set(keys)) == 3 and min(map(len, keys)) >= 22
    assert [weights.path(key) for key in keys] == [None, *files[1:]]
    assert weights.path(str(files[1])) is None and weights.path(None) is None
    files[2].unlink()
    assert weights.path(keys[2]) is None


@pytest.mark.parametrize("value", ["", "a" * 21, "a" * 65, "a" * 30 + "\n", "ä" * 30, None, 5, []])
def test_what_is_no_token(value: Any) -> None:
    assert not is_token(value)
    assert is_token("aB3-_" * 6)

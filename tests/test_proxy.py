"""Behind a proxy that serves the app below a path: a small real one, and Chromium through it."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from html.parser import HTMLParser
from typing import Any

import httpx
import pytest
import uvicorn
from PIL import Image
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from benchmarks.browser import free_port, start_app, stop_app
from benchmarks.smoke import smoke

PREFIX = "/pad"
_OF_ONE_CONNECTION = ("connection", "keep-alive", "transfer-encoding")


class Proxy:
    """Strips the path's first part and passes everything on, as docs/hosting.md asks for."""

    def __init__(self, app_port: int) -> None:
        self.port = free_port()
        self.outside: list[str] = []
        self.app_port = app_port
        methods = ["GET", "POST", "OPTIONS"]
        routes = [
            Route(PREFIX + "{path:path}", self._pass_on, methods=methods),
            Route("/{path:path}", self._refuse, methods=methods),
        ]
        self._server = uvicorn.Server(
            uvicorn.Config(
                Starlette(routes=routes, lifespan=self._connected),
                host="127.0.0.1",
                port=self.port,
                log_level="warning",
                timeout_graceful_shutdown=1,
            )
        )
        self._thread = threading.Thread(target=self._server.run)
        self._thread.start()
        deadline = time.monotonic() + 30
        while not self._server.started:
            assert time.monotonic() < deadline and self._thread.is_alive(), "the proxy starts"
            time.sleep(0.01)

    def close(self) -> None:
        self._server.should_exit = True
        self._thread.join()

    @asynccontextmanager
    async def _connected(self, app: Starlette) -> AsyncIterator[None]:
        url = f"http://127.0.0.1:{self.app_port}"
        async with httpx.AsyncClient(base_url=url, timeout=None) as self._client:
            yield

    async def _pass_on(self, request: Request) -> Response:
        headers = _without_connection(request.headers.raw) + [
            (b"x-forwarded-for", b"198.51.100.3"),
            (b"x-forwarded-host", f"127.0.0.1:{self.port}".encode()),
            (b"x-forwarded-proto", b"http"),
        ]
        answer = await self._client.send(
            self._client.build_request(
                request.method,
                httpx.URL(path=request.path_params["path"], query=request.url.query.encode()),
                headers=headers,
                content=request.stream(),
            ),
            stream=True,
        )
        passed = StreamingResponse(
            answer.aiter_raw(), answer.status_code, background=BackgroundTask(answer.aclose)
        )
        passed.raw_headers = _without_connection(answer.headers.raw)
        return passed

    async def _refuse(self, request: Request) -> Response:
        self.outside.append(request.url.path)
        return Response(status_code=404)


def _without_connection(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    return [pair for pair in headers if pair[0].decode().lower() not in _OF_ONE_CONNECTION]


@pytest.fixture
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    port = free_port()
    log = tmp_path_factory.mktemp("app") / "app.log"
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("GRADIO_ROOT_PATH", PREFIX)
        environment.setenv("MAML_PROXIES", "1")
        app = start_app(log, port)
    proxy = Proxy(port)
    yield proxy
    proxy.close()
    stop_app(app)
    assert "Traceback" not in log.read_text()


def head_of(page: str) -> dict[str, str]:
    """What the page's head says to those who make previews: metadata and links by their names."""
    found: dict[str, str] = {}

    class Head(HTMLParser):
        def handle_starttag(self, tag: str, given: list[tuple[str, str | None]]) -> None:
            values = {key: value or "" for key, value in given}
            name = values.get("property") or values.get("name") or values.get("rel")
            if tag in ("meta", "link") and name:
                found[name] = values.get("content") or values.get("href", "")

    Head().feed(page)
    return found


def test_people_draw_and_train_through_a_proxy_below_a_path(browser: Any, proxy: Proxy) -> None:
    took = smoke(browser, f"http://127.0.0.1:{proxy.port}{PREFIX}/", train=True)
    assert set(took) == {"ready", "answered", "drawn", "trained"}
    assert not proxy.outside, "the page asks for nothing outside its path"

    own = f"http://127.0.0.1:{proxy.port}{PREFIX}"
    page = httpx.get(own + "/").text
    shown = head_of(page)
    assert shown["og:url"] == own + "/" and shown["twitter:card"] == "summary_large_image"
    assert shown["og:title"] == shown["twitter:title"] == "MAML Sketchpad"
    assert shown["description"] == shown["og:description"] and len(shown["description"]) > 50
    assert "<title>MAML Sketchpad</title>" in page and page.count("og:title") == 1
    assert not any("gradio" in text.lower() for text in shown.values())
    assert shown["og:image"] == shown["twitter:image"]
    picture = Image.open(io.BytesIO(httpx.get(shown["og:image"]).content))
    assert (picture.format, picture.size) == ("PNG", (1200, 630))
    for icon in ("icon", "apple-touch-icon", "manifest"):
        assert httpx.get(f"{own}/{shown[icon]}").status_code == 200, icon
    assert httpx.get(f"{own}/favicon.ico").text.startswith("<svg")
    # A proxy that speaks TLS, and whose visitors know it by another name.
    headers = {"X-Forwarded-Host": "draw.example.org", "X-Forwarded-Proto": "https"}
    shown = head_of(httpx.get(f"http://127.0.0.1:{proxy.app_port}/", headers=headers).text)
    assert shown["og:image"] == f"https://draw.example.org{PREFIX}/sketchpad/preview.png"

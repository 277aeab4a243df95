"""The page's head: its title, description, icons and what previews of links show.

Gradio's template names Gradio in them, and leaves a picture's address to somebody who knows it
beforehand.  Those who make previews want absolute addresses, which only a request tells: it comes
through whatever proxies stand in front of the app.
"""

from __future__ import annotations

import html
import re

from gradio.route_utils import get_root_url
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from maml.demo.strings import STRINGS

_PREVIEW = re.compile(r'<meta\s+(?:property="og:|name="twitter:)[^>]*>\s*')
_MANIFEST = 'href="/manifest.json"'
_CHARSET = '<meta charset="utf-8" />'


class PageHead:
    """ASGI middleware that gives the page a head of its own.

    Args:
        app: what stands behind it.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != "/":
            await self._app(scope, receive, send)
            return
        start: Message = {}
        body = bytearray()

        async def whole(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start":
                start = message
                return
            body.extend(message.get("body", b""))
            if message.get("more_body"):
                return
            headers = MutableHeaders(scope=start)
            content = bytes(body)
            if headers.get("content-type", "").startswith("text/html"):
                content = with_head(content.decode(), root_of(scope)).encode()
                headers["Content-Length"] = str(len(content))
            await send(start)
            await send({"type": "http.response.body", "body": content})

        await self._app(scope, receive, whole)


def root_of(scope: Scope) -> str:
    """The address of the app as its visitors know it, without a slash at its end."""
    path = getattr(scope["app"], "root_path", "") or scope.get("root_path")
    return get_root_url(Request(scope), "/", path)


def with_head(page: str, root: str) -> str:
    """Gradio's page with our own head.

    Args:
        page: HTML.
        root: the app's address.
    """
    head, found, rest = page.partition("</head>")
    # What stands there besides (the configuration as a script) is left alone.
    before, script, after = head.partition("<script>")
    before = _PREVIEW.sub("", before).replace(_CHARSET, _CHARSET + "\n" + _tags(root), 1)
    # Below a path, the manifest lies below that path too.
    after = after.replace(_MANIFEST, 'href="./manifest.json"')
    return before + script + after + found + rest


def _tags(root: str) -> str:
    words = STRINGS["en"]
    preview = {
        "type": "website",
        "site_name": words["title"],
        "title": words["title"],
        "description": words["tagline"],
        "url": f"{root}/",
        "image": f"{root}/sketchpad/preview.png",
        "image:width": "1200",
        "image:height": "630",
        "image:alt": words["preview_alt"],
    }
    twitter = {"card": "summary_large_image"} | {
        key: preview[key] for key in ("title", "description", "image", "image:alt")
    }
    escape = html.escape
    lines = [
        f"<title>{escape(words['title'])}</title>",
        f'<meta name="description" content="{escape(words["tagline"])}" />',
        *(
            f'<meta property="og:{key}" content="{escape(text)}" />'
            for key, text in preview.items()
        ),
        *(
            f'<meta name="twitter:{key}" content="{escape(text)}" />'
            for key, text in twitter.items()
        ),
        '<link rel="icon" type="image/svg+xml" href="./sketchpad/icon.svg" />',
        '<link rel="apple-touch-icon" href="./sketchpad/icon.png" />',
    ]
    return "\n".join(lines)

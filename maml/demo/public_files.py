"""Files that the page fetches when it needs them: a picture and icons for previews, a library.

`public/qr.js` is `index.js` of the package qr 0.7.0 (https://github.com/paulmillr/qr) as npm has
it, with its licence in `qr.LICENSE`: it encodes QR codes without other packages, and is kept and
tested against the standard.
"""

from __future__ import annotations

import functools
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

PUBLIC_FILES = {
    "icon.png": "image/png",
    "icon.svg": "image/svg+xml",
    "preview.png": "image/png",
    "qr.js": "text/javascript",
}
"""Content types by name."""


def public_routes() -> list[Route]:
    """The route below which the files are served."""
    return [Route("/sketchpad/{name}", _file, methods=["GET"])]


def public_path(name: str) -> Path:
    """Where one of them lies."""
    return Path(__file__).with_name("public") / name


def _file(request: Request) -> Response:
    name = request.path_params["name"]
    if name not in PUBLIC_FILES:
        return Response(status_code=404)
    headers = {"Cache-Control": "public, max-age=3600"}
    return Response(_content(name), headers=headers, media_type=PUBLIC_FILES[name])


_content = functools.cache(lambda name: public_path(name).read_bytes())

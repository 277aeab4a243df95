"""Headers that tell a browser what the page may do."""

from __future__ import annotations

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_POLICY = {
    "default-src": "'self'",
    # Gradio writes its configuration into the page as a script, and compiles the components' ones.
    "script-src": "'self' 'unsafe-inline' 'unsafe-eval'",
    "style-src": "'self' 'unsafe-inline'",
    "img-src": "'self' data: blob:",
    "font-src": "'self' data:",
    "connect-src": "'self'",
    "worker-src": "'self' blob:",  # the clock of the signs of life
    "frame-src": "'none'",
    "object-src": "'none'",
    "base-uri": "'self'",
    "form-action": "'self'",
}
_SPACES = "https://huggingface.co https://*.huggingface.co"
"""Pages that show a Space in a frame."""


def page_headers(*, on_a_space: bool) -> dict[str, str]:
    """The headers of every response.

    Args:
        on_a_space: whether pages of Hugging Face may show the app in a frame.
    """
    ancestors = f"'self' {_SPACES}" if on_a_space else "'self'"
    policy = {**_POLICY, "frame-ancestors": ancestors}
    return {
        "Content-Security-Policy": "; ".join(f"{key} {value}" for key, value in policy.items()),
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "same-origin",
        "Permissions-Policy": "camera=(), microphone=(), geolocation=(), payment=(), usb=()",
    }


class Headers:
    """ASGI middleware that adds headers to every response.

    Args:
        app: what stands behind it.
        headers: by name.
    """

    def __init__(self, app: ASGIApp, headers: dict[str, str]) -> None:
        self._app = app
        self._headers = headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(self._headers)
            await send(message)

        await self._app(scope, receive, with_headers)

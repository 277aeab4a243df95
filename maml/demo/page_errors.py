"""What the library refuses, shown on the page."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import gradio as gr


@contextlib.contextmanager
def as_page_errors() -> Iterator[None]:
    """Turn a `ValueError` or `OSError` of the block into a message on the page."""
    try:
        yield
    except (ValueError, OSError) as error:
        raise gr.Error(str(error), print_exception=False) from error

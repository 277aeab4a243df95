"""What the library refuses, shown on the page."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import gradio as gr

from maml.demo.strings import worded
from maml.sessions.document import Language
from maml.sessions.refusal import Refusal


@contextlib.contextmanager
def as_page_errors(language: Language = "en") -> Iterator[None]:
    """Turn a `ValueError` or `OSError` of the block into a message on the page.

    Args:
        language: of the page; coded refusals are worded in it.
    """
    try:
        yield
    except Refusal as refusal:
        text = worded(refusal.record, language)
        raise gr.Error(text, print_exception=False) from refusal
    except (ValueError, OSError) as error:
        raise gr.Error(str(error), print_exception=False) from error

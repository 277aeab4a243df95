"""Gradio's messages to pages: whoever listens keeps his, whoever joined long ago makes room."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from maml.demo.messages import KEPT, MessagesToPages


def kept(most: int) -> tuple[MessagesToPages, dict[str, set[str]]]:
    pending: dict[str, set[str]] = {name: {f"event of {name}"} for name in "abcd"}
    queue = cast(Any, SimpleNamespace(pending_event_ids_session=pending))
    return MessagesToPages(queue, most), pending


def test_who_was_silent_longest_makes_room_and_its_events_go_along() -> None:
    messages, pending = kept(2)
    messages["a"] = "for a"
    messages["b"] = "for b"
    assert messages["a"] == "for a"
    messages["c"] = "for c"
    assert list(messages) == ["a", "c"], "fetching is a use"
    assert sorted(pending) == ["a", "c", "d"]
    messages["a"] = "more for a"
    messages["d"] = "for d"
    assert list(messages) == ["a", "d"] and messages["a"] == "more for a", "sending is a use"
    assert sorted(pending) == ["a", "d"]


def test_a_session_is_forgotten_as_often_as_gradio_asks() -> None:
    messages, _ = kept(2)
    messages["a"] = "for a"
    del messages["a"], messages["a"]
    with pytest.raises(KeyError):
        messages["a"]
    assert messages.max_size == 2 and KEPT > 2_000, "more than Gradio itself keeps"

"""What nobody has used for long is cleared away, and nothing else."""

from __future__ import annotations

import asyncio
import datetime
import os
import sys
from pathlib import Path
from typing import Any

import gradio as gr
import pytest
from apart import apart
from gradio.state_holder import StateHolder

from maml.demo.janitor import Janitor
from maml.sessions.memory import VisitorMemory


class Holder:
    """Gradio's sessions, each with a state, and what became of it."""

    def __init__(self) -> None:
        self.deleted: list[str] = []
        # Outside of an event loop Gradio makes one for each of its locks and never closes it.
        apart(asyncio.run, self._build())
        self.demo.state_session_capacity = 10_000
        self.sessions = StateHolder()
        self.sessions.set_blocks(self.demo)

    async def _build(self) -> None:
        with gr.Blocks(analytics_enabled=False) as self.demo:
            self.state = gr.State(None, delete_callback=self.deleted.append)

    def use(self, name: str, hours_ago: float = 0.0) -> None:
        self.sessions[name][self.state._id] = name
        ago = datetime.timedelta(hours=hours_ago)
        self.sessions.time_last_used[name] = datetime.datetime.now() - ago


def test_idle_sessions_end_and_the_others_go_on() -> None:
    holder = Holder()
    for name, hours in (("new", 0.0), ("old", 4.0), ("middle", 2.0)):
        holder.use(name, hours)
    Janitor(holder.demo, VisitorMemory(), hours=3.0).clear()
    assert holder.deleted == ["old"]
    assert set(holder.sessions.session_data) == {"new", "middle"}
    assert set(holder.sessions.time_last_used) == {"new", "middle"}


def test_of_too_many_sessions_those_used_least_recently_end() -> None:
    holder = Holder()
    for k in range(10):
        holder.use(f"session {k}", hours_ago=k / 100)
    Janitor(holder.demo, VisitorMemory(), most_sessions=4).clear()
    assert set(holder.sessions.session_data) == {f"session {k}" for k in range(4)}
    assert len(holder.deleted) == 6


def test_old_files_go_when_there_are_too_many(tmp_path: Path, monkeypatch: Any) -> None:
    holder = Holder()
    monkeypatch.setattr(holder.demo, "GRADIO_CACHE", str(tmp_path))
    for k in range(5):
        path = tmp_path / f"hash{k}" / "figure.png"
        path.parent.mkdir()
        path.write_bytes(b"x" * 100)
        os.utime(path, (k, k))
    Janitor(holder.demo, VisitorMemory(), most_files=250).clear()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["hash3", "hash4"]


@pytest.mark.parametrize("seconds", [0, 100])
def test_silent_visitors_are_forgotten(seconds: float) -> None:
    now = [0.0]
    memory = VisitorMemory(seconds=50, clock=lambda: now[0])
    memory.visitor("somebody")
    now[0] = seconds
    Janitor(Holder().demo, memory).clear()
    assert len(memory) == (1 if seconds == 0 else 0)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is counted on Linux")
def test_memory_that_is_free_goes_back_to_the_system() -> None:
    def held() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    before = held()
    blocks = [bytearray(b"x" * 100_000) for _ in range(2000)]
    blocks = blocks[::20]  # The gaps between them are free, but are no end of the heap.
    assert held() > before + 100e6
    Janitor(Holder().demo, VisitorMemory()).clear()
    assert held() < before + 50e6 and len(blocks) == 100

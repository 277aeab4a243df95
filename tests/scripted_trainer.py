"""A stand-in for `maml.sessions.worker`: speaks its events at a scripted pace and learns nothing.

It starts at once, takes a step every few milliseconds on any machine, and obeys commands between
two steps, so that tests of the app need not wait for a real training.  It knows generated alphabets
only: all others "could not be downloaded".
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import queue
import struct
import sys
import threading
import time
import zlib
from pathlib import Path
from typing import Any

PACE_SECONDS = 0.01
"""Between two steps."""
PREVIEW_STEPS = 25
"""Between two previews."""


def say(kind: str, **fields: Any) -> None:
    print(json.dumps({"kind": kind, **fields}), flush=True)


def picture(ways: int) -> str:
    """A white strip of so many characters, a PNG in base64."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    header = struct.pack(">IIBBBBB", 28 * ways, 28, 8, 0, 0, 0, 0)
    rows = zlib.compress((b"\0" + b"\xff" * 28 * ways) * 28)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    return base64.b64encode(b"\x89PNG\r\n\x1a\n" + parts).decode()


def shape_name(shape: dict[str, Any]) -> str:
    return f"{shape['ways']}-way {shape['shots']}-shot"


class Script:
    """One scripted training.

    Args:
        job: what `Job.to_line` wrote.
        commands: the app's; None when it is gone.
    """

    def __init__(self, job: dict[str, Any], commands: queue.Queue[str | None]) -> None:
        self.commands = commands
        self.training = job["recipe"]["training"]
        self.before = (
            self.training["pretraining"]["episodes"] if self.training["pretraining"] else 0
        )
        self.total = self.before + self.training["iterations"]
        self.folder = Path(job["folder"])
        self.folder.mkdir(parents=True, exist_ok=True)
        self.state = self.folder / "state.safetensors"
        self.step = int(self.state.read_text()) if job["resume"] and self.state.exists() else 0

    def accuracy(self, chance: float) -> float:
        """It rises from chance towards 1, by half of what is missing every hundred steps."""
        return 1 - (1 - chance) * 0.5 ** (self.step / 100)

    def run(self) -> None:
        say("data", task="generating", done=0, total=0)
        say("begun", iteration=self.step, threads=1)
        self.forget_later_records()
        with (self.folder / "metrics.jsonl").open("a", encoding="utf-8") as self.metrics:
            if not self.step:
                self.preview()
                if self.training["evaluate_untrained"]:
                    self.evaluate()
            while self.step < self.total:
                if not self.obey():
                    return
                self.take_step()
        self.save()
        say("finished", iteration=self.step)

    def forget_later_records(self) -> None:
        """Drop what was recorded after the state that a resumed run starts from."""
        path = self.folder / "metrics.jsonl"
        if path.exists():
            lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
            path.write_text(
                "".join(line for line in lines if json.loads(line)["iteration"] <= self.step),
                encoding="utf-8",
            )

    def take_step(self) -> None:
        time.sleep(PACE_SECONDS)
        self.step += 1
        stage, mode = ("meta", "train") if self.step > self.before else ("pretraining",) * 2
        accuracy = self.accuracy(0.2)
        self.record(mode, accuracy)
        line = (
            f"[Epoch {self.epoch:.2f}] Train Loss: {1 - accuracy:.2f} | Acc: {100 * accuracy:.2f}"
        )
        said = {"iteration": self.step, "loss": 1 - accuracy, "accuracy": accuracy}
        say("step", stage=stage, line=line if self.step % 4 == 1 else None, **said)
        outer = self.step - self.before
        if self.step == self.total or (outer >= 0 and outer % self.training["epoch"] == 0):
            self.evaluate()
        elif self.step % PREVIEW_STEPS == 0:
            self.preview()
            self.save()

    def obey(self) -> bool:
        """Follow the commands so far; whether to go on."""
        with contextlib.suppress(queue.Empty):
            command = self.commands.get_nowait()
            if command == "pause":
                self.save()
                say("paused", iteration=self.step)
                command = self.commands.get()
                if command == "continue":
                    say("continued", iteration=self.step)
            if command is None:
                return False
            if command == "stop":
                self.save()
                say("stopped", iteration=self.step)
                return False
        return True

    def line(self, part: str, accuracy: float) -> str:
        shown = f"Loss: {1 - accuracy:.2f} | Acc: {100 * accuracy:.2f}"
        return f"[Epoch {self.epoch:.2f}] {part} {shown}"

    @property
    def epoch(self) -> float:
        return max(0, self.step - self.before) / self.training["epoch"]

    def record(self, mode: str, accuracy: float, **more: Any) -> None:
        entry = {"epoch": self.epoch, "loss": 1 - accuracy, "acc": 100 * accuracy, "mode": mode}
        entry |= {"time": time.time(), "iteration": self.step, **more}
        self.metrics.write(json.dumps(entry) + "\n")
        self.metrics.flush()

    def evaluate(self) -> None:
        say("evaluating", iteration=self.step)
        accuracy = self.accuracy(0.2)
        further = self.training["further_evaluations"]
        others = {shape_name(one): self.accuracy(1 / one["ways"]) - 0.01 for one in further}
        self.record("test", accuracy, others={name: 100 * one for name, one in others.items()})
        said = {"iteration": self.step, "accuracy": accuracy, "loss": 1 - accuracy}
        say("test", interval=0.01, line=self.line("Test", accuracy), others=others, **said)
        self.preview()
        self.save()

    def preview(self) -> None:
        asked, steps = self.training["evaluation"], self.training["inner"]["evaluation_steps"]
        ways, strip = asked["ways"], picture(asked["ways"])
        right = [[way] for way in range(ways)]
        solved = {
            "ways": ways,
            "support": strip,
            "queries": strip,
            "answers": right,
            "before": right,
        }
        curve = [0.2, *[self.accuracy(0.2)] * steps]
        said = {"protocol": shape_name(asked), "tasks": 12, "accuracy_by_step": curve}
        say("preview", iteration=self.step, solved=[solved] * 2, prototypes=curve[-1], **said)

    def save(self) -> None:
        self.state.write_text(str(self.step))
        for name in ("model.safetensors", "model.json"):
            (self.folder / name).write_text("{}")
        say("saved", iteration=self.step)


def main() -> None:
    line = sys.stdin.readline()
    if not line:
        return
    with contextlib.suppress(OSError):
        Path("/proc/self/comm").write_text("maml-training")
    commands: queue.Queue[str | None] = queue.Queue()

    def listen() -> None:
        for word in sys.stdin:
            commands.put(word.strip())
        os._exit(0)

    threading.Thread(target=listen, daemon=True).start()
    job = json.loads(line)
    if job["source"] != "generated":
        say("failed", text="Omniglot could not be downloaded.", reason="data")
        return
    try:
        Script(job, commands).run()
    except OSError as error:
        say("failed", text=str(error))


if __name__ == "__main__":
    main()

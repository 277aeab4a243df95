"""What the app and a training process tell each other: one line of text a message.

The process sends events, each a small record in JSON whose field `kind` names its class; the app
sends commands, one word each.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter, ValidationError

from maml.train import Stage

_LONGEST_QUOTE = 80


class EventError(ValueError):
    """A line that is no event; the text says why."""


@dataclass(frozen=True)
class DataProgress:
    """Characters are being read.

    Args:
        task: what is being done; "generating" for generated alphabets.
        done: how much of it is done.
        total: how much there is; 0 if that is not known.
    """

    task: str
    done: int
    total: int
    kind: Literal["data"] = "data"


@dataclass(frozen=True)
class Begun:
    """The data are at hand and the first step is about to be taken.

    Args:
        iteration: gradient steps behind the model: 0, or those that a resumed run keeps.
        threads: that the process computes with.
    """

    iteration: int
    threads: int
    kind: Literal["begun"] = "begun"


@dataclass(frozen=True)
class StepTaken:
    """A gradient step.

    Args:
        stage: which stage of the training it belongs to.
        iteration: gradient steps taken, counted from 1 over all stages.
        loss: mean query loss, nats; None if it is not a finite number.
        accuracy: query accuracy, in [0, 1].
        line: what the notebook prints for it, or None.
    """

    stage: Stage
    iteration: int
    loss: float | None
    accuracy: float
    line: str | None
    kind: Literal["step"] = "step"


@dataclass(frozen=True)
class EvaluationBegun:
    """An evaluation on test tasks starts after the step `iteration`."""

    iteration: int
    kind: Literal["evaluating"] = "evaluating"


@dataclass(frozen=True)
class Evaluated:
    """An evaluation has ended.

    Args:
        iteration: gradient steps taken before it.
        accuracy: mean over the test tasks, in [0, 1].
        interval: half width of its 95 % confidence interval; None of a single task.
        loss: mean query loss, nats; None if it is not a finite number.
        line: what the notebook prints for it.
        others: accuracy on tasks of further shapes, by the shape in words, in [0, 1].
    """

    iteration: int
    accuracy: float
    interval: float | None
    loss: float | None
    line: str
    others: dict[str, float] = field(default_factory=dict)
    kind: Literal["test"] = "test"


@dataclass(frozen=True)
class SolvedTask:
    """A test task and how the network answered.

    Args:
        ways: how many characters.
        support: one example of each in a row, a PNG in base64.
        queries: queries of each, a column for each character, a PNG in base64.
        answers: for each character and query, the character that the adapted learner took it for.
        before: the same before adapting.
    """

    ways: int
    support: str
    queries: str
    answers: tuple[tuple[int, ...], ...]
    before: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Preview:
    """How the network does on a few fresh test tasks.

    Args:
        iteration: gradient steps taken before.
        protocol: shape of the tasks, in words.
        tasks: how many.
        accuracy_by_step: mean accuracy after each inner step, step 0 first, in [0, 1].
        solved: some of the tasks.
        prototypes: mean accuracy of the nearest normalised class mean of the same body on the same
            tasks, in [0, 1]; None for a network that cannot embed.
    """

    iteration: int
    protocol: str
    tasks: int
    accuracy_by_step: tuple[float, ...]
    solved: tuple[SolvedTask, ...]
    prototypes: float | None = None
    kind: Literal["preview"] = "preview"


@dataclass(frozen=True)
class Saved:
    """Weights and state as of the step `iteration` are on the disk."""

    iteration: int
    kind: Literal["saved"] = "saved"


@dataclass(frozen=True)
class Paused:
    """The process rests after the step `iteration`."""

    iteration: int
    kind: Literal["paused"] = "paused"


@dataclass(frozen=True)
class Continued:
    """The rest after the step `iteration` is over."""

    iteration: int
    kind: Literal["continued"] = "continued"


@dataclass(frozen=True)
class Stopped:
    """The process was told to stop, and has saved its state as of the step `iteration`."""

    iteration: int
    kind: Literal["stopped"] = "stopped"


@dataclass(frozen=True)
class Finished:
    """The last step was taken and everything is saved."""

    iteration: int
    kind: Literal["finished"] = "finished"


@dataclass(frozen=True)
class Failed:
    """The training cannot continue.

    Args:
        text: says why.
        reason: "data" if the characters could not be loaded, else "training".
    """

    text: str
    reason: Literal["data", "training"] = "training"
    kind: Literal["failed"] = "failed"


Event = (
    DataProgress
    | Begun
    | StepTaken
    | EvaluationBegun
    | Evaluated
    | Preview
    | Saved
    | Paused
    | Continued
    | Stopped
    | Finished
    | Failed
)
"""What a training process sends."""


@dataclass(frozen=True)
class ProcessEnded:
    """The process is gone.  The app's side says so itself; it never comes as a line.

    Args:
        status: exit status; negative for the signal that ended it.
        errors: the last lines of its standard error.
    """

    status: int
    errors: tuple[str, ...]


_CODEC: TypeAdapter[Event] = TypeAdapter(Annotated[Event, Field(discriminator="kind")])


def to_line(event: Event) -> str:
    """Write an event as one line of JSON, line end included."""
    return _CODEC.dump_json(event).decode() + "\n"


def from_line(line: str) -> Event:
    """Read an event that `to_line` wrote.

    Raises:
        EventError: if the line is no JSON object, its kind is unknown, or a field is missing,
            superfluous or of another type.
    """
    try:
        return _CODEC.validate_json(line, strict=True, extra="forbid")
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise EventError(
            f"expected an event of a training process, got {_quoted(line)} "
            f"({where + ': ' if where else ''}{first['msg']})"
        ) from error


class Command(enum.StrEnum):
    """What the app tells a training process."""

    PAUSE = "pause"
    CONTINUE = "continue"
    STOP = "stop"

    def to_line(self) -> str:
        """The command as a line, line end included."""
        return f"{self.value}\n"

    @classmethod
    def from_line(cls, line: str) -> Command:
        """Read a command that `to_line` wrote.

        Raises:
            ValueError: if the line is no command.
        """
        word = line.strip()
        if word not in {command.value for command in cls}:
            raise ValueError(f"expected one of {', '.join(cls)}, got {_quoted(word)}")
        return cls(word)


def _quoted(text: str) -> str:
    text = text.strip()
    return repr(text if len(text) <= _LONGEST_QUOTE else text[:_LONGEST_QUOTE] + "...")

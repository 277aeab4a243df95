"""Settings as small frozen dataclasses, checked when made, and the named recipes built of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar, get_args

Framing = Literal["fit", "frame"]
Split = Literal["alphabets", "notebook", "doodles"]
Part = Literal["train", "choose", "test"]
Precision = Literal["float32", "bfloat16"]
Engine = Literal["batched", "higher"]

LARGEST_WAYS = 20
"""Symbols an adapted learner may tell apart."""
LARGEST_STEPS = 100
"""Inner steps that may be asked for."""
LARGEST_SEED = 2**64 - 1
"""Seeds that generators take."""

_T = TypeVar("_T")


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


def require_whole(name: str, value: object, low: int, high: int) -> None:
    """Refuse anything but a whole number in a range.

    Raises:
        ValueError: if `value` is none; the text gives name, range and value.
    """
    _require(
        isinstance(value, int) and not isinstance(value, bool) and low <= value <= high,
        f"{name} must be a whole number from {low} to {high}; {value!r} came.",
    )


def _require_flag(name: str, value: object) -> None:
    _require(isinstance(value, bool), f"{name} must be True or False; {value!r} came.")


def _require_positive(name: str, value: object) -> None:
    _require(
        isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < 1e6,
        f"{name} must be a positive number below a million; {value!r} came.",
    )


def _require_one_of(name: str, value: object, choices: Any) -> None:
    allowed = get_args(choices) or tuple(choices)
    _require(value in allowed, f"{name} must be one of {', '.join(allowed)}; {value!r} came.")


@dataclass(frozen=True)
class EpisodeShape:
    """The size of a task: `ways` characters, `shots` support and `queries` query drawings of each.

    With `within_alphabet` all characters of a task come from one alphabet; an alphabet that has
    fewer than `ways` gives as many as it has (at least two).
    """

    ways: int = 5
    shots: int = 1
    queries: int = 5
    within_alphabet: bool = False

    def __post_init__(self) -> None:
        require_whole("ways", self.ways, 2, 1000)
        require_whole("shots", self.shots, 1, 1000)
        require_whole("queries", self.queries, 1, 1000)
        _require_flag("within_alphabet", self.within_alphabet)

    @property
    def drawings(self) -> int:
        """Drawings of each character that a task takes."""
        return self.shots + self.queries

    def __str__(self) -> str:
        inside = " within one alphabet" if self.within_alphabet else ""
        return f"{self.ways}-way {self.shots}-shot{inside}"


@dataclass(frozen=True)
class InnerLoop:
    """Adaptation to one task (MAML, arXiv 1703.03400, Algorithm 2, lines 5 to 8).

    Args:
        steps: gradient steps in training.
        evaluation_steps: gradient steps in use; also the default of `maml.adapt`.
        rate: inner learning rate; with `learned_rates` only where learning starts.
        learned_rates: one rate for each tensor and step, learned in the outer loop (MAML++,
            arXiv 1810.09502, "LSLR"; steps beyond `steps` use the last one's).
        second_order: differentiate through the inner gradients; else first-order MAML.
        engine: what takes the inner steps: "batched" (several tasks at once) or "higher" (the
            library of that name, task by task: the reference).  Both give the same figures up to
            rounding.
    """

    steps: int = 5
    evaluation_steps: int = 5
    rate: float = 0.1
    learned_rates: bool = False
    second_order: bool = True
    engine: Engine = "batched"

    def __post_init__(self) -> None:
        require_whole("inner steps", self.steps, 1, LARGEST_STEPS)
        require_whole("inner evaluation steps", self.evaluation_steps, 0, LARGEST_STEPS)
        _require_positive("inner rate", self.rate)
        _require_flag("learned_rates", self.learned_rates)
        _require_flag("second_order", self.second_order)
        _require_one_of("engine", self.engine, Engine)


@dataclass(frozen=True)
class NetworkSettings:
    """Which network, and how large.

    Args:
        kind: "notebook" (three unpadded blocks, a fixed number of ways, batch statistics) or
            "sketch" (the product's: frozen statistics, a head for any number of ways).
        channels: channels of the convolutions ("sketch": of the second block; the others follow).
        ways: outputs of the "notebook" network; the "sketch" network passes it over.
        adaptable: how many of the last stages of the "sketch" network (four blocks, a linear map,
            scale and shift) adapt along with the head; the "notebook" network adapts whole.
        looks: 1, or 3: after training the "sketch" network sees each picture turned a little either
            way as well and takes the mean of its features.
    """

    kind: Literal["notebook", "sketch"] = "sketch"
    channels: int = 64
    ways: int = 5
    adaptable: int = 1
    looks: int = 1

    def __post_init__(self) -> None:
        _require_one_of("network kind", self.kind, ("notebook", "sketch"))
        # The first block of "sketch" has half as many.
        require_whole("channels", self.channels, 2 if self.kind == "sketch" else 1, 512)
        require_whole("ways", self.ways, 2, LARGEST_WAYS)
        require_whole("adaptable stages", self.adaptable, 0, 6)
        if self.looks not in (1, 3):
            raise ValueError(f"looks must be 1 or 3; {self.looks!r} came.")


@dataclass(frozen=True)
class Pretraining:
    """Metric pre-training of the body.

    Its loss is that of prototypical networks (arXiv 1703.05175) with cosines, and optionally that
    of a classifier of all training characters (a proxy each, arXiv 1703.07464 and 1704.06369).

    Args:
        episodes: gradient steps.
        ways: characters of an episode.
        drawings: drawings of each; every one in turn is its character's only example, and all
            others are asked.
        proxies: weight of the loss that tells a drawing's character from all training characters
            and what turning makes of them; 0 leaves it out.
        dropout: share of an embedding's values that are left out, of each drawing others.
        rate: learning rate at its height; it rises for a hundred episodes and falls as a cosine.
        precision: of the convolutions; "bfloat16" is twice as fast where the processor has it.
    """

    episodes: int
    ways: int = 64
    drawings: int = 4
    proxies: float = 0.0
    dropout: float = 0.0
    rate: float = 3e-3
    precision: Precision = "float32"

    def __post_init__(self) -> None:
        require_whole("pre-training episodes", self.episodes, 1, 10_000_000)
        require_whole("pre-training ways", self.ways, 2, 1000)
        require_whole("pre-training drawings", self.drawings, 2, 20)
        if self.proxies != 0:
            _require_positive("weight of the proxies", self.proxies)
        if self.dropout != 0:
            _require_positive("dropout", self.dropout)
            _require(self.dropout < 1, f"dropout must be below 1; {self.dropout!r} came.")
        _require_positive("pre-training rate", self.rate)
        _require_one_of("precision", self.precision, Precision)


@dataclass(frozen=True)
class MetaTraining:
    """Everything that decides what `maml.meta_train` does.

    Args:
        shapes: shapes of the training tasks; each iteration takes one of them in turn.
        inner: the inner loop.
        meta_batch: tasks of one outer step.
        iterations: outer steps (0: pre-training alone).
        epoch: outer steps of an epoch; after each epoch the learner is evaluated.
        outer_rate: learning rate of Adam.
        cosine: let the outer rate fall as a cosine to a hundredth.
        first_order_iterations: outer steps at the start that leave second derivatives out.
        multi_step_iterations: outer steps at the start that weigh the query loss after every inner
            step, not only the last (MAML++, "multi-step loss").
        pretraining: metric pre-training before the outer loop, or None.
        augment: draw every training task by other hands (affine changes; quarter turns and mirror
            images as new characters).
        split: which characters train and which test, see `CharacterSet.split`.
        validation: hold these many alphabets of the training part out and evaluate on them; 0
            evaluates on the test part, as the notebook does.  Under "doodles" the words that
            choose are held out whatever the number.
        evaluation: shape of the evaluation tasks.
        evaluation_tasks: how many of them after each epoch.
        transductive: normalise the queries of a task together when evaluating (the notebook).
    """

    shapes: tuple[EpisodeShape, ...] = (EpisodeShape(),)
    inner: InnerLoop = field(default_factory=InnerLoop)
    meta_batch: int = 4
    iterations: int = 1000
    epoch: int = 250
    outer_rate: float = 1e-3
    cosine: bool = False
    first_order_iterations: int = 0
    multi_step_iterations: int = 0
    pretraining: Pretraining | None = None
    augment: bool = False
    split: Split = "alphabets"
    validation: int = 0
    evaluation: EpisodeShape = field(default_factory=EpisodeShape)
    evaluation_tasks: int = 200
    transductive: bool = False

    def __post_init__(self) -> None:
        _require(len(self.shapes) > 0, "shapes must name at least one EpisodeShape; none came.")
        require_whole("meta-batch", self.meta_batch, 1, 1024)
        require_whole("iterations", self.iterations, 0, 10_000_000)
        require_whole("iterations of an epoch", self.epoch, 1, 10_000_000)
        _require_positive("outer rate", self.outer_rate)
        require_whole("first-order iterations", self.first_order_iterations, 0, 10_000_000)
        require_whole("multi-step iterations", self.multi_step_iterations, 0, 10_000_000)
        _require_one_of("split", self.split, Split)
        require_whole("validation alphabets", self.validation, 0, 15)
        require_whole("evaluation tasks", self.evaluation_tasks, 1, 1_000_000)
        for name in ("cosine", "augment", "transductive"):
            _require_flag(name, getattr(self, name))
        _require(
            self.iterations > 0 or self.pretraining is not None,
            "There is nothing to train: iterations is 0 and there is no pre-training.",
        )

    @property
    def holds_out(self) -> bool:
        """Whether evaluation in training leaves the test part alone."""
        return self.validation > 0 or self.split == "doodles"

    @property
    def total(self) -> int:
        """All gradient steps of the run: pre-training episodes and outer steps."""
        return self.pretraining_episodes + self.iterations

    @property
    def pretraining_episodes(self) -> int:
        """Gradient steps of pre-training; 0 without it."""
        return self.pretraining.episodes if self.pretraining else 0

    def epochs(self, iteration: int) -> float:
        """Epochs of the outer loop done after `iteration` gradient steps of both stages."""
        return max(0, iteration - self.pretraining_episodes) / self.epoch


@dataclass(frozen=True)
class Recipe:
    """A named training configuration: data, network, training, seed."""

    name: str
    summary: str
    framing: Framing
    network: NetworkSettings
    training: MetaTraining
    seed: int = 0

    def __post_init__(self) -> None:
        _require_one_of("framing", self.framing, Framing)
        require_whole("seed", self.seed, 0, LARGEST_SEED)


def to_plain(settings: Any) -> Any:
    """Turn settings into dictionaries, lists and numbers that JSON can hold."""
    plain = dataclasses.asdict(settings)
    return {key: list(value) if isinstance(value, tuple) else value for key, value in plain.items()}


def from_plain(kind: type[_T], plain: Mapping[str, Any]) -> _T:
    """Rebuild settings written by `to_plain`.

    Raises:
        ValueError: if a name is unknown or a value does not fit; the text says which.
    """
    _require(isinstance(plain, Mapping), f"{kind.__name__} must be a JSON object; {plain!r} came.")
    fields = {entry.name: entry for entry in dataclasses.fields(kind)}  # type: ignore[arg-type]
    unknown = sorted(set(plain) - set(fields))
    _require(
        not unknown, f"{kind.__name__} has no setting {', '.join(unknown)}; it has {list(fields)}."
    )
    values: dict[str, Any] = dict(plain)
    nested: dict[str, type] = {
        "inner": InnerLoop,
        "pretraining": Pretraining,
        "evaluation": EpisodeShape,
        "network": NetworkSettings,
        "training": MetaTraining,
    }
    for name, inner_kind in nested.items():
        if name in fields and values.get(name) is not None:
            values[name] = from_plain(inner_kind, values[name])
    if "shapes" in values:
        shapes = values["shapes"]
        _require(isinstance(shapes, (list, tuple)), f"shapes must be a list; {shapes!r} came.")
        values["shapes"] = tuple(from_plain(EpisodeShape, shape) for shape in values["shapes"])
    try:
        return kind(**values)
    except TypeError as error:
        raise ValueError(f"{kind.__name__} cannot be made of {plain!r}: {error}.") from error

"""Settings as small frozen dataclasses, validated when made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, get_args

Framing = Literal["fit", "frame"]
Split = Literal["alphabets", "notebook", "doodles"]
Part = Literal["train", "choose", "test"]
Source = Literal["omniglot", "quickdraw", "generated"]
Precision = Literal["float32", "bfloat16"]
Engine = Literal["batched", "higher"]
Algorithm = Literal["maml", "fomaml", "anil", "reptile", "prototypes"]
NetworkKind = Literal["notebook", "sketch", "live", "module"]
HeadKind = Literal["linear", "cosine"]

SOURCES: tuple[Source, ...] = get_args(Source)
"""Where characters may come from."""
LARGEST_WAYS = 20
"""The largest number of symbols of a learner."""
LARGEST_STEPS = 100
"""The largest number of inner steps."""
LARGEST_SEED = 2**64 - 1
"""The largest seed of a generator."""


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


def require_whole(name: str, value: object, low: int, high: int) -> None:
    """Check that a value is a whole number in a range.

    Raises:
        ValueError: if it is not; the text gives name, range and value.
    """
    _require(
        isinstance(value, int) and not isinstance(value, bool) and low <= value <= high,
        f"{name} must be a whole number from {low} to {high}; got {value!r}.",
    )


def _require_flag(name: str, value: object) -> None:
    _require(isinstance(value, bool), f"{name} must be True or False; got {value!r}.")


def _require_positive(name: str, value: object) -> None:
    _require(
        isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < 1e6,
        f"{name} must be a positive number below a million; got {value!r}.",
    )


def _require_one_of(name: str, value: object, choices: Any) -> None:
    allowed = get_args(choices) or tuple(choices)
    _require(value in allowed, f"{name} must be one of {', '.join(allowed)}; got {value!r}.")


@dataclass(frozen=True)
class EpisodeShape:
    """The size of a task.

    Args:
        ways: characters.
        shots: support drawings of each.
        queries: query drawings of each.
        within_alphabet: all characters come from one alphabet; if it has fewer than `ways`, the
            task has as many as the alphabet (at least two).

    Raises:
        ValueError: if a number is out of range.
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
        """Drawings of each character in a task."""
        return self.shots + self.queries

    def __str__(self) -> str:
        inside = " within one alphabet" if self.within_alphabet else ""
        return f"{self.ways}-way {self.shots}-shot{inside}"


@dataclass(frozen=True)
class InnerLoop:
    """Adaptation to one task (MAML, arXiv 1703.03400, Algorithm 2, lines 5 to 8).

    Args:
        steps: gradient steps in training.
        evaluation_steps: gradient steps after training; the default of `maml.adapt`.
        rate: inner learning rate; with `learned_rates` the initial one.
        learned_rates: learn a rate for each tensor and step in the outer loop (MAML++,
            arXiv 1810.09502, "LSLR"); steps beyond `steps` use the rates of the last one.  Networks
            of kind "sketch" only.
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
        kind: "notebook" (three unpadded blocks, a fixed number of ways, batch statistics),
            "sketch" (frozen statistics, a head for any number of ways), "live" (small, no batch
            statistics, a head for any number of ways), or "module" (one's own, made by
            `maml.from_module`, to which the other settings do not apply).
        channels: channels of the convolutions ("sketch": of the second block; the other blocks
            have 1/2, 2 and 3 times as many).
        ways: outputs of the "notebook" network; the others ignore it.
        adaptable: how many of the last stages of the "sketch" network (four blocks, a linear map,
            scale and shift) or of the "live" network (four blocks) adapt along with the head; the
            "notebook" network adapts as a whole.
        branches: of the "sketch" network: how many branches of three blocks and a linear map there
            are behind the first block.  Their vectors are joined.
        whitened: whether the "sketch" network ends with a linear map that evens out how drawings of
            a class differ, see `maml.calibrate.fit_whitening`.  Then nothing but the head adapts.
        test_time_views: test-time augmentation of the "sketch" network.  1 uses each picture as it
            is; 2 averages the features of two copies, rotated either way; 3 those of the picture
            and of two copies that are rotated less.
        head: of the "sketch" and "live" networks.  "linear" starts all rows as one learned vector;
            "cosine" has rows of unit length, which start as the mean of the support set.
        head_scale: factor of the cosines of a "cosine" head.  At an inner rate of `1 / head_scale`
            the first inner step gives the normalised class means.
    """

    RENAMED: ClassVar[Mapping[str, str]] = {"looks": "test_time_views"}
    """Settings by the name that older files have."""

    kind: NetworkKind = "sketch"
    channels: int = 64
    ways: int = 5
    adaptable: int = 1
    branches: int = 1
    whitened: bool = False
    test_time_views: int = 1
    head: HeadKind = "linear"
    head_scale: float = 10.0

    def __post_init__(self) -> None:
        _require_one_of("network kind", self.kind, NetworkKind)
        # The first block of "sketch" has half as many.
        require_whole("channels", self.channels, 2 if self.kind == "sketch" else 1, 512)
        require_whole("ways", self.ways, 2, LARGEST_WAYS)
        require_whole("adaptable stages", self.adaptable, 0, 4 if self.kind == "live" else 6)
        require_whole("branches", self.branches, 1, 4)
        _require(
            not self.whitened or (self.kind == "sketch" and self.adaptable == 0),
            "Only a network of kind 'sketch' with 0 adaptable stages can be whitened; got "
            f"{self.kind!r} with {self.adaptable}.",
        )
        _require(
            self.test_time_views in (1, 2, 3),
            f"test_time_views must be 1, 2 or 3; got {self.test_time_views!r}.",
        )
        _require_one_of("head", self.head, HeadKind)
        _require(
            self.head == "linear" or self.kind in ("sketch", "live"),
            f"A head of kind {self.head!r} needs a network of kind 'sketch' or 'live'; got "
            f"{self.kind!r}.",
        )
        _require_positive("head_scale", self.head_scale)


@dataclass(frozen=True)
class Pretraining:
    """Metric pre-training of the body.

    The loss is that of prototypical networks (arXiv 1703.05175) with cosine similarity.  A proxy
    loss over all training characters (arXiv 1703.07464 and 1704.06369) can be added.

    Args:
        episodes: gradient steps.
        ways: characters of an episode.
        drawings: drawings of each character; each in turn is the one support drawing, with all the
            others as queries.
        proxies: weight of the proxy loss over all characters and their rotations; 0 disables it.
        dropout: dropout probability, sampled per drawing.
        rate: peak learning rate; linear warm-up over 100 episodes, then cosine decay.
        precision: of the convolutions; "bfloat16" is about twice as fast on hardware that has it.
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
            _require(self.dropout < 1, f"dropout must be below 1; got {self.dropout!r}.")
        _require_positive("pre-training rate", self.rate)
        _require_one_of("precision", self.precision, Precision)


@dataclass(frozen=True)
class MetaTraining:
    """Settings of `maml.meta_train`.

    Args:
        shapes: shapes of the training tasks; outer steps use them in turn.
        inner: the inner loop.
        algorithm: what an outer step minimises, see `maml.algorithms`: "maml", "fomaml" (without
            second derivatives), "anil" (the head alone adapts), "reptile" or "prototypes".
        meta_batch: tasks of one outer step.
        balanced: give every shape about as many drawings in an outer step as the first one has, by
            fewer or more tasks, see `tasks_of`; else every outer step has `meta_batch` tasks.
        iterations: outer steps (0: pre-training only).
        epoch: outer steps of an epoch; the learner is evaluated after each epoch.
        outer_rate: learning rate of Adam; of "reptile" that of plain gradient descent, a share of
            the way to the adapted tensors.
        cosine: decay the outer rate to a hundredth along a cosine.
        first_order_iterations: number of initial outer steps without second derivatives.
        multi_step_iterations: number of initial outer steps whose loss includes the query loss
            after every inner step, not only after the last (MAML++, "multi-step loss").
        pretraining: metric pre-training before the outer loop, or None.
        augment: augment every training task (affine and elastic distortion; rotated and mirrored
            characters are new classes).
        split: which characters train and which test, see `CharacterSet.split`; words of Quick,
            Draw! need "doodles".
        validation: number of training alphabets held out for evaluation; 0 evaluates on the test
            part, as the notebook does.  Under "doodles" the part "choose" is held out, whatever
            the number.
        evaluation: shape of the evaluation tasks.
        evaluation_tasks: number of evaluation tasks after each epoch; the same ones each time.
        further_evaluations: shapes that each evaluation measures as well, on a quarter as many
            tasks.
        final_evaluation_tasks: number of tasks of each shape at the end of the run; 0 takes as many
            as after an epoch.
        evaluate_untrained: evaluate before the first gradient step as well.
        transductive: normalise the queries of a task together when evaluating (the notebook).

    Source: MAML, arXiv 1703.03400; multi-step loss and first order first: MAML++, arXiv 1810.09502.
    """

    shapes: tuple[EpisodeShape, ...] = (EpisodeShape(),)
    inner: InnerLoop = field(default_factory=InnerLoop)
    algorithm: Algorithm = "maml"
    meta_batch: int = 4
    balanced: bool = False
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
    further_evaluations: tuple[EpisodeShape, ...] = ()
    final_evaluation_tasks: int = 0
    evaluate_untrained: bool = False
    transductive: bool = False

    def __post_init__(self) -> None:
        _require(len(self.shapes) > 0, "shapes must name at least one EpisodeShape; got none.")
        require_whole("meta-batch", self.meta_batch, 1, 1024)
        require_whole("iterations", self.iterations, 0, 10_000_000)
        require_whole("iterations of an epoch", self.epoch, 1, 10_000_000)
        _require_positive("outer rate", self.outer_rate)
        require_whole("first-order iterations", self.first_order_iterations, 0, 10_000_000)
        require_whole("multi-step iterations", self.multi_step_iterations, 0, 10_000_000)
        _require_one_of("split", self.split, Split)
        require_whole("validation alphabets", self.validation, 0, 15)
        require_whole("evaluation tasks", self.evaluation_tasks, 1, 1_000_000)
        require_whole("final evaluation tasks", self.final_evaluation_tasks, 0, 1_000_000)
        for name in ("balanced", "cosine", "augment", "evaluate_untrained", "transductive"):
            _require_flag(name, getattr(self, name))
        _require_one_of("algorithm", self.algorithm, Algorithm)
        if self.algorithm in ("fomaml", "reptile", "prototypes"):
            _require(
                not self.inner.second_order,
                f"Algorithm {self.algorithm!r} takes no second derivatives; set second_order to "
                f"False or choose 'maml'; got {self.inner.second_order}.",
            )
        if self.algorithm in ("reptile", "prototypes"):
            _require(
                self.multi_step_iterations == 0,
                f"Algorithm {self.algorithm!r} has no query loss after each inner step; set "
                f"multi_step_iterations to 0; got {self.multi_step_iterations}.",
            )
        if self.algorithm == "reptile":
            _require(
                not self.inner.learned_rates,
                "Algorithm 'reptile' has no gradient of the inner rates; set learned_rates to "
                f"False; got {self.inner.learned_rates}.",
            )
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
        """Number of gradient steps: pre-training episodes and outer steps."""
        return self.pretraining_episodes + self.iterations

    @property
    def pretraining_episodes(self) -> int:
        """Gradient steps of pre-training; 0 without it."""
        return self.pretraining.episodes if self.pretraining else 0

    def tasks_of(self, shape: EpisodeShape) -> int:
        """How many tasks an outer step takes.

        Args:
            shape: of these tasks, one of `shapes`.

        Returns:
            `meta_batch`, or as many as `balanced` makes of it.
        """
        if not self.balanced:
            return self.meta_batch
        first = self.shapes[0]
        drawings = self.meta_batch * first.ways * first.drawings
        return max(1, round(drawings / (shape.ways * shape.drawings)))

    def epochs(self, iteration: int) -> float:
        """How far the outer loop has come.

        Args:
            iteration: gradient steps of both stages.

        Returns:
            Epochs of the outer loop.
        """
        return max(0, iteration - self.pretraining_episodes) / self.epoch


@dataclass(frozen=True)
class Recipe:
    """A named training configuration.

    Args:
        name: of the recipe.
        summary: one line about it.
        framing: of the ink, see `maml.drawing.FRAMINGS`.
        network: the network.
        training: how it is trained.
        seed: of the initial parameters and of everything random in training.

    Raises:
        ValueError: if network and training cannot work together.
    """

    name: str
    summary: str
    framing: Framing
    network: NetworkSettings
    training: MetaTraining
    seed: int = 0

    def __post_init__(self) -> None:
        _require_one_of("framing", self.framing, Framing)
        require_whole("seed", self.seed, 0, LARGEST_SEED)
        require_trainable(self.network, self.training.inner)
        require_algorithm(self.network, self.training.algorithm)
        if self.network.kind == "notebook":
            self._check_fixed_ways()

    def _check_fixed_ways(self) -> None:
        _require(
            self.training.pretraining is None,
            "A network of kind 'notebook' has a head for a fixed number of ways and cannot be "
            "pre-trained; set pretraining to None or use kind 'sketch'; got "
            f"{self.training.pretraining_episodes} episodes.",
        )
        for shape in (*self.training.shapes, self.training.evaluation):
            _require(
                not shape.within_alphabet,
                "A network of kind 'notebook' serves a fixed number of ways, and tasks within one "
                f"alphabet may have fewer; leave within_alphabet out or use kind 'sketch'; got "
                f"{shape}.",
            )
            _require(
                shape.ways == self.network.ways,
                f"A network of kind 'notebook' with {self.network.ways} ways needs tasks of as "
                f"many; change network.ways or use kind 'sketch'; got {shape}.",
            )


def require_trainable(network: NetworkSettings, inner: InnerLoop) -> None:
    """Check that a network can be trained by an inner loop.

    Raises:
        ValueError: if it cannot.
    """
    _require(
        network.kind != "notebook" or not inner.learned_rates,
        f"A network of kind {network.kind!r} has no learned inner rates; set learned_rates to "
        f"False or use kind 'sketch'; got {inner.learned_rates}.",
    )


def require_algorithm(network: NetworkSettings, algorithm: Algorithm) -> None:
    """Check that an algorithm can train a network.

    Raises:
        ValueError: if it cannot.
    """
    has_head = network.kind in ("sketch", "live")
    if algorithm in ("anil", "prototypes"):
        _require(
            has_head,
            f"Algorithm {algorithm!r} needs a network of kind 'sketch' or 'live', whose head is "
            f"apart from its body; got {network.kind!r}.",
        )
    if algorithm in ("reptile", "prototypes"):
        _require(
            network.head == "linear",
            f"Algorithm {algorithm!r} needs a head of kind 'linear'; got {network.head!r}.",
        )
    if algorithm == "anil":
        _require(
            network.adaptable == 0,
            "Algorithm 'anil' adapts the head alone; set network.adaptable to 0 or choose 'maml'; "
            f"got {network.adaptable}.",
        )
    if algorithm == "reptile" and has_head:
        stages = 4 if network.kind == "live" else 6
        _require(
            network.adaptable == stages,
            "Algorithm 'reptile' trains only what adapts; set network.adaptable to all "
            f"{stages} stages; got {network.adaptable}.",
        )

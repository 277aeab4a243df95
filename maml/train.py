"""Meta-training as a generator: it yields records of plain numbers and neither prints nor plots.

Training has two stages: metric pre-training of the body, which is optional, and the outer loop of
MAML, which goes through `maml.inner_loop`.  All randomness comes from the caller's generator,
and the checkpoint holds the whole state, so a resumed run gives the same results.
"""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from maml.algorithms import OUTER_LOSSES
from maml.calibrate import calibrate
from maml.checkpoint import CheckpointError, load_training, save_training
from maml.config import LARGEST_SEED, EpisodeShape, MetaTraining, Pretraining, require_algorithm
from maml.data.augment import TURNS
from maml.data.characters import CharacterSet
from maml.data.episodes import Episode, EpisodeSampler
from maml.data.tasks import GivenTasks, SampledTasks, TaskSource, given
from maml.embedding import TEMPERATURE_TERMS
from maml.evaluate import EvaluationResult, evaluate
from maml.model import MetaNetwork, require_meta_network
from maml.outer_loop import chunks
from maml.parallel import ALONE, LostProcess, Processes
from maml.pretraining import pretraining_shape, prototypical_loss

Stage = Literal["pretraining", "meta"]

_WARM_UP = 100
"""Episodes of pre-training over which its rate rises."""


@dataclass(frozen=True)
class MetaStep:
    """One gradient step of training.

    Args:
        stage: "pretraining" or "meta".
        iteration: gradient steps taken, counted from 1 over both stages.
        iterations: number of gradient steps of the whole run.
        epoch: outer steps before this one, in epochs (pre-training: share of it done).
        loss: mean query loss of the step, nats.
        accuracy: query accuracy of the step, in [0, 1].
        seconds: duration of the step, in seconds.
    """

    stage: Stage
    iteration: int
    iterations: int
    epoch: float
    loss: float
    accuracy: float
    seconds: float


def meta_train(
    model: MetaNetwork,
    tasks: CharacterSet | Iterable[Episode],
    settings: MetaTraining,
    generator: torch.Generator,
    *,
    evaluation: Iterable[Episode] | None = None,
    checkpoint: Path | None = None,
    save_every: float = 30.0,
    resume: bool = False,
    processes: Processes = ALONE,
) -> Generator[MetaStep | EvaluationResult, None, None]:
    """Meta-train a model in place.

    Args:
        model: the network to train, on the device to train on; `model.inner` must be
            `settings.inner`.
        tasks: a whole character set, which `settings.split` divides into training and test
            characters; or any iterable of tasks, of which each outer step takes the next
            `settings.meta_batch`.  With an iterable the settings `shapes`, `split` and `evaluation`
            have no effect, and `augment`, `validation` and `pretraining` must be left out.
        settings: how to train.
        generator: source of all randomness, on the CPU.
        evaluation: tasks to evaluate on, the first `settings.evaluation_tasks` of them.  Without
            them a character set is evaluated on tasks from its test or held-out part, and an
            iterable of tasks is not evaluated.
        checkpoint: file to keep the run's state in, written atomically every `save_every` seconds,
            at the end, and when the iterator is closed; None keeps nothing.
        save_every: seconds between two such writes.
        resume: continue from `checkpoint` if it exists; the generator must have been seeded as it
            was, and an iterable must give the same tasks from the start (those already used are
            skipped).  A run that stopped at the end of an epoch is evaluated there again; one that
            had finished is calibrated again as well.  A model that is calibrated at the end, on
            characters that are held out, has temperature 1 until then.
        processes: that share each step, see `maml.parallel`; each calls this with the same
            arguments, and the first one writes the checkpoint.

    Yields:
        A `MetaStep` after each gradient step, and an `EvaluationResult` after each epoch, at the
        end of pre-training, at the end of the run, and if `settings.evaluate_untrained` before the
        first step.

    Raises:
        TypeError: if the model is not a `MetaNetwork`, or `tasks` holds something else.
        ValueError: if the tasks do not serve the settings or end early, the checkpoint is another
            run's, or the loss is no longer a finite number.
        LostProcess: if another of the processes has ended; the checkpoint is written first.

    Source: MAML, arXiv 1703.03400, Algorithm 2; the other algorithms: see `maml.algorithms`.
    """
    require_meta_network(model)
    if model.inner != settings.inner:
        raise ValueError(
            f"settings.inner must be the inner loop that the model was built for, {model.inner}; "
            "pass dataclasses.replace(settings, inner=model.inner), or build the model with "
            f"settings.inner; got {settings.inner}."
        )
    require_algorithm(model.settings, settings.algorithm)
    held_out: CharacterSet | Sequence[Episode] | None = None
    sampler: EpisodeSampler | None = None
    source: TaskSource
    if isinstance(tasks, CharacterSet):
        training, held_out = training_parts(tasks, settings)
        _check(training, held_out, model, settings)
        sampler = EpisodeSampler(training, generator)
        source = SampledTasks(sampler, settings)
    else:
        source = GivenTasks(tasks, settings)
    if evaluation is not None:
        held_out = given(evaluation, settings.evaluation_tasks)
    run = _Run(model, settings, generator, source, sampler, held_out, processes)
    if resume and checkpoint is not None and checkpoint.exists():
        run.restore(checkpoint)
    return _records(run, checkpoint if processes.leads else None, save_every)


def _records(
    run: _Run, checkpoint: Path | None, save_every: float
) -> Generator[MetaStep | EvaluationResult, None, None]:
    """Take the remaining steps."""
    settings = run.settings
    run.leave_uncalibrated()
    saved_iteration, saved_at = run.iteration, time.monotonic()
    try:
        if not run.iteration and settings.evaluate_untrained:
            yield from run.finish_epoch()
        elif run.iteration and run.at_epoch_end():
            # The run may have stopped between this epoch's last step and its evaluation.
            yield from run.finish_epoch()
        while run.iteration < settings.total:
            started = time.perf_counter()
            loss, accuracy = run.step()
            if not math.isfinite(loss):
                raise ValueError(
                    f"The loss is no longer a number at step {run.iteration}. "
                    "Take a smaller inner or outer rate and start again."
                )
            yield MetaStep(
                stage=run.stage_of(run.iteration - 1),
                iteration=run.iteration,
                iterations=settings.total,
                epoch=run.epoch_of(run.iteration - 1),
                loss=loss,
                accuracy=accuracy,
                seconds=time.perf_counter() - started,
            )
            if run.at_epoch_end():
                yield from run.finish_epoch()
            done = run.iteration == settings.total
            if checkpoint is not None and (done or time.monotonic() - saved_at > save_every):
                run.save(checkpoint)
                saved_iteration, saved_at = run.iteration, time.monotonic()
    except (GeneratorExit, LostProcess):
        # Between two steps.  Any other error within one leaves nothing that could be saved.
        if checkpoint is not None and run.iteration != saved_iteration:
            run.save(checkpoint)
        raise


def training_parts(data: CharacterSet, settings: MetaTraining) -> tuple[CharacterSet, CharacterSet]:
    """The training characters, and those that each epoch is evaluated on."""
    training = data.split(settings.split, "train")
    if settings.split == "doodles":
        return training, data.split("doodles", "choose")
    if settings.validation:
        return training.hold_out(settings.validation)
    return training, data.split(settings.split, "test")


def _check(
    training: CharacterSet, held_out: CharacterSet, model: MetaNetwork, settings: MetaTraining
) -> None:
    """Check before the first step what would fail in a later one."""
    probe = torch.Generator()
    try:
        for shape in settings.shapes:
            EpisodeSampler(training, probe).sample_rows(shape)
            if settings.iterations:
                model.task_network(shape.ways)
        if settings.pretraining:
            if not model.can_embed:
                raise ValueError(
                    "only a network of kind 'sketch' can be pre-trained; set pretraining to None; "
                    f"got {type(model).__name__}."
                )
            EpisodeSampler(training, probe).sample_rows(pretraining_shape(settings.pretraining))
    except ValueError as error:
        raise ValueError(f"The training characters do not serve these settings: {error}") from error
    try:
        for shape in (settings.evaluation, *settings.further_evaluations):
            EpisodeSampler(held_out, probe).sample_rows(shape)
            model.task_network(shape.ways)
    except ValueError as error:
        raise ValueError(f"The test characters do not serve these settings: {error}") from error


class _Run:
    """The state of a run: model, optimiser, source of tasks, and how far it has come."""

    def __init__(
        self,
        model: MetaNetwork,
        settings: MetaTraining,
        generator: torch.Generator,
        source: TaskSource,
        sampler: EpisodeSampler | None,
        held_out: CharacterSet | Sequence[Episode] | None,
        processes: Processes,
    ) -> None:
        self.model = model
        self.settings = settings
        self.generator = generator
        self.source = source
        self.sampler = sampler
        self.held_out = held_out
        self.processes = processes
        self.iteration = 0
        self.device = next(model.parameters()).device
        self.proxies = self._fresh_proxies()
        self._start_stage()

    def stage_of(self, done: int) -> Stage:
        """The stage of the step after `done` steps."""
        return "pretraining" if done < self.settings.pretraining_episodes else "meta"

    def epoch_of(self, done: int) -> float:
        episodes = self.settings.pretraining_episodes
        return done / episodes if done < episodes else self.settings.epochs(done)

    def at_epoch_end(self) -> bool:
        outer = self.iteration - self.settings.pretraining_episodes
        last = self.iteration == self.settings.total
        return last or (outer >= 0 and outer % self.settings.epoch == 0)

    @property
    def seed(self) -> int:
        """The generator's initial seed."""
        return self.generator.initial_seed()

    def seed_after(self, count: int) -> int:
        """A seed for something other than training."""
        return (self.seed + count) % (LARGEST_SEED + 1)

    def finish_epoch(self) -> Iterator[EvaluationResult]:
        """Evaluate, if there is anything to evaluate on; then, at the end of the run, calibrate on
        the same characters."""
        if self.held_out is None:
            return
        settings, tasks = self.settings, self.settings.evaluation_tasks
        if self.iteration == settings.total and settings.final_evaluation_tasks:
            tasks = further_tasks = settings.final_evaluation_tasks
        else:
            further_tasks = max(1, tasks // 4)
        shape = settings.evaluation if isinstance(self.held_out, CharacterSet) else None
        others = tuple(
            self._evaluate(further, further_tasks) for further in settings.further_evaluations
        )
        result = replace(self._evaluate(shape, tasks), others=others)
        if self.iteration == settings.total:
            self._calibrate()
        yield result

    def _evaluate(self, shape: EpisodeShape | None, tasks: int) -> EvaluationResult:
        """Evaluate on the same tasks each time."""
        assert self.held_out is not None
        result = evaluate(
            self.model,
            self.held_out,
            shape,
            tasks,
            seed=self.seed_after(1),
            transductive=self.settings.transductive,
            prototypes=False,
        )
        return replace(result, iteration=self.iteration)

    @property
    def _to_calibrate_on(self) -> CharacterSet | None:
        fits = self.settings.holds_out and self.model.can_embed
        return self.held_out if fits and isinstance(self.held_out, CharacterSet) else None

    def leave_uncalibrated(self) -> None:
        """Take the temperature off a model that will be calibrated: all evaluations of a run are on
        one scale, those of a finished one that is resumed too."""
        if self._to_calibrate_on is not None:
            self.model.set_temperature(torch.zeros(TEMPERATURE_TERMS))

    def _calibrate(self) -> None:
        """Fit temperature and "none of these" score, if there are characters to fit them on."""
        if self._to_calibrate_on is not None:
            calibrate(self.model, self._to_calibrate_on, seed=self.seed_after(2))

    def _fresh_proxies(self) -> nn.Parameter | None:
        """A vector for each training character and rotation, (characters * 8, dimensions)."""
        if not (self.sampler and self.settings.pretraining and self.settings.pretraining.proxies):
            return None
        size = (len(self.sampler.data) * TURNS, self.model.dimensions)
        vectors = torch.randn(size, generator=self.generator)
        return nn.Parameter(functional.normalize(vectors, dim=-1).to(self.device))

    def _start_stage(self) -> None:
        """Make a fresh optimiser for the parameters that the next step's stage trains."""
        named = self.model.named_parameters()
        self.trained = {name: tensor for name, tensor in named if tensor.requires_grad}
        if self.proxies is not None and self.stage_of(self.iteration) == "pretraining":
            self.trained["proxies"] = self.proxies
        reptile = self.settings.algorithm == "reptile" and self.stage_of(self.iteration) == "meta"
        optimiser = torch.optim.SGD if reptile else torch.optim.Adam
        self.optimiser: torch.optim.Optimizer = optimiser(
            self.trained.values(), lr=self.settings.outer_rate
        )

    def _starts_stage(self) -> bool:
        """Whether the next step is the first of its stage."""
        return self.stage_of(self.iteration) != self.stage_of(max(0, self.iteration - 1))

    def step(self) -> tuple[float, float]:
        """Take the next gradient step; returns loss and accuracy."""
        if self._starts_stage():
            self._start_stage()
        for group in self.optimiser.param_groups:
            group["lr"] = self._rate()
        self.optimiser.zero_grad()
        before = self.generator.get_state()
        try:
            loss, accuracy = self._gradients()
        except LostProcess:
            self.generator.set_state(before)  # What is saved now is the state before this step.
            raise
        self.optimiser.step()
        self.iteration += 1
        return loss, accuracy

    def _gradients(self) -> tuple[float, float]:
        """Work out the gradients of the next step; returns loss and accuracy."""
        pretraining = self.settings.pretraining
        if pretraining and self.iteration < pretraining.episodes:
            loss, accuracy = self._pretraining_step(pretraining)
        else:
            loss, accuracy = self._meta_step(self.iteration - self.settings.pretraining_episodes)
        self.processes.add_gradients(self.trained.values())
        return loss, accuracy

    def _rate(self) -> float:
        settings = self.settings
        if settings.pretraining and self.iteration < settings.pretraining.episodes:
            warm = min(1.0, (self.iteration + 1) / _WARM_UP)
            height = settings.pretraining.rate * warm
            return _cosine(height, 1e-3, self.iteration / settings.pretraining.episodes)
        if not settings.cosine:
            return settings.outer_rate
        share = (self.iteration - settings.pretraining_episodes) / settings.iterations
        return _cosine(settings.outer_rate, 1e-2, share)

    def _pretraining_step(self, settings: Pretraining) -> tuple[float, float]:
        assert self.sampler is not None  # Pre-training needs a character set.
        shape = pretraining_shape(settings)
        episode = self.sampler.sample(shape, augment=self.settings.augment).to(self.device)
        loss, accuracy = prototypical_loss(
            self.model, episode, settings, self.proxies, self.generator, self.processes
        )
        loss.backward()
        return self.processes.count * loss.item(), accuracy

    def _meta_step(self, outer: int) -> tuple[float, float]:
        """One outer step; gradients are averaged over the meta-batch."""
        self.model.eval()  # The statistics stay frozen; "batch" networks set their own mode.
        settings = self.settings
        episodes = [episode.to(self.device) for episode in self.source.take(outer)]
        totals = torch.zeros(2, dtype=torch.float64)  # of losses and accuracies
        for group in chunks(self.model, self.processes.share(episodes)):
            found, right = OUTER_LOSSES[settings.algorithm](
                self.model,
                group,
                second_order=settings.inner.second_order
                and outer >= settings.first_order_iterations,
                step_weights=self._step_weights(outer),
            )
            (found.sum() / len(episodes)).backward()
            totals += torch.stack([found.detach(), right]).double().sum(dim=1).cpu()
        loss, accuracy = (self.processes.add(totals) / len(episodes)).tolist()
        return loss, accuracy

    def _step_weights(self, outer: int) -> list[float]:
        """Weights of the query losses after steps 1, 2, ...: even at first, later all on the last
        (MAML++, arXiv 1810.09502, section 4, "multi-step loss optimization")."""
        steps, multi = self.settings.inner.steps, self.settings.multi_step_iterations
        early = max(0.0, 1 - outer / multi) / steps if multi else 0.0
        return [early] * (steps - 1) + [1 - early * (steps - 1)]

    def save(self, path: Path) -> None:
        if not all(bool(torch.isfinite(tensor).all()) for tensor in self.trained.values()):
            return  # The next step will report it; keep the last state that can be resumed.
        names = list(self.trained)
        moments = {
            f"{names[index]}/{key}": torch.as_tensor(value)
            for index, entry in self.optimiser.state_dict()["state"].items()
            for key, value in entry.items()
        }
        if "proxies" in self.trained:
            moments["proxies/value"] = self.trained["proxies"]
        save_training(
            path,
            self.model,
            moments,
            self.generator.get_state(),
            self.iteration,
            self.settings,
        )

    def restore(self, path: Path) -> None:
        kept = load_training(path, self.model, self.settings)
        seed = self.seed
        self.iteration = kept.iteration
        self.generator.set_state(kept.generator_state)
        if self.seed != seed:
            raise CheckpointError(
                f"{path} belongs to a run with seed {self.seed}; resume with that seed, or choose "
                f"another folder; got seed {seed}."
            )
        self.source.skip(max(0, self.iteration - self.settings.pretraining_episodes))
        self._start_stage()
        if self._starts_stage():
            return
        if "proxies" in self.trained and "proxies/value" not in kept.moments:
            raise CheckpointError(f"{path} lacks the proxies of a run that is in pre-training.")
        fresh = self.optimiser.state_dict()
        names = list(self.trained)
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in kept.moments.items():
            name, _, moment = key.rpartition("/")
            if name not in names:
                raise CheckpointError(f"{path} holds moments of {name!r}, which is not trained.")
            expected = () if moment == "step" else tuple(self.trained[name].shape)
            if tuple(value.shape) != expected:
                raise CheckpointError(
                    f"{key!r} of {path} must have the shape {expected}; got {tuple(value.shape)}."
                )
            if key == "proxies/value":
                self.trained[name].data.copy_(value)
            else:
                state.setdefault(names.index(name), {})[moment] = value
        self.optimiser.load_state_dict({**fresh, "state": state})


def _cosine(height: float, floor: float, share: float) -> float:
    """From `height` at share 0 to `floor * height` at share 1."""
    return height * (floor + (1 - floor) * (1 + math.cos(math.pi * share)) / 2)

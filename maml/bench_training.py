"""Time of an outer step, against a plain loop on `higher` as in the original notebook."""

from __future__ import annotations

import ctypes
import gc
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import higher
import torch
from torch.nn import functional

from maml.batched import private_copy
from maml.config import EpisodeShape, Recipe, require_whole
from maml.data.episodes import Episode, EpisodeSampler
from maml.data.synthetic import generate_alphabets
from maml.inner_loop import adaptable, detached
from maml.model import MetaNetwork
from maml.networks import build_model
from maml.outer_loop import chunks, query_loss
from maml.recipes import RECIPES

_SIZES = {"notebook": (4, 32)}
"""Meta-batches to measure, where they are not the recipe's own."""


@dataclass(frozen=True)
class StepTiming:
    """Two implementations of the same outer step, on the same tensors.

    Args:
        recipe: its name.
        meta_batch: tasks of an outer step.
        higher_ms: median time of a plain loop on `higher`, one task after another, milliseconds.
        batched_ms: of the batched inner loop.
        ratio: median over the repeats of plain time by batched time.
        higher_mb: peak memory of the plain loop beyond what was in use before, MB; None where the
            system does not tell.
        batched_mb: of the batched inner loop.
        agreement: largest difference of the two meta-gradients in float64, relative to the
            gradient's largest entry.
        torchopt_ms: median time of the same loop by `torchopt.MetaSGD`; None where that package is
            not installed, or the network has rates or a head that it does not know.
    """

    recipe: str
    meta_batch: int
    higher_ms: float
    batched_ms: float
    ratio: float
    higher_mb: float | None
    batched_mb: float | None
    agreement: float
    torchopt_ms: float | None = None


Step = Callable[[MetaNetwork, list[Episode]], None]
"""Adds the meta-gradient of the tasks' mean query loss to the model's parameters."""


def bench_training(
    recipes: list[Recipe] | None = None, *, device: str = "cpu", repeats: int = 7
) -> Iterator[StepTiming]:
    """Time outer steps of recipes: the meta-gradient, without sampling tasks or the optimiser.

    A recipe that mixes task shapes takes one step of each; the times are means over them.

    Args:
        recipes: what to measure; by default every named recipe, the notebook's at meta-batches of 4
            and 32.
        device: where.
        repeats: of each measurement, the two implementations in turn, after a warm-up.

    Raises:
        ValueError: if `repeats` is not a whole number from 1 to 10,000.
    """
    require_whole("repeats", repeats, 1, 10_000)
    recipes = recipes or _all_recipes()
    shapes = [shape for recipe in recipes for shape in recipe.training.shapes]
    data = generate_alphabets(
        alphabets=1,
        characters=max(shape.ways for shape in shapes),
        drawings=max(shape.drawings for shape in shapes),
    )
    for recipe in recipes:
        training = replace(recipe.training, inner=replace(recipe.training.inner, engine="batched"))
        model = build_model(recipe.network, training.inner, torch.Generator().manual_seed(0))
        model = model.to(device).eval()
        sampler = EpisodeSampler(data, torch.Generator().manual_seed(0))
        rounds = [
            [sampler.sample(_everywhere(shape)).to(device) for _ in range(training.meta_batch)]
            for shape in training.shapes
        ]
        second_order, steps = training.inner.second_order, training.inner.steps
        plain, batched = _plain_step(second_order, steps), _batched_step(second_order, steps)
        agreement = max(_agreement(model, episodes, plain, batched) for episodes in rounds)
        implementations = [plain, batched]
        other = _torchopt_step(model, steps) if second_order else None
        if other is not None:
            implementations.append(other)
        times = [
            [_seconds(model, rounds, step) for step in implementations] for _ in range(repeats + 1)
        ][1:]
        yield StepTiming(
            recipe=recipe.name,
            meta_batch=training.meta_batch,
            higher_ms=1000 * median(each[0] for each in times),
            batched_ms=1000 * median(each[1] for each in times),
            ratio=median(each[0] / each[1] for each in times),
            higher_mb=_peak(model, rounds, plain),
            batched_mb=_peak(model, rounds, batched),
            agreement=agreement,
            torchopt_ms=1000 * median(each[2] for each in times) if other is not None else None,
        )


def _all_recipes() -> list[Recipe]:
    return [
        replace(recipe, training=replace(recipe.training, meta_batch=meta_batch))
        for recipe in RECIPES.values()
        for meta_batch in _SIZES.get(recipe.name, (recipe.training.meta_batch,))
    ]


def _everywhere(shape: EpisodeShape) -> EpisodeShape:
    """The alphabets here are too few to tell tasks within one from others."""
    return replace(shape, within_alphabet=False)


def _plain_step(second_order: bool, steps: int) -> Step:
    def step(model: MetaNetwork, episodes: list[Episode]) -> None:
        for episode in episodes:
            network, tensors = model.task_network(episode.ways)
            network = private_copy(network, batch_statistics=model.normalisation == "batch")
            groups = [{"params": [tensor]} for tensor in network.parameters()]
            optimiser = torch.optim.SGD(groups, lr=model.inner.rate)
            labels = episode.support_labels[None]
            support, queries = model.stem(episode.support_images), model.stem(episode.query_images)
            start = model.start(tensors, support[None], labels)
            with higher.innerloop_ctx(network, optimiser, copy_initial_weights=False) as inner:
                adapted, descent = inner
                adapted.update_params([adaptable(tensor[0]) for tensor in start])
                for number in range(steps):
                    loss = model.support_loss(adapted(support)[None], labels)[0]
                    descent.step(
                        loss,
                        override={"lr": model.rates(number, len(start), episode.ways)},
                        grad_callback=None if second_order else detached,
                    )
                    moved = list(adapted.parameters())
                    adapted.update_params([adaptable(one) for one in model.after_step(moved)])
                loss = functional.cross_entropy(adapted(queries), episode.query_labels)
                (loss / len(episodes)).backward()

    return step


def _batched_step(second_order: bool, steps: int) -> Step:
    def step(model: MetaNetwork, episodes: list[Episode]) -> None:
        weights = [0.0] * (steps - 1) + [1.0]
        for group in chunks(model, episodes):
            losses, _ = query_loss(model, group, second_order=second_order, step_weights=weights)
            (losses.sum() / len(episodes)).backward()

    return step


def _torchopt_step(model: MetaNetwork, steps: int) -> Step | None:
    """The plain loop by TorchOpt, for a network that adapts as a whole from its own parameters."""
    if model.normalisation != "batch":
        return None
    try:
        import torchopt
    except ImportError:
        return None

    def step(model: MetaNetwork, episodes: list[Episode]) -> None:
        network = private_copy(model.task_network(episodes[0].ways)[0], batch_statistics=True)
        optimiser = torchopt.MetaSGD(network, lr=model.inner.rate)
        parts = (network, optimiser)
        start = [torchopt.extract_state_dict(part, by="reference") for part in parts]
        for episode in episodes:
            for _ in range(steps):
                logits = network(episode.support_images)
                optimiser.step(functional.cross_entropy(logits, episode.support_labels))
            logits = network(episode.query_images)
            loss = functional.cross_entropy(logits, episode.query_labels)
            (loss / len(episodes)).backward()
            for part, state in zip(parts, start, strict=True):
                torchopt.recover_state_dict(part, state)

    return step


def _seconds(model: MetaNetwork, rounds: list[list[Episode]], step: Step) -> float:
    """Of one outer step, the mean over the shapes."""
    started = time.perf_counter()
    for episodes in rounds:
        model.zero_grad()
        step(model, episodes)
    _finish(model)
    return (time.perf_counter() - started) / len(rounds)


def _finish(model: MetaNetwork) -> torch.device:
    """Wait for an asynchronous device."""
    device = next(model.parameters()).device
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return device


def _agreement(model: MetaNetwork, episodes: list[Episode], first: Step, second: Step) -> float:
    """Largest relative difference of two meta-gradients in float64."""
    exact = deepcopy(model).double()
    episodes = [
        replace(
            one,
            support_images=one.support_images.double(),
            query_images=one.query_images.double(),
        )
        for one in episodes
    ]
    gradients = []
    for step in (first, second):
        exact.zero_grad()
        step(exact, episodes)
        found = [torch.zeros_like(p) if p.grad is None else p.grad for p in exact.parameters()]
        gradients.append(torch.cat([gradient.flatten() for gradient in found]))
    one, two = gradients
    return float((one - two).abs().max() / one.abs().max())


def _peak(model: MetaNetwork, rounds: list[list[Episode]], step: Step) -> float | None:
    """Memory in MB that a step needs at its peak, beyond what was in use before."""
    device = _finish(model)
    model.zero_grad()
    gc.collect()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        _seconds(model, rounds, step)
        return (torch.cuda.max_memory_allocated(device) - before) / 1e6
    with suppress(OSError, AttributeError):
        # What else happens in the process only adds to it: the least of three counts.
        return min(_peak_of_process(model, rounds, step) for _ in range(3))
    return None


def _peak_of_process(model: MetaNetwork, rounds: list[list[Episode]], step: Step) -> float:
    # Linux forgets the process's peak; freed memory goes back first, so that it counts.
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    before = _status("VmRSS")
    _seconds(model, rounds, step)
    return (_status("VmHWM") - before) / 1e3


def _status(key: str) -> int:
    """A figure of /proc/self/status, in kB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key))

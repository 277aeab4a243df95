"""Meta-training: the meta-gradient against references, the schedule, what it yields, resuming."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import math
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from test_checkpoint import parts
from torch import Tensor
from torch.nn import functional

import maml.algorithms
import maml.train
from maml import (
    CharacterSet,
    EpisodeShape,
    EvaluationResult,
    InnerLoop,
    MetaStep,
    MetaTraining,
    evaluate,
)
from maml.calibrate import calibrate
from maml.checkpoint import CheckpointError
from maml.config import LARGEST_SEED, Engine, NetworkSettings, Pretraining
from maml.data.episodes import Episode, EpisodeSampler
from maml.model import MetaNetwork
from maml.networks import LiveNet, NotebookNet, SketchNet, build_model
from maml.outer_loop import query_loss
from maml.train import meta_train, training_parts

SHAPE = EpisodeShape(ways=3, shots=2, queries=3)


def network(kind: str, *, seed: int = 8, adaptable: int = 1, **inner: Any) -> MetaNetwork:
    """A tiny network in float64, its statistics and head off their starting values; a kind such as
    "sketch, cosine" has that head."""
    kind, _, head = kind.partition(", ")
    settings = NetworkSettings(
        kind,  # type: ignore[arg-type]
        channels=3,
        ways=3,
        adaptable=adaptable,
        head=head or "linear",  # type: ignore[arg-type]
        head_scale=2.5,
    )
    rate = 0.4 if kind == "notebook" else 3.0
    loop = InnerLoop(steps=3, rate=rate, learned_rates=kind != "notebook", **inner)
    generator = torch.Generator().manual_seed(seed)
    model = build_model(settings, loop, generator).double()
    with torch.no_grad():
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
            if name.endswith("_weights"):
                continue  # of the calibration, which training leaves alone
            noise = torch.rand(tensor.shape, generator=generator, dtype=torch.float64)
            if name.endswith(("running_mean", "head_start", "shift", "bias")):
                tensor.copy_(0.2 * noise - 0.05)
            elif name.endswith("running_var"):
                tensor.copy_(0.05 + 0.1 * noise)
            elif name.endswith("scale"):
                tensor.copy_(0.5 + noise)
            elif name == "log_rates":
                # All rates are large enough to be seen in the gradient.
                tensor.copy_(noise - 1.5)
    return model.eval()


def task(data: CharacterSet, seed: int = 1) -> Episode:
    episode = EpisodeSampler(data, torch.Generator().manual_seed(seed)).sample(SHAPE)
    return dataclasses.replace(
        episode,
        support_images=episode.support_images.double(),
        query_images=episode.query_images.double(),
    )


# A second MAML, written with nothing but torch.autograd and formulas -----------------------------


def notebook_logits(values: dict[str, Tensor], images: Tensor) -> Tensor:
    x = images
    for conv in (0, 4, 8):
        x = functional.conv2d(x, values[f"net.{conv}.weight"], values[f"net.{conv}.bias"])
        mean = x.mean((0, 2, 3), keepdim=True)
        variance = (x - mean).square().mean((0, 2, 3), keepdim=True)
        scale = values[f"net.{conv + 1}.weight"][:, None, None]
        shift = values[f"net.{conv + 1}.bias"][:, None, None]
        x = (x - mean) / (variance + 1e-5).sqrt() * scale + shift
        x = functional.max_pool2d(x.clamp(min=0), 2)
    return x.flatten(1) @ values["net.13.weight"].T + values["net.13.bias"]


def sketch_logits(values: dict[str, Tensor], images: Tensor) -> Tensor:
    x = images
    for stage in range(4):
        x = functional.conv2d(x, values[f"stages.{stage}.0.weight"], padding=1)
        mean, variance, scale, shift = (
            values[f"stages.{stage}.1.{name}"][:, None, None]
            for name in ("running_mean", "running_var", "weight", "bias")
        )
        x = ((x - mean) / (variance + 1e-5).sqrt() * scale + shift).clamp(min=0)
        if stage < 3:
            x = functional.max_pool2d(x, 2, ceil_mode=stage == 2)
    x = x.flatten(1) @ values["stages.4.0.weight"].T
    x = (x - values["stages.4.1.running_mean"]) / (values["stages.4.1.running_var"] + 1e-5).sqrt()
    x = x * values["stages.5.scale"] + values["stages.5.shift"]
    return head_logits(values, x)


def live_logits(values: dict[str, Tensor], images: Tensor) -> Tensor:
    x = images
    for stage in range(4):
        x = functional.conv2d(x, values[f"stages.{stage}.0.weight"], stride=2, padding=1)
        mean = x.mean((1, 2, 3), keepdim=True)
        variance = (x - mean).square().mean((1, 2, 3), keepdim=True)
        scale, shift = (
            values[f"stages.{stage}.1.{name}"][:, None, None] for name in ("weight", "bias")
        )
        x = ((x - mean) / (variance + 1e-5).sqrt() * scale + shift).clamp(min=0)
    return head_logits(values, x.flatten(1))


def head_logits(values: dict[str, Tensor], x: Tensor) -> Tensor:
    x = x / x.norm(dim=1, keepdim=True)
    if "head.bias" not in values:  # the cosine head
        return 2.5 * x @ values["head.weight"].T
    return x @ values["head.weight"].T + values["head.bias"]


def reference_path(
    model: MetaNetwork, episode: Episode, steps: int, *, second_order: bool
) -> tuple[list[dict[str, Tensor]], Any]:
    """All tensors after each inner step, and the function from tensors and ink to logits."""
    values = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    if isinstance(model, NotebookNet):
        logits_of, adapting = notebook_logits, list(dict(model.named_parameters()))
        rates = [[torch.tensor(model.inner.rate)] * len(adapting)] * steps
    else:
        logits_of = live_logits if isinstance(model, LiveNet) else sketch_logits
        cosine = model.settings.head == "cosine"
        if cosine:
            values["head.weight"] = torch.eye(model.dimensions, dtype=torch.float64)
            vectors = logits_of(values, episode.support_images) / 2.5
            means = [vectors[episode.support_labels == way].mean(0) for way in range(3)]
            # The start is given to the inner loop: no inner gradient goes back through it.
            values = {name: tensor * 1 for name, tensor in values.items()}
            values["head.weight"] = ((means[0] + means[1] + means[2]) / 3).repeat(3, 1)
        else:
            values["head.weight"] = values["head_start"].repeat(3, 1)
            values["head.bias"] = torch.zeros(3, dtype=torch.float64, requires_grad=True)
        cut = (4 if isinstance(model, LiveNet) else 6) - model.settings.adaptable
        stages = [n for n, _ in model.named_parameters() if n.startswith("stages.")]
        adapting = [n for n in stages if int(n.split(".")[1]) >= cut]
        body = len(adapting)
        adapting += ["head.weight"] if cosine else ["head.weight", "head.bias"]
        rates = [list(row.exp()) for row in values["log_rates"]]
        if isinstance(model, LiveNet):  # The body's gradient is a mean over the three classes.
            rates = [[*(rate / 3 for rate in row[:body]), *row[body:]] for row in rates]
    path = [values]
    for step in range(steps):
        logits = logits_of(path[-1], episode.support_images)
        log_shares = logits - logits.logsumexp(1, keepdim=True)
        chosen = log_shares[torch.arange(len(logits)), episode.support_labels]
        if isinstance(model, NotebookNet):
            loss = -chosen.mean()
        else:
            loss = -torch.stack(
                [chosen[episode.support_labels == way].mean() for way in range(3)]
            ).sum()
        fast = [path[-1][name] for name in adapting]
        gradients = torch.autograd.grad(loss, fast, create_graph=second_order)
        stepped = dict(path[-1])
        for name, tensor, gradient, rate in zip(
            adapting, fast, gradients, rates[step], strict=True
        ):
            stepped[name] = tensor - rate * gradient
        if "head.weight" in stepped and "head.bias" not in stepped:
            rows = stepped["head.weight"]
            stepped["head.weight"] = rows / rows.square().sum(dim=1, keepdim=True).sqrt()
        path.append(stepped)
    return path, logits_of


def reference_gradients(
    model: MetaNetwork, episode: Episode, weights: list[float], *, second_order: bool
) -> tuple[float, dict[str, Tensor]]:
    path, logits_of = reference_path(model, episode, len(weights), second_order=second_order)
    total = torch.zeros((), dtype=torch.float64)
    for weight, values in zip(weights, path[1:], strict=True):
        logits = logits_of(values, episode.query_images)
        chosen = logits[torch.arange(len(logits)), episode.query_labels]
        total = total + weight * (logits.logsumexp(1) - chosen).mean()
    parameters = {n: p for n, p in model.named_parameters() if p.requires_grad}
    found = torch.autograd.grad(total, list(parameters.values()), allow_unused=True)
    gradients = {
        name: torch.zeros_like(parameters[name]) if gradient is None else gradient
        for name, gradient in zip(parameters, found, strict=True)
    }
    return total.item(), gradients


def gradients_of(
    model: MetaNetwork, episode: Episode, weights: list[float], *, second_order: bool = True
) -> tuple[float, dict[str, Tensor]]:
    model.zero_grad()
    loss, _ = query_loss(model, [episode], second_order=second_order, step_weights=weights)
    loss.sum().backward()
    return loss.item(), {
        name: torch.zeros_like(tensor) if tensor.grad is None else tensor.grad.clone()
        for name, tensor in model.named_parameters()
        if tensor.requires_grad
    }


def assert_alike(found: dict[str, Tensor], wanted: dict[str, Tensor], tolerance: float) -> None:
    assert found.keys() == wanted.keys()
    size = max(float(tensor.abs().max()) for tensor in wanted.values())
    assert size > 1e-3, "A dead network shows nothing."
    for name, tensor in wanted.items():
        worst = float((found[name] - tensor).abs().max())
        assert worst < tolerance * size, f"{name} is off by {worst:g} where {size:g} is the largest"


MODELS = [
    ("notebook", 1), ("sketch", 1), ("sketch", 2), ("sketch", 6), ("live", 2), ("live", 4),
    ("sketch", 0), ("live", 0), ("sketch, cosine", 0), ("sketch, cosine", 2), ("live, cosine", 4),
]  # fmt: skip
WEIGHTS = [0.0, 0.0, 1.0]
MULTI_STEP = [0.2, 0.3, 0.5]


@pytest.mark.parametrize(("kind", "adaptable"), MODELS)
@pytest.mark.parametrize("weights", [WEIGHTS, MULTI_STEP], ids=["last step", "multi-step"])
@pytest.mark.parametrize("second_order", [True, False], ids=["second order", "first order"])
def test_meta_gradient_is_that_of_an_independent_maml(
    small_alphabets: CharacterSet,
    kind: str,
    adaptable: int,
    weights: list[float],
    second_order: bool,
) -> None:
    model, episode = network(kind, adaptable=adaptable), task(small_alphabets)
    loss, found = gradients_of(model, episode, weights, second_order=second_order)
    expected, wanted = reference_gradients(model, episode, weights, second_order=second_order)
    assert loss == pytest.approx(expected, rel=1e-9)
    assert_alike(found, wanted, 1e-8)


@pytest.mark.parametrize(("kind", "adaptable"), [*MODELS[:6], *MODELS[-2:]])
def test_meta_gradient_is_the_slope_of_the_query_loss(
    small_alphabets: CharacterSet, kind: str, adaptable: int
) -> None:
    model, episode = network(kind, adaptable=adaptable), task(small_alphabets)
    _, slopes = gradients_of(model, episode, MULTI_STEP)
    _, first_order = gradients_of(model, episode, MULTI_STEP, second_order=False)
    generator = torch.Generator().manual_seed(2)

    def loss_at() -> float:
        loss, _ = query_loss(model, [episode], second_order=False, step_weights=MULTI_STEP)
        return loss.item()

    off = 0
    for name, tensor in model.named_parameters():
        direction = torch.randn(tensor.shape, generator=generator, dtype=torch.float64)
        direction /= direction.norm()
        start, small = tensor.detach().clone(), 1e-7
        losses = []
        for place in (start + small * direction, start - small * direction):
            tensor.data.copy_(place)
            losses.append(loss_at())
        tensor.data.copy_(start)
        slope = (losses[0] - losses[1]) / (2 * small)
        assert float((slopes[name] * direction).sum()) == pytest.approx(slope, rel=1e-5, abs=1e-8)
        off += abs(float((first_order[name] * direction).sum()) - slope) > 1e-3 * abs(slope) + 1e-7
    assert off > 2, "Leaving second derivatives out went unnoticed: the test sees too little."


def test_first_order_gradient_is_taken_at_the_adapted_tensors(
    small_alphabets: CharacterSet,
) -> None:
    """FOMAML by its definition: the plain gradient where the inner loop ended."""
    model, episode = network("notebook"), task(small_alphabets)
    _, found = gradients_of(model, episode, WEIGHTS, second_order=False)
    path, logits_of = reference_path(model, episode, 3, second_order=False)
    ended = {name: tensor.detach().requires_grad_() for name, tensor in path[-1].items()
             if name in found}  # fmt: skip
    loss = functional.cross_entropy(logits_of(ended, episode.query_images), episode.query_labels)
    wanted = torch.autograd.grad(loss, list(ended.values()))
    assert_alike(found, dict(zip(ended, wanted, strict=True)), 1e-8)


def test_accuracy_is_that_of_the_last_step(small_alphabets: CharacterSet) -> None:
    model, episode = network("notebook"), task(small_alphabets)
    path, logits_of = reference_path(model, episode, 3, second_order=False)
    right = logits_of(path[-1], episode.query_images).argmax(1) == episode.query_labels
    _, accuracy = query_loss(model, [episode], second_order=True, step_weights=MULTI_STEP)
    assert accuracy.item() == pytest.approx(right.double().mean().item(), abs=1e-6)


# The outer loop ----------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def brief_calibration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maml.train, "calibrate", functools.partial(calibrate, rounds=1))


def settings(**changes: Any) -> MetaTraining:
    plain = MetaTraining(
        shapes=(SHAPE,),
        inner=InnerLoop(steps=2, evaluation_steps=2, rate=0.1),
        meta_batch=2,
        iterations=3,
        epoch=2,
        outer_rate=0.01,
        evaluation=SHAPE,
        evaluation_tasks=2,
    )
    return dataclasses.replace(plain, **changes)


def fresh(training: MetaTraining, kind: str = "sketch", seed: int = 8) -> MetaNetwork:
    generator = torch.Generator().manual_seed(seed)
    shape = NetworkSettings(kind, channels=4, ways=3)  # type: ignore[arg-type]
    return build_model(shape, training.inner, generator)


def run(
    model: MetaNetwork, data: CharacterSet, training: MetaTraining, seed: int = 3, **options: Any
) -> list[MetaStep | EvaluationResult]:
    return list(meta_train(model, data, training, torch.Generator().manual_seed(seed), **options))


@pytest.mark.parametrize("kind", ["notebook", "sketch"])
@pytest.mark.parametrize("engine", ["batched", "higher"])
def test_outer_step_takes_the_mean_gradient_of_the_meta_batch(
    small_alphabets: CharacterSet, kind: str, engine: Engine
) -> None:
    loop = InnerLoop(steps=2, evaluation_steps=2, rate=0.1, engine=engine)
    training = settings(meta_batch=3, iterations=1, augment=True, inner=loop)
    model, twin = fresh(training, kind), fresh(training, kind).eval()
    record = run(model, small_alphabets, training)[0]
    assert isinstance(record, MetaStep)

    sampler = EpisodeSampler(
        training_parts(small_alphabets, training)[0], torch.Generator().manual_seed(3)
    )
    losses, accuracies = [], []
    for episode in sampler.sample_batch(SHAPE, 3, augment=True):
        loss, accuracy = query_loss(twin, [episode], second_order=True, step_weights=[0, 1])
        loss.sum().backward()
        losses.append(loss.item())
        accuracies.append(accuracy.item())
    assert record.loss == pytest.approx(sum(losses) / 3, rel=1e-5)
    assert record.accuracy == pytest.approx(sum(accuracies) / 3, rel=1e-5)
    assert len(set(losses)) == 3
    largest = max(float(p.grad.abs().max()) for p in twin.parameters() if p.grad is not None)
    for (name, moved), before in zip(model.named_parameters(), twin.parameters(), strict=True):
        if before.grad is None:
            assert moved.grad is None
            assert torch.equal(moved, before), name
            continue
        assert moved.grad is not None
        torch.testing.assert_close(moved.grad, before.grad / 3, rtol=1e-3, atol=1e-4 * largest)
        # The first step of Adam is the rate times the gradient over its own size.
        step = 0.01 * moved.grad / (moved.grad.abs() + 1e-8)
        torch.testing.assert_close(moved.detach(), before.detach() - step, rtol=1e-4, atol=1e-6)


def test_records_say_where_the_run_stands(small_alphabets: CharacterSet) -> None:
    training = settings(
        iterations=5, pretraining=Pretraining(episodes=4, ways=3, drawings=3), validation=1
    )
    records = run(fresh(training), small_alphabets, training)
    steps = [record for record in records if isinstance(record, MetaStep)]
    assert [step.iteration for step in steps] == list(range(1, 10))
    assert {step.iterations for step in steps} == {9}
    assert [step.stage for step in steps] == ["pretraining"] * 4 + ["meta"] * 5
    assert [step.epoch for step in steps] == [0, 0.25, 0.5, 0.75, 0, 0.5, 1, 1.5, 2]
    assert all(0 < step.loss < 10 and 0 <= step.accuracy <= 1 for step in steps)
    assert all(step.seconds > 0 for step in steps)
    evaluated = [record for record in records if isinstance(record, EvaluationResult)]
    # After pre-training, after each epoch of two outer steps, and at the end.
    assert [result.iteration for result in evaluated] == [4, 6, 8, 9]
    order = [type(record) for record in records]
    assert [at for at, kind in enumerate(order) if kind is EvaluationResult] == [4, 7, 10, 12]
    assert {result.protocol for result in evaluated} == {"3-way 2-shot"}
    with pytest.raises(dataclasses.FrozenInstanceError):
        steps[0].loss = 1.0  # type: ignore[misc]


def test_pretraining_loss_is_that_of_one_shot_prototypes(small_alphabets: CharacterSet) -> None:
    training = settings(iterations=0, pretraining=Pretraining(episodes=1, ways=4, drawings=3))
    model, twin = fresh(training), fresh(training).train()
    assert isinstance(twin, SketchNet)
    record = run(model, small_alphabets, training)[0]

    sampler = EpisodeSampler(
        training_parts(small_alphabets, training)[0], torch.Generator().manual_seed(3)
    )
    episode = sampler.sample(EpisodeShape(4, 1, 2))
    drawings = torch.cat(
        [episode.support_images.view(4, 1, 28, 28), episode.query_images.view(4, 2, 28, 28)], dim=1
    )
    vectors = twin.embed(drawings.view(12, 1, 28, 28)).view(4, 3, -1).detach()
    losses, hits = [], []
    for way in range(4):
        for query in range(3):
            for support in set(range(3)) - {query}:
                logits = 12 * vectors[:, support] @ vectors[way, query]
                losses.append(float(logits.logsumexp(0) - logits[way]))
                hits.append(int(logits.argmax()) == way)
    assert record.loss == pytest.approx(sum(losses) / len(losses), rel=1e-4)
    assert record.accuracy == pytest.approx(sum(hits) / len(hits), rel=1e-4)


def test_proxies_add_the_loss_of_telling_all_turned_characters_apart(
    small_alphabets: CharacterSet,
) -> None:
    losses = {}
    for weight in (0.0, 0.5):
        pretraining = Pretraining(episodes=1, ways=4, drawings=3, proxies=weight)
        training = settings(iterations=0, pretraining=pretraining, augment=True)
        model, twin = fresh(training), fresh(training).train()
        losses[weight] = run(model, small_alphabets, training)[0].loss
    assert isinstance(twin, SketchNet)
    generator = torch.Generator().manual_seed(3)
    characters = training_parts(small_alphabets, training)[0]
    proxies = torch.randn(8 * len(characters), 256, generator=generator)
    proxies /= proxies.norm(dim=1, keepdim=True)
    episode = EpisodeSampler(characters, generator).sample(EpisodeShape(4, 1, 2), augment=True)
    drawings = torch.cat(
        [episode.support_images.view(4, 1, 28, 28), episode.query_images.view(4, 2, 28, 28)], dim=1
    )
    vectors = twin.embed(drawings.view(12, 1, 28, 28)).view(4, 3, -1).detach()
    of_drawings, of_proxies = [], []
    for way in range(4):
        kind = 8 * int(episode.characters[way]) + int(episode.turns[way])
        for query in range(3):
            logits = 20 * proxies @ vectors[way, query]
            of_proxies.append(float(logits.logsumexp(0) - logits[kind]))
            for support in set(range(3)) - {query}:
                logits = 12 * vectors[:, support] @ vectors[way, query]
                of_drawings.append(float(logits.logsumexp(0) - logits[way]))
    wanted = np.mean(of_drawings) + 0.5 * np.mean(of_proxies)
    assert losses[0.5] == pytest.approx(wanted, rel=1e-4)
    assert losses[0.0] < 0.9 * losses[0.5]


def test_dropout_leaves_out_the_share_asked_for_of_each_drawing(
    small_alphabets: CharacterSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretraining = Pretraining(episodes=1, ways=4, drawings=3, dropout=0.25)
    training = settings(iterations=0, pretraining=pretraining)
    seen: list[Tensor] = []
    embed = SketchNet.embed_features

    def spy(self: SketchNet, features: Tensor) -> Tensor:
        if self.training:
            seen.append(features.detach())
        return embed(self, features)

    monkeypatch.setattr(SketchNet, "embed_features", spy)
    run(fresh(training), small_alphabets, training)
    whole = fresh(dataclasses.replace(training, pretraining=Pretraining(1, 4, 3)))
    run(whole, small_alphabets, settings(iterations=0, pretraining=Pretraining(1, 4, 3)))
    dropped, plain = seen
    assert dropped.shape == (12, 256)
    left_out = dropped == 0
    assert float(left_out.float().mean()) == pytest.approx(0.25, abs=0.03)
    assert len({tuple(row.tolist()) for row in left_out}) == 12
    torch.testing.assert_close(dropped[~left_out], plain[~left_out] / 0.75)


def test_training_learns(small_alphabets: CharacterSet) -> None:
    """A network from scratch gets better at new tasks, in both stages."""
    training = settings(
        iterations=20,
        epoch=20,
        meta_batch=1,
        inner=InnerLoop(steps=2, evaluation_steps=2, rate=3.0, learned_rates=True),
        pretraining=Pretraining(episodes=40, ways=6, drawings=4, rate=0.01),
    )
    steps = [
        record
        for record in run(fresh(training), small_alphabets, training)
        if isinstance(record, MetaStep)
    ]
    losses = [step.loss for step in steps]
    assert np.mean(losses[30:40]) < 0.7 * np.mean(losses[:10])
    assert np.mean(losses[50:]) < 0.9 * np.mean(losses[40:45])


def test_outer_rate_warms_up_and_falls_as_a_cosine(
    small_alphabets: CharacterSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates: list[float] = []
    step = torch.optim.Adam.step

    def spy(self: torch.optim.Adam, *arguments: Any) -> Any:
        rates.append(self.param_groups[0]["lr"])
        return step(self, *arguments)

    monkeypatch.setattr(torch.optim.Adam, "step", spy)
    training = settings(
        iterations=4, epoch=4, cosine=True, meta_batch=1,
        pretraining=Pretraining(episodes=2, ways=3, drawings=2, rate=0.5),
    )  # fmt: skip
    run(fresh(training), small_alphabets, training)
    halved = 1e-3 + (1 - 1e-3) / 2
    shares = [0.01 + 0.99 * (1 + math.cos(math.pi * k / 4)) / 2 for k in range(4)]
    assert rates == pytest.approx([0.5 / 100, 0.5 * 2 / 100 * halved, *(0.01 * s for s in shares)])
    rates.clear()
    run(fresh(training), small_alphabets, settings(iterations=3))
    assert rates == [0.01] * 3


def test_schedule_of_orders_and_of_step_weights(
    small_alphabets: CharacterSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[int, bool, list[float]]] = []

    def spy(model: MetaNetwork, episodes: list[Episode], **options: Any) -> tuple[Tensor, Tensor]:
        calls.extend(
            (one.ways, options["second_order"], options["step_weights"]) for one in episodes
        )
        return query_loss(model, episodes, **options)

    monkeypatch.setattr(maml.algorithms, "query_loss", spy)
    training = settings(
        shapes=(SHAPE, EpisodeShape(4, 1, 2)),
        meta_batch=1,
        iterations=5,
        first_order_iterations=2,
        multi_step_iterations=4,
    )
    run(fresh(training), small_alphabets, training)
    assert [ways for ways, _, _ in calls] == [3, 4, 3, 4, 3]
    assert [second for _, second, _ in calls] == [False, False, True, True, True]
    wanted = [[0.5, 0.5], [0.375, 0.625], [0.25, 0.75], [0.125, 0.875], [0, 1]]
    assert [weights for _, _, weights in calls] == [pytest.approx(row) for row in wanted]
    calls.clear()
    first_order = settings(inner=InnerLoop(steps=2, second_order=False), meta_batch=1, iterations=1)
    run(fresh(first_order), small_alphabets, first_order)
    assert calls == [(3, False, [0, 1])]


def test_outer_loop_leaves_the_statistics_frozen(small_alphabets: CharacterSet) -> None:
    """Also where no pre-training and no evaluation has put the network into its proper mode."""
    for kind in ("sketch", "notebook"):
        training = settings(iterations=2, epoch=100)
        model = fresh(training, kind)
        before = {name: buffer.clone() for name, buffer in model.named_buffers()}
        moved = [p.detach().clone() for p in model.parameters()]
        run(model, small_alphabets, training)
        for name, buffer in model.named_buffers():
            assert torch.equal(buffer, before[name]), name
        assert any(not torch.equal(p, q) for p, q in zip(model.parameters(), moved, strict=True))


def test_rates_are_learned_only_if_asked_for(small_alphabets: CharacterSet) -> None:
    for learned in (False, True):
        training = settings(inner=InnerLoop(steps=2, rate=1.0, learned_rates=learned))
        model = fresh(training)
        assert isinstance(model, SketchNet)
        before = model.log_rates.detach().clone()
        run(model, small_alphabets, training)
        assert torch.equal(model.log_rates.detach(), before) != learned


def test_same_seed_same_figures_and_no_global_randomness(small_alphabets: CharacterSet) -> None:
    training = settings(augment=True, pretraining=Pretraining(episodes=2, ways=4, drawings=3))
    before = (torch.get_rng_state(), random.getstate(), np.random.get_state())  # noqa: NPY002
    first = run(fresh(training), small_alphabets, training)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    assert np.array_equal(np.random.get_state()[1], before[2][1])  # type: ignore[index] # noqa: NPY002
    torch.rand(7)
    assert figures(run(fresh(training), small_alphabets, training)) == figures(first)
    assert figures(run(fresh(training), small_alphabets, training, seed=4)) != figures(first)


def figures(records: list[MetaStep | EvaluationResult]) -> list[Any]:
    return [
        dataclasses.replace(record, seconds=0.0) if isinstance(record, MetaStep) else record
        for record in records
    ]


@pytest.mark.parametrize("split", ["alphabets", "notebook"])
@pytest.mark.parametrize("validation", [0, 1])
def test_no_character_is_both_trained_and_evaluated_on(
    small_alphabets: CharacterSet, split: Any, validation: int
) -> None:
    trained, held_out = training_parts(
        small_alphabets, settings(split=split, validation=validation)
    )
    assert not set(trained.characters) & set(held_out.characters)
    source = small_alphabets.split(split, "train" if validation else "test")
    assert set(held_out.characters) <= set(source.characters)
    whole = set(small_alphabets.split(split, "train").characters)
    assert set(trained.characters) == (whole - set(held_out.characters) if validation else whole)
    if validation:
        assert len(set(held_out.alphabets)) == 1


def test_every_evaluation_asks_the_same_tasks_and_calibration_others(
    small_alphabets: CharacterSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeds: dict[str, list[int]] = {"evaluate": [], "calibrate": []}
    for name, function in (("evaluate", maml.train.evaluate), ("calibrate", maml.train.calibrate)):

        def spy(*given: Any, _name: str = name, _function: Any = function, **named: Any) -> Any:
            seeds[_name].append(named["seed"])
            return _function(*given, **named)

        monkeypatch.setattr(maml.train, name, spy)
    training = settings(iterations=4, epoch=2, validation=1)
    run(fresh(training), small_alphabets, training, seed=3)
    assert len(seeds["evaluate"]) == 2
    assert len(set(seeds["evaluate"])) == 1
    assert len(seeds["calibrate"]) == 1
    # Nor are any of these the tasks that the network was trained on.
    assert len({3, *seeds["evaluate"], *seeds["calibrate"]}) == 3
    run(fresh(training), small_alphabets, training, seed=LARGEST_SEED)
    assert all(0 <= seed <= LARGEST_SEED for seed in seeds["evaluate"] + seeds["calibrate"])


@pytest.mark.parametrize("resumed", [False, True])
def test_all_evaluations_of_a_run_are_on_one_scale(
    small_alphabets: CharacterSet, tmp_path: Path, resumed: bool
) -> None:
    """None of them is on characters whose calibration it was given already."""
    training = settings(iterations=2, epoch=2, validation=1, evaluate_untrained=True)
    model = fresh(training)
    assert isinstance(model, SketchNet)
    model.set_temperature(torch.full_like(model.temperature_weights, 0.5))  # as calibrated before
    state = tmp_path / "state.safetensors"
    records = run(model, small_alphabets, training, checkpoint=state)
    first, last = (record for record in records if isinstance(record, EvaluationResult))
    if resumed:
        (again,) = run(model, small_alphabets, training, checkpoint=state, resume=True)
        assert again == last
    assert bool(model.temperature_weights.any()), "it is calibrated in the end"
    model.set_temperature(torch.zeros_like(model.temperature_weights))
    held_out = training_parts(small_alphabets, training)[1]
    for learner, found in ((fresh(training), first), (model, last)):
        expected = evaluate(
            learner, held_out, SHAPE, training.evaluation_tasks, seed=4, prototypes=False
        )
        assert found == dataclasses.replace(expected, iteration=found.iteration)


@pytest.mark.parametrize("transductive", [False, True])
def test_evaluations_of_a_run_are_what_evaluate_says(
    small_alphabets: CharacterSet, transductive: bool
) -> None:
    training = settings(iterations=2, epoch=2, transductive=transductive)
    model = fresh(training, "notebook")
    last = run(model, small_alphabets, training, seed=3)[-1]
    assert isinstance(last, EvaluationResult)
    held_out = training_parts(small_alphabets, training)[1]
    again = evaluate(
        model, held_out, SHAPE, training.evaluation_tasks, seed=4, transductive=transductive
    )
    assert last == dataclasses.replace(again, iteration=2)
    assert last.transductive == transductive


def test_the_untrained_network_is_evaluated_before_the_first_step(
    small_alphabets: CharacterSet, tmp_path: Path
) -> None:
    training = settings(iterations=3, epoch=2, evaluate_untrained=True)
    state = tmp_path / "state.safetensors"
    records = run(fresh(training), small_alphabets, training, seed=3, checkpoint=state)
    tests = [record for record in records if isinstance(record, EvaluationResult)]
    assert records[0] is tests[0]
    assert [record.iteration for record in tests] == [0, 2, 3]
    held_out = training_parts(small_alphabets, training)[1]
    untrained = evaluate(
        fresh(training), held_out, SHAPE, training.evaluation_tasks, seed=4, prototypes=False
    )
    assert tests[0] == untrained
    # Not once more in the middle, nor after the last step.
    again = run(fresh(training), small_alphabets, training, seed=3, checkpoint=state, resume=True)
    assert again == records[-1:]


def test_an_evaluation_measures_further_shapes_and_more_tasks_at_the_end(
    small_alphabets: CharacterSet,
) -> None:
    further = EpisodeShape(5, 1, 2)
    training = settings(
        iterations=4,
        epoch=2,
        evaluation_tasks=8,
        further_evaluations=(further,),
        final_evaluation_tasks=11,
    )
    model = fresh(training)
    tests = [
        record
        for record in run(model, small_alphabets, training, seed=3)
        if isinstance(record, EvaluationResult)
    ]
    assert [(test.tasks, test.others[0].tasks) for test in tests] == [(8, 2), (11, 11)]
    held_out = training_parts(small_alphabets, training)[1]
    expected = evaluate(model, held_out, further, 11, seed=4, prototypes=False)
    assert tests[-1].others == (dataclasses.replace(expected, iteration=4),)
    with pytest.raises(ValueError, match="The test characters do not serve these settings: 13 way"):
        training = settings(further_evaluations=(EpisodeShape(13, 1, 1),))
        run(fresh(training), small_alphabets, training)


def test_balanced_shapes_have_about_as_many_drawings_in_each_outer_step(
    small_alphabets: CharacterSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    shapes = EpisodeShape(3, 1, 3), EpisodeShape(6, 1, 3), EpisodeShape(3, 5, 3)
    training = settings(shapes=shapes, meta_batch=4, balanced=True, iterations=3)
    assert [training.tasks_of(shape) for shape in shapes] == [4, 2, 2]
    assert dataclasses.replace(training, balanced=False).tasks_of(shapes[1]) == 4
    assert dataclasses.replace(training, meta_batch=1).tasks_of(shapes[1]) == 1
    counts, loss = [], query_loss

    def spy(model: MetaNetwork, episodes: list[Episode], **named: Any) -> Any:
        counts.append(len(episodes))
        return loss(model, episodes, **named)

    monkeypatch.setattr(maml.algorithms, "query_loss", spy)
    run(fresh(training), small_alphabets, training)
    assert counts == [4, 2, 2]


def test_half_precision_rounds_and_learns_alike(small_alphabets: CharacterSet) -> None:
    losses = {}
    for precision in ("float32", "bfloat16"):
        pretraining = Pretraining(episodes=1, ways=4, drawings=3, precision=precision)
        training = settings(iterations=0, pretraining=pretraining)
        losses[precision] = run(fresh(training), small_alphabets, training)[0].loss
    assert losses["bfloat16"] != losses["float32"]
    assert losses["bfloat16"] == pytest.approx(losses["float32"], rel=0.02)


# Resuming ----------------------------------------------------------------------------------------


@contextlib.contextmanager
def rewritten(state: Path) -> Iterator[dict[str, Tensor]]:
    """The tensors of a state file, to be changed; the file then holds what they have become."""
    tensors, metadata = parts(state)
    yield tensors
    save_file(tensors, state, metadata=metadata)


def two_stages(kind: str) -> MetaTraining:
    """Six steps; of the sketch network 1 to 3 are pre-training: 3 stops between the stages."""
    training = settings(iterations=6, epoch=4, meta_batch=1, cosine=True)
    if kind == "notebook":
        return training
    return dataclasses.replace(
        training,
        iterations=3,
        augment=True,
        validation=1,
        inner=InnerLoop(steps=2, evaluation_steps=2, rate=1.0, learned_rates=True),
        pretraining=Pretraining(episodes=3, ways=4, drawings=3, proxies=1.0, dropout=0.2),
    )


@pytest.fixture(scope="module")
def unbroken(small_alphabets: CharacterSet) -> Callable[[str], Any]:
    """Records and final values of the runs of each kind, each made once."""

    @functools.cache
    def made(kind: str) -> Any:
        model = fresh(two_stages(kind), kind)
        return run(model, small_alphabets, two_stages(kind)), model.state_dict()

    return made


@pytest.mark.parametrize("kind", ["notebook", "sketch"])
@pytest.mark.parametrize("taken", [1, 2, 3, 5, 6])
@pytest.mark.parametrize("killed", [False, True])
def test_resumed_run_is_the_unbroken_run(
    small_alphabets: CharacterSet,
    tmp_path: Path,
    unbroken: Callable[[str], Any],
    kind: str,
    taken: int,
    killed: bool,
) -> None:
    training = two_stages(kind)
    whole, final = unbroken(kind)

    state = tmp_path / "state.safetensors"
    broken = meta_train(
        fresh(training, kind),
        small_alphabets,
        training,
        torch.Generator().manual_seed(3),
        checkpoint=state,
        save_every=-1,
    )
    seen: list[MetaStep | EvaluationResult] = []
    for record in broken:
        if killed and isinstance(record, MetaStep) and record.iteration == taken + 1:
            break  # The state of `taken` steps is on disk, this step is lost.
        seen.append(record)
        if not killed and record.iteration == taken:
            break  # Before the evaluation, if one is due.
    on_disk = state.read_bytes() if killed else None
    broken.close()
    if on_disk:
        state.write_bytes(on_disk)
    if taken == 6 and kind == "sketch":  # A finished run is calibrated again.
        with rewritten(state) as tensors:
            tensors["model/temperature_weights"] += 1
    model = fresh(training, kind, seed=99)  # Whatever it holds, the state fills it.
    resumed = run(model, small_alphabets, training, checkpoint=state, resume=True)
    if isinstance(resumed[0], EvaluationResult) and isinstance(seen[-1], EvaluationResult):
        # Stopped at the end of an epoch, it is evaluated once more.
        assert taken == 6 or (kind, taken) == ("sketch", 3)
        assert figures(seen[-1:]) == figures(resumed[:1])
        seen.pop()
    assert figures(seen + resumed) == figures(whole)
    for name, tensor in final.items():
        assert torch.equal(model.state_dict()[name], tensor), name


def test_state_is_written_at_the_end_and_after_the_time_asked_for(
    small_alphabets: CharacterSet, tmp_path: Path
) -> None:
    state = tmp_path / "state.safetensors"
    seen = []
    training = settings(iterations=3)
    for record in meta_train(
        fresh(training), small_alphabets, training, torch.Generator(), checkpoint=state
    ):
        seen.append((record.iteration, state.exists()))
    assert seen == [(1, False), (2, False), (2, False), (3, False), (3, False)]
    assert state.exists()


def test_older_state_that_names_no_engine_is_resumed(
    small_alphabets: CharacterSet, tmp_path: Path
) -> None:
    state = tmp_path / "state.safetensors"
    for engine in ("batched", "higher"):
        training = settings(inner=InnerLoop(steps=2, engine=engine))
        finished = run(fresh(training), small_alphabets, training, checkpoint=state)
        tensors, metadata = parts(state)
        kept = json.loads(metadata["settings"])
        assert kept["inner"].pop("engine") == engine
        save_file(tensors, state, metadata={**metadata, "settings": json.dumps(kept)})
        again = run(fresh(training), small_alphabets, training, checkpoint=state, resume=True)
        assert again == finished[-1:]
    del kept["inner"]
    save_file(tensors, state, metadata={**metadata, "settings": json.dumps(kept)})
    with pytest.raises(CheckpointError, match="does not hold its settings"):
        run(fresh(training), small_alphabets, training, checkpoint=state, resume=True)


def test_state_of_another_run_is_refused_on_the_call(
    small_alphabets: CharacterSet, tmp_path: Path
) -> None:
    state = tmp_path / "state.safetensors"
    training = settings()
    run(fresh(training), small_alphabets, training, checkpoint=state)
    generator = torch.Generator().manual_seed(3)
    other = settings(outer_rate=0.02)
    with pytest.raises(ValueError, match="belongs to a run with other settings"):
        meta_train(fresh(other), small_alphabets, other, generator, checkpoint=state, resume=True)
    generator = torch.Generator().manual_seed(4)
    with pytest.raises(ValueError, match="run with seed 3; resume .*; got seed 4"):
        meta_train(
            fresh(training), small_alphabets, training, generator, checkpoint=state, resume=True
        )
    wider = build_model(NetworkSettings(channels=6), training.inner, torch.Generator())
    generator = torch.Generator().manual_seed(3)
    with pytest.raises(ValueError, match=r"Parameter '.*' of .* must be torch.float32 .*; got"):
        meta_train(wider, small_alphabets, training, generator, checkpoint=state, resume=True)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("moment/proxies/value", None, "lacks the proxies"),
        ("moment/proxies/value", torch.zeros(3, 256), r"'proxies/value' .*; got \(3, 256\)"),
        ("moment/proxies/exp_avg", torch.zeros(5), r"'proxies/exp_avg' .*; got \(5,\)"),
        ("moment/another/exp_avg", torch.zeros(5), "moments of 'another', which is not trained"),
    ],
)
def test_state_whose_moments_do_not_fit_is_refused(
    small_alphabets: CharacterSet,
    tmp_path: Path,
    key: str,
    value: Tensor | None,
    message: str,
) -> None:
    training = settings(pretraining=Pretraining(episodes=3, ways=4, drawings=3, proxies=1.0))
    state = tmp_path / "state.safetensors"
    started = meta_train(
        fresh(training, "sketch"),
        small_alphabets,
        training,
        torch.Generator().manual_seed(3),
        checkpoint=state,
        save_every=-1,
    )
    next(started), next(started)
    started.close()
    with rewritten(state) as tensors:
        tensors.pop(key, None)
        if value is not None:
            tensors[key] = value
    generator = torch.Generator().manual_seed(3)
    with pytest.raises(CheckpointError, match=message):
        meta_train(
            fresh(training, "sketch"),
            small_alphabets,
            training,
            generator,
            checkpoint=state,
            resume=True,
        )


@pytest.mark.parametrize(
    ("changes", "kind", "message"),
    [
        ({"shapes": (EpisodeShape(13, 1, 1),)}, "sketch", "training characters.*13 ways.*got 12"),
        ({"shapes": (EpisodeShape(3, 6, 5),)}, "sketch", "training characters.*need 11 drawings"),
        ({"shapes": (EpisodeShape(4, 1, 1),)}, "notebook", "built for 3 ways, but the task has 4"),
        ({"evaluation": EpisodeShape(13, 1, 1)}, "sketch", "test characters.*13 ways"),
        ({"evaluation": EpisodeShape(2, 1, 1)}, "notebook", "test characters.*3 ways.*has 2"),
        ({"pretraining": Pretraining(5, ways=13)}, "sketch", "training characters.*13 ways"),
        ({"validation": 2}, "sketch", "Of 2 alphabets at least one must be held out"),
        ({"pretraining": Pretraining(5, ways=3)}, "notebook", "'sketch'"),
    ],
)
def test_what_the_data_cannot_serve_is_refused_before_the_first_step(
    small_alphabets: CharacterSet, changes: dict[str, Any], kind: str, message: str
) -> None:
    training = settings(**changes)
    with pytest.raises(ValueError, match=message):
        meta_train(fresh(training, kind), small_alphabets, training, torch.Generator())

"""The batched inner loop against the library `higher`, which takes one task at a time."""

from __future__ import annotations

import dataclasses
import math
from functools import partial
from typing import Any

import pytest
import torch
from test_train import MODELS, MULTI_STEP, WEIGHTS, network
from torch import Tensor, nn

from maml import CharacterSet, EpisodeShape, InnerLoop
from maml.adapt import adapt_tasks
from maml.batched import Patches, own_buffers, prepare, run_tasks
from maml.config import Engine, NetworkSettings
from maml.data.episodes import Episode, EpisodeSampler
from maml.inner_loop import inner_loop, tasks_at_once
from maml.model import MetaNetwork
from maml.networks import SketchNet, build_model
from maml.outer_loop import chunks, query_loss
from maml.recipes import RECIPES

TASKS = 3


def engine(model: MetaNetwork, name: Engine) -> MetaNetwork:
    model.inner = dataclasses.replace(model.inner, engine=name)
    return model


def episodes(
    data: CharacterSet, dtype: torch.dtype = torch.float64, tasks: int = TASKS, **shape: Any
) -> list[Episode]:
    sampler = EpisodeSampler(data, torch.Generator().manual_seed(6))
    sizes = EpisodeShape(**{"ways": 3, "shots": 2, "queries": 3, **shape})
    return [converted(sampler.sample(sizes, augment=True), dtype) for _ in range(tasks)]


def converted(episode: Episode, dtype: torch.dtype) -> Episode:
    return dataclasses.replace(
        episode,
        support_images=episode.support_images.to(dtype),
        query_images=episode.query_images.to(dtype),
    )


def outer_gradient(
    model: MetaNetwork, name: Engine, tasks: list[Episode], weights: list[float], second: bool
) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Query losses and accuracies of all tasks, and the gradient of the sum of the losses."""
    engine(model, name).zero_grad()
    losses, accuracies = [], []
    for group in chunks(model, tasks):
        assert name == "batched" or len(group) == 1
        found, right = query_loss(model, group, second_order=second, step_weights=weights)
        found.sum().backward()
        losses.append(found.detach())
        accuracies.append(right)
    gradients = {
        name: torch.zeros_like(tensor) if tensor.grad is None else tensor.grad.clone()
        for name, tensor in model.named_parameters()
        if tensor.requires_grad
    }
    return torch.cat(losses), torch.cat(accuracies), gradients


def assert_engines_agree(
    model: MetaNetwork, tasks: list[Episode], weights: list[float], second: bool, tolerance: float
) -> None:
    losses, accuracies, gradients = outer_gradient(model, "batched", tasks, weights, second)
    wanted_losses, wanted_accuracies, wanted = outer_gradient(
        model, "higher", tasks, weights, second
    )
    torch.testing.assert_close(losses, wanted_losses, rtol=tolerance, atol=0)
    assert len(set(losses.tolist())) == len(tasks)
    torch.testing.assert_close(accuracies, wanted_accuracies)
    largest = max(float(tensor.abs().max()) for tensor in wanted.values())
    assert largest > 1e-3, "A dead network shows nothing."
    for name, tensor in wanted.items():
        off = float((gradients[name] - tensor).abs().max()) / largest
        assert off < tolerance, f"{name} is off by {off:g} of the largest"


@pytest.mark.parametrize(("kind", "adaptable"), MODELS)
@pytest.mark.parametrize("weights", [WEIGHTS, MULTI_STEP], ids=["last step", "multi-step"])
@pytest.mark.parametrize("second", [True, False], ids=["second order", "first order"])
def test_engines_agree_in_the_outer_gradient(
    small_alphabets: CharacterSet, kind: str, adaptable: int, weights: list[float], second: bool
) -> None:
    model = network(kind, adaptable=adaptable)
    assert_engines_agree(model, episodes(small_alphabets), weights, second, 1e-9)


@pytest.mark.parametrize(("kind", "adaptable"), MODELS)
def test_engines_agree_in_single_precision(
    small_alphabets: CharacterSet, kind: str, adaptable: int
) -> None:
    model = network(kind, adaptable=adaptable).float()
    assert_engines_agree(model, episodes(small_alphabets, torch.float32), MULTI_STEP, True, 1e-4)


@pytest.mark.parametrize(("kind", "adaptable"), MODELS)
def test_engines_agree_on_unequal_shots(
    small_alphabets: CharacterSet, kind: str, adaptable: int
) -> None:
    """Tasks of as many examples, which are shared out otherwise in each."""
    counts = ([4, 1, 1], [2, 1, 3], [1, 4, 1])
    tasks = []
    for count, episode in zip(counts, episodes(small_alphabets, shots=4), strict=True):
        kept = torch.cat([torch.arange(4 * way, 4 * way + n) for way, n in enumerate(count)])
        tasks.append(
            dataclasses.replace(
                episode,
                support_images=episode.support_images[kept],
                support_labels=episode.support_labels[kept],
            )
        )
    model = network(kind, adaptable=adaptable)
    assert [len(group) for group in chunks(engine(model, "batched"), tasks)] == [TASKS]
    assert_engines_agree(model, tasks, WEIGHTS, True, 1e-9)


@pytest.mark.parametrize(("kind", "adaptable"), MODELS)
def test_higher_takes_several_tasks_together_as_well(
    small_alphabets: CharacterSet, kind: str, adaptable: int
) -> None:
    tasks = episodes(small_alphabets)
    labels = torch.stack([task.support_labels for task in tasks])
    model = network(kind, adaptable=adaptable)
    found = []
    for name in ("batched", "higher"):
        with torch.no_grad():
            features = torch.stack([model.stem(task.support_images) for task in tasks])
        states = []
        for state in inner_loop(
            engine(model, name), features, labels, 3, 2, differentiable=False, measure_last=True
        ):
            assert state.losses is not None
            assert state.logits is not None
            answers = state.answer(features)
            states.append([state.losses, state.logits, answers, *state.tensors])
        found.append(states)
    assert len(found[0]) == len(found[1]) == 3
    for batched, reference in zip(*found, strict=True):
        for one, other in zip(batched, reference, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ["batched", "higher"])
def test_learned_rates_get_the_gradient_of_the_query_loss(
    small_alphabets: CharacterSet, name: Engine
) -> None:
    """Against a difference quotient."""
    model = network("sketch", adaptable=2)
    assert isinstance(model, SketchNet)
    tasks = episodes(small_alphabets, tasks=1)
    _, _, gradients = outer_gradient(model, name, tasks, WEIGHTS, True)
    change = 1e-5
    for place in ((0, 0), (1, -2), (2, -1)):
        around = []
        for sign in (1, -1):
            model.log_rates.data[place] += sign * change
            losses, _ = query_loss(model, tasks, second_order=True, step_weights=WEIGHTS)
            model.log_rates.data[place] -= sign * change
            around.append(float(losses.detach().sum()))
        quotient = (around[0] - around[1]) / (2 * change)
        assert float(gradients["log_rates"][place]) == pytest.approx(quotient, rel=1e-4, abs=1e-9)
    assert float(gradients["log_rates"].abs().max()) > 1e-4


def test_engines_agree_on_fewer_ways_within_an_alphabet(small_alphabets: CharacterSet) -> None:
    rows = [0, 1, 2, 6, 7, 8, 9, 10, 11]  # of alphabets of 6: three of one, six of another
    data = small_alphabets.choose(rows)
    tasks = episodes(data, tasks=6, ways=5, within_alphabet=True)
    ways = [task.ways for task in tasks]
    assert set(ways) == {3, 5}
    assert ways != sorted(ways)
    model = network("sketch", adaptable=2)
    groups = [[task.ways for task in group] for group in chunks(engine(model, "batched"), tasks)]
    assert sum(groups, []) == ways
    assert all(len(set(group)) == 1 for group in groups)
    assert max(map(len, groups)) > 1
    assert_engines_agree(model, tasks, MULTI_STEP, True, 1e-9)


@pytest.mark.parametrize(("kind", "adaptable"), MODELS)
def test_engines_agree_in_adapting(
    small_alphabets: CharacterSet, kind: str, adaptable: int
) -> None:
    """Tensors, losses and accuracies after each step, and the answers."""
    model = network(kind, adaptable=adaptable)
    tasks = episodes(small_alphabets)
    features = model.stem(torch.cat([task.support_images for task in tasks])).detach()
    features = features.unflatten(0, (TASKS, -1))
    labels = torch.stack([task.support_labels for task in tasks])
    queries = model.stem(torch.cat([task.query_images for task in tasks])).detach()
    queries = queries.unflatten(0, (TASKS, -1))
    batched = adapt_tasks(engine(model, "batched"), features, labels, 3, steps=5)
    wanted = adapt_tasks(engine(model, "higher"), features, labels, 3, steps=5)
    close = partial(torch.testing.assert_close, rtol=1e-9, atol=1e-9)
    for found, step in zip(batched.path, wanted.path, strict=True):
        for tensor, other in zip(found, step, strict=True):
            close(tensor, other)
    close(batched.losses, wanted.losses)
    # Where all rows of a head are alike, rounding decides which answer is the largest.
    ties = kind.endswith("cosine")
    torch.testing.assert_close(batched.accuracies[ties:], wanted.accuracies[ties:])
    if ties:
        torch.testing.assert_close(
            batched.losses[0], torch.full((TASKS,), 3 * math.log(3)).double()
        )
    assert batched.losses.shape == (6, TASKS)
    for transductive in (False, True):
        close(
            batched.path_of_features(queries, transductive=transductive),
            wanted.path_of_features(queries, transductive=transductive),
        )


@pytest.mark.parametrize(("kind", "adaptable"), MODELS)
def test_a_task_among_others_is_adapted_as_it_is_alone(
    small_alphabets: CharacterSet, kind: str, adaptable: int
) -> None:
    model = engine(network(kind, adaptable=adaptable), "batched")
    tasks = episodes(small_alphabets)
    features = model.stem(torch.cat([task.support_images for task in tasks])).detach()
    features = features.unflatten(0, (TASKS, -1))
    labels = torch.stack([task.support_labels for task in tasks])
    together = adapt_tasks(model, features, labels, 3, steps=3)
    for task in range(TASKS):
        alone = adapt_tasks(model, features[task : task + 1], labels[task : task + 1], 3, steps=3)
        queries = features[(task + 1) % TASKS][None]
        torch.testing.assert_close(
            together.path_of_features(queries.expand(TASKS, *queries.shape[1:]))[:, task],
            alone.path_of_features(queries)[:, 0],
        )


@pytest.mark.parametrize("name", ["batched", "higher"])
def test_first_order_costs_no_second_derivatives(
    small_alphabets: CharacterSet, name: Engine
) -> None:
    """Its steps have no graph to the tensors they were taken from, but one to the start."""
    model = engine(network("notebook"), name)
    episode = episodes(small_alphabets, tasks=1)[0]
    first, second = (
        list(
            inner_loop(
                model,
                episode.support_images[None],
                episode.support_labels[None],
                3,
                2,
                differentiable=True,
                second_order=order,
            )
        )[-1].tensors[0]
        for order in (False, True)
    )
    start = next(model.parameters())
    (gradient,) = torch.autograd.grad(first.sum(), start)
    torch.testing.assert_close(gradient, torch.ones_like(start))
    (gradient,) = torch.autograd.grad(second.sum(), start)
    assert float((gradient - 1).abs().max()) > 1e-3


def test_as_many_tasks_go_together_as_pay() -> None:
    recipe = RECIPES["notebook"]
    model = build_model(recipe.network, recipe.training.inner, torch.Generator())
    assert tasks_at_once(model, 45) == 1  # its engine takes one at a time
    engine(model, "batched")
    assert tasks_at_once(model, 45) == 4
    assert tasks_at_once(model, 1) == 200
    assert tasks_at_once(model, 5000) == 1


# Networks with weights of their own for each task ------------------------------------------------


class Wrapped(nn.Module):
    """Hides its layers, so that they run task by task."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.body(x)
        return out


def odd_network() -> nn.Sequential:
    """Layers and settings that no shipped network has."""
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, stride=2, padding=1, groups=2),
        nn.GroupNorm(2, 4),
        nn.ReLU(),
        nn.Sequential(nn.Conv2d(4, 6, 3, padding="same", bias=False), nn.BatchNorm2d(6)),
        nn.Dropout(0.5),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(6 * 3 * 2, 5),
        nn.BatchNorm1d(5, affine=False),
        nn.Linear(5, 3, bias=False),
    ).double()


@pytest.mark.parametrize("batch_statistics", [True, False])
def test_layers_run_as_they_would_task_by_task(batch_statistics: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    network = odd_network()
    tensors = [
        torch.randn(TASKS, *p.shape, generator=generator, dtype=torch.float64)
        for p in network.parameters()
    ]
    inputs = torch.randn(TASKS, 7, 2, 12, 9, generator=generator, dtype=torch.float64)
    found_buffers, wanted_buffers = own_buffers(network, TASKS), own_buffers(network, TASKS)
    for buffers in (found_buffers, wanted_buffers):
        for name in buffers:
            if name.endswith("running_var"):
                buffers[name] *= 1.5
    arguments = (tensors, inputs)
    found = run_tasks(network, *arguments, found_buffers, batch_statistics=batch_statistics)
    wrapped = {f"body.{name}": buffer for name, buffer in wanted_buffers.items()}
    wanted = run_tasks(
        Wrapped(network), tensors, inputs, wrapped, batch_statistics=batch_statistics
    )
    assert found.shape == (TASKS, 7, 3)
    torch.testing.assert_close(found, wanted)
    for name, buffer in found_buffers.items():
        if buffer.is_floating_point():
            torch.testing.assert_close(buffer, wrapped[f"body.{name}"])
            start = 0.0 if name.endswith("running_mean") else 1.5
            assert bool((buffer == start).all()) != batch_statistics
    # Neither the network's statistics nor its mode have changed.
    assert all(layer.training for layer in network.modules())
    assert not bool(network[3][1].running_mean.any())  # type: ignore[index]
    assert network[3][1].momentum == 0.1  # type: ignore[index]


def test_a_layer_that_stands_twice_has_one_weight() -> None:
    shared = nn.Linear(4, 4).double()
    network = nn.Sequential(shared, nn.ReLU(), shared)
    tensors = [torch.randn(2, *p.shape, dtype=torch.float64) for p in network.parameters()]
    inputs = torch.randn(2, 3, 4, dtype=torch.float64)
    found = run_tasks(network, tensors, inputs, batch_statistics=False)
    weight, bias = tensors
    once = (inputs @ weight.mT + bias[:, None]).relu()
    torch.testing.assert_close(found, once @ weight.mT + bias[:, None])


def test_first_block_is_folded_only_where_that_is_the_same() -> None:
    def block(*, conv: dict[str, Any] | None = None, pool: int = 2, **norm: Any) -> nn.Sequential:
        layers = nn.Conv2d(1, 4, 3, **(conv or {})), nn.BatchNorm2d(4, **norm)
        return nn.Sequential(*layers, nn.ReLU(), nn.MaxPool2d(pool)).double()

    inputs = torch.rand(TASKS, 5, 1, 28, 28, dtype=torch.float64)
    assert isinstance(prepare(block(), inputs), Patches)
    assert isinstance(prepare(block(eps=0.1), inputs), Patches)
    for other in (
        block(conv={"padding": 1}), block(conv={"stride": 2}), block(conv={"dilation": 2}),
        block(pool=3), block(affine=False), block()[:3], nn.Sequential(nn.Flatten()),
    ):  # fmt: skip
        assert prepare(other, inputs) is inputs
    assert isinstance(prepare(block(), inputs[..., :27]), Tensor)
    for folded in (block(), block(eps=0.1)):
        tensors = [torch.randn(TASKS, *p.shape, dtype=torch.float64) for p in folded.parameters()]
        torch.testing.assert_close(
            run_tasks(folded, tensors, inputs, batch_statistics=True),
            run_tasks(Wrapped(folded), tensors, inputs, batch_statistics=True),
        )


def test_folded_block_is_as_exact_as_the_layers() -> None:
    """An edge filter on pictures of few strokes leaves next to no variance to fold."""
    recipe = RECIPES["notebook"]
    network = build_model(NetworkSettings("notebook"), recipe.training.inner, torch.Generator())
    block = network.task_network(5)[0][:4]  # type: ignore[index]
    inputs = torch.zeros(1, 15, 1, 28, 28)
    inputs[0, :, 0, 13, 4:24] = 0.9
    inputs[0, 3, 0, 5:20, 13] = 0.7
    tensors = [p.detach()[None].clone() for p in block.parameters()]
    tensors[0] -= 0.999 * tensors[0].mean(dim=(3, 4), keepdim=True)
    exact = run_tasks(
        block.double(), [t.double() for t in tensors], inputs.double(), batch_statistics=True
    )
    found = run_tasks(block, tensors, inputs, batch_statistics=True)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), exact, rtol=1e-5, atol=1e-5)


def test_settings_of_old_weights_have_no_engine() -> None:
    assert InnerLoop().engine == "batched"
    with pytest.raises(ValueError, match="engine must be one of batched, higher"):
        InnerLoop(engine="jax")  # type: ignore[arg-type]

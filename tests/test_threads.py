"""Threads that adapt, ask and evaluate one model at the same time: answers and model stay whole."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor, nn

import maml

THREADS = 3
ROUNDS = 4
INNER = maml.InnerLoop(steps=2, evaluation_steps=2, rate=0.3)


@pytest.fixture(autouse=True)
def eager_switches() -> Iterator[None]:
    """Let threads take turns as often as the interpreter can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-4)
    yield
    sys.setswitchinterval(before)


class Residual(nn.Module):
    """A network that runs task by task, with layers that the mode and the task change."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 4, 3, stride=3)
        self.norm = nn.BatchNorm2d(4)
        self.drop = nn.Dropout(0.5)
        self.again = nn.Conv2d(4, 4, 3, padding=1)
        self.parts = [self.first, self.again]  # Layers by another way than their names.
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.parts[0](x)).relu()
        x = x + self.parts[1](self.drop(x))
        logits: Tensor = self.head(x.mean(dim=(2, 3)))
        return logits


def own_module() -> maml.MetaNetwork:
    torch.manual_seed(0)
    return maml.from_module(Residual(), 3, INNER)


def built(kind: maml.config.NetworkKind, engine: maml.config.Engine) -> maml.MetaNetwork:
    inner = maml.InnerLoop(steps=2, evaluation_steps=2, rate=0.3, engine=engine)
    settings = maml.config.NetworkSettings(kind, channels=4, ways=3)
    return maml.build_model(settings, inner, torch.Generator().manual_seed(0)).train()


MODELS: dict[str, Callable[[], maml.MetaNetwork]] = {
    "own module": own_module,
    "notebook, batched": lambda: built("notebook", "batched"),
    "notebook, higher": lambda: built("notebook", "higher"),
    "sketch": lambda: built("sketch", "batched"),
}


def supports() -> list[maml.SupportSet]:
    """A task for each thread."""
    generator = torch.Generator().manual_seed(1)
    ink = torch.rand(THREADS, 6, 28, 28, generator=generator)
    return [maml.SupportSet(images, [0, 1, 2] * 2, "abc") for images in ink]


def together(work: Callable[[int], list[Tensor]]) -> list[list[Tensor]]:
    """What each of several threads gets that start at one moment."""
    barrier = threading.Barrier(THREADS)

    def one(number: int) -> list[Tensor]:
        barrier.wait()
        return [found for _ in range(ROUNDS) for found in work(number)]

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(one, range(THREADS)))


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest) -> Iterator[maml.MetaNetwork]:
    """A model in training mode, which is the same afterwards."""
    network = MODELS[request.param]()
    before = {name: (id(value), value.clone()) for name, value in named(network).items()}
    yield network
    after = named(network)
    assert after.keys() == before.keys()
    for name, (identity, value) in before.items():
        assert id(after[name]) == identity, name
        assert torch.equal(after[name], value), name
    assert all(isinstance(tensor, nn.Parameter) for tensor in network.parameters())
    assert all(layer.training for layer in network.modules())
    momenta = {layer.momentum for layer in network.modules() if isinstance(layer, nn.BatchNorm2d)}
    assert len(momenta) == 1


def named(network: nn.Module) -> dict[str, Tensor]:
    return {**dict(network.named_parameters()), **dict(network.named_buffers())}


def test_threads_adapt_one_model(model: maml.MetaNetwork) -> None:
    tasks = supports()

    def work(number: int) -> list[Tensor]:
        learner = maml.adapt(model, tasks[number])
        losses = torch.tensor([record.loss for record in learner.trajectory])
        return [losses, learner.predict(tasks[number].images).probabilities]

    alone = [work(number) for number in range(THREADS)]
    for expected, found in zip(alone, together(work), strict=True):
        for place, value in enumerate(found):
            torch.testing.assert_close(value, expected[place % len(expected)])


def test_threads_ask_one_learner(model: maml.MetaNetwork) -> None:
    tasks = supports()

    def work(number: int) -> list[Tensor]:
        asked = tasks[number].images
        return [learner.predict(asked).probabilities, learner.predict_path(asked)]

    learner = maml.adapt(model, tasks[0])
    alone = [work(number) for number in range(THREADS)]
    learner = maml.adapt(model, tasks[0])  # Nothing is worked out ahead of the threads.
    for expected, found in zip(alone, together(work), strict=True):
        for place, value in enumerate(found):
            torch.testing.assert_close(value, expected[place % len(expected)])


def test_threads_evaluate_one_model(
    model: maml.MetaNetwork, small_alphabets: maml.CharacterSet
) -> None:
    shape = maml.EpisodeShape(3, 2, 2)

    def work(number: int) -> list[Tensor]:
        result = maml.evaluate(model, small_alphabets, shape, tasks=2, seed=number)
        return [torch.tensor([*result.accuracy_by_step, result.loss])]

    alone = [work(number) for number in range(THREADS)]
    for (expected,), found in zip(alone, together(work), strict=True):
        for value in found:
            torch.testing.assert_close(value, expected)

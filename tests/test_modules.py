"""One's own module as a network: meta-gradient, normalisation, frozen parameters, files, errors."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import maml
from maml.data.episodes import Episode
from maml.outer_loop import query_loss

WAYS = 3


class Residual(nn.Module):
    """Not a plain sequence of layers: an addition, and a weight that is used twice."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 4, 3, padding=1)
        self.norm = norm
        self.again = nn.Conv2d(4, 4, 3, padding=1)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(4, WAYS)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.first(x)).tanh()
        x = x + self.again(self.again(x))
        out: Tensor = self.head(self.drop(x).mean(dim=(2, 3)))
        return out


def sequence(norm: nn.Module) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(2, 4, 3), norm, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(4, WAYS),
    )  # fmt: skip


def module(kind: str, norm: str = "group") -> nn.Module:
    torch.manual_seed(3)
    layer = nn.GroupNorm(2, 4) if norm == "group" else nn.BatchNorm2d(4)
    return Residual(layer) if kind == "residual" else sequence(layer)


def network(kind: str, norm: str = "group", **inner: Any) -> maml.MetaNetwork:
    loop = maml.InnerLoop(**{"steps": 2, "evaluation_steps": 3, "rate": 0.2, **inner})
    return maml.from_module(module(kind, norm).double(), WAYS, loop)


def tasks(seed: int = 1, shots: int = 2, queries: int = 3) -> Iterator[Episode]:
    """Endless tasks of pictures (2, 9, 6) around a random mean picture of each class."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(WAYS)
    while True:
        size = (WAYS, 1, 2, 9, 6)
        means = 2 * torch.randn(size, generator=generator, dtype=torch.float64)
        noise = torch.randn(
            WAYS, shots + queries, 2, 9, 6, generator=generator, dtype=torch.float64
        )
        pictures = means + noise
        yield Episode(
            pictures[:, :shots].flatten(0, 1),
            labels.repeat_interleave(shots),
            pictures[:, shots:].flatten(0, 1),
            labels.repeat_interleave(queries),
        )


def some(count: int) -> list[Episode]:
    source = tasks()
    return [next(source) for _ in range(count)]


def by_hand(model: maml.MetaNetwork, episode: Episode, second_order: bool) -> dict[str, Tensor]:
    """The meta-gradient with the module called by its own name, its BatchNorm in training mode."""
    own = model.module
    assert isinstance(own, nn.Module)
    own.eval()
    for layer in own.modules():
        layer.train(isinstance(layer, nn.BatchNorm2d))
    start = dict(own.named_parameters())
    buffers = {name: buffer.clone() for name, buffer in own.named_buffers()}
    fast: dict[str, Tensor] = {**start}
    for _ in range(2):
        logits = torch.func.functional_call(own, {**fast, **buffers}, (episode.support_images,))
        loss = functional.cross_entropy(logits, episode.support_labels)
        found = torch.autograd.grad(loss, list(fast.values()), create_graph=second_order)
        fast = {
            name: tensor - model.inner.rate * slope
            for (name, tensor), slope in zip(fast.items(), found, strict=True)
        }
    logits = torch.func.functional_call(own, {**fast, **buffers}, (episode.query_images,))
    loss = functional.cross_entropy(logits, episode.query_labels)
    slopes = torch.autograd.grad(loss, list(start.values()))
    return dict(zip(start, slopes, strict=True))


@pytest.mark.parametrize("kind", ["residual", "sequence"])
@pytest.mark.parametrize("norm", ["group", "batch"])
@pytest.mark.parametrize("second_order", [True, False])
@pytest.mark.parametrize("engine", ["batched", "higher"])
def test_meta_gradient_is_that_of_the_module_by_hand(
    kind: str, norm: str, second_order: bool, engine: str
) -> None:
    model = network(kind, norm, engine=engine)
    episodes = some(2)
    groups = [episodes] if engine == "batched" else [[one] for one in episodes]
    for group in groups:
        losses, _ = query_loss(model, group, second_order=second_order, step_weights=[0, 1])
        losses.sum().backward()
    expected = [by_hand(model, episode, second_order) for episode in episodes]
    for name, parameter in model.module.named_parameters():  # type: ignore[union-attr]
        gradient = parameter.grad if parameter.grad is not None else torch.zeros_like(parameter)
        # The rate is a float32 number.
        torch.testing.assert_close(
            gradient, expected[0][name] + expected[1][name], rtol=1e-6, atol=1e-7
        )


@pytest.mark.parametrize("kind", ["residual", "sequence"])
@pytest.mark.parametrize("norm", ["group", "batch"])
def test_answers_do_not_depend_on_other_queries(kind: str, norm: str) -> None:
    model = network(kind, norm)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    episode = some(1)[0]
    support = maml.SupportSet(episode.support_images, episode.support_labels, "abc", ink=False)
    learner = maml.adapt(model, support)
    together = learner.predict(episode.query_images)
    for index, query in enumerate(episode.query_images):
        alone = learner.predict(query[None])
        torch.testing.assert_close(alone.probabilities[0], together.probabilities[index])
    assert learner.steps == 3
    assert learner.trajectory[3].loss < learner.trajectory[0].loss
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert all(layer.training for layer in model.modules())  # As it came.


@pytest.mark.parametrize("kind", ["residual", "sequence"])
def test_lone_queries_are_normalised_by_the_support_set(kind: str) -> None:
    model = network(kind, "batch")
    episode = some(1)[0]
    support = maml.SupportSet(episode.support_images, episode.support_labels, "abc", ink=False)
    learner = maml.adapt(model, support)
    own = model.module
    assert isinstance(own, nn.Module)
    (norm,) = (layer for layer in own.modules() if isinstance(layer, nn.BatchNorm2d))
    adapted = learner.state_dict()
    with torch.no_grad():
        inputs: list[Tensor] = []
        handle = norm.register_forward_pre_hook(lambda _, given: inputs.append(given[0]))
        own.eval()
        torch.func.functional_call(own, adapted, (episode.support_images,))
        handle.remove()
        seen = inputs[0]
        statistics = {
            "running_mean": seen.mean((0, 2, 3)),
            "running_var": seen.var((0, 2, 3), unbiased=True),
        }
        (place,) = (name for name, layer in own.named_modules() if layer is norm)
        buffers = {f"{place}.{name}": value for name, value in statistics.items()}
        expected = torch.func.functional_call(own, {**adapted, **buffers}, (episode.query_images,))
    found = learner.predict(episode.query_images).probabilities
    torch.testing.assert_close(found, expected.softmax(dim=1))


@pytest.mark.parametrize("second_order", [True, False])
@pytest.mark.parametrize("norm", ["group", "batch"])
def test_meta_training_learns(second_order: bool, norm: str) -> None:
    model = network("residual", norm, second_order=second_order)
    settings = maml.MetaTraining(
        inner=model.inner,
        meta_batch=2,
        iterations=40,
        epoch=20,
        outer_rate=0.01,
        evaluation_tasks=20,
    )
    before = maml.evaluate(model, tasks(seed=9), tasks=20)
    records = list(
        maml.meta_train(model, tasks(), settings, torch.Generator(), evaluation=tasks(seed=9))
    )
    after = records[-1]
    assert isinstance(after, maml.EvaluationResult)
    assert after.loss < 0.8 * before.loss


def test_frozen_parameters_neither_adapt_nor_train() -> None:
    own = module("sequence").double()
    own[0].requires_grad_(False)  # type: ignore[index]
    model = maml.from_module(own, WAYS, maml.InnerLoop(steps=2, rate=0.5))
    start = {name: value.clone() for name, value in own.state_dict().items()}
    episode = some(1)[0]
    support = maml.SupportSet(episode.support_images, episode.support_labels, "abc", ink=False)
    adapted = maml.adapt(model, support).state_dict()
    settings = maml.MetaTraining(inner=model.inner, meta_batch=1, iterations=2)
    for _ in maml.meta_train(model, tasks(), settings, torch.Generator()):
        pass
    for name, value in own.state_dict().items():
        frozen = name.startswith("0.")
        assert torch.equal(adapted[name], start[name]) == frozen, name
        assert torch.equal(value, start[name]) == frozen, name


def test_learned_rates_are_one_for_each_parameter_and_step() -> None:
    model = network("sequence", learned_rates=True)
    settings = maml.MetaTraining(inner=model.inner, meta_batch=2, iterations=3, outer_rate=0.05)
    assert model.log_rates.shape == (2, 6)
    for _ in maml.meta_train(model, tasks(), settings, torch.Generator()):
        pass
    rates = torch.stack(model.rates(0, 6, WAYS) + model.rates(1, 6, WAYS))
    assert len(set(rates.tolist())) == 12
    assert torch.equal(torch.stack(model.rates(7, 6, WAYS)), rates[6:])


def test_tensors_are_saved_and_loaded(tmp_path: Path) -> None:
    path = tmp_path / "own.safetensors"
    model = network("residual", "batch")
    maml.save_model(path, model, {"note": "waves"})
    with torch.no_grad():
        other = network("residual", "batch")
        for parameter in other.parameters():
            parameter.zero_()
    maml.load_model(path, other)
    for name, value in model.state_dict().items():
        assert torch.equal(other.state_dict()[name], value), name
    assert other.provenance["note"] == "waves"
    with pytest.raises(maml.CheckpointError, match="has no parameter 'module.0.bias', which"):
        maml.load_model(path, network("sequence"))
    with pytest.raises(maml.CheckpointError, match=r"one's own module.*maml\.load_model"):
        maml.load_pretrained(path)
    with pytest.raises(maml.CheckpointError, match="There is no weights file"):
        maml.load_model(tmp_path / "none.safetensors", other)
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(maml.CheckpointError, match="changed or cut short"):
        maml.load_model(path, other)


def test_weights_that_are_shared_are_saved(tmp_path: Path) -> None:
    shared = nn.Linear(4, 4)
    own = nn.Sequential(nn.Flatten(), nn.Linear(6, 4), shared, nn.ReLU(), shared, nn.Linear(4, 3))
    model = maml.from_module(own, WAYS)
    maml.save_model(tmp_path / "own.safetensors", model)
    maml.load_model(tmp_path / "own.safetensors", model)


def test_a_run_is_resumed(tmp_path: Path) -> None:
    settings = maml.MetaTraining(
        inner=maml.InnerLoop(steps=2, evaluation_steps=3, rate=0.2), meta_batch=2, iterations=4
    )
    state = tmp_path / "state.safetensors"
    whole, broken, resumed = (network("residual", "batch") for _ in range(3))
    for _ in maml.meta_train(whole, tasks(), settings, torch.Generator().manual_seed(0)):
        pass
    started = maml.meta_train(
        broken, tasks(), settings, torch.Generator().manual_seed(0), checkpoint=state
    )
    next(started), next(started)
    started.close()
    generator = torch.Generator().manual_seed(0)
    for _ in maml.meta_train(resumed, tasks(), settings, generator, checkpoint=state, resume=True):
        pass
    for name, value in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name


# What is refused ---------------------------------------------------------------------------------


def test_what_is_no_module_is_refused() -> None:
    with pytest.raises(TypeError, match="must be a torch.nn.Module; got function"):
        maml.from_module(lambda x: x)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="has no parameters to train"):
        maml.from_module(nn.Flatten())
    with pytest.raises(ValueError, match="'0.weight' has no shape yet; run the module once"):
        maml.from_module(nn.Sequential(nn.LazyLinear(3)))
    with pytest.raises(ValueError, match="keeps no running statistics.*track_running_stats=True"):
        maml.from_module(sequence(nn.BatchNorm2d(4, track_running_stats=False)))
    with pytest.raises(ValueError, match="ways must be a whole number from 2 to 1000; got 1"):
        maml.from_module(module("sequence"), 1)


def test_tasks_that_do_not_fit_the_module_are_refused() -> None:
    model = network("sequence")
    episode = some(1)[0]
    four = torch.tensor([0, 1, 2, 3, 0, 1])
    with pytest.raises(ValueError, match=r"from_module with ways=3; got a task of 4"):
        maml.adapt(model, maml.SupportSet(episode.support_images, four, "abcd", ink=False))
    wide = maml.from_module(module("sequence").double(), 5)
    labels = torch.tensor([0, 1, 2, 3, 4, 0])
    with pytest.raises(ValueError, match=r"must return logits \(n, 5\); got shape \('n', 3\)"):
        maml.adapt(wide, maml.SupportSet(episode.support_images, labels, "abcde", ink=False))


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.zeros(6, 9, 6), r"\(n, channels, height, width\).*got torch.float32 \(6, 9, 6\)"),
        (torch.zeros(0, 2, 9, 6), "n at least 1"),
        (torch.zeros(6, 2, 9, 6, dtype=torch.uint8), "must be floats.*got torch.uint8"),
        (torch.full((6, 2, 9, 6), float("inf")), "must hold finite numbers"),
        ("picture", "cannot be made one tensor"),
    ],
)
def test_what_are_no_pictures_is_refused(images: Any, message: str) -> None:
    labels = torch.arange(WAYS).repeat_interleave(2)
    with pytest.raises(ValueError, match=message):
        maml.SupportSet(images, labels, "abc", ink=False)
    episode = some(1)[0]
    support = maml.SupportSet(episode.support_images, labels, "abc", ink=False)
    with pytest.raises(ValueError, match=message):
        maml.adapt(network("sequence"), support).predict(images)


def test_pictures_are_no_ink() -> None:
    """A network for ink says so, whatever the support set was made for."""
    model = maml.build_model(maml.NetworkSettings(channels=4), maml.InnerLoop(), torch.Generator())
    support = maml.SupportSet(torch.zeros(2, 3, 8, 8), [0, 1], "ab", ink=False)
    with pytest.raises(ValueError, match=r"maml\.image_to_ink"):
        maml.adapt(model, support)
    many = maml.SupportSet(
        torch.zeros(30, 1, 8, 8), list(range(30)), map(str, range(30)), ink=False
    )
    assert many.ways == 30
    with pytest.raises(ValueError, match="2 or more classes; got 1"):
        maml.SupportSet(torch.zeros(2, 3, 8, 8), [0, 0], "a", ink=False)


def test_a_learner_of_ones_own_module_cannot_be_saved_whole(tmp_path: Path) -> None:
    episode = some(1)[0]
    support = maml.SupportSet(episode.support_images, episode.support_labels, "abc", ink=False)
    learner = maml.adapt(network("sequence"), support)
    with pytest.raises(ValueError, match=r"learner\.state_dict\(\)"):
        learner.save(tmp_path / "learner.safetensors")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")
@pytest.mark.parametrize("norm", ["group", "batch"])
def test_on_a_gpu(norm: str) -> None:
    model = network("residual", norm).float().to("cuda")
    settings = maml.MetaTraining(inner=model.inner, meta_batch=2, iterations=2)
    given = (
        Episode(
            task.support_images.float(),
            task.support_labels,
            task.query_images.float(),
            task.query_labels,
        )
        for task in tasks()
    )
    for _ in maml.meta_train(model, given, settings, torch.Generator()):
        pass
    task = next(given)
    support = maml.SupportSet(task.support_images, task.support_labels, "abc", ink=False)
    answer = maml.adapt(model, support).predict(task.query_images)
    assert answer.probabilities.device.type == "cuda"

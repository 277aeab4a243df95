"""Meta-learning algorithms: each outer gradient against a second way to get it."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from maml import CharacterSet, EpisodeShape, InnerLoop, MetaTraining, adapt
from maml.algorithms import OUTER_LOSSES, fomaml, reptile
from maml.config import Algorithm, NetworkSettings, Recipe
from maml.data.episodes import Episode, EpisodeSampler, SupportSet
from maml.inner_loop import inner_loop
from maml.model import MetaNetwork
from maml.networks import LiveNet, build_model
from maml.recipes import RECIPES, live
from maml.train import MetaStep, meta_train

SHAPE = EpisodeShape(3, 2, 3)
ALGORITHMS: tuple[Algorithm, ...] = ("maml", "fomaml", "anil", "reptile", "prototypes")


def network(adaptable: int, steps: int = 2, *, rows: float = 0.3, **inner: Any) -> LiveNet:
    """A small network in float64 with inner rates that show, and rows of the head off zero."""
    loop = InnerLoop(steps, steps, rate=2.0, **inner)
    settings = NetworkSettings("live", channels=4, adaptable=adaptable)
    model = build_model(settings, loop, torch.Generator().manual_seed(3)).double()
    assert isinstance(model, LiveNet)
    with torch.no_grad():
        model.head_start.add_(rows)
    return model


def tasks(data: CharacterSet, count: int = 3) -> list[Episode]:
    sampler = EpisodeSampler(data, torch.Generator().manual_seed(4))
    return [
        dataclasses.replace(
            one,
            support_images=one.support_images.double(),
            query_images=one.query_images.double(),
        )
        for one in sampler.sample_batch(SHAPE, count)
    ]


def gradient(
    model: MetaNetwork, algorithm: Algorithm, episodes: list[Episode], steps: int, **options: Any
) -> tuple[float, dict[str, Tensor]]:
    """Mean outer loss, and its gradient by the name of the parameter."""
    options = {"second_order": True, **options}
    weights = [0.0] * (steps - 1) + [1.0]
    losses, accuracies = OUTER_LOSSES[algorithm](model, episodes, step_weights=weights, **options)
    assert losses.shape == accuracies.shape == (len(episodes),)
    model.zero_grad()
    losses.mean().backward()
    return losses.mean().item(), {
        name: tensor.grad for name, tensor in model.named_parameters() if tensor.grad is not None
    }


def adapted(model: MetaNetwork, images: Tensor, labels: Tensor, steps: int) -> Any:
    """The last state of the inner loop on one task."""
    features = model.stem(images)[None]
    *_, last = inner_loop(model, features, labels[None], 3, steps, differentiable=False)
    return last


def test_the_first_order_gradient_is_taken_at_the_adapted_tensors(
    small_alphabets: CharacterSet,
) -> None:
    model, episodes = network(adaptable=4), tasks(small_alphabets)
    names = [f"stages.{name}" for name, _ in model.stages.named_parameters()]
    expected = [torch.zeros_like(tensor) for tensor in model.stages.parameters()]
    for one in episodes:
        last = adapted(model, one.support_images, one.support_labels, 2)
        ends = [tensor.detach().requires_grad_() for tensor in last.tensors]
        model_at_end = torch.func.functional_call(
            model.task_network(3)[0],
            dict(
                zip(
                    [name for name, _ in model.task_network(3)[0].named_parameters()],
                    [end[0] for end in ends],
                    strict=True,
                )
            ),
            (one.query_images,),
        )
        loss = functional.cross_entropy(model_at_end, one.query_labels)
        for total, each in zip(expected, torch.autograd.grad(loss, ends), strict=False):
            total += each[0] / len(episodes)
    # Whatever it is told of second derivatives.
    for told in (True, False):
        _, found = gradient(model, "fomaml", episodes, 2, second_order=told)
        for name, tensor in zip(names, expected, strict=True):
            torch.testing.assert_close(found[name], tensor, rtol=1e-9, atol=1e-12)
    _, exact = gradient(model, "maml", episodes, 2)
    assert any(
        not torch.allclose(exact[name], tensor, rtol=1e-2)
        for name, tensor in zip(names, expected, strict=True)
    )
    assert fomaml.__doc__ and "1703.03400" in fomaml.__doc__


def test_anil_adapts_the_head_alone_and_trains_the_body(small_alphabets: CharacterSet) -> None:
    model, episodes = network(adaptable=0), tasks(small_alphabets)
    _, found = gradient(model, "anil", episodes, 2)
    assert all(float(found[f"stages.{name}"].abs().max()) > 0
               for name, _ in model.stages.named_parameters())  # fmt: skip
    head = adapted(model, episodes[0].support_images, episodes[0].support_labels, 2).tensors
    assert [tuple(tensor.shape) for tensor in head] == [(1, 3, 16), (1, 3)]
    before = [tensor.clone() for tensor in model.parameters()]
    single = model.float()
    support = SupportSet(
        episodes[0].support_images.float(), episodes[0].support_labels, ("a", "b", "c")
    )
    adapt(single, support)
    for tensor, value in zip(single.parameters(), before, strict=True):
        assert torch.equal(tensor, value.float())


def test_with_one_step_maml_is_anil(small_alphabets: CharacterSet) -> None:
    """Equal rows of the head give the body no gradient; a second step does."""
    episodes = tasks(small_alphabets)
    for steps, alike in ((1, True), (2, False)):
        _, whole = gradient(network(4, steps), "maml", episodes, steps)
        _, head = gradient(network(0, steps), "anil", episodes, steps)
        same = all(
            torch.allclose(whole[name], tensor, rtol=1e-9, atol=1e-12)
            for name, tensor in head.items()
            if name.startswith("stages")
        )
        assert same == alike, steps


@pytest.mark.parametrize("rate", [1.0, 0.25])
def test_an_outer_step_of_reptile_is_the_mean_displacement(
    small_alphabets: CharacterSet, rate: float
) -> None:
    model, episodes = network(adaptable=4, second_order=False), tasks(small_alphabets)
    start = [tensor.detach().clone() for tensor in model.stages.parameters()]
    moved = [torch.zeros_like(tensor) for tensor in start]
    losses, right = [], []
    for one in episodes:
        images = torch.cat([one.support_images, one.query_images])
        labels = torch.cat([one.support_labels, one.query_labels])
        last = adapted(model, images, labels, 2)
        for total, end, begin in zip(moved, last.tensors, start, strict=False):
            total += (end[0] - begin) / len(episodes)
        # The queries that it tells the loss and the accuracy of are not those it adapted to.
        last = adapted(model, one.support_images, one.support_labels, 2)
        logits = last.answer(model.stem(one.query_images)[None])[0]
        right.append((logits.argmax(dim=1) == one.query_labels).float().mean().item())
        losses.append(functional.cross_entropy(logits, one.query_labels).item())
    training = MetaTraining(
        shapes=(SHAPE,), inner=model.inner, algorithm="reptile", meta_batch=3, iterations=1,
        outer_rate=rate, evaluation=SHAPE, evaluation_tasks=1,
    )  # fmt: skip
    record = next(iter(meta_train(model, episodes, training, torch.Generator().manual_seed(0))))
    assert isinstance(record, MetaStep)
    assert record.loss == pytest.approx(sum(losses) / 3)
    assert record.accuracy == pytest.approx(sum(right) / 3)
    for tensor, begin, step in zip(model.stages.parameters(), start, moved, strict=True):
        assert float(step.detach().abs().max()) > 1e-4
        torch.testing.assert_close(tensor.detach(), begin + rate * step, rtol=1e-9, atol=1e-12)
    assert reptile.__doc__ and "1803.02999" in reptile.__doc__


def test_prototypes_are_normalised_class_means(small_alphabets: CharacterSet) -> None:
    model, episodes = network(adaptable=0), tasks(small_alphabets)
    expected = []
    for one in episodes:
        support, queries = model.embed(one.support_images), model.embed(one.query_images)
        means = torch.stack([support[one.support_labels == way].mean(dim=0) for way in range(3)])
        cosines = functional.cosine_similarity(queries[:, None], means[None], dim=2)
        expected.append(functional.cross_entropy(2.0 * cosines, one.query_labels).item())
    loss, found = gradient(model, "prototypes", episodes, 2)
    assert loss == pytest.approx(sum(expected) / 3)
    assert "head_start" not in found
    # At one shot, the first inner step answers alike.
    one = episodes[0]
    first = torch.arange(6).view(3, 2)[:, 0]
    images, labels = one.support_images[first], one.support_labels[first]
    answer = adapted(model, images, labels, 1).answer(model.stem(one.query_images)[None])[0]
    cosines = model.embed(one.query_images) @ model.embed(images).T
    torch.testing.assert_close(answer.softmax(dim=1), (2.0 * cosines).softmax(dim=1))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_each_algorithm_trains_the_network_of_the_recipe(
    small_alphabets: CharacterSet, algorithm: Algorithm
) -> None:
    recipe = live(algorithm)
    training = dataclasses.replace(
        recipe.training,
        shapes=(EpisodeShape(4, 1, 2), EpisodeShape(3, 2, 2)),
        meta_batch=2,
        iterations=4,
        evaluation=EpisodeShape(4, 1, 2),
        evaluation_tasks=4,
        further_evaluations=(),
        final_evaluation_tasks=0,
    )
    network = dataclasses.replace(recipe.network, channels=4)
    model = build_model(network, training.inner, torch.Generator().manual_seed(0))
    before = [tensor.detach().clone() for tensor in model.stages.parameters()]  # type: ignore[union-attr]
    records = list(meta_train(model, small_alphabets, training, torch.Generator().manual_seed(0)))
    assert [record.iteration for record in records] == [0, 1, 2, 3, 4, 4]
    after = model.stages.parameters()  # type: ignore[union-attr]
    assert all(not torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_recipe_live_has_every_algorithm_and_differs_in_nothing_else() -> None:
    assert set(OUTER_LOSSES) == set(ALGORITHMS)
    assert RECIPES["live"] == live()
    for algorithm in ALGORITHMS:
        training = live(algorithm).training
        assert training.algorithm == algorithm
        same = dataclasses.replace(
            training, algorithm="maml", inner=InnerLoop(), outer_rate=live().training.outer_rate
        )
        assert same == dataclasses.replace(live().training, algorithm="maml", inner=InnerLoop())


def changed(algorithm: Algorithm, **changes: Any) -> Recipe:
    """Recipe `live` with changes of its network, its inner loop or its training."""
    recipe = live(algorithm)
    parts: dict[str, Any] = {"network": recipe.network, "inner": recipe.training.inner}
    for part, values in parts.items():
        own = {name: changes.pop(name) for name in list(changes) if hasattr(values, name)}
        parts[part] = dataclasses.replace(values, **own)
    training = dataclasses.replace(recipe.training, inner=parts["inner"], **changes)
    return dataclasses.replace(recipe, network=parts["network"], training=training)


@pytest.mark.parametrize(
    ("algorithm", "changes", "message"),
    [
        ("fomaml", {"second_order": True}, "takes no second derivatives; .* got True"),
        ("prototypes", {"second_order": True}, "'prototypes' takes no second derivatives"),
        ("reptile", {"second_order": True}, "'reptile' takes no second derivatives"),
        ("reptile", {"learned_rates": True}, "no gradient of the inner rates; .* got True"),
        ("reptile", {"multi_step_iterations": 5}, "no query loss after each inner step; .* got 5"),
        ("reptile", {"adaptable": 3}, "trains only what adapts; .* all 4 stages; got 3"),
        ("anil", {"adaptable": 1}, "adapts the head alone; .* got 1"),
        ("prototypes", {"head": "cosine"}, "needs a head of kind 'linear'; got 'cosine'"),
        ("anil", {"kind": "module"}, "needs a network of kind 'sketch' or 'live'.*got 'module'"),
        ("prototypes", {"kind": "module"}, "whose head is apart from its body; got 'module'"),
    ],
)
def test_settings_that_cannot_work_together_are_refused(
    algorithm: Algorithm, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        changed(algorithm, **changes)


def test_an_unknown_algorithm_is_refused() -> None:
    with pytest.raises(ValueError, match="algorithm must be one of maml, .*; got 'sgd'"):
        MetaTraining(algorithm="sgd")  # type: ignore[arg-type]


def test_a_model_that_the_algorithm_cannot_train_is_refused(
    small_alphabets: CharacterSet,
) -> None:
    training = live("anil").training
    model = build_model(
        NetworkSettings("live", adaptable=4), training.inner, torch.Generator().manual_seed(0)
    )
    with pytest.raises(ValueError, match="adapts the head alone"):
        meta_train(model, small_alphabets, training, torch.Generator())

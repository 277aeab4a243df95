"""The open library: tasks that the caller makes, callables under the protocol, wrong use."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import maml
from maml import (
    CharacterSet,
    Episode,
    EpisodeSampler,
    EpisodeShape,
    EvaluationResult,
    InnerLoop,
    MetaNetwork,
    MetaStep,
    MetaTraining,
    NetworkSettings,
    Pretraining,
    SupportSet,
)
from maml.train import training_parts

INNER = InnerLoop(steps=2, evaluation_steps=3, rate=3.0)
SHAPE = EpisodeShape(3, 2, 2)
SETTINGS = MetaTraining(
    shapes=(SHAPE,),
    inner=INNER,
    meta_batch=2,
    iterations=6,
    epoch=3,
    evaluation=SHAPE,
    evaluation_tasks=4,
)


def network(kind: str = "sketch") -> MetaNetwork:
    settings = NetworkSettings(kind, channels=4, ways=3)  # type: ignore[arg-type]
    inner = INNER if kind == "sketch" else replace(INNER, rate=0.1)
    return maml.build_model(settings, inner, torch.Generator().manual_seed(1))


def tasks(data: CharacterSet, count: int, seed: int = 3) -> list[Episode]:
    """Plain tasks, without the rows of the set that they come from."""
    sampler = EpisodeSampler(data, torch.Generator().manual_seed(seed))
    sampled = [sampler.sample(SHAPE) for _ in range(count)]
    return [
        Episode(one.support_images, one.support_labels, one.query_images, one.query_labels)
        for one in sampled
    ]


def train(
    model: MetaNetwork, given: Any, settings: MetaTraining, **options: Any
) -> list[MetaStep | EvaluationResult]:
    generator = torch.Generator().manual_seed(3)
    records = maml.meta_train(model, given, settings, generator, **options)
    return [replace(one, seconds=0) if isinstance(one, MetaStep) else one for one in records]


# Training ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["sketch", "notebook"])
def test_given_tasks_train_as_the_same_tasks_sampled(
    kind: str, small_alphabets: CharacterSet
) -> None:
    first, second = network(kind), network(kind)
    settings = replace(SETTINGS, inner=first.inner)
    sampled = train(first, small_alphabets, settings)
    characters = training_parts(small_alphabets, settings)[0]
    given = train(second, iter(tasks(characters, 12)), settings)
    assert [one for one in sampled if isinstance(one, MetaStep)] == given
    for name, value in first.state_dict().items():
        assert torch.equal(second.state_dict()[name], value), name


def test_given_tasks_are_evaluated_on_given_tasks(small_alphabets: CharacterSet) -> None:
    model = network()
    test = tasks(small_alphabets, 6, seed=9)
    records = train(model, tasks(small_alphabets, 12), SETTINGS, evaluation=test)
    results = [one for one in records if isinstance(one, EvaluationResult)]
    assert [one.iteration for one in results] == [3, 6]
    assert [one.tasks for one in results] == [4, 4]  # evaluation_tasks of the six
    # Training leaves the baseline out.
    again = maml.evaluate(model, test, tasks=4, prototypes=False)
    assert results[-1] == replace(again, iteration=6)
    # Tasks to evaluate on may be given beside a character set as well.
    beside = train(network(), small_alphabets, SETTINGS, evaluation=test)
    shown = [one for one in beside if isinstance(one, EvaluationResult)]
    assert [one.tasks for one in shown] == [4, 4]
    assert shown[0].protocol == "3-way 2-shot"


def test_training_on_given_tasks_is_resumed(small_alphabets: CharacterSet, tmp_path: Path) -> None:
    made = tasks(small_alphabets, 12)
    whole = network()
    unbroken = train(whole, made, SETTINGS)
    state = tmp_path / "state.safetensors"
    started = maml.meta_train(
        network(), made, SETTINGS, torch.Generator().manual_seed(3), checkpoint=state
    )
    for _ in range(2):
        next(started)
    started.close()
    model = network()
    rest = train(model, made, SETTINGS, checkpoint=state, resume=True)
    assert rest == unbroken[2:]
    for name, value in whole.state_dict().items():
        assert torch.equal(model.state_dict()[name], value), name


def test_tasks_that_end_early(small_alphabets: CharacterSet) -> None:
    message = "6 outer steps with a meta-batch of 2 need 12 tasks; give more .*; got 7"
    training = maml.meta_train(
        network(), iter(tasks(small_alphabets, 7)), SETTINGS, torch.Generator()
    )
    assert len(list(itertools.islice(training, 3))) == 3
    with pytest.raises(ValueError, match=message):
        next(training)
    with pytest.raises(ValueError, match="got 0"):
        train(network(), [], SETTINGS)


def bent(**changes: Any) -> Callable[[Episode], Episode]:
    return lambda episode: replace(episode, **changes)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda _: (1, 2), TypeError, "Each task must be a maml.Episode; got tuple as 2"),
        (
            bent(support_images=torch.zeros(6, 1, 28, 28, dtype=torch.uint8)),
            ValueError,
            r"support_images of task 2 must be floats .*; got torch.uint8 \(6, 1, 28, 28\)",
        ),
        (
            bent(query_labels=torch.zeros(5, dtype=torch.int64)),
            ValueError,
            r"query_labels of task 2 must be whole numbers \(6,\).*; got torch.int64 \(5,\)",
        ),
        (
            bent(support_labels=torch.tensor([0, 0, 1, 1, 3, 3])),
            ValueError,
            r"support_labels of task 2 must be 0, 1, .*; got \[0, 1, 3\]",
        ),
        (
            bent(support_labels=torch.zeros(6, dtype=torch.int64)),
            ValueError,
            r"two or more; got \[0\]",
        ),
        (
            bent(query_labels=torch.tensor([0, 0, 1, 1, 2, 5])),
            ValueError,
            "query_labels of task 2 must be among the support's, 0 to 2; got 5",
        ),
    ],
)
def test_tasks_that_do_not_fit(
    change: Callable[[Episode], Any],
    error: type[Exception],
    message: str,
    small_alphabets: CharacterSet,
) -> None:
    good, other = tasks(small_alphabets, 2)
    with pytest.raises(error, match=message):
        train(network(), [good, change(other)], SETTINGS)
    with pytest.raises(error, match=message):
        maml.evaluate(network(), [good, change(other)])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"augment": True}, "setting augment needs a maml.CharacterSet .*; got True"),
        ({"validation": 1}, "setting validation needs a maml.CharacterSet .*; got 1"),
        ({"pretraining": Pretraining(episodes=1)}, "setting pretraining needs a maml.CharacterSet"),
    ],
)
def test_settings_that_need_characters(
    changes: dict[str, Any], message: str, small_alphabets: CharacterSet
) -> None:
    with pytest.raises(ValueError, match=message):
        train(network(), tasks(small_alphabets, 12), replace(SETTINGS, **changes))


def test_inner_loop_of_model_and_settings_must_agree(small_alphabets: CharacterSet) -> None:
    settings = replace(SETTINGS, inner=replace(INNER, steps=1))
    with pytest.raises(ValueError, match=r"inner=model.inner.*; got InnerLoop\(steps=1"):
        train(network(), small_alphabets, settings)


# Evaluation --------------------------------------------------------------------------------------


def prototypes(support_images: Tensor, support_labels: Tensor, query_images: Tensor) -> Tensor:
    """Nearest class mean of the pixels."""
    ways = int(support_labels.max()) + 1
    means = torch.stack([support_images[support_labels == way].mean(0) for way in range(ways)])
    return -torch.cdist(query_images.flatten(1), means.flatten(1))


@pytest.mark.parametrize("kind", ["sketch", "notebook"])
def test_a_network_as_a_callable_gets_the_same_result(
    kind: str, small_alphabets: CharacterSet
) -> None:
    """So it gets the same tasks, and is asked the same questions."""
    model = network(kind)

    def adapted(support: Tensor, labels: Tensor, queries: Tensor) -> Tensor:
        learner = maml.adapt(model, SupportSet(support, labels, ("a", "b", "c")))
        return learner.predict(queries).probabilities.log()

    expected = maml.evaluate(model, small_alphabets, SHAPE, 5, seed=4)
    found = maml.evaluate(adapted, small_alphabets, SHAPE, 5, seed=4)
    assert found.accuracy == pytest.approx(expected.accuracy)
    assert found.loss == pytest.approx(expected.loss, rel=1e-4)
    assert found.interval == pytest.approx(expected.interval)
    assert found.calibration_error == pytest.approx(expected.calibration_error, abs=1e-5)
    assert list(found.accuracy_by_step) == pytest.approx([expected.accuracy_by_step[-1]])
    assert (found.protocol, found.tasks) == (expected.protocol, 5)


@pytest.mark.parametrize("kind", ["sketch", "notebook"])
@pytest.mark.parametrize("transductive", [False, True])
def test_given_tasks_are_evaluated_as_the_same_tasks_sampled(
    kind: str, transductive: bool, small_alphabets: CharacterSet
) -> None:
    model = network(kind)
    sampled = maml.evaluate(model, small_alphabets, SHAPE, 5, seed=4, transductive=transductive)
    given = maml.evaluate(model, tasks(small_alphabets, 5, seed=4), transductive=transductive)
    assert given.accuracy_by_step == pytest.approx(sampled.accuracy_by_step)
    assert given.loss == pytest.approx(sampled.loss, rel=1e-4)
    assert given.transductive == transductive
    assert (given.protocol, given.tasks) == ("3-way 2-shot", 5)


def test_a_callable_gets_one_query_at_a_time(small_alphabets: CharacterSet) -> None:
    calls: list[tuple[Tensor, Tensor, Tensor]] = []

    def spy(support: Tensor, labels: Tensor, queries: Tensor) -> Tensor:
        calls.append((support, labels, queries))
        return prototypes(support, labels, queries)

    alone = maml.evaluate(spy, small_alphabets, SHAPE, tasks=3)
    assert len(calls) == 3 * 6
    assert {tuple(queries.shape) for *_, queries in calls} == {(1, 1, 28, 28)}
    assert calls[0][0] is calls[5][0] and calls[5][0] is not calls[6][0]
    assert calls[0][0].shape == (6, 1, 28, 28) and calls[0][1].tolist() == [0, 0, 1, 1, 2, 2]
    calls.clear()
    together = maml.evaluate(spy, small_alphabets, SHAPE, tasks=3, transductive=True)
    assert [len(queries) for *_, queries in calls] == [6, 6, 6]
    assert together == replace(alone, transductive=True)
    assert alone.accuracy > 0.5


def test_a_callable_that_peeks_at_other_queries_is_no_better_for_it(
    small_alphabets: CharacterSet,
) -> None:
    """Queries come in the order of their classes: all together, that gives them away."""

    def cheat(support: Tensor, labels: Tensor, queries: Tensor) -> Tensor:
        places = torch.arange(len(queries)) * 3 // len(queries)
        return functional.one_hot(places, 3).float()

    result = maml.evaluate(cheat, small_alphabets, SHAPE, tasks=20)
    assert result.accuracy == pytest.approx(1 / 3)


def test_given_tasks_of_several_shapes(small_alphabets: CharacterSet) -> None:
    sampler = EpisodeSampler(small_alphabets, torch.Generator().manual_seed(0))
    several = [sampler.sample(EpisodeShape(ways, 1, 2)) for ways in (2, 4)]
    assert maml.evaluate(prototypes, several).protocol == "tasks of several shapes"
    unequal = replace(several[0], support_images=torch.rand(3, 1, 28, 28),
                      support_labels=torch.tensor([0, 1, 1]))  # fmt: skip
    assert maml.evaluate(network(), [unequal]).protocol == "tasks of several shapes"

    def endless() -> Iterator[Episode]:
        while True:
            yield sampler.sample(SHAPE)

    assert maml.evaluate(prototypes, endless(), tasks=7).tasks == 7


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda *_: torch.zeros(3), r"finite logits \(1, 3\), .*; got torch.float32 \(3,\)"),
        (lambda *_: torch.zeros(6, 3), r"got torch.float32 \(6, 3\)"),
        (lambda *_: torch.zeros(1, 5), r"got torch.float32 \(1, 5\)"),
        (lambda *_: torch.full((1, 3), torch.nan), "tensor of finite logits"),
        (lambda *_: None, "got NoneType"),
    ],
)
def test_callables_that_answer_wrongly(
    answer: Any, message: str, small_alphabets: CharacterSet
) -> None:
    with pytest.raises(ValueError, match=message):
        maml.evaluate(answer, small_alphabets, SHAPE, tasks=1)


def test_wrong_use_says_what_to_do(small_alphabets: CharacterSet) -> None:
    module: Any = nn.Sequential(nn.Flatten(), nn.Linear(28 * 28, 3))
    support = SupportSet(torch.rand(3, 28, 28), [0, 1, 2], ("a", "b", "c"))
    remedy = r"maml.from_module\(module, ways=...\) makes one .*; got Sequential"
    with pytest.raises(TypeError, match=remedy):
        maml.adapt(module, support)
    with pytest.raises(TypeError, match=remedy):
        train(module, small_alphabets, SETTINGS)
    with pytest.raises(TypeError, match=remedy):
        maml.evaluate(module, small_alphabets, SHAPE)
    with pytest.raises(TypeError, match="maml.load_pretrained and .*; got str"):
        maml.adapt("flagship", support)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"callable \(support_images, .*; got str"):
        maml.evaluate("flagship", small_alphabets, SHAPE)  # type: ignore[arg-type]
    unary: Any = lambda images: images  # noqa: E731
    with pytest.raises(TypeError, match="callable .*; got function"):
        maml.evaluate(unary, small_alphabets, SHAPE)
    with pytest.raises(TypeError, match="iterable of maml.Episode; got int"):
        train(network(), 5, SETTINGS)
    with pytest.raises(ValueError, match="need an EpisodeShape; got None"):
        maml.evaluate(network(), small_alphabets)
    with pytest.raises(ValueError, match="leave shape out; got 3-way 2-shot"):
        maml.evaluate(network(), tasks(small_alphabets, 1), SHAPE)
    with pytest.raises(ValueError, match="at least one task; got none"):
        maml.evaluate(network(), [])
    with pytest.raises(ValueError, match="steps is for networks only; leave it out; got 3"):
        maml.evaluate(prototypes, small_alphabets, SHAPE, steps=3)


def test_modules_of_three_arguments_are_callables(small_alphabets: CharacterSet) -> None:
    class Prototypes(nn.Module):
        def forward(self, support: Tensor, labels: Tensor, queries: Tensor) -> Tensor:
            return prototypes(support, labels, queries)

    found = maml.evaluate(Prototypes(), small_alphabets, SHAPE, tasks=4)
    assert found == maml.evaluate(prototypes, small_alphabets, SHAPE, tasks=4)


# What is left as it was --------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["sketch", "notebook"])
@pytest.mark.parametrize("training", [False, True])
def test_the_mode_of_a_model_is_left_as_it_was(
    kind: str, training: bool, small_alphabets: CharacterSet
) -> None:
    model = network(kind).train(training)
    part = list(model.modules())[3]
    part.train(not training)  # A mode of its own, as users freeze BatchNorm.
    modes = [module.training for module in model.modules()]
    flags = [tensor.requires_grad for tensor in model.parameters()]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    images = torch.from_numpy(small_alphabets.images[:3, 0]).float() / 255
    learner = maml.adapt(model, SupportSet(images, [0, 1, 2], ("a", "b", "c")))
    learner.predict(images)
    learner.predict_path(images)
    maml.evaluate(model, small_alphabets, SHAPE, tasks=2)
    maml.evaluate(model, tasks(small_alphabets, 2), tasks=2)
    assert [module.training for module in model.modules()] == modes
    assert [tensor.requires_grad for tensor in model.parameters()] == flags
    assert all(tensor.grad is None for tensor in model.parameters())
    for name, value in model.state_dict().items():
        assert torch.equal(before[name], value), name


def test_support_sets_take_what_people_have() -> None:
    """Each of these type-checks as well."""
    ink = np.eye(28, dtype=np.float32)
    expected = SupportSet(
        torch.from_numpy(np.stack([ink] * 3)), torch.tensor([0, 0, 1]), ("a", "b")
    )
    for support in (
        SupportSet([ink, ink, ink], [0, 0, 1], ("a", "b")),
        SupportSet(np.stack([ink, ink, ink]), np.array([0, 0, 1]), ["a", "b"]),
        SupportSet([torch.from_numpy(ink)] * 3, (0, 0, 1), iter("ab")),
    ):
        assert torch.equal(support.images, expected.images)
        assert torch.equal(support.labels, expected.labels)
        assert support.names == ("a", "b")
    renamed = replace(expected, names=("c", "d"))
    assert renamed.names == ("c", "d") and torch.equal(renamed.images, expected.images)

"""Adapting and answering: what must not change, what must agree, what is refused."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from maml import CharacterSet, EpisodeShape, InnerLoop, SupportSet, adapt
from maml.config import Engine, NetworkSettings
from maml.data.episodes import EpisodeSampler
from maml.inner_loop import inner_loop
from maml.model import MetaNetwork
from maml.networks import SketchNet, build_model
from maml.prediction import Prediction, shares_of

NAMES = ("sun", "moon", "star", "comet", "ring")


def network(kind: str = "sketch", *, ways: int = 5, adaptable: int = 2) -> MetaNetwork:
    """A small network whose statistics, head and scores are off their starting values."""
    generator = torch.Generator().manual_seed(4)
    settings = NetworkSettings(kind, channels=8, ways=ways, adaptable=adaptable)  # type: ignore[arg-type]
    loop = InnerLoop(
        steps=3,
        evaluation_steps=4,
        rate=0.1 if kind == "notebook" else 3.0,
        learned_rates=kind == "sketch",
    )
    model = build_model(settings, loop, generator)
    if isinstance(model, SketchNet):
        with torch.no_grad():
            model.head_start.normal_(std=0.3, generator=generator)
            model.log_rates[:, :-2] += 5
            model.temperature_weights.copy_(torch.tensor([0.1, -0.05, -0.1, 0.2, 0.05]))
            for name, buffer in model.named_buffers():
                if name.endswith("running_var"):
                    buffer.uniform_(0.05, 0.2, generator=generator)
    return model


@pytest.fixture(params=[("notebook", 2), ("sketch", 2), ("sketch", 0)])
def model(request: pytest.FixtureRequest) -> MetaNetwork:
    """One that adapts as a whole, one that adapts its last stages, one that adapts its head."""
    kind, adaptable = request.param
    return network(kind, adaptable=adaptable)


def task(
    data: CharacterSet, ways: int = 5, shots: int = 2, queries: int = 3
) -> tuple[SupportSet, Tensor]:
    shape = EpisodeShape(ways, shots, queries)
    episode = EpisodeSampler(data, torch.Generator().manual_seed(2)).sample(shape)
    names = (NAMES * 4)[:ways]
    support = SupportSet(episode.support_images, episode.support_labels, names)
    return support, episode.query_images


def snapshot(model: MetaNetwork) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def assert_same(model: MetaNetwork, before: dict[str, Tensor]) -> None:
    assert model.state_dict().keys() == before.keys()
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name
    for name, parameter in model.named_parameters():
        assert parameter.grad is None, name


# What must not change ----------------------------------------------------------------------------


def test_adapting_and_predicting_leave_the_model_untouched(
    model: MetaNetwork, small_alphabets: CharacterSet
) -> None:
    support, queries = task(small_alphabets)
    before, images = snapshot(model), support.images.clone()
    learner = adapt(model, support)
    learner.predict(queries)
    learner.predict_path(queries)
    learner.at_step(1).predict(queries)
    assert_same(model, before)
    assert torch.equal(support.images, images)


def test_predicting_changes_nothing(model: MetaNetwork, small_alphabets: CharacterSet) -> None:
    """Whatever is asked in between, the same question has the same answer, bit for bit."""
    support, queries = task(small_alphabets)
    learner = adapt(model, support)
    kept = learner.state_dict()
    first = learner.predict(queries)
    learner.predict(1 - queries)
    learner.predict(queries[:1])
    learner.predict_path(queries[3:5])
    learner.at_step(0).predict(queries)
    adapt(model, SupportSet(1 - support.images, support.labels, support.names)).predict(queries)
    again = learner.predict(queries)
    assert torch.equal(first.probabilities, again.probabilities)
    assert torch.equal(first.unknown, again.unknown)
    for name, value in learner.state_dict().items():
        assert torch.equal(value, kept[name]), name


def test_learner_does_not_follow_its_model(small_alphabets: CharacterSet) -> None:
    """Its tensors are its own: what befalls the model later does not reach back."""
    model = network("notebook")
    support, queries = task(small_alphabets)
    learner = adapt(model, support, steps=2)
    before = learner.predict_path(queries)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    assert torch.equal(learner.predict_path(queries), before)


def test_adapting_twice_gives_the_same_learner(
    model: MetaNetwork, small_alphabets: CharacterSet
) -> None:
    support, queries = task(small_alphabets)
    first, second = adapt(model, support), adapt(model, support)
    assert first.trajectory == second.trajectory
    assert torch.equal(first.predict(queries).probabilities, second.predict(queries).probabilities)


def test_neither_global_randomness_nor_grad_mode_is_touched(
    model: MetaNetwork, small_alphabets: CharacterSet
) -> None:
    support, queries = task(small_alphabets)
    before = torch.get_rng_state()
    with torch.no_grad():
        learner = adapt(model, support)
        assert not torch.is_grad_enabled()
    assert torch.is_grad_enabled()
    answer = learner.predict(queries)
    assert torch.equal(torch.get_rng_state(), before)
    assert not answer.probabilities.requires_grad
    # In a caller's no_grad the inner loop works all the same.
    assert learner.trajectory[-1].loss < learner.trajectory[0].loss


# What must agree ---------------------------------------------------------------------------------


def test_a_query_is_answered_alone_as_among_others(
    model: MetaNetwork, small_alphabets: CharacterSet
) -> None:
    support, queries = task(small_alphabets)
    learner = adapt(model, support)
    together = learner.predict(queries)
    for index, query in enumerate(queries):
        alone = learner.predict(query)
        torch.testing.assert_close(
            alone.probabilities[0], together.probabilities[index], rtol=0, atol=1e-5
        )
        torch.testing.assert_close(alone.unknown[0], together.unknown[index], rtol=0, atol=1e-5)
    strange = torch.cat([queries[:2], torch.ones(9, 1, 28, 28), torch.zeros(3, 1, 28, 28)])
    among = learner.predict(strange).probabilities[:2]
    torch.testing.assert_close(among, together.probabilities[:2], rtol=0, atol=1e-5)


def test_order_of_symbols_does_not_matter(small_alphabets: CharacterSet) -> None:
    model = network("sketch")
    support, queries = task(small_alphabets, ways=7)
    names = tuple("abcdefg")
    plain = adapt(model, SupportSet(support.images, support.labels, names))
    order = torch.tensor([4, 0, 6, 2, 5, 1, 3])  # The slot that each symbol moves to.
    shuffled = torch.randperm(len(support.images), generator=torch.Generator().manual_seed(0))
    moved = adapt(
        model,
        SupportSet(
            support.images[shuffled],
            order[support.labels[shuffled]],
            tuple(names[int(slot)] for slot in order.argsort()),
        ),
    )
    first, second = plain.predict(queries), moved.predict(queries)
    for way, name in enumerate(first.names):
        column = second.probabilities[:, second.names.index(name)]
        torch.testing.assert_close(first.probabilities[:, way], column, rtol=0, atol=1e-5)
    torch.testing.assert_close(first.unknown, second.unknown, rtol=0, atol=1e-5)
    assert float(first.probabilities.std(dim=1).min()) > 0.01


def test_at_step_is_adapting_that_many_steps(
    model: MetaNetwork, small_alphabets: CharacterSet
) -> None:
    support, queries = task(small_alphabets)
    learner = adapt(model, support, steps=6)  # Two more than it was trained for.
    path = learner.predict_path(queries)
    assert path.shape == (7, len(queries), 5)
    for step in range(7):
        direct = adapt(model, support, steps=step)
        back = learner.at_step(step)
        answer = direct.predict(queries)
        assert direct.trajectory == back.trajectory == learner.trajectory[: step + 1]
        assert direct.steps == back.steps == step
        assert torch.equal(answer.probabilities, back.predict(queries).probabilities)
        assert torch.equal(answer.unknown, back.predict(queries).unknown)
        assert torch.equal(answer.probabilities, path[step])
        assert torch.equal(answer.probabilities, back.predict_path(queries)[-1])
        for name, value in direct.state_dict().items():
            assert torch.equal(value, back.state_dict()[name]), name
    assert torch.equal(learner.predict(queries).probabilities, path[-1])
    assert not torch.equal(path[-1], path[-2])


def test_trajectory_is_the_loss_and_accuracy_on_the_support_set(
    small_alphabets: CharacterSet,
) -> None:
    model = network("sketch")
    support, _ = task(small_alphabets, shots=3)
    learner = adapt(model, support, steps=3)
    path = learner.predict_path(support.images)
    temperature = float(model.temperature(5, 3, learner.likeness))
    for record, shares in zip(learner.trajectory, path, strict=True):
        logits = shares.log() * temperature
        # The sum over classes of each class's mean cross-entropy; all have three examples.
        loss = 5 * functional.cross_entropy(logits, support.labels)
        assert record.loss == pytest.approx(float(loss), rel=1e-4)
        right = float((shares.argmax(1) == support.labels).float().mean())
        if record.step:
            assert record.accuracy == pytest.approx(right)
    assert [record.step for record in learner.trajectory] == [0, 1, 2, 3]
    # All rows of the head start as one vector: chance, whatever the vector.
    assert learner.trajectory[0].loss == pytest.approx(5 * np.log(5), rel=1e-5)
    torch.testing.assert_close(path[0], torch.full_like(path[0], 0.2))
    assert learner.trajectory[3].loss < learner.trajectory[1].loss < learner.trajectory[0].loss


def test_steps_left_out_are_those_of_the_weights(
    model: MetaNetwork, small_alphabets: CharacterSet
) -> None:
    support, queries = task(small_alphabets)
    assert adapt(model, support).steps == 4
    still = adapt(model, support, steps=0)
    assert still.steps == 0
    assert [record.step for record in still.trajectory] == [0]
    assert still.predict_path(queries).shape == (1, len(queries), 5)


def test_inner_steps_are_plain_gradient_steps(small_alphabets: CharacterSet) -> None:
    """The first step of the head, by hand: rate times the gradient of the support loss."""
    model = network("sketch")
    assert isinstance(model, SketchNet)
    support, _ = task(small_alphabets)
    learner = adapt(model, support, steps=1)
    model.eval()
    vectors = model.embed(support.images).detach()
    belongs = functional.one_hot(support.labels).float()
    # d loss / d row = sum over examples of (share - belongs) x vector / examples of its class.
    gradient = ((0.2 - belongs) / 2).T @ vectors
    rate = float(model.log_rates[0, -2].exp().detach())
    wanted = model.head_start.detach() - rate * gradient
    torch.testing.assert_close(learner.state_dict()["head.weight"], wanted, rtol=1e-4, atol=1e-5)
    # Each class pulls its own bias up by as much as the others push it down: it stays.
    torch.testing.assert_close(learner.state_dict()["head.bias"], torch.zeros(5))


@pytest.mark.parametrize("engine", ["batched", "higher"])
@pytest.mark.parametrize("counts", [[2, 2, 2, 2, 2], [1, 4, 2, 1, 3]])
def test_first_step_of_a_cosine_head_gives_the_normalised_class_means(
    small_alphabets: CharacterSet, counts: list[int], engine: Engine
) -> None:
    settings = NetworkSettings("sketch", channels=4, head="cosine", head_scale=8.0)
    loop = InnerLoop(steps=2, rate=1 / 8, learned_rates=True, engine=engine)
    model = build_model(settings, loop, torch.Generator().manual_seed(2)).eval()
    assert isinstance(model, SketchNet)
    with torch.no_grad():
        model.log_rates[:, :-1] = -50  # The body stands still, so that the answers are known too.
    episode = EpisodeSampler(small_alphabets, torch.Generator().manual_seed(6)).sample(
        EpisodeShape(5, 4, 1)
    )
    kept = torch.cat([4 * way + torch.arange(count) for way, count in enumerate(counts)])
    images, labels = episode.support_images[kept], episode.support_labels[kept]
    learner = adapt(model, SupportSet(images, labels, tuple("abcde")), steps=3)
    vectors = model.embed(images).detach()
    means = torch.stack([vectors[labels == way].mean(0) for way in range(5)])
    rows = learner.at_step(0).state_dict()["head.weight"]
    torch.testing.assert_close(rows, means.mean(0).expand(5, -1))
    chance = learner.predict_path(episode.query_images)[0]
    torch.testing.assert_close(chance, torch.full_like(chance, 0.2))
    rows = learner.at_step(1).state_dict()["head.weight"]
    torch.testing.assert_close(rows, functional.normalize(means, dim=1), rtol=1e-5, atol=1e-6)
    # Later steps move the rows on, on the unit sphere.
    later = learner.state_dict()["head.weight"]
    assert float((later - rows).abs().max()) > 1e-3
    torch.testing.assert_close(later.norm(dim=1), torch.ones(5))
    with torch.no_grad():
        logits = 8 * model.embed(episode.query_images) @ later.T
    found = learner.predict(episode.query_images).probabilities
    torch.testing.assert_close(found, logits.softmax(1), rtol=1e-3, atol=1e-4)


def test_state_dict_is_the_adapted_network(small_alphabets: CharacterSet) -> None:
    """What is downloaded answers as the learner does."""
    model = network("sketch")
    support, queries = task(small_alphabets)
    learner = adapt(model, support)
    kept = learner.state_dict()
    assert all(value.is_contiguous() and not value.requires_grad for value in kept.values())
    model.eval()
    features = model.stem(queries)
    module, _ = model.task_network(5)
    logits = torch.func.functional_call(module, kept, (features,), strict=False)
    shares = (logits / model.temperature(5, 2, learner.likeness)).softmax(1)
    torch.testing.assert_close(shares, learner.predict(queries).probabilities)
    kept["head.weight"].zero_()
    assert float(learner.state_dict()["head.weight"].abs().max()) > 0


def test_transductive_and_alone_differ_for_batch_statistics_only(
    small_alphabets: CharacterSet,
) -> None:
    support, queries = task(small_alphabets)
    for kind, differ in (("notebook", True), ("sketch", False)):
        model = network(kind)
        learner = adapt(model, support)
        features = model.stem(queries)
        together = learner.path_of_features(features, transductive=True)
        alone = learner.path_of_features(features)
        assert (float((together - alone).abs().max()) > 0.01) == differ
        assert torch.equal(alone, learner.path_of_features(features))


def test_transductive_answers_normalise_the_queries_by_themselves(
    small_alphabets: CharacterSet,
) -> None:
    model = network("notebook")
    support, queries = task(small_alphabets)
    learner = adapt(model, support)
    found = learner.path_of_features(queries, transductive=True)[-1]
    network_, _ = model.task_network(5)
    wanted = torch.func.functional_call(
        network_.train(), {**dict(network_.named_buffers()), **learner.state_dict()}, (queries,)
    )
    torch.testing.assert_close(found, wanted.softmax(1))


def test_none_of_these_is_scored_by_the_adapted_tensors(small_alphabets: CharacterSet) -> None:
    model = network("sketch").eval()
    assert isinstance(model, SketchNet)
    support, queries = task(small_alphabets)
    learner = adapt(model, support)
    whole, _ = model.task_network(5)
    body = whole[:-1]  # type: ignore[index]
    adapted = learner.state_dict()
    tensors = {name: adapted[name] for name, _ in body.named_parameters()}
    with torch.no_grad():
        seen, taught = (
            torch.func.functional_call(body, tensors, (model.features(images),))
            for images in (queries, support.images)
        )
        terms = model.unknown_terms(seen, model.known_classes(taught, support.labels))
        expected = (terms @ model.unknown_weights).sigmoid()
    found = learner.predict(queries).unknown
    torch.testing.assert_close(found, expected)
    unadapted = learner.at_step(0).predict(queries).unknown
    assert float((unadapted - found).abs().min()) > 1e-4


def test_answers_do_not_depend_on_the_mode_of_the_model(
    model: MetaNetwork, small_alphabets: CharacterSet
) -> None:
    support, queries = task(small_alphabets)
    learner = adapt(model.eval(), support)
    expected = learner.predict(queries)
    model.train()
    again = learner.predict(queries)
    assert torch.equal(again.probabilities, expected.probabilities)
    assert torch.equal(again.unknown, expected.unknown)
    model.train()
    assert torch.equal(learner.predict_path(queries)[-1], expected.probabilities)
    with torch.no_grad():
        features = model.eval().features(queries)
    model.train()
    assert torch.equal(learner.unknown_of_features(features), expected.unknown)
    model.train()
    anew = adapt(model, support).predict(queries)
    assert torch.equal(anew.probabilities, expected.probabilities)
    assert torch.equal(anew.unknown, expected.unknown)


# Any ways, any shots -----------------------------------------------------------------------------


@pytest.mark.parametrize("ways", [2, 3, 11, 20])
def test_any_number_of_ways(small_alphabets: CharacterSet, ways: int) -> None:
    model = network("sketch")
    support, queries = task(small_alphabets, ways=ways, shots=1)
    answer = adapt(model, support, steps=5).predict(queries)
    assert answer.probabilities.shape == (3 * ways, ways)
    torch.testing.assert_close(answer.probabilities.sum(1), torch.ones(3 * ways))
    assert float(answer.probabilities.min()) > 0
    assert float(answer.probabilities.max(1).values.mean()) > 1.5 / ways
    assert bool(((answer.unknown >= 0) & (answer.unknown <= 1)).all())
    assert answer.names == support.names
    right = answer.probabilities.argmax(1) == torch.arange(ways).repeat_interleave(3)
    # Even untrained features are not chance.
    assert float(right.float().mean()) >= (0.5 if ways == 2 else 1.2 / ways)


def test_unequal_shots_weigh_alike(small_alphabets: CharacterSet) -> None:
    """Giving a class's one example thrice more changes nothing but the mean number of shots."""
    model = network("sketch")
    model.temperature_weights.zero_()  # type: ignore[operator]
    support, queries = task(small_alphabets, ways=4, shots=1)
    labels = torch.tensor([0, 1, 1, 1, 2, 3, 3])
    repeated = SupportSet(support.images[labels], labels, support.names)
    torch.testing.assert_close(
        adapt(model, repeated).predict(queries).probabilities,
        adapt(model, support).predict(queries).probabilities,
        rtol=0,
        atol=1e-5,
    )


def test_unequal_shots_of_true_examples(small_alphabets: CharacterSet) -> None:
    support, queries = task(small_alphabets, ways=3, shots=5)
    chosen = torch.tensor([0, 5, 6, 10, 11, 12, 13, 14])
    few = SupportSet(support.images[chosen], support.labels[chosen], ("a", "b", "c"))
    answer = adapt(network("sketch"), few).predict(queries)
    torch.testing.assert_close(answer.probabilities.sum(1), torch.ones(9))


# What is refused ---------------------------------------------------------------------------------


def test_fixed_network_names_its_ways(small_alphabets: CharacterSet) -> None:
    support, _ = task(small_alphabets, ways=4)
    with pytest.raises(ValueError, match="built for 5 ways, but the task has 4.*kind 'sketch'"):
        adapt(network("notebook"), support)


@pytest.mark.parametrize("steps", [-1, 101, 2.0, "3", True, float("nan")])
def test_steps_out_of_range_are_refused(small_alphabets: CharacterSet, steps: Any) -> None:
    support, _ = task(small_alphabets)
    with pytest.raises(ValueError, match=r"steps must be a whole number from 0 to 100; got .*"):
        adapt(network(), support, steps)


@pytest.mark.parametrize("step", [-1, 4, 1.5])
def test_steps_never_taken_are_refused(small_alphabets: CharacterSet, step: Any) -> None:
    support, _ = task(small_alphabets)
    learner = adapt(network(), support, steps=3)
    with pytest.raises(
        ValueError, match=r"took 3 steps must be a whole number from 0 to 3; got .*"
    ):
        learner.at_step(step)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.zeros(2, 27, 28), r"shape \(n, 28, 28\) or .*; got \(2, 27, 28\)"),
        (torch.zeros(2, 3, 28, 28), r"got \(2, 3, 28, 28\)"),
        (torch.zeros(0, 28, 28), r"at least 1.*; got \(0, 28, 28\)"),
        (torch.zeros(2, 28, 28, dtype=torch.uint8), "must be floats in .*; got torch.uint8"),
        (torch.full((1, 28, 28), 255.0), r"Ink must lie in \[0, 1\].*; got values from 255 to 255"),
        (torch.full((1, 28, 28), -0.1), r"got values from -0\.1 to -0\.1"),
        (torch.full((1, 28, 28), float("nan")), "not a finite number"),
        ("drawing", "cannot be made one array of ink"),
        ([np.zeros((28, 28)), np.zeros((27, 28))], "cannot be made one array of ink"),
        ([], "cannot be made one array of ink"),
        (None, "cannot be made one array of ink"),
    ],
)
def test_what_is_not_ink_is_refused(
    small_alphabets: CharacterSet, images: Any, message: str
) -> None:
    support, queries = task(small_alphabets)
    learner = adapt(network(), support)
    with pytest.raises(ValueError, match=message):
        learner.predict(images)
    with pytest.raises(ValueError, match=message):
        learner.predict_path(images)


def test_ink_may_come_as_arrays_lists_and_single_pictures(small_alphabets: CharacterSet) -> None:
    support, queries = task(small_alphabets)
    learner = adapt(network(), support)
    wanted = learner.predict(queries).probabilities
    plain = queries[:, 0].numpy()
    mirrored = np.ascontiguousarray(plain[:, ::-1])[:, ::-1]  # The same, of negative strides.
    fixed = plain.copy()
    fixed.setflags(write=False)
    for images in (plain, plain.astype(np.float64), list(plain), list(queries[:, 0]),
                   mirrored, fixed, plain[:, None]):  # fmt: skip
        torch.testing.assert_close(learner.predict(images).probabilities, wanted)
    torch.testing.assert_close(learner.predict(plain[0]).probabilities[0], wanted[0])


# The loop itself ---------------------------------------------------------------------------------


def test_inner_loop_yields_every_state(small_alphabets: CharacterSet) -> None:
    model = network("sketch", adaptable=1)
    model.eval()
    support, _ = task(small_alphabets)
    features = model.stem(support.images).detach()
    states = list(
        inner_loop(model, features[None], support.labels[None], 5, 2, differentiable=False)
    )
    assert [state.step for state in states] == [0, 1, 2]
    assert [state.losses is None for state in states] == [False, False, True]
    scale, shift, weight, bias = (tensor[0] for tensor in states[0].tensors)
    assert torch.equal(scale, torch.ones(256))
    assert torch.equal(shift, torch.zeros(256))
    assert weight.shape == (5, 256)
    assert torch.equal(bias, torch.zeros(5))
    for before, after in zip(states[1].tensors, states[2].tensors, strict=True):
        assert before.shape == after.shape
    assert not torch.equal(states[1].tensors[2], states[2].tensors[2])


def test_steps_beyond_the_trained_ones_use_the_last_rates(small_alphabets: CharacterSet) -> None:
    model = network("sketch")
    assert isinstance(model, SketchNet)
    with torch.no_grad():
        model.log_rates[2] = -200  # The last trained step stands still; so must all later ones.
    support, _ = task(small_alphabets)
    learner = adapt(model, support, steps=6)
    losses = [record.loss for record in learner.trajectory]
    assert losses[0] > losses[1] > losses[2]
    assert losses[2:] == pytest.approx([losses[2]] * 5)


def test_records_are_frozen(small_alphabets: CharacterSet) -> None:
    support, queries = task(small_alphabets)
    learner = adapt(network(), support)
    with pytest.raises(dataclasses.FrozenInstanceError):
        learner.trajectory[0].loss = 0.0  # type: ignore[misc]
    with pytest.raises(dataclasses.FrozenInstanceError):
        learner.predict(queries).names = ()  # type: ignore[misc]


def test_answers_after_each_step(model: MetaNetwork, small_alphabets: CharacterSet) -> None:
    """The path ends at the prediction; a network that cannot embed goes by its own doubt."""
    support, queries = task(small_alphabets)
    learner = adapt(model, support)
    path, unknown = learner.answers_by_step(model.eval().features(queries))
    assert unknown.shape == (learner.steps + 1, len(queries))
    for step in range(learner.steps + 1):
        prediction = learner.at_step(step).predict(queries)
        torch.testing.assert_close(path[step], prediction.probabilities)
        torch.testing.assert_close(unknown[step], prediction.unknown)
    if not model.can_embed:
        torch.testing.assert_close(unknown, 1 - learner.predict_path(queries).amax(dim=2))


# One distribution --------------------------------------------------------------------------------


def test_shares_by_hand() -> None:
    answer = Prediction(
        torch.tensor([[0.75, 0.25], [0.75, 0.25], [0.5, 0.5], [0.6, 0.4]]),
        torch.tensor([0.8, 0.9, 0.5, 0.0]),
        ("sun", "moon"),
        0.8,
    )
    # Odds of 9 against the threshold's 4; odds of 1 against 4.
    none = torch.tensor([0.75, 0.75 * 9 / 4, 0.5 / 4, 0.0])
    wanted = torch.cat([answer.probabilities, none[:, None]], dim=1) / (1 + none[:, None])
    torch.testing.assert_close(answer.shares, wanted, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(answer.shares.sum(dim=1), torch.ones(4))
    assert answer.winners[1:] == (None, "sun", "sun")
    both = shares_of(answer.probabilities[None], answer.unknown[None], 0.8)
    assert torch.equal(both[0], answer.shares)


@pytest.mark.parametrize("threshold", [0.05, 0.5, 0.95])
def test_none_of_these_is_largest_exactly_above_the_threshold(threshold: float) -> None:
    generator = torch.Generator().manual_seed(3)
    logits = 3 * torch.randn(500, 4, generator=generator)
    unknown = torch.rand(500, generator=generator)
    answer = Prediction(logits.softmax(1), unknown, ("a", "b", "c", "d"), threshold)
    assert [winner is None for winner in answer.winners] == (unknown > threshold).tolist()
    assert {"a", "b", "c", "d"} == set(answer.winners) - {None}
    torch.testing.assert_close(answer.shares.sum(dim=1), torch.ones(500))
    # The ways keep their proportions, and more of `unknown` never means a smaller share.
    shares = answer.shares[:, :-1] / answer.shares[:, :-1].sum(dim=1, keepdim=True)
    torch.testing.assert_close(shares, answer.probabilities)
    rising = shares_of(answer.probabilities[:1].expand(9, -1), torch.arange(9) / 8, threshold)
    assert rising[:, -1].diff().min() >= 0
    assert rising.isfinite().all()


def test_shares_are_those_of_a_whole_prediction(
    model: MetaNetwork, small_alphabets: CharacterSet
) -> None:
    support, queries = task(small_alphabets)
    answer = adapt(model, support).predict(queries)
    assert answer.shares.shape == (len(queries), 6)
    torch.testing.assert_close(
        answer.shares,
        shares_of(answer.probabilities, answer.unknown, model.unknown_threshold),
    )

"""The networks: sizes, normalisation, heads, rates, scores, building from a seed."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from maml import CharacterSet, InnerLoop, SupportSet, adapt
from maml.config import NetworkSettings
from maml.embedding import UNKNOWN_TASK_TERMS, UNKNOWN_TERMS
from maml.model import MetaNetwork
from maml.networks import NotebookNet, SketchNet, build_model
from maml.recipes import RECIPES

LOOP = InnerLoop(steps=3, evaluation_steps=5, rate=0.1)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def notebook(channels: int = 16) -> NotebookNet:
    model = build_model(NetworkSettings("notebook", channels=channels), LOOP, seeded())
    assert isinstance(model, NotebookNet)
    return model


def sketch(channels: int = 8, adaptable: int = 1, loop: InnerLoop = LOOP) -> SketchNet:
    model = build_model(NetworkSettings("sketch", channels, adaptable=adaptable), loop, seeded())
    assert isinstance(model, SketchNet)
    return model


# The notebook's network --------------------------------------------------------------------------


def test_notebook_network_is_the_notebooks() -> None:
    recipe = RECIPES["notebook"]
    model = build_model(recipe.network, recipe.training.inner, seeded())
    assert sum(parameter.numel() for parameter in model.parameters()) == 4981
    assert model.fixed_ways == 5
    assert model.normalisation == "batch"
    network, start = model.task_network(5)
    kinds = [type(layer).__name__ for layer in network]  # type: ignore[attr-defined]
    block = ["Conv2d", "BatchNorm2d", "ReLU", "MaxPool2d"]
    assert kinds == block * 3 + ["Flatten", "Linear"]
    assert [layer.momentum for layer in network if isinstance(layer, nn.BatchNorm2d)] == [1.0] * 3  # type: ignore[attr-defined]
    assert [layer.padding for layer in network if isinstance(layer, nn.Conv2d)] == [(0, 0)] * 3  # type: ignore[attr-defined]
    x, sizes = torch.rand(2, 1, 28, 28, generator=seeded()), []
    for layer in network:  # type: ignore[attr-defined]
        x = layer(x)
        if isinstance(layer, (nn.Conv2d, nn.MaxPool2d)):
            sizes.append(x.shape[-1])
    assert sizes == [26, 13, 11, 5, 3, 1]
    assert x.shape == (2, 5)
    assert len(start) == 14
    assert all(a is b for a, b in zip(start, model.parameters(), strict=True))


def test_notebook_learner_normalises_by_the_support_set(small_alphabets: CharacterSet) -> None:
    """With momentum 1 the running statistics are those of the examples, at every step asked for."""
    model = notebook()
    images = torch.from_numpy(small_alphabets.images[:5, :3]).float().flatten(0, 1) / 255
    support = SupportSet(images, torch.arange(5).repeat_interleave(3), tuple("abcde"))
    learner = adapt(model, support, steps=2)
    queries = torch.from_numpy(small_alphabets.images[:5, 5]).float()[:, None] / 255
    for step in (0, 2):
        values = learner.at_step(step).state_dict()
        x, other = queries, support.images
        for conv in (0, 4, 8):
            x, other = (
                torch.conv2d(y, values[f"{conv}.weight"], values[f"{conv}.bias"])
                for y in (x, other)
            )
            mean = other.mean((0, 2, 3), keepdim=True)
            unbiased = other.var((0, 2, 3), unbiased=True, keepdim=True)
            biased = other.var((0, 2, 3), unbiased=False, keepdim=True)
            scale = values[f"{conv + 1}.weight"][:, None, None]
            shift = values[f"{conv + 1}.bias"][:, None, None]
            x = (x - mean) / (unbiased + 1e-5).sqrt() * scale + shift
            other = (other - mean) / (biased + 1e-5).sqrt() * scale + shift
            x, other = (torch.max_pool2d(y.relu(), 2) for y in (x, other))
        wanted = (x.flatten(1) @ values["13.weight"].T + values["13.bias"]).softmax(1)
        found = learner.at_step(step).predict(queries).probabilities
        torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-4)


def test_notebook_network_refuses_other_ways() -> None:
    for ways in (2, 4, 6):
        with pytest.raises(ValueError, match=f"built for 5 ways, but the task has {ways}"):
            notebook().task_network(ways)


# The product's network ---------------------------------------------------------------------------


def test_sketch_network_has_the_sizes_its_settings_say() -> None:
    model = sketch(channels=64)
    weights = {name: tuple(p.shape) for name, p in model.named_parameters() if p.ndim > 1}
    assert weights == {
        "stages.0.0.weight": (32, 1, 3, 3),
        "stages.1.0.weight": (64, 32, 3, 3),
        "stages.2.0.weight": (128, 64, 3, 3),
        "stages.3.0.weight": (192, 128, 3, 3),
        "stages.4.0.weight": (256, 3072),
        "log_rates": (3, 4),
    }
    assert model.fixed_ways is None
    assert model.normalisation == "frozen"
    x, sizes = torch.rand(2, 1, 28, 28, generator=seeded()), []
    model.eval()
    for stage in model.stages:
        x = stage(x)
        sizes.append(tuple(x.shape[1:]))
    assert sizes == [(32, 14, 14), (64, 7, 7), (128, 4, 4), (3072,), (256,), (256,)]


@pytest.mark.parametrize("adaptable", range(7))
def test_stem_and_task_network_make_up_the_whole(adaptable: int) -> None:
    model = sketch(adaptable=adaptable).eval()
    images = torch.rand(3, 1, 28, 28, generator=seeded(1))
    network, start = model.task_network(4)
    network.eval()
    features = model.stem(images)
    adapting = len(list(network.stages.parameters()))  # type: ignore[union-attr]
    assert adapting == [0, 2, 3, 6, 9, 12, 15][adaptable]
    assert len(start) == adapting + 2
    assert model.log_rates.shape == (3, adapting + 2)
    # With a head of its own the network gives products with its unit vectors.
    head = torch.rand(4, 256, generator=seeded(2))
    logits = torch.func.functional_call(
        network, {"head.weight": head, "head.bias": torch.arange(4.0)}, (features,), strict=False
    )
    vectors = model.embed(images)
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(3))
    torch.testing.assert_close(logits, vectors @ head.T + torch.arange(4.0))
    torch.testing.assert_close(network[:-1](features), vectors)  # type: ignore[index]
    torch.testing.assert_close(vectors, nn.functional.normalize(model.stages(images), dim=1))


def test_frozen_statistics_keep_pictures_apart() -> None:
    model = sketch().eval()
    images = torch.rand(6, 1, 28, 28, generator=seeded(1))
    torch.testing.assert_close(model.embed(images)[:2], model.embed(images[:2]))


def test_head_starts_as_one_vector_for_any_ways() -> None:
    model = sketch()
    with torch.no_grad():
        model.head_start.copy_(torch.arange(256.0))
    for ways in (2, 20, 64):
        *_, rows, bias = model.task_network(ways)[1]
        assert torch.equal(rows, torch.arange(256.0).expand(ways, 256))
        assert torch.equal(bias, torch.zeros(ways))
    rows.sum().backward()
    assert model.head_start.grad is not None
    assert torch.equal(model.head_start.grad, torch.full((256,), 64.0))


def test_support_loss_weighs_classes_alike() -> None:
    logits = torch.randn(6, 3, generator=seeded(3))
    labels = torch.tensor([0, 0, 0, 1, 2, 2])
    each = [float(logits[k].logsumexp(0) - logits[k, label]) for k, label in enumerate(labels)]
    wanted = sum(each[:3]) / 3 + each[3] + sum(each[4:]) / 2
    # Beside it the same task with its classes in another order: a loss of its own for each task.
    order = torch.tensor([2, 0, 1])
    tasks = (
        torch.stack([logits, logits[:, order.argsort()] + 1]),
        torch.stack([labels, order[labels]]),
    )
    tasks[0][1, 0] += torch.tensor([0.0, 0.0, 5.0])
    first, second = sketch().support_loss(*tasks).tolist()
    assert first == pytest.approx(wanted, rel=1e-5)
    each[0] = float(tasks[0][1, 0].logsumexp(0) - tasks[0][1, 0, 2])
    assert second == pytest.approx(sum(each[:3]) / 3 + each[3] + sum(each[4:]) / 2, rel=1e-5)
    first, second = notebook().support_loss(*tasks).tolist()
    assert second == pytest.approx(sum(each) / 6, rel=1e-5)
    assert first != second


def test_rates_start_where_the_inner_loop_says() -> None:
    model = sketch(loop=InnerLoop(steps=2, rate=3.0, learned_rates=True))
    for step in (0, 1, 7):
        found = [float(rate.detach()) for rate in model.rates(step, 4, 5)]
        # Stages a thousandth, the head in full, its bias a hundredth.
        assert found == pytest.approx([0.003, 0.003, 3.0, 0.03])
    assert model.log_rates.requires_grad
    assert not sketch().log_rates.requires_grad
    with torch.no_grad():
        model.log_rates[1, 2] = math.log(7)
    assert float(model.rates(0, 4, 5)[2].detach()) == pytest.approx(3)
    assert float(model.rates(1, 4, 5)[2].detach()) == pytest.approx(7)
    assert float(model.rates(5, 4, 5)[2].detach()) == pytest.approx(7)
    assert [float(rate) for rate in notebook().rates(2, 3, 5)] == pytest.approx([0.1] * 3)


def test_temperature_is_log_linear_in_ways_and_shots() -> None:
    model = sketch()
    assert float(model.temperature(5, 1)) == 1
    model.temperature_weights.copy_(torch.tensor([0.3, 0.5, -0.25, 2.0, 1.0]))
    wanted = math.exp(0.3 + 0.5 * math.log(20) - 0.25 * math.log(2.5))
    assert float(model.temperature(20, 2.5)) == pytest.approx(wanted, rel=1e-5)
    by_task = model.temperature(20, 2.5, torch.tensor([0.0, 0.5]))
    torch.testing.assert_close(by_task, torch.tensor([wanted, wanted * math.e * math.sqrt(20)]))
    assert float(notebook().temperature(5, 3)) == 1


def unit(*values: float) -> list[float]:
    size = math.sqrt(sum(value**2 for value in values))
    return [value / size for value in values]


def test_unknown_terms_by_hand() -> None:
    support = torch.tensor([unit(1, 0, 0), unit(1, 1, 0), unit(0, 1, 1)])
    labels = torch.tensor([0, 0, 1])
    query = torch.tensor([unit(1, 0.2, 0.1)])
    prototype = np.array(unit(*(np.array(unit(1, 0, 0)) + np.array(unit(1, 1, 0)))))
    near, far = (float(query[0].numpy() @ p) for p in (prototype, np.array(unit(0, 1, 1))))
    example = max(float(query[0] @ row) for row in support)
    shots = math.log(1.5)
    between = float(prototype @ np.array(unit(0, 1, 1)))
    # Nothing is expected of this network's vectors; the one pair has the cosine 1 / sqrt(2).
    likeness = math.sqrt(0.5) / 4
    wanted = [1, near, example, near - far, math.log(2), shots, near * shots]
    wanted += [0, likeness, between, likeness * shots, near * likeness, likeness / 2]
    model = sketch(2)
    model.likeness_weights = torch.zeros(4)
    found = model.unknown_terms(query, model.known_classes(support, labels))
    torch.testing.assert_close(found, torch.tensor([wanted], dtype=torch.float32))
    # Queries on their own, and several tasks at once, have the same terms.
    torch.testing.assert_close(
        model.unknown_terms(
            query.expand(2, 1, 3),
            model.known_classes(support.expand(2, 3, 3), labels.expand(2, 3)),
        ),
        found.expand(2, 1, 13),
    )


def test_terms_that_are_the_tasks_do_not_look_at_the_query() -> None:
    generator = torch.Generator().manual_seed(0)
    support = functional.normalize(torch.randn(6, 3, generator=generator), dim=-1)
    near = support[:1] + 0.01 * torch.randn(2, 3, generator=generator)
    model = sketch(2)
    model.likeness_weights = torch.tensor([0.1, 0.2, 0.3, 0.4])
    known = model.known_classes(support, torch.arange(3).repeat(2))
    terms = model.unknown_terms(functional.normalize(near, dim=-1), known)
    same = [place for place in range(UNKNOWN_TERMS) if terms[0, place] == terms[1, place]]
    assert same == list(UNKNOWN_TASK_TERMS)


def test_likeness_moves_from_what_is_expected_to_what_was_seen() -> None:
    model = sketch(2)
    model.likeness_weights = torch.tensor([0.5, 0.0, 0.0, 0.25])
    one, other = unit(1, 0, 0), unit(1, 1, 0)
    expected = (0.75 + 0.25 + 0.5 / math.sqrt(2)) / 2
    seen = math.sqrt(0.5)
    for copies in (1, 4):
        support = torch.tensor([one, other] * copies + [unit(0, 0, 1)])
        labels = torch.tensor([0, 0] * copies + [1])
        pairs, alike = copies * (2 * copies - 1), copies * (copies - 1)
        sum_of_cosines = alike + (pairs - alike) * seen
        found = model.likeness(support, labels)
        assert float(found[0]) == pytest.approx((3 * expected + sum_of_cosines) / (3 + pairs))
        assert float(found[1]) == pytest.approx(0.25)  # one example: as expected
    batch = model.likeness(support.expand(2, -1, 3), labels.expand(2, -1))
    torch.testing.assert_close(batch, found.expand(2, 2))


def test_branches_are_networks_side_by_side() -> None:
    """Each with the weights of a single one gives the same vectors, up to their common length."""
    images = torch.rand(4, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    parts = [build_model(NetworkSettings(channels=4), LOOP, seeded(seed)) for seed in range(3)]
    assert isinstance(
        whole := build_model(NetworkSettings(channels=4, branches=3), LOOP, seeded()), SketchNet
    )
    for part in parts:
        assert isinstance(part, SketchNet)
        part.stages[0].load_state_dict(whole.stages[0].state_dict())
    joined = {
        name: tensor if name.startswith("stages.0.") or tensor.ndim == 0
        else torch.cat([part.state_dict()[name] for part in parts])
        for name, tensor in parts[0].state_dict().items() if name.startswith("stages.")
    }  # fmt: skip
    whole.load_state_dict(joined, strict=False)
    with torch.no_grad():
        found, *each = (one.eval().get_submodule("stages")(images) for one in (whole, *parts))
        torch.testing.assert_close(found, torch.cat(each, dim=1))
        assert whole.embed(images).shape == (4, whole.dimensions) == (4, 768)
    assert len(whole.rates(0, 4, 5)) == 4


def test_unknown_is_high_for_what_is_unlike_all_examples(small_alphabets: CharacterSet) -> None:
    images = torch.from_numpy(small_alphabets.images[:3, :4]).float() / 255
    support = SupportSet(
        images[:, :3].flatten(0, 1), torch.arange(3).repeat_interleave(3), tuple("abc")
    )
    model = sketch()
    learner = adapt(model, support)
    model.unknown_weights.copy_(torch.tensor([8.0, -16, *[0] * 11]))
    again = float(learner.predict(images[0, :1]).unknown)
    strange = float(learner.predict(torch.ones(28, 28)).unknown)
    assert again < strange
    model.unknown_limit.fill_(0.25)
    assert model.unknown_threshold == 0.25
    plain = adapt(notebook(4), SupportSet(images[:, :3].repeat(2, 1, 1, 1)[:5].flatten(0, 1),
                  torch.arange(5).repeat_interleave(3), tuple("abcde")))  # fmt: skip
    answer = plain.predict(images[0])
    torch.testing.assert_close(answer.unknown, 1 - answer.probabilities.amax(1))
    assert plain.model.unknown_threshold == 0.5


def test_scores_before_calibration_are_high_for_what_is_unlike_all_examples(
    small_alphabets: CharacterSet,
) -> None:
    images = torch.from_numpy(small_alphabets.images[:3, :3]).float() / 255
    support = SupportSet(images.flatten(0, 1), torch.arange(3).repeat_interleave(3), tuple("abc"))
    learner = adapt(sketch(), support)
    again = learner.predict(images[:, 0]).unknown
    strange = learner.predict(torch.ones(28, 28)).unknown
    assert float(again.max()) < float(strange)


# Building ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["notebook", "sketch"])
def test_same_seed_same_network_and_no_global_randomness(kind: str) -> None:
    settings = NetworkSettings(kind, channels=8)  # type: ignore[arg-type]

    def build(seed: int) -> dict[str, Tensor]:
        return build_model(settings, LOOP, seeded(seed)).state_dict()

    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()  # type: ignore[index] # noqa: NPY002
    first = build(1)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    assert np.random.get_state()[1].tolist() == before[2]  # type: ignore[index] # noqa: NPY002
    torch.rand(3)
    second, other = build(1), build(2)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)
    # Two networks from one generator are two networks.
    generator = seeded(1)
    twins = [build_model(settings, LOOP, generator).state_dict() for _ in range(2)]
    assert any(not torch.equal(twins[0][name], twins[1][name]) for name in first)


def test_a_network_must_say_which_part_adapts() -> None:
    with pytest.raises(TypeError, match="MetaNetwork does not say which part of it adapts"):
        MetaNetwork(NetworkSettings(), LOOP).task_network(5)


@pytest.mark.parametrize(("views", "angle"), [(2, 0.2), (3, 0.15)])
def test_features_are_the_mean_of_a_picture_rotated_either_way(views: int, angle: float) -> None:
    generator = torch.Generator().manual_seed(0)
    settings = NetworkSettings("sketch", channels=4, test_time_views=views)
    model = build_model(settings, InnerLoop(), generator)
    model.eval()
    picture = torch.zeros(1, 1, 28, 28)
    picture[0, 0, 13:15, 4:24] = 1  # a level line: turning either way mirrors it
    with torch.no_grad():
        found, one = model.features(picture), model.stem(picture)
        twice = model.features(picture.repeat(2, 1, 1, 1))
    assert not torch.allclose(found, one, atol=1e-3)
    torch.testing.assert_close(twice[1:], found)
    seen = [one] * (views == 3)
    for turn in (angle, -angle):
        matrix = torch.tensor(
            [[[math.cos(turn), math.sin(turn), 0.0], [-math.sin(turn), math.cos(turn), 0.0]]]
        )
        grid = functional.affine_grid(matrix, [1, 1, 28, 28], align_corners=False)
        with torch.no_grad():
            seen.append(model.stem(functional.grid_sample(picture, grid, align_corners=False)))
    torch.testing.assert_close(found, torch.stack(seen).mean(dim=0))


def test_views_must_be_one_two_or_three() -> None:
    with pytest.raises(ValueError, match="test_time_views must be 1, 2 or 3; got 4"):
        NetworkSettings("sketch", test_time_views=4)

"""Character sets, support sets, sampled tasks, augmentation."""

from __future__ import annotations

import dataclasses
import random
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from maml import CharacterSet, EpisodeShape, SupportSet
from maml.data import augment
from maml.data.augment import Distortion, distort, turn
from maml.data.episodes import EpisodeSampler, as_ink_batch


def numbered(characters: int = 12, drawings: int = 6, alphabets: int = 3) -> CharacterSet:
    """Every drawing says which it is: pixel (0, 0) its character, pixel (0, 1) its number."""
    images = np.zeros((characters, drawings, 28, 28), np.uint8)
    images[..., 0, 0] = np.arange(characters)[:, None]
    images[..., 0, 1] = np.arange(drawings)
    owners = tuple(f"alphabet{row * alphabets // characters}" for row in range(characters))
    return CharacterSet(
        images,
        tuple(f"character{row}" for row in range(characters)),
        owners,
        tuple(owner != owners[-1] for owner in owners),
    )


def sampler(data: CharacterSet, seed: int = 0) -> EpisodeSampler:
    return EpisodeSampler(data, torch.Generator().manual_seed(seed))


def marks(images: torch.Tensor) -> list[tuple[int, int]]:
    """Character and number of each drawing."""
    pixels = (images[:, 0, 0, :2] * 255).round().int()
    return [(character, number) for character, number in pixels.tolist()]


# Character sets ----------------------------------------------------------------------------------


def test_splits_part_the_characters() -> None:
    data = numbered()
    training, test = data.split("alphabets", "train"), data.split("alphabets", "test")
    assert training.characters == data.characters[:8]
    assert test.characters == data.characters[8:]
    assert set(test.alphabets) == {"alphabet2"}
    assert np.array_equal(test.images, data.images[8:])
    # 1,200 of 1,623 characters, in the order of the set: 9 of 12.
    assert data.split("notebook", "train").characters == data.characters[:9]
    assert data.split("notebook", "test").characters == data.characters[9:]
    whole = CharacterSet(
        np.zeros((1623, 1, 28, 28), np.uint8), ("a",) * 1623, ("b",) * 1623, (True,) * 1623
    )
    assert len(whole.split("notebook", "train")) == 1200
    assert len(whole.split("notebook", "test")) == 423


def test_unknown_split_is_refused() -> None:
    for protocol, part, message in (
        ("lake", "train", "one of alphabets, notebook, doodles; got 'lake'"),
        ("alphabets", "choose", "one of train, test under protocol 'alphabets'; got 'choose'"),
    ):
        with pytest.raises(ValueError, match=message):
            numbered().split(protocol, part)  # type: ignore[arg-type]


def test_held_out_alphabets_are_whole_and_apart() -> None:
    data = numbered(20, 2, alphabets=5)
    others, held = data.hold_out(2)
    assert set(held.alphabets) == {"alphabet1", "alphabet3"}
    assert set(others.alphabets) == {"alphabet0", "alphabet2", "alphabet4"}
    assert len(others) == 12
    assert len(held) == 8
    for number in (0, 5, 6):
        with pytest.raises(ValueError, match=f"Of 5 alphabets at least one must .*; got {number}"):
            data.hold_out(number)


def test_chosen_characters_come_in_the_order_asked_for() -> None:
    chosen = numbered().choose([5, 0])
    assert chosen.characters == ("character5", "character0")
    assert chosen.images[:, 0, 0, 0].tolist() == [5, 0]
    assert chosen.alphabets == ("alphabet1", "alphabet0")
    assert len(chosen) == 2
    assert chosen.drawings == 6


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"images": np.zeros((12, 6, 28, 28), np.float32)},
            r"got float32 \(12, 6, 28, 28\)",
        ),
        (
            {"images": np.zeros((12, 28, 28), np.uint8)},
            r"images must be uint8 \(characters, drawings",
        ),
        (
            {"characters": ("a",)},
            "characters must have an entry for each of the 12 .*; got 1",
        ),
        (
            {"alphabets": ("a",) * 11},
            "alphabets must have an entry for each .*; got 11",
        ),
        ({"background": ()}, "background must have an entry for each .*; got 0"),
    ],
)
def test_ill_fitting_character_sets_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(numbered(), **changes)


# Tasks -------------------------------------------------------------------------------------------


def test_episode_holds_what_its_labels_say() -> None:
    shape = EpisodeShape(ways=4, shots=2, queries=3)
    episode = sampler(numbered()).sample(shape)
    assert episode.ways == 4
    assert episode.support_labels.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert episode.query_labels.tolist() == [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3
    characters = episode.characters.tolist()
    for images, labels in (
        (episode.support_images, episode.support_labels),
        (episode.query_images, episode.query_labels),
    ):
        assert [character for character, _ in marks(images)] == [
            characters[label] for label in labels.tolist()
        ]
        assert images.dtype == torch.float32
        assert float(images.max()) <= 11 / 255 + 1e-6


def test_no_drawing_twice_in_a_task() -> None:
    tasks = sampler(numbered())
    for _ in range(200):
        episode = tasks.sample(EpisodeShape(ways=5, shots=3, queries=3))
        all_marks = marks(episode.support_images) + marks(episode.query_images)
        assert len(set(all_marks)) == 30
        assert len(set(episode.characters.tolist())) == 5


def test_slot_and_character_are_independent() -> None:
    """Chi-squared over a table of slots and characters; a fixed order would be far outside."""
    tasks, slots, characters, count = sampler(numbered()), 4, 12, 3000
    table = np.zeros((slots, characters))
    for _ in range(count):
        chosen, _ = tasks.sample_rows(EpisodeShape(slots, 1, 1))
        table[np.arange(slots), chosen.numpy()] += 1
    expected = count / characters
    statistic = float(((table - expected) ** 2 / expected).sum())
    # 4 x 11 degrees of freedom: 44 on average, above 80 once in a thousand seeds.
    assert statistic < 80


def test_within_an_alphabet_too_slot_and_character_are_independent() -> None:
    data = numbered(8, 6, alphabets=2)
    tasks, table = sampler(data), np.zeros((3, 8))
    for _ in range(2000):
        chosen, _ = tasks.sample_rows(EpisodeShape(3, 1, 1, within_alphabet=True))
        table[np.arange(3), chosen.numpy()] += 1
    assert float(((table - 250) ** 2 / 250).sum()) < 55  # 3 x 7 degrees of freedom.


def test_every_drawing_serves_as_support_and_as_query() -> None:
    tasks = sampler(numbered(4, 6))
    support: Counter[int] = Counter()
    query: Counter[int] = Counter()
    for _ in range(300):
        _, drawings = tasks.sample_rows(EpisodeShape(4, 1, 2))
        support.update(drawings[:, :1].flatten().tolist())
        query.update(drawings[:, 1:].flatten().tolist())
    for number in range(6):
        assert support[number] == pytest.approx(1200 / 6, rel=0.25)
        assert query[number] == pytest.approx(2400 / 6, rel=0.25)


def test_tasks_within_an_alphabet_stay_in_it() -> None:
    data, seen = numbered(15, 4, alphabets=3), set()
    tasks = sampler(data)
    for _ in range(60):
        chosen, _ = tasks.sample_rows(EpisodeShape(4, 1, 1, within_alphabet=True))
        owners = {data.alphabets[int(row)] for row in chosen}
        assert len(owners) == 1
        assert len(chosen) == 4
        seen |= owners
    assert len(seen) == 3
    # An alphabet gives as many as it has.
    chosen, _ = tasks.sample_rows(EpisodeShape(20, 1, 1, within_alphabet=True))
    assert len(chosen) == 5


def test_alphabets_of_one_character_are_passed_over() -> None:
    data = dataclasses.replace(numbered(3, 4, alphabets=1), alphabets=("single", "pair", "pair"))
    tasks = sampler(data)
    for _ in range(20):
        chosen, _ = tasks.sample_rows(EpisodeShape(2, 1, 1, within_alphabet=True))
        assert set(chosen.tolist()) == {1, 2}
    lonely = sampler(dataclasses.replace(data, alphabets=("a", "b", "c")))
    with pytest.raises(ValueError, match="an alphabet of two or more characters; got"):
        lonely.sample_rows(EpisodeShape(2, 1, 1, within_alphabet=True))


def test_same_seed_same_tasks(small_alphabets: CharacterSet) -> None:
    shape = EpisodeShape(3, 1, 2)
    first, second = sampler(small_alphabets, 5), sampler(small_alphabets, 5)
    other = sampler(small_alphabets, 6)
    for _ in range(3):
        left, right = first.sample(shape, augment=True), second.sample(shape, augment=True)
        assert torch.equal(left.support_images, right.support_images)
        assert torch.equal(left.query_images, right.query_images)
        assert not torch.equal(left.query_images, other.sample(shape, augment=True).query_images)
    # The generator's state is all there is to come back to.
    state = first.generator.get_state()
    ahead = first.sample(shape, augment=True)
    first.generator.set_state(state)
    assert torch.equal(first.sample(shape, augment=True).query_images, ahead.query_images)


def test_sampling_leaves_global_randomness_alone(small_alphabets: CharacterSet) -> None:
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()  # type: ignore[index] # noqa: NPY002
    sampler(small_alphabets).sample(EpisodeShape(4, 2, 2, within_alphabet=True), augment=True)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    assert np.random.get_state()[1].tolist() == before[2]  # type: ignore[index] # noqa: NPY002


def test_too_large_tasks_are_refused() -> None:
    tasks = sampler(numbered())
    with pytest.raises(ValueError, match="4 shots and 3 queries need 7 .*; got data with 6"):
        tasks.sample(EpisodeShape(2, 4, 3))
    with pytest.raises(ValueError, match="13 ways need as many characters; .*; got 12"):
        tasks.sample(EpisodeShape(13, 1, 1))


def test_episode_moves_to_a_device() -> None:
    episode = sampler(numbered()).sample(EpisodeShape(2, 1, 1)).to("meta")
    assert {getattr(episode, field.name).device.type for field in dataclasses.fields(episode)} == {
        "meta"
    }


# Augmentation ------------------------------------------------------------------------------------


def test_turns_and_mirror_images_are_those_asked_for(small_alphabets: CharacterSet) -> None:
    images = torch.from_numpy(small_alphabets.images[:8, :2]).float() / 255
    turned = turn(images, torch.arange(8))
    for character in range(8):
        for drawing in range(2):
            plain = images[character, drawing].numpy()
            sheet = plain[:, ::-1] if character >= 4 else plain
            wanted = np.rot90(sheet, character % 4)
            assert np.array_equal(turned[character, drawing].numpy(), wanted)


def test_an_episode_says_how_its_characters_were_turned(small_alphabets: CharacterSet) -> None:
    shape = EpisodeShape(8, 1, 1)
    assert not sampler(small_alphabets).sample(shape).turns.any()
    seen = [sampler(small_alphabets, seed).sample(shape, augment=True).turns for seed in range(20)]
    assert set(torch.cat(seen).tolist()) == set(range(8))
    assert all(len(turns.unique()) > 1 for turns in seen)


def test_all_drawings_of_a_character_turn_alike() -> None:
    data = numbered(6, 6)
    episode = sampler(data).sample(EpisodeShape(6, 2, 4))
    plain = marks(episode.support_images)
    assert len(plain) == 12
    # Augmented twenty times, the marked corner is found in each of the four corners.
    corners: Counter[int] = Counter()
    bright = dataclasses.replace(data, images=data.images.copy())
    bright.images[:, :, :6, :6] = 255
    tasks = sampler(bright, 1)
    for _ in range(10):
        redrawn = tasks.sample(EpisodeShape(6, 2, 4), augment=True)
        support = redrawn.support_images.view(6, 2, 28, 28)
        query = redrawn.query_images.view(6, 4, 28, 28)
        for drawings in torch.cat([support, query], dim=1):
            quadrants = drawings.unflatten(1, (2, 14)).unflatten(3, (2, 14)).mean((2, 4))
            found = quadrants.flatten(1).argmax(1).tolist()
            assert len(set(found)) == 1, "One character, two turns: two characters in one class."
            corners.update(found[:1])
    assert set(corners) == {0, 1, 2, 3}
    assert min(corners.values()) > 5


def test_no_distortion_changes_nothing(small_alphabets: CharacterSet) -> None:
    images = torch.from_numpy(small_alphabets.images[0]).float() / 255
    still = Distortion(turn=0, slant=0, stretch=0, shift=0, bend=0, thickness=0)
    same = distort(images, torch.Generator().manual_seed(0), still)
    torch.testing.assert_close(same, images, rtol=0, atol=1e-5)


def test_other_hands_change_drawings_within_reason(small_alphabets: CharacterSet) -> None:
    images = torch.from_numpy(small_alphabets.images[:, 0]).float() / 255
    redrawn = distort(images, torch.Generator().manual_seed(0))
    assert redrawn.shape == images.shape
    assert 0 <= float(redrawn.min()) <= float(redrawn.max()) <= 1
    change = (redrawn - images).abs().mean((1, 2)) / images.mean((1, 2))
    assert float(change.min()) > 0.1
    ink = redrawn.mean((1, 2)) / images.mean((1, 2))
    assert 0.5 < float(ink.min()) < float(ink.max()) < 1.7


def test_the_parts_of_a_distortion_are_torchs_own_operations() -> None:
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(3, 2, 3, generator=generator)
    grid = functional.affine_grid(maps, [3, 1, 28, 28], align_corners=False)
    places = (augment._places(28) @ maps.mT).unflatten(1, (28, 28))
    torch.testing.assert_close(places, grid, rtol=0, atol=1e-5)
    waves = torch.randn(3, 2, 4, 4, generator=generator)
    smooth = functional.interpolate(waves, size=(28, 28), mode="bicubic")
    smoothing = augment._smoothing(28)
    torch.testing.assert_close(smoothing @ waves @ smoothing.T, smooth, rtol=0, atol=1e-5)
    ink = torch.randn(3, 28, 28, generator=generator)
    assert torch.equal(
        augment._highest(ink), functional.max_pool2d(ink[:, None], 3, stride=1, padding=1)[:, 0]
    )


@pytest.mark.parametrize("shape", [EpisodeShape(4, 1, 3), EpisodeShape(6, 2, 1, True)])
def test_tasks_of_a_batch_are_tasks(small_alphabets: CharacterSet, shape: EpisodeShape) -> None:
    def sampler() -> EpisodeSampler:
        return EpisodeSampler(small_alphabets, torch.Generator().manual_seed(2))

    plain, single = sampler().sample_batch(shape, 5), sampler()
    for episode in plain:
        alone = single.sample(shape)
        for field in dataclasses.fields(episode):
            assert torch.equal(getattr(episode, field.name), getattr(alone, field.name))
    images = torch.from_numpy(small_alphabets.images).float() / 255
    for episode in sampler().sample_batch(shape, 5, augment=True):
        assert len(episode.support_images) == shape.ways * shape.shots
        # Each picture is nearer to its own character, turned as it says, than to chance.
        for slot, (character, kind) in enumerate(
            zip(episode.characters, episode.turns, strict=True)
        ):
            turned = turn(images[character][None], kind[None])[0]
            for picture in episode.query_images[episode.query_labels == slot]:
                closest = (turned - picture).abs().mean((1, 2)).min()
                assert float(closest) < 0.75 * float((turned.mean(0) + picture).mean())


def test_each_liberty_of_a_hand_does_what_it_says() -> None:
    bar = torch.zeros(200, 28, 28)
    bar[:, 4:24, 13:15] = 1
    columns = torch.arange(28.0)
    still = {"turn": 0.0, "slant": 0.0, "stretch": 0.0, "shift": 0.0, "bend": 0.0, "thickness": 0.0}

    def redrawn(**liberty: float) -> tuple[torch.Tensor, torch.Tensor]:
        """Ink of each picture, and the horizontal distance of its ink from its middle."""
        limits = Distortion(**{**still, **liberty})
        images = distort(bar, torch.Generator().manual_seed(1), limits)
        mass = images.sum((1, 2))
        return mass, (images * columns).sum((1, 2)) / mass - 13.5

    mass, offset = redrawn(shift=3.0)
    assert float(offset.abs().max()) == pytest.approx(3, abs=0.1)
    assert float(offset.std()) == pytest.approx(3 / 3**0.5, rel=0.15)
    mass, offset = redrawn(thickness=0.3)
    assert float(mass.max()) > 1.2 * 40
    assert float(mass.min()) < 0.8 * 40
    assert float(offset.abs().max()) < 1e-3
    mass, _ = redrawn(stretch=0.2)
    assert float(mass.max()) == pytest.approx(40 * 1.44, rel=0.15)
    assert float(mass.min()) == pytest.approx(40 * 0.64, rel=0.15)
    for liberty in ("turn", "slant", "bend"):
        mass, offset = redrawn(**{liberty: 0.3})
        assert mass.mean() == pytest.approx(40, rel=0.05)


def test_augmented_episodes_are_redrawn_as_well_as_turned(
    small_alphabets: CharacterSet,
) -> None:
    shape = EpisodeShape(4, 1, 2)
    rows = EpisodeSampler(small_alphabets, torch.Generator().manual_seed(1)).sample_rows(shape)
    episode = EpisodeSampler(small_alphabets, torch.Generator().manual_seed(1)).sample(
        shape, augment=True
    )
    assert torch.equal(episode.characters, rows[0])
    pictures = torch.from_numpy(small_alphabets.images)[rows[0][:, None], rows[1]] / 255
    turned = turn(pictures, episode.turns)
    redrawn = torch.cat(
        [episode.support_images.view(4, 1, 28, 28), episode.query_images.view(4, 2, 28, 28)], dim=1
    )
    change = (redrawn - turned).abs().mean((2, 3)) / turned.mean((2, 3))
    assert float(change.min()) > 0.1
    # Drawings of the same character are redrawn each in its own way.
    assert len({round(value, 6) for value in change.flatten().tolist()}) == 12


def test_a_hand_stretches_width_and_height_by_themselves() -> None:
    """The width by the third random number for each drawing, the height by the fourth."""
    frame = torch.zeros(200, 28, 28)
    frame[:, 8:20, 8:20] = 1
    limits = Distortion(turn=0, slant=0, stretch=0.4, shift=0, bend=0, thickness=0)
    redrawn = distort(frame, torch.Generator().manual_seed(0), limits)
    numbers = torch.rand(4, 200, generator=torch.Generator().manual_seed(0))
    for axis, number in ((2, numbers[2]), (1, numbers[3])):
        sides = redrawn.sum(axis).amax(1)
        torch.testing.assert_close(sides, 12 * (1 + (2 * number - 1) * 0.4), rtol=0.05, atol=0.5)


# Support sets ------------------------------------------------------------------------------------


def support(**changes: Any) -> SupportSet:
    values: dict[str, Any] = {
        "images": torch.rand(3, 28, 28, generator=torch.Generator().manual_seed(0)),
        "labels": [0, 1, 1],
        "names": ("a", "b"),
    }
    return SupportSet(**{**values, **changes})


def test_support_set_keeps_what_it_was_given() -> None:
    images = np.linspace(0, 1, 3 * 784).reshape(3, 28, 28)
    examples = support(images=images, labels=np.array([1, 0, 1], np.uint8), names=["x", "y"])
    assert examples.images.shape == (3, 1, 28, 28)
    assert examples.images.dtype == torch.float32
    torch.testing.assert_close(examples.images[:, 0], torch.from_numpy(images).float())
    assert examples.labels.tolist() == [1, 0, 1]
    assert examples.labels.dtype == torch.int64
    assert examples.names == ("x", "y")
    assert examples.ways == 2


def test_support_set_does_not_follow_its_sources() -> None:
    for images in (np.full((3, 28, 28), 0.5, np.float32), torch.full((3, 1, 28, 28), 0.5)):
        labels = torch.tensor([0, 1, 1])
        examples = support(images=images, labels=labels)
        images[:] = 1
        labels[:] = 0
        assert float(examples.images.max()) == 0.5
        assert examples.labels.tolist() == [0, 1, 1]


def test_two_to_twenty_ways() -> None:
    for ways in (2, 20):
        names = tuple(map(str, range(ways)))
        assert (
            support(images=torch.rand(ways, 28, 28), labels=range(ways), names=names).ways == ways
        )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"names": ("a",)}, "names of 2 to 20 symbols; got 1"),
        ({"names": tuple("abcdefghijklmnopqrstu")}, "names of 2 to 20 symbols; got 21"),
        ({"labels": [0, 1]}, r"each of the 3 images; got labels of shape \(2,\)"),
        ({"labels": [[0], [1], [1]]}, r"got labels of shape \(3, 1\)"),
        ({"labels": [0.0, 1.0, 1.0]}, "labels must be whole numbers; got dtype torch.float32"),
        ({"labels": [True, False, True]}, "whole numbers; got dtype torch.bool"),
        ({"labels": ["a", "b", "b"]}, "labels must be whole numbers, one for each image"),
        ({"labels": None}, "labels must be whole numbers, one for each image"),
        ({"names": None}, "names a list of texts"),
        ({"labels": [0, 1, 2]}, r"labels must lie in \[0, 2\).*2 names; got 0 to 2"),
        ({"labels": [-1, 0, 1]}, "got -1 to 1"),
        ({"labels": [1, 1, 1]}, "No example of 'a': every symbol needs at least one"),
        ({"names": ("a", "b", "c")}, "No example of 'c'"),
        ({"images": torch.zeros(3, 28, 29)}, r"Images must have the shape .*; got \(3, 28, 29\)"),
        (
            {"images": torch.zeros(3, 28, 28, dtype=torch.int64)},
            "floats in .*; got torch.int64",
        ),
        ({"images": torch.full((3, 28, 28), 2.0)}, "got values from 2 to 2"),
        ({"images": torch.full((3, 28, 28), float("inf"))}, "not a finite number"),
        ({"images": torch.full((3, 28, 28), float("nan"))}, "not a finite number"),
    ],
)
def test_ill_fitting_support_sets_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        support(**changes)


@pytest.mark.parametrize(
    ("odd", "kind"),
    [
        (torch.rand(4, 28, 28).to_sparse(), "torch.sparse_coo on cpu"),
        (torch.rand(4, 28, 28, device="meta"), "torch.strided on meta"),
        (torch.nested.nested_tensor([torch.rand(28, 28)], layout=torch.jagged), "nested"),
    ],
    ids=["sparse", "without values", "nested"],
)
def test_tensors_that_hold_no_plain_values_are_refused(odd: torch.Tensor, kind: str) -> None:
    labels, names = torch.tensor([0, 0, 1, 1]), ["a", "b"]
    with pytest.raises(ValueError, match=rf"images must be a dense tensor.*; got {kind}\b"):
        SupportSet(odd, labels, names)
    with pytest.raises(ValueError, match="images must be a dense tensor"):
        as_ink_batch(odd)
    with pytest.raises(ValueError, match="pictures must be a dense tensor"):
        SupportSet(odd, labels, names, ink=False)
    with pytest.raises(ValueError, match="labels must be a dense tensor"):
        SupportSet(torch.rand(4, 28, 28), odd, names)


def test_tasks_and_support_sets_are_told_apart_by_identity(small_alphabets: CharacterSet) -> None:
    sampler = EpisodeSampler(small_alphabets, torch.Generator().manual_seed(0))
    task = sampler.sample(EpisodeShape(2, 1, 1))
    assert task == task and task != dataclasses.replace(task) and len({task, task}) == 1
    one, other = support(), support()
    assert one == one and one != other and len({one, one, other}) == 2


def test_rounding_outside_the_range_is_let_through() -> None:
    batch = as_ink_batch(torch.full((1, 28, 28), 1 + 5e-5))
    assert batch.shape == (1, 1, 28, 28)

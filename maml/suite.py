"""Every figure that the project states of its weights, measured one query at a time.

Test characters are those of the 20 evaluation alphabets, except for the pen strokes, which the data
set has of background alphabets only.  Beside a figure stand peers that were measured on the same
tasks (a pixel nearest neighbour on the same ink, a prototypical head on the same features) and the
best published inductive figure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage, stats
from torch import Tensor
from torch.nn import functional

from maml.adapt import adapt
from maml.calibrate import stranger_features
from maml.config import EpisodeShape, MetaTraining
from maml.data.characters import CharacterSet
from maml.data.episodes import EpisodeSampler, SupportSet
from maml.data.omniglot import original_pictures
from maml.data.pens import with_other_pen
from maml.data.strokes import load_strokes, stroke_file
from maml.drawing import image_to_ink, strokes_to_image
from maml.evaluate import FeatureTable, adapt_task, evaluate_table, mean_and_interval
from maml.model import MetaNetwork, SketchNet
from maml.train import meta_train

_BLUR = 1.5
"""Pixels, of the pixel nearest neighbour."""
_SNELL = "Prototypical nets, arXiv 1703.05175"
_PUBLISHED = {
    (5, 1, False): (98.8, _SNELL),
    (5, 5, False): (99.7, _SNELL),
    (20, 1, False): (96.0, _SNELL),
    (20, 5, False): (98.9, _SNELL),
}
_STEPS = (0, 1, 3, 5, 10)
_SIZES = ((2, 1), (3, 1), (10, 1), (2, 5), (10, 5), (5, 10), (5, 19))
"""Ways and shots that the weights were not trained for."""
_SIZE_TASKS = 500
_SPECIALIST_STEPS = 100


@dataclass(frozen=True)
class Figure:
    """One line of the suite.

    Args:
        measure: what was measured.
        value: the figure.
        unit: "%", "points", "" ...
        interval: half width of the 95 % confidence interval, or None.
        tasks: how many tasks it comes from.
        peers: other figures by name: measured on the same tasks, or published.
    """

    measure: str
    value: float
    unit: str = "%"
    interval: float | None = None
    tasks: int = 0
    peers: dict[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        digits = 2 if self.unit in ("%", "points") else 4
        shown = f"{self.value:.{digits}f}" if self.value >= 1e-3 else f"{self.value:.1e}"
        if self.interval is not None:
            shown += f" +- {self.interval:.2f}"
        peers = "; ".join(f"{name} {value:.{digits}f}" for name, value in self.peers.items())
        return f"| {self.measure} | {shown} {self.unit} | {self.tasks or ''} | {peers} |"


def run(model: MetaNetwork, data: CharacterSet, root: str | None = None) -> Iterator[Figure]:
    """Measure everything; takes some minutes on two cores.

    Args:
        model: a network for any number of ways.
        data: the whole of Omniglot, framed as the model wants it.
        root: where Omniglot lies, as for `load_omniglot`; its pictures are drawn by other pens.

    Yields:
        One figure after another.

    Raises:
        ValueError: if the model serves one number of ways only.
    """
    if not isinstance(model, SketchNet):
        raise ValueError(
            "The suite asks for many numbers of ways; this model serves "
            f"{model.fixed_ways} only. Give --ways and --shots instead."
        )
    test = data.split("alphabets", "test")
    table = FeatureTable(model, test)
    pixels = _blurred(test)
    yield from _standard(table, pixels)
    # The table of a copy of the model that was trained for one size; two figures share one.
    special = cache(lambda shape: FeatureTable(specialist(model, data, shape), test))
    yield from _other_sizes(table, special)
    yield from _unequal_shots(table, special)
    other = FeatureTable(model, _other_pens(test, root))
    yield from _pens(table, other)
    yield from _strokes(model, data, root)
    yield from _unknown(table)
    yield from _steps(table, other)
    yield from _invariance(model, test)


def _standard(table: FeatureTable, pixels: Tensor) -> Iterator[Figure]:
    for shape, tasks in (
        (EpisodeShape(5, 1, 5), 2000),
        (EpisodeShape(5, 5, 5), 2000),
        (EpisodeShape(20, 1, 5), 1000),
        (EpisodeShape(20, 5, 5), 1000),
        (EpisodeShape(20, 1, 5, within_alphabet=True), 1000),
    ):
        result = evaluate_table(table, shape, tasks)
        peers = _peers(table, pixels, shape, tasks)
        published = _PUBLISHED.get((shape.ways, shape.shots, shape.within_alphabet))
        if published:
            peers[published[1]] = published[0]
        yield Figure(str(shape), 100 * result.accuracy, "%", 100 * result.interval, tasks, peers)
        if shape.shots == 1:
            error = 100 * result.calibration_error
            yield Figure(f"{shape}, calibration error", error, "%", None, tasks)


def _peers(
    table: FeatureTable, pixels: Tensor, shape: EpisodeShape, tasks: int
) -> dict[str, float]:
    """Accuracy of two simple rules on the very tasks of `evaluate_table`."""
    sampler = EpisodeSampler(table.data, torch.Generator().manual_seed(0))
    hits: dict[str, list[float]] = {"pixel nearest neighbour": [], "prototypes": []}
    embedded = _embedded(table)
    for _ in range(tasks):
        characters, drawings = sampler.sample_rows(shape)
        targets = torch.arange(len(characters)).repeat_interleave(shape.queries)
        for name, vectors in (("pixel nearest neighbour", pixels), ("prototypes", embedded)):
            chosen = vectors[characters[:, None], drawings]
            support, queries = chosen[:, : shape.shots], chosen[:, shape.shots :].flatten(0, 1)
            if name == "prototypes":
                support = functional.normalize(support.mean(dim=1, keepdim=True), dim=-1)
            nearest = torch.cdist(queries, support.flatten(0, 1)).argmin(dim=1) // support.shape[1]
            hits[name].append((nearest == targets).float().mean().item())
    return {name: 100 * float(np.mean(values)) for name, values in hits.items()}


def _embedded(table: FeatureTable) -> Tensor:
    """Unit vectors of all drawings before adaptation, (characters, drawings, 256), on the CPU."""
    rows = torch.arange(len(table.data))
    features = table(rows, torch.arange(table.data.drawings).expand(len(rows), -1))
    assert isinstance(table.model, SketchNet)
    return table.model.embed_features(features.flatten(0, 1)).unflatten(0, features.shape[:2]).cpu()


def _blurred(data: CharacterSet) -> Tensor:
    soft = ndimage.gaussian_filter(data.images.astype(np.float32), (0, 0, _BLUR, _BLUR))
    return functional.normalize(torch.from_numpy(soft).flatten(2), dim=-1)


def _other_sizes(
    table: FeatureTable, special: Callable[[EpisodeShape], FeatureTable]
) -> Iterator[Figure]:
    """The shipped weights as they are, beside a copy trained for that one size of task."""
    for ways, shots in _SIZES:
        shape = EpisodeShape(ways, shots, min(5, table.data.drawings - shots))
        result = evaluate_table(table, shape, _SIZE_TASKS)
        own = evaluate_table(special(shape), shape, _SIZE_TASKS)
        peers = {"trained for this size": 100 * own.accuracy}
        value, interval = 100 * result.accuracy, 100 * result.interval
        yield Figure(str(shape), value, "%", interval, _SIZE_TASKS, peers)


def specialist(model: MetaNetwork, data: CharacterSet, shape: EpisodeShape) -> MetaNetwork:
    """A copy of a model whose outer loop went on with tasks of one shape alone.

    Args:
        model: where it starts; left untouched.
        data: a whole set, of whose background alphabets the tasks are cut.
        shape: of the tasks.
    """
    special = deepcopy(model)
    settings = MetaTraining(
        shapes=(shape,),
        inner=model.inner,
        iterations=_SPECIALIST_STEPS,
        epoch=_SPECIALIST_STEPS,
        outer_rate=1e-4,
        cosine=True,
        augment=True,
        evaluation=EpisodeShape(2, 1, 1),
        evaluation_tasks=1,
    )
    for _ in meta_train(special, data, settings, torch.Generator().manual_seed(0)):
        pass
    return special


def _unequal_shots(
    table: FeatureTable,
    special: Callable[[EpisodeShape], FeatureTable],
    tasks: int = _SIZE_TASKS,
) -> Iterator[Figure]:
    """Ten ways whose shots run from 1 to 10, beside a copy trained for about as many each."""
    accuracies = _unequal_accuracies(table, tasks)
    peer = _unequal_accuracies(special(EpisodeShape(10, 5, 5)), tasks).mean()
    mean, interval = mean_and_interval(accuracies)
    peers = {"trained for 10-way 5-shot": 100 * float(peer)}
    yield Figure("10-way, 1 to 10 shots", 100 * mean, "%", 100 * interval, tasks, peers)


def _unequal_accuracies(table: FeatureTable, tasks: int) -> NDArray[np.float64]:
    sampler = EpisodeSampler(table.data, torch.Generator().manual_seed(0))
    shape = EpisodeShape(10, 10, 5)
    counts = torch.arange(10) + 1
    labels = torch.arange(10).repeat_interleave(counts)
    accuracies = []
    for _ in range(tasks):
        features = table(*sampler.sample_rows(shape))
        support = torch.cat([features[way, :count] for way, count in enumerate(counts.tolist())])
        learner = adapt_task(table.model, support, table.model.inner.evaluation_steps, labels)
        answers = learner.path_of_features(features[:, 10:].flatten(0, 1))[-1].argmax(dim=1)
        targets = torch.arange(10, device=answers.device).repeat_interleave(5)
        accuracies.append((answers == targets).float().mean().item())
    return np.array(accuracies)


def _other_pens(data: CharacterSet, root: str | None) -> CharacterSet:
    """Every drawing by a pen of its own, from a seeded generator."""
    rng = np.random.default_rng(0)
    inks = [
        np.rint(255 * image_to_ink(with_other_pen(picture, rng))).astype(np.uint8)
        for picture in original_pictures(data, root)
    ]
    return replace(data, images=np.stack(inks).reshape(data.images.shape))


def _pens(table: FeatureTable, other: FeatureTable) -> Iterator[Figure]:
    shape = EpisodeShape(5, 1, 5)
    same = evaluate_table(table, shape, 2000)
    changed = evaluate_table(table, shape, 2000, query_table=other)
    loss = 100 * (same.accuracy - changed.accuracy)
    yield Figure(f"{shape}, loss by another pen", loss, "points", None, 2000)


def _strokes(model: SketchNet, data: CharacterSet, root: str | None) -> Iterator[Figure]:
    """Strokes as queries against pictures of the same drawings as queries; support: pictures."""
    file = stroke_file(root)
    if file is None:
        return
    rows = {name: row for row, name in enumerate(data.characters)}
    inked: dict[str, NDArray[np.uint8]] = {}
    for drawing in load_strokes(file):
        row = rows[drawing.character]
        images = inked.setdefault(drawing.character, data.images[row].copy())
        images[drawing.drawing] = np.rint(255 * strokes_to_image(drawing.strokes))
    pictures = data.choose(rows[name] for name in inked)
    strokes = replace(pictures, images=np.stack(list(inked.values())))
    table, query_table = FeatureTable(model, pictures), FeatureTable(model, strokes)
    for shape in (EpisodeShape(5, 1, 5), EpisodeShape(20, 1, 5)):
        by_picture = evaluate_table(table, shape, 1000)
        by_stroke = evaluate_table(table, shape, 1000, query_table=query_table)
        yield Figure(
            f"{shape}, strokes as queries (background alphabets)",
            100 * by_stroke.accuracy,
            "%",
            100 * by_stroke.interval,
            1000,
            {"pictures as queries": 100 * by_picture.accuracy},
        )


def _unknown(table: FeatureTable, tasks: int = 1000) -> Iterator[Figure]:
    model = table.model
    assert isinstance(model, SketchNet)
    for shape in (EpisodeShape(5, 5, 5), EpisodeShape(5, 1, 5), EpisodeShape(20, 1, 5)):
        sampler = EpisodeSampler(table.data, torch.Generator().manual_seed(0))
        scores: list[list[Tensor]] = [[], []]
        for _ in range(tasks):
            characters, drawings = sampler.sample_rows(shape)
            features = table(characters, drawings)
            learner = adapt_task(model, features[:, : shape.shots], model.inner.evaluation_steps)
            known = features[:, shape.shots :].flatten(0, 1)
            strange = stranger_features(sampler, table, characters, len(known), shape)
            for kind, queries in enumerate((known, strange)):
                scores[kind].append(learner.unknown_of_features(queries).cpu())
        known_scores, strange_scores = (torch.cat(kind).numpy() for kind in scores)
        area = stats.mannwhitneyu(strange_scores, known_scores).statistic / (
            len(strange_scores) * len(known_scores)
        )
        limit = model.unknown_threshold
        yield Figure(
            f"{shape}, none of these, AUROC",
            float(area),
            "",
            None,
            tasks,
            {
                "known taken for none, share": float((known_scores > limit).mean()),
                "strangers taken for known, share": float((strange_scores <= limit).mean()),
            },
        )


def _steps(table: FeatureTable, other: FeatureTable, tasks: int = 500) -> Iterator[Figure]:
    """Accuracy by inner step, of a learner that takes ten."""
    for shape, queries, name in (
        (EpisodeShape(5, 1, 5), table, ""),
        (EpisodeShape(20, 1, 5), table, ""),
        (EpisodeShape(20, 5, 5, within_alphabet=True), table, ""),
        (EpisodeShape(20, 1, 5), other, ", another pen"),
    ):
        result = evaluate_table(table, shape, tasks, steps=max(_STEPS), query_table=queries)
        for step in _STEPS:
            value = 100 * result.accuracy_by_step[step]
            yield Figure(f"{shape}{name}, step {step}", value, "%", None, tasks)


def _invariance(model: SketchNet, data: CharacterSet) -> Iterator[Figure]:
    """How much an answer changes with the order of the symbols and with its company."""
    sampler = EpisodeSampler(data, torch.Generator().manual_seed(0))
    episode = sampler.sample(EpisodeShape(10, 3, 5))
    names = tuple("abcdefghij")
    learner = adapt(model, SupportSet(episode.support_images, episode.support_labels, names))
    order = torch.randperm(10, generator=sampler.generator)
    permuted = adapt(
        model,
        SupportSet(
            episode.support_images,
            order[episode.support_labels],
            tuple(names[int(slot)] for slot in order.argsort()),
        ),
    )
    answer = learner.predict(episode.query_images).probabilities
    again = learner.predict(episode.query_images).probabilities
    moved = permuted.predict(episode.query_images).probabilities[:, order]
    alone = torch.cat([learner.predict(query).probabilities for query in episode.query_images])
    for measure, other in (
        ("largest change when asked twice", again),
        ("largest change when asked alone", alone),
        ("largest change when the symbols are permuted", moved),
    ):
        yield Figure(measure, (answer - other).abs().max().item(), "")

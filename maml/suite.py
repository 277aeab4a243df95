"""Every published measurement of the shipped weights, one query at a time.

The test characters are those of the 20 evaluation alphabets, except for the pen strokes, which the
data set has for background alphabets only.  Doodles of things are those of the 60 words of Quick,
Draw! that are for testing only: one drawing a person, so examples and queries are by different
hands.  Baselines are measured on the same tasks (a pixel nearest neighbour on the same ink, a
prototypical head on the same features) or are the best published inductive results.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
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
from maml.calibrate import known_and_outside
from maml.config import EpisodeShape, MetaTraining
from maml.data.augment import Distortion, distort
from maml.data.characters import CharacterSet
from maml.data.episodes import EpisodeSampler, SupportSet
from maml.data.omniglot import original_pictures
from maml.data.pens import OtherPen, with_other_pen
from maml.data.strokes import load_strokes, stroke_file
from maml.drawing import image_to_ink, strokes_to_image
from maml.evaluate import (
    EvaluationResult,
    FeatureTable,
    adapt_task,
    calibration_error,
    evaluate_table,
    mean_and_interval,
)
from maml.model import MetaNetwork
from maml.train import meta_train

_BLUR = 1.5
"""Standard deviation of the blur before the pixel nearest neighbour, in pixels."""
_SNELL = "Prototypical nets, arXiv 1703.05175"
_PUBLISHED = {
    (5, 1, False): (98.8, _SNELL),
    (5, 5, False): (99.7, _SNELL),
    (20, 1, False): (96.0, _SNELL),
    (20, 5, False): (98.9, _SNELL),
}
_STEPS = (0, 1, 3, 5, 10)
_SIZES = ((2, 1), (3, 1), (10, 1), (2, 5), (10, 5), (5, 10), (5, 19))
"""Ways and shots that were not in training."""
_SIZE_TASKS = 500
_UNKNOWN_SHAPES = (EpisodeShape(5, 5, 5), EpisodeShape(5, 1, 5), EpisodeShape(20, 1, 5))
_SPECIALIST_STEPS = 100
_UNLIKE_PEN = OtherPen(thickness=(0.4, 2.5), degrees=20.0)
_UNLIKE_HAND = Distortion(turn=0.0, slant=0.0, stretch=0.3, shift=0.0, bend=1.6, thickness=0.0)


@dataclass(frozen=True)
class Measurement:
    """One row of the suite.

    Args:
        measure: what was measured.
        value: the result.
        unit: "%", "points" or "".
        interval: half width of the 95 % confidence interval, or None.
        tasks: number of tasks; 0 where it does not apply.
        baselines: results to compare with, by name: measured on the same tasks, or published.
    """

    measure: str
    value: float
    unit: str = "%"
    interval: float | None = None
    tasks: int = 0
    baselines: dict[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        digits = 2 if self.unit in ("%", "points") else 4
        shown = f"{self.value:.{digits}f}" if self.value >= 1e-3 else f"{self.value:.1e}"
        if self.interval is not None:
            shown += f" +- {self.interval:.2f}"
        baselines = "; ".join(
            f"{name} {value:.{digits}f}" for name, value in self.baselines.items()
        )
        return f"| {self.measure} | {shown} {self.unit} | {self.tasks or ''} | {baselines} |"


def run(
    model: MetaNetwork,
    data: CharacterSet,
    root: str | None = None,
    doodles: CharacterSet | None = None,
) -> Iterator[Measurement]:
    """Run the suite; takes some minutes on two cores.

    Args:
        model: a network for any number of ways.
        data: the whole of Omniglot, in the model's framing.
        root: folder of Omniglot, as for `load_omniglot`; the original pictures are redrawn with
            other pens.
        doodles: the whole of Quick, Draw!, in the model's framing; None leaves it out.

    Yields:
        One row after another.

    Raises:
        ValueError: if the model serves a fixed number of ways.
    """
    if model.fixed_ways is not None:
        raise ValueError(
            "The suite needs a model for any number of ways; use --ways and --shots instead; got "
            f"one for {model.fixed_ways} ways."
        )
    test = data.split("alphabets", "test")
    table = FeatureTable(model, test)
    pixels = _blurred(test)
    yield from _standard(table, pixels)
    # Tables of copies trained further on one size; two measurements share one of them.
    special = cache(lambda shape: FeatureTable(specialist(model, data, shape), test))
    yield from _other_sizes(table, special)
    yield from _unequal_shots(table, special)
    other = FeatureTable(model, _other_pens(test, root, np.random.default_rng(0)))
    yield from _pens(table, other)
    yield from _unlike(table, FeatureTable(model, _unlike_hands(test, root)))
    yield from _strokes(model, data, root)
    yield from _unknown(table)
    yield from _steps(table, other)
    if doodles is not None:
        yield from _doodles(model, doodles)
    yield from _invariance(model, test)


def _standard(table: FeatureTable, pixels: Tensor) -> Iterator[Measurement]:
    for shape, tasks in (
        (EpisodeShape(5, 1, 5), 2000),
        (EpisodeShape(5, 5, 5), 2000),
        (EpisodeShape(20, 1, 5), 1000),
        (EpisodeShape(20, 5, 5), 1000),
        (EpisodeShape(20, 1, 5, within_alphabet=True), 1000),
    ):
        result = evaluate_table(table, shape, tasks)
        pixel = _pixel_accuracy(table, pixels, shape, tasks)
        baselines = {"pixel nearest neighbour": pixel, **_prototypes(result)}
        published = _PUBLISHED.get((shape.ways, shape.shots, shape.within_alphabet))
        if published:
            baselines[published[1]] = published[0]
        yield Measurement(
            str(shape), 100 * result.accuracy, "%", 100 * result.interval, tasks, baselines
        )
        if shape.shots == 1:
            error = 100 * result.calibration_error
            yield Measurement(f"{shape}, calibration error", error, "%", None, tasks)


def _pixel_accuracy(table: FeatureTable, pixels: Tensor, shape: EpisodeShape, tasks: int) -> float:
    """Accuracy in % of the nearest example's pixels, on the tasks of `evaluate_table`."""
    sampler = EpisodeSampler(table.data, torch.Generator().manual_seed(0))
    hits: list[float] = []
    for _ in range(tasks):
        characters, drawings = sampler.sample_rows(shape)
        targets = torch.arange(len(characters)).repeat_interleave(shape.queries)
        chosen = pixels[characters[:, None], drawings]
        support, queries = chosen[:, : shape.shots], chosen[:, shape.shots :].flatten(0, 1)
        nearest = torch.cdist(queries, support.flatten(0, 1)).argmin(dim=1) // support.shape[1]
        hits.append((nearest == targets).float().mean().item())
    return 100 * float(np.mean(hits))


def _prototypes(result: EvaluationResult, step: int = -1) -> dict[str, float]:
    """Normalised class means on the same tasks, and how far a step is above them."""
    if result.prototypes is None:
        return {}
    gain, interval = result.gain_by_step[step]
    return {
        "prototypes": 100 * result.prototypes,
        "above prototypes": 100 * gain,
        "its interval": 100 * interval,
    }


def _blurred(data: CharacterSet) -> Tensor:
    soft = ndimage.gaussian_filter(data.images.astype(np.float32), (0, 0, _BLUR, _BLUR))
    return functional.normalize(torch.from_numpy(soft).flatten(2), dim=-1)


def _other_sizes(
    table: FeatureTable, special: Callable[[EpisodeShape], FeatureTable]
) -> Iterator[Measurement]:
    """The weights, with a copy meta-trained further on that size of task as the baseline."""
    for ways, shots in _SIZES:
        shape = EpisodeShape(ways, shots, min(5, table.data.drawings - shots))
        result = evaluate_table(table, shape, _SIZE_TASKS)
        own = evaluate_table(special(shape), shape, _SIZE_TASKS)
        further = {"meta-trained further on this size": 100 * own.accuracy}
        baselines = {**further, **_prototypes(result)}
        value, interval = 100 * result.accuracy, 100 * result.interval
        yield Measurement(str(shape), value, "%", interval, _SIZE_TASKS, baselines)


def specialist(model: MetaNetwork, data: CharacterSet, shape: EpisodeShape) -> MetaNetwork:
    """A copy of a model, meta-trained 100 steps further on tasks of one shape.

    Args:
        model: the starting point; left untouched.
        data: a whole set; the tasks are sampled from its background alphabets.
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
) -> Iterator[Measurement]:
    """Ten ways with 1 to 10 shots; the baseline is a copy meta-trained further on 10-way 5-shot."""
    accuracies = _unequal_accuracies(table, tasks)
    specialised = _unequal_accuracies(special(EpisodeShape(10, 5, 5)), tasks).mean()
    mean, interval = mean_and_interval(accuracies)
    baselines = {"meta-trained further on 10-way 5-shot": 100 * float(specialised)}
    yield Measurement("10-way, 1 to 10 shots", 100 * mean, "%", 100 * interval, tasks, baselines)


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


def _other_pens(
    data: CharacterSet, root: str | None, rng: np.random.Generator, pen: OtherPen | None = None
) -> CharacterSet:
    """Every drawing redrawn with a random pen."""
    inks = [
        np.rint(255 * image_to_ink(with_other_pen(picture, rng, pen))).astype(np.uint8)
        for picture in original_pictures(data, root)
    ]
    return replace(data, images=np.stack(inks).reshape(data.images.shape))


def _pens(table: FeatureTable, other: FeatureTable) -> Iterator[Measurement]:
    shape = EpisodeShape(5, 1, 5)
    same = evaluate_table(table, shape, 2000)
    changed = evaluate_table(table, shape, 2000, query_table=other)
    loss = 100 * (same.accuracy - changed.accuracy)
    yield Measurement(f"{shape}, loss with another pen", loss, "points", None, 2000)


def _unlike_hands(data: CharacterSet, root: str | None) -> CharacterSet:
    """Every drawing redrawn by a random pen and hand, further off than any in training."""
    redrawn = _other_pens(data, root, np.random.default_rng(1), _UNLIKE_PEN)
    ink = torch.from_numpy(redrawn.images).flatten(0, 1).float() / 255
    bent = distort(ink, torch.Generator().manual_seed(1), _UNLIKE_HAND)
    images = (bent * 255).round().to(torch.uint8).unflatten(0, redrawn.images.shape[:2])
    return replace(data, images=images.numpy())


def _unlike(table: FeatureTable, unlike: FeatureTable, tasks: int = 1000) -> Iterator[Measurement]:
    """Examples and queries alike are by pens and hands unlike any in training."""
    shape = EpisodeShape(20, 1, 5)
    as_drawn, changed = evaluate_table(table, shape, tasks), evaluate_table(unlike, shape, tasks)
    baselines = {"as drawn": 100 * as_drawn.accuracy, **_prototypes(changed)}
    value, interval = 100 * changed.accuracy, 100 * changed.interval
    yield Measurement(f"{shape}, unlike pens and hands", value, "%", interval, tasks, baselines)


def _strokes(model: MetaNetwork, data: CharacterSet, root: str | None) -> Iterator[Measurement]:
    """Queries made from strokes, and as the baseline from pictures of the same drawings."""
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
        yield Measurement(
            f"{shape}, strokes as queries (background alphabets)",
            100 * by_stroke.accuracy,
            "%",
            100 * by_stroke.interval,
            1000,
            {"pictures as queries": 100 * by_picture.accuracy},
        )


def _doodles(model: MetaNetwork, doodles: CharacterSet, tasks: int = 500) -> Iterator[Measurement]:
    table = FeatureTable(model, doodles.split("doodles", "test"))
    for shape in (
        EpisodeShape(5, 1, 5),
        EpisodeShape(5, 5, 5),
        EpisodeShape(5, 10, 5),
        EpisodeShape(20, 1, 5),
        EpisodeShape(20, 5, 5),
    ):
        result = evaluate_table(table, shape, tasks)
        value, interval = 100 * result.accuracy, 100 * result.interval
        yield Measurement(f"{shape}, doodles", value, "%", interval, tasks, _prototypes(result))
        error = 100 * result.calibration_error
        yield Measurement(f"{shape}, doodles, calibration error", error, "%", None, tasks)
    shapes = (EpisodeShape(5, 5, 5), EpisodeShape(5, 1, 5))
    yield from _unknown(table, tasks, shapes, ", doodles")


def _unknown(
    table: FeatureTable,
    tasks: int = 1000,
    shapes: Sequence[EpisodeShape] = _UNKNOWN_SHAPES,
    of: str = "",
) -> Iterator[Measurement]:
    model = table.model
    for shape in shapes:
        sampler = EpisodeSampler(table.data, torch.Generator().manual_seed(0))
        scores: list[list[Tensor]] = [[], []]
        largest, right = [], []
        for _ in range(tasks):
            characters, learner, known, outside = known_and_outside(sampler, table, shape)
            ways = torch.arange(len(characters)).repeat_interleave(shape.queries)
            nowhere = torch.full_like(ways, len(characters))
            for kind, (queries, targets) in enumerate(((known, ways), (outside, nowhere))):
                answer = learner.predict_features(queries)
                scores[kind].append(answer.unknown.cpu())
                most = answer.shares.cpu().max(dim=1)
                largest.append(most.values)
                right.append(most.indices == targets)
        known_scores, outside_scores = (torch.cat(kind).numpy() for kind in scores)
        area = stats.mannwhitneyu(outside_scores, known_scores).statistic / (
            len(outside_scores) * len(known_scores)
        )
        limit = model.unknown_threshold
        yield Measurement(
            f"{shape}{of}, none of these, AUROC",
            float(area),
            "",
            None,
            tasks,
            {
                "false rejections, share": float((known_scores > limit).mean()),
                "false acceptances, share": float((outside_scores <= limit).mean()),
            },
        )
        hits = torch.cat(right).numpy()
        error = calibration_error(torch.cat(largest).numpy(), hits)
        yield Measurement(
            f"{shape}{of}, half of the queries out of set, calibration error of the shares",
            100 * error,
            "%",
            None,
            tasks,
            {"largest share is right": 100 * float(hits.mean())},
        )


def _steps(table: FeatureTable, other: FeatureTable, tasks: int = 500) -> Iterator[Measurement]:
    """Accuracy after each inner step of learners that take ten."""
    for shape, queries, name in (
        (EpisodeShape(5, 1, 5), table, ""),
        (EpisodeShape(20, 1, 5), table, ""),
        (EpisodeShape(20, 1, 5, within_alphabet=True), table, ""),
        (EpisodeShape(20, 5, 5, within_alphabet=True), table, ""),
        (EpisodeShape(20, 10, 5, within_alphabet=True), table, ""),
        (EpisodeShape(20, 1, 5), other, ", another pen"),
    ):
        result = evaluate_table(table, shape, tasks, steps=max(_STEPS), query_table=queries)
        for step in _STEPS:
            value, baselines = 100 * result.accuracy_by_step[step], _prototypes(result, step)
            yield Measurement(f"{shape}{name}, step {step}", value, "%", None, tasks, baselines)


def _invariance(model: MetaNetwork, data: CharacterSet) -> Iterator[Measurement]:
    """How much answers change when asked again, alone, and with the symbols permuted."""
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
        yield Measurement(measure, (answer - other).abs().max().item(), "")

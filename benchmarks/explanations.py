"""Draw the pictures of docs/how-it-works.md: ``python -m benchmarks.explanations``.

All are of Omniglot's evaluation alphabets, which the shipped weights never saw in training.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageOps

import maml
from maml.calibrate import known_and_outside
from maml.data.omniglot import original_pictures
from maml.data.pens import OtherPen, with_other_pen
from maml.evaluate import FeatureTable

ROOT = Path(__file__).parents[1]
_INK = {"cmap": "gray_r", "vmin": 0, "vmax": 1}
_TASKS = 300


def adaptation(model: maml.MetaNetwork, test: maml.CharacterSet) -> Figure:
    """A task, a query, and the answer to it after each inner step."""
    sampler = maml.EpisodeSampler(test, torch.Generator().manual_seed(3))
    task = sampler.sample(maml.EpisodeShape(5, 1, 1, within_alphabet=True))
    support = maml.SupportSet(task.support_images, task.support_labels, tuple("ABCDE"))
    learner = maml.adapt(model, support)
    query = int(task.query_labels.argmin())  # the one of A
    path = learner.predict_path(task.query_images[query])[:, 0]

    figure = Figure(figsize=(9, 2.9), layout="constrained")
    left, middle, right = figure.subfigures(1, 3, width_ratios=(1.1, 0.9, 2.4))
    left.suptitle("Support set", fontsize=11)
    places = left.subplots(3, 2).flatten()
    for place, image, name in zip(places, support.images, support.names, strict=False):
        _ink(place, image[0].numpy(), name)
    places[-1].axis("off")
    middle.suptitle("Query", fontsize=11)
    _ink(middle.subplots(), task.query_images[query, 0].numpy(), "")
    axes = right.subplots()
    right.suptitle("Answer after each inner step", fontsize=11)
    for way, name in enumerate(support.names):
        axes.plot(100 * path[:, way], marker="o", label=name, linewidth=2.5 if way == 0 else 1.3)
    axes.set_xlabel("Inner step")
    axes.set_ylabel("Probability (%)")
    axes.set_ylim(0, 102)
    axes.set_xticks(range(len(path)))
    axes.legend(loc="center right")
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def ink(test: maml.CharacterSet) -> Figure:
    """One character drawn and photographed in five ways, and the ink made of each."""
    chosen = test.choose([test.characters.index("Tengwar/character06")])
    drawn = next(original_pictures(chosen))
    rng = np.random.default_rng(0)
    small = Image.new("L", (210, 210), 255)
    small.paste(drawn.resize((70, 70), Image.Resampling.LANCZOS), (120, 125))
    thick = Image.fromarray(
        with_other_pen(drawn, rng, OtherPen((1, 1), 0.0, (2.2, 2.2), degrees=0.0))
    ).crop((105, 105, 315, 315))
    views = {
        "as drawn": drawn,
        "small, in a corner": small,
        "a thick pen": thick,
        "light on dark": ImageOps.invert(drawn),
        "a photograph": _photographed(drawn, rng),
    }
    figure = Figure(figsize=(8, 3.4), layout="constrained")
    for axes, (name, picture) in zip(figure.subplots(2, 5).T, views.items(), strict=True):
        axes[0].imshow(picture, cmap="gray", vmin=0, vmax=255)
        axes[0].set_title(name, fontsize=10)
        axes[0].set_xticks([])
        axes[0].set_yticks([])
        _ink(axes[1], maml.image_to_ink(picture), "")
    return figure


def _photographed(drawn: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Grey pencil on grey paper, with the shadow of a hand, and noise."""
    side = 3 * drawn.width
    lines = np.asarray(drawn.resize((side, side), Image.Resampling.LANCZOS), np.float64) / 255
    shadow = Image.new("L", (side, side), 255)
    ImageDraw.Draw(shadow).ellipse((-0.6 * side, 0.3 * side, 0.7 * side, 1.6 * side), fill=150)
    shadow = shadow.resize((6, 6), Image.Resampling.BOX).resize((side, side))
    light = np.asarray(shadow, np.float64) / 255 * np.linspace(0.95, 0.7, side)
    seen = light * (0.35 + 0.65 * lines) + rng.normal(0, 0.015, (side, side))
    return Image.fromarray(np.rint(255 * seen.clip(0, 1)).astype(np.uint8))


def none_of_these(model: maml.MetaNetwork, test: maml.CharacterSet) -> Figure:
    """The score of known and of out-of-set queries, and the threshold."""
    table, shape = FeatureTable(model, test), maml.EpisodeShape(5, 5, 5)
    sampler = maml.EpisodeSampler(test, torch.Generator().manual_seed(0))
    scores: dict[str, list[NDArray[Any]]] = {"of a symbol that was taught": [], "of another": []}
    for _ in range(_TASKS):
        _, learner, known, other = known_and_outside(sampler, table, shape)
        for found, queries in zip(scores.values(), (known, other), strict=True):
            found.append(learner.unknown_of_features(queries).numpy())
    figure = Figure(figsize=(6.4, 3), layout="constrained")
    axes = figure.subplots()
    for colour, (name, found) in zip(("C0", "C1"), scores.items(), strict=True):
        axes.hist(
            np.concatenate(found), np.linspace(0, 1, 41).tolist(), alpha=0.7, color=colour,
            label=f"drawings {name}",
        )  # fmt: skip
    axes.axvline(model.unknown_threshold, color="0.2", linestyle="--", label="threshold")
    axes.set_yscale("log")
    axes.set_xlabel('Score of "None of these"')
    axes.set_ylabel("Drawings (logarithmic)")
    axes.legend(loc="upper center", fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def _ink(axes: Any, image: NDArray[np.float32], name: str) -> None:
    axes.imshow(image, **_INK)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_xlabel(name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=ROOT / "docs")
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    model = maml.load_pretrained()
    test = maml.load_omniglot(framing=model.framing).split("alphabets", "test")
    for name, figure in {
        "how-adaptation.png": adaptation(model, test),
        "how-ink.png": ink(test),
        "how-none.png": none_of_these(model, test),
    }.items():
        FigureCanvasAgg(figure)
        figure.savefig(folder / name, dpi=150)
        print(folder / name)


if __name__ == "__main__":
    main()

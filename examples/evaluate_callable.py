"""Evaluate classifiers that are not MAML on the very tasks of the project's own figures.

    python examples/evaluate_callable.py [--data generated [--alphabets 10]] [--tasks 200]
        [--ways 5] [--shots 1]

A classifier is any callable (support_images, support_labels, query_images) -> logits.  It gets
torch tensors (n, 1, 28, 28), (n,) and (m, 1, 28, 28), one query at a time, and returns (m, ways).
"""

from __future__ import annotations

import argparse
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

import maml


def nearest_neighbour(support: Tensor, labels: Tensor, queries: Tensor) -> Tensor:
    """The class of the nearest support picture, by Euclidean distance of pixels."""
    near = -torch.cdist(queries.flatten(1), support.flatten(1))
    ways = int(labels.max()) + 1
    return torch.stack([near[:, labels == way].amax(dim=1) for way in range(ways)], dim=1)


def class_means(support: Tensor, labels: Tensor, queries: Tensor) -> Tensor:
    """Cosine similarity to the mean picture of each class."""
    belongs = functional.one_hot(labels).float()
    means = functional.normalize(belongs.T @ support.flatten(1), dim=1)
    return 10 * functional.normalize(queries.flatten(1), dim=1) @ means.T


def main() -> None:
    parser = argparse.ArgumentParser(description="Evaluate callables and MAML on the same tasks.")
    parser.add_argument(
        "--data", help="folder with Omniglot's zips, or 'generated'; default: as maml.load_omniglot"
    )
    parser.add_argument("--alphabets", type=int, default=10, help="how many to generate")
    parser.add_argument("--tasks", type=int, default=200)
    parser.add_argument("--ways", type=int, default=5)
    parser.add_argument("--shots", type=int, default=1)
    options = parser.parse_args()

    if options.data == "generated":
        data = maml.generate_alphabets(options.alphabets)
    else:
        data = maml.load_omniglot(options.data)
    test = data.split("alphabets", "test")
    shape = maml.EpisodeShape(options.ways, options.shots, queries=5)

    models: dict[str, Any] = {
        "nearest neighbour": nearest_neighbour,
        "class means": class_means,
        "MAML": maml.load_pretrained(),
    }
    for name, model in models.items():
        result = maml.evaluate(model, test, shape, tasks=options.tasks)
        print(
            f"{name}, {result.protocol}: "
            f"{100 * result.accuracy:.2f} +- {100 * result.interval:.2f} %"
        )


if __name__ == "__main__":
    main()

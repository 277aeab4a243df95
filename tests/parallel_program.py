"""The command line with small recipes, for several processes: see test_parallel.py.

Before a training, the processes find the gradient of a pre-training episode.

Usage: torchrun ... parallel_program.py FOLDER ARGUMENTS OF maml
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

import maml.__main__ as program
from maml.config import EpisodeShape, InnerLoop, MetaTraining, NetworkSettings, Pretraining, Recipe
from maml.data.augment import TURNS
from maml.data.characters import CharacterSet
from maml.data.episodes import EpisodeSampler
from maml.data.synthetic import generate_alphabets
from maml.networks import build_model
from maml.parallel import Processes, joined
from maml.pretraining import pretraining_shape, prototypical_loss
from maml.recipes import RECIPES

STEPS = 20

LONG = MetaTraining(
    shapes=(EpisodeShape(3, 2, 2), EpisodeShape(4, 1, 2)),
    inner=InnerLoop(steps=2, evaluation_steps=2, rate=1.0, learned_rates=True),
    meta_batch=3,
    iterations=200,
    epoch=10,
    outer_rate=1e-3,
    augment=True,
    split="alphabets",
    evaluation=EpisodeShape(3, 1, 2),
    evaluation_tasks=2,
)
SHORT = replace(LONG, iterations=STEPS)
PRETRAINED = replace(
    LONG,
    iterations=0,
    pretraining=Pretraining(episodes=STEPS, ways=5, drawings=3, proxies=1.0, dropout=0.2),
)
SKETCH, LIVE = NetworkSettings("sketch", channels=4), NetworkSettings("live", channels=4)
SMALL = {
    "meta": Recipe("meta", "", "fit", LIVE, SHORT, seed=3),
    "long": Recipe("long", "", "fit", LIVE, LONG, seed=3),
}


def write_pretraining_gradient(folder: Path, processes: Processes) -> None:
    """The gradient and the new statistics of one episode, in double precision."""
    settings = PRETRAINED.pretraining
    assert settings is not None
    generator = torch.Generator().manual_seed(1)
    sampler = EpisodeSampler(small_alphabets(), generator)
    model = build_model(SKETCH, PRETRAINED.inner, generator).double()
    proxies = nn.Parameter(torch.randn(24 * TURNS, model.dimensions, generator=generator))
    episode = sampler.sample(pretraining_shape(settings), augment=True)
    episode = replace(
        episode,
        support_images=episode.support_images.double(),
        query_images=episode.query_images.double(),
    )
    trained = {**dict(model.named_parameters()), "proxies": proxies}
    loss, accuracy = prototypical_loss(model, episode, settings, proxies, generator, processes)
    loss.backward()
    processes.add_gradients(trained.values())
    found = {name: tensor.grad for name, tensor in trained.items() if tensor.grad is not None}
    found |= dict(model.named_buffers())
    found |= {"loss": loss.detach() * processes.count, "accuracy": torch.tensor(accuracy)}
    found["next"] = torch.rand(1, generator=generator)
    if processes.leads:
        save_file(
            {name: tensor.contiguous() for name, tensor in found.items()},
            folder / "gradient.safetensors",
        )


def small_alphabets() -> CharacterSet:
    """What stands for the generated alphabets here."""
    return generate_alphabets(4, 6, 10)


if __name__ == "__main__":
    folder, *arguments = sys.argv[1:]
    Path(folder, f"process-{os.environ['RANK']}").write_text(str(os.getpid()))

    @contextmanager
    def joined_first(device: str) -> Iterator[Processes]:
        with joined(device) as processes:
            write_pretraining_gradient(Path(folder), processes)
            yield processes

    RECIPES.update(SMALL)
    vars(program).update(joined=joined_first, load_generated=lambda framing: small_alphabets())
    sys.exit(program.main(arguments))

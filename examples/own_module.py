"""Meta-train one's own network on one's own pictures, save it, load it, adapt it.

    python examples/own_module.py [--first-order] [--iterations 150] [--device cpu] [--out FILE]

The pictures, 24 x 24 with three colours, are waves; a class is a colour, a direction and a
wavelength.  Nothing in them or in the network is known to the library.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

import maml

WAYS, SIZE = 4, 24


def network() -> nn.Module:
    """Any module will do: pictures (n, channels, height, width) -> logits (n, ways)."""
    layers: list[nn.Module] = []
    for inputs in (3, 24, 24):
        layers += [nn.Conv2d(inputs, 24, 3, stride=2, padding=1), nn.GroupNorm(4, 24), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(24, WAYS))


def waves(count: int, generator: torch.Generator) -> Tensor:
    """Pictures (count, 3, 24, 24) of one new class: waves that differ in phase, and noise."""
    colour = torch.rand(3, generator=generator)
    angle, number = torch.rand(2, generator=generator).tolist()
    direction = (
        2
        * math.pi
        * (1 + 3 * number)
        * torch.tensor([math.cos(math.pi * angle), math.sin(math.pi * angle)])
    )
    places = torch.linspace(0, 1, SIZE)
    phase = direction[0] * places[:, None] + direction[1] * places
    shift = 2 * math.pi * torch.rand(count, 1, 1, 1, generator=generator)
    noise = 0.3 * torch.randn(count, 3, SIZE, SIZE, generator=generator)
    return colour[:, None, None] * torch.sin(phase + shift) + noise


def tasks(seed: int, shots: int = 2, queries: int = 5) -> Iterator[maml.Episode]:
    """Endless tasks of four new classes each."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(WAYS)
    while True:
        pictures = torch.stack([waves(shots + queries, generator) for _ in range(WAYS)])
        yield maml.Episode(
            support_images=pictures[:, :shots].flatten(0, 1),
            support_labels=labels.repeat_interleave(shots),
            query_images=pictures[:, shots:].flatten(0, 1),
            query_labels=labels.repeat_interleave(queries),
        )


def main() -> None:
    parser = argparse.ArgumentParser(description="Meta-train one's own network on own pictures.")
    parser.add_argument("--first-order", action="store_true", help="first-order MAML")
    parser.add_argument("--iterations", type=int, default=150, help="outer steps")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1, ...")
    parser.add_argument("--out", default="own_module.safetensors", help="file for the tensors")
    options = parser.parse_args()

    inner = maml.InnerLoop(
        steps=3, evaluation_steps=3, rate=0.3, second_order=not options.first_order
    )
    torch.manual_seed(0)  # of the network's first parameters
    model = maml.from_module(network(), ways=WAYS, inner=inner).to(options.device)
    print(f"before: {_accuracy(model)}")
    settings = maml.MetaTraining(
        inner=inner, meta_batch=4, iterations=options.iterations, outer_rate=3e-3
    )
    for _ in maml.meta_train(model, tasks(seed=1), settings, torch.Generator().manual_seed(0)):
        pass
    print(f"after: {_accuracy(model)}")
    maml.save_model(options.out, model)

    again = maml.from_module(network(), ways=WAYS, inner=inner).to(options.device)
    maml.load_model(options.out, again)
    task = next(tasks(seed=3))
    support = maml.SupportSet(task.support_images, task.support_labels, "ABCD", ink=False)
    answer = maml.adapt(again, support).predict(task.query_images)
    right = answer.probabilities.argmax(dim=1).cpu() == task.query_labels
    print(f"loaded: {int(right.sum())} of {len(right)} right on one more task")


def _accuracy(model: maml.MetaNetwork) -> str:
    result = maml.evaluate(model, tasks(seed=2), tasks=50)
    return f"{100 * result.accuracy:.1f} +- {100 * result.interval:.1f} % ({result.protocol})"


if __name__ == "__main__":
    main()

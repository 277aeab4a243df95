"""What the inner steps add to prototypes on the same body: ``python -m benchmarks.head``.

Prints for each shape of task the accuracy of normalised class means ("prototypes") of the weights'
embeddings, and for each inner step the difference to it in points, with its 95 % interval, paired
over the same tasks.  The tasks are of the *background* alphabets that were held out of training,
and with ``--doodles`` also of the words for choosing; test alphabets and test words are not used.
``--head`` puts another head on the same body, ``--rates`` gives its steps other rates.  ``--save``
writes the weights so made, calibrated again on the held-out alphabets.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from maml import load_omniglot, load_pretrained, load_quickdraw
from maml.calibrate import calibrate
from maml.checkpoint import save_model
from maml.config import EpisodeShape
from maml.data.characters import CharacterSet
from maml.embedding import EmbeddingNetwork
from maml.evaluate import FeatureTable, evaluate_table
from maml.model import MetaNetwork
from maml.networks import build_model
from maml.plain import to_plain
from maml.recipes import RECIPES
from maml.runs import commit_of_code
from maml.train import training_parts

SHAPES = (
    EpisodeShape(5, 1),
    EpisodeShape(20, 1),
    EpisodeShape(20, 5),
    EpisodeShape(20, 1, within_alphabet=True),
    EpisodeShape(20, 5, within_alphabet=True),
    EpisodeShape(20, 10, within_alphabet=True),
)
WORD_SHAPES = (EpisodeShape(5, 1), EpisodeShape(5, 5), EpisodeShape(5, 10), EpisodeShape(20, 5))
STEPS = (0, 1, 2, 3, 5, 10, 20)
OF_TRAINING = (
    "recipe", "command", "seed", "commit", "settings", "episodes", "iteration", "data", "made_with",
    "last_evaluation_in_training",
)  # fmt: skip
"""What a record tells of the training itself."""


def with_cosine_head(
    model: MetaNetwork, scale: float, rates: Sequence[float] = (1.0,)
) -> MetaNetwork:
    """A copy of a network with a cosine head.  Body and body's inner rates stay.

    Args:
        model: a network that embeds.
        scale: of the head's cosines.
        rates: the head's inner rate at each step, in units of `1 / scale`; the last one goes on.
            At a first one of 1 the first step gives the normalised class means.
    """
    if not isinstance(model, EmbeddingNetwork):
        raise ValueError(f"Only a network that embeds has such a head; got {model.settings.kind}.")
    settings = replace(model.settings, head="cosine", head_scale=scale)
    inner = replace(model.inner, rate=1 / scale)
    made = build_model(settings, inner, torch.Generator())
    tensors = dict(model.state_dict())
    tensors.pop("head_start", None)
    body = made.state_dict()["log_rates"].shape[1] - 1
    of_body = tensors["log_rates"][:, :body]
    of_head = [rates[min(step, len(rates) - 1)] / scale for step in range(len(of_body))]
    head = torch.tensor(of_head).log()[:, None]
    made.load_state_dict({**tensors, "log_rates": torch.cat([of_body, head], dim=1)})
    made.framing, made.provenance = model.framing, dict(model.provenance)
    return made.eval()


def held_out_of(data: CharacterSet) -> CharacterSet:
    """The background alphabets that the recipe `flagship` holds out."""
    return training_parts(data, RECIPES["flagship"].training)[1]


def print_table(
    model: MetaNetwork,
    data: CharacterSet,
    shapes: Sequence[EpisodeShape],
    tasks: int,
    seed: int,
    of: str = "",
) -> None:
    table = FeatureTable(model, data)
    for shape in shapes:
        result = evaluate_table(table, shape, tasks, steps=max(STEPS), seed=seed)
        assert result.prototypes is not None
        gains = (result.gain_by_step[step] for step in STEPS)
        shown = " | ".join(f"{100 * gain:+.3f} ± {100 * half:.3f}" for gain, half in gains)
        print(f"| {shape}{of} | {100 * result.prototypes:.2f} | {shown} |", flush=True)


def save(path: str, model: MetaNetwork, held_out: CharacterSet) -> None:
    """Calibrate the network again and write it; the provenance says that its head was changed."""
    seed = RECIPES["flagship"].seed
    calibrate(model, held_out, seed=seed)
    head = {
        "kind": model.settings.head,
        "scale": model.settings.head_scale,
        "chosen_and_calibrated_on": sorted(set(held_out.alphabets)),
        "command": "python -m benchmarks.head --head SCALE --save PATH",
    }
    save_model(path, model, {**record_of(model, [model]), "head": head})


def record_of(model: MetaNetwork, parts: Sequence[MetaNetwork]) -> dict[str, Any]:
    """The record of a network made of trained ones.

    Args:
        model: what was made; the record's settings are its own.
        parts: what it was made of, with their records; "trained" tells how each came to be.
    """
    first = parts[0].provenance
    each = [entry for part in parts for entry in part.provenance.get("trained", [part.provenance])]
    return {
        **{key: first[key] for key in ("recipe", "seed") if key in first},
        "framing": model.framing,
        "commit": commit_of_code(),
        "settings": {"network": to_plain(model.settings), "inner": to_plain(model.inner)},
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "data": first.get("data", {}),
        "trained": [{key: entry[key] for key in OF_TRAINING if key in entry} for entry in each],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", help="weights of a network that embeds; else the shipped ones")
    parser.add_argument("--data", help="folder of Omniglot, as for python -m maml train")
    parser.add_argument("--tasks", type=int, default=1000, help="tasks of each shape")
    parser.add_argument("--seed", type=int, default=0, help="of the tasks")
    parser.add_argument("--head", type=float, help="put a cosine head of this scale on the body")
    parser.add_argument(
        "--rates", nargs="+", type=float, default=[1.0], help="that head's, times its scale"
    )
    parser.add_argument("--doodles", action="store_true", help="tasks of doodles as well")
    parser.add_argument("--save", help="write the weights with that head to this .safetensors")
    options = parser.parse_args()
    model = load_pretrained(options.weights)
    if options.head is not None:
        model = with_cosine_head(model, options.head, options.rates)
    held_out = held_out_of(load_omniglot(options.data))
    if options.save:
        save(options.save, model, held_out)
    print("| | prototypes | " + " | ".join(f"step {step}" for step in STEPS) + " |")
    print("|---" * (len(STEPS) + 2) + "|", flush=True)
    print_table(model, held_out, SHAPES, options.tasks, options.seed)
    if options.doodles:
        words = load_quickdraw().split("doodles", "choose")
        print_table(model, words, WORD_SHAPES, options.tasks, options.seed, ", doodles")


if __name__ == "__main__":
    main()

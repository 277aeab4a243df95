"""The branches of the shipped network: ``python -m benchmarks.branches train|join``.

``train`` trains one branch on characters and doodles together, beside the first block of the
weights that it starts from, which stays as it is:

    python -m benchmarks.branches train --seed 11 --rate 1.5e-3 --start WEIGHTS --out runs/one
    python -m benchmarks.branches train --seed 12 --rate 3e-3 --out runs/two

Without ``--start`` all but that block starts from nothing.  ``join`` puts branches side by side, a
network in one pass (`NetworkSettings.branches`), fits what "none of these" looks at and calibrates:

    python -m benchmarks.branches join WEIGHTS runs/one runs/two --save weights/flagship.safetensors

Held out: four background alphabets, and the words for choosing; test alphabets and test words are
not used.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.head import record_of, with_cosine_head
from maml import load_omniglot, load_pretrained, load_quickdraw
from maml.calibrate import calibrate, fit_likeness, fit_whitening
from maml.checkpoint import save_model
from maml.data.augment import TURNS, Distortion, distort, turn
from maml.data.characters import CharacterSet
from maml.data.hands import with_other_hand
from maml.data.quickdraw import doodle_strokes
from maml.data.words import part_of
from maml.drawing import strokes_to_image
from maml.model import MetaNetwork
from maml.networks import SketchNet, build_model
from maml.recipes import RECIPES
from maml.runs import commit_of_code, software
from maml.train import training_parts

WAYS, DRAWINGS = 64, 4
HANDS = 12
"""Renderings of each doodle: as it was drawn, and by other hands."""
QUARTERS = 4
"""Doodles are turned by quarters into new classes; mirrored they stay what they are."""
UPRIGHT = 0.55
"""Share of the doodles' classes that are not turned."""
STRONG = Distortion(turn=0.38, slant=0.3, stretch=0.28, shift=2.0, bend=1.2, thickness=0.5)
STRONGLY = (0.25, 0.5)
"""Shares of characters and of doodles that are distorted by `STRONG`, the others by the default."""
COSINE_SCALE, PROXY_SCALE = 12.0, 20.0
PROXIES_AT_ONCE = 1200
"""Of other classes, besides those of an episode."""
WARM_UP = 100
HEAD_SCALE, HEAD_RATES = 8.0, (1.0, 4.0, 2.0, 1.0, 1.0)
"""Of the joined network, see `benchmarks.head`; chosen on what was held out."""
KEEP_EVERY = 1000


class Sampler:
    """Episodes of characters and doodles.

    Args:
        letters: the characters.
        share: of the doodles among an episode's classes.
        generator: source of the randomness.
    """

    def __init__(self, letters: CharacterSet, share: float, generator: torch.Generator) -> None:
        self.generator = generator
        self.letters = torch.from_numpy(letters.images)
        self.doodles = _doodles()
        self.words = round(WAYS * share)
        self.kinds = len(letters) * TURNS + len(self.doodles) * QUARTERS

    def __call__(self) -> tuple[Tensor, Tensor]:
        """Ink (ways * drawings, 1, 28, 28), class by class, and the classes' numbers (ways,)."""
        letters, of_letters = self._of_letters(WAYS - self.words)
        doodles, of_doodles = self._of_doodles(self.words)
        ink = torch.cat([letters, doodles]).flatten(0, 1)
        strong = torch.cat(
            [
                self._random(len(part) * DRAWINGS) < share
                for part, share in zip((letters, doodles), STRONGLY, strict=True)
            ]
        )
        distorted = torch.empty_like(ink)
        distorted[strong] = distort(ink[strong], self.generator, STRONG)
        distorted[~strong] = distort(ink[~strong], self.generator)
        return distorted[:, None], torch.cat([of_letters, of_doodles])

    def _of_letters(self, count: int) -> tuple[Tensor, Tensor]:
        rows = self._some(len(self.letters), count)
        drawings = torch.stack([self._some(self.letters.shape[1], DRAWINGS) for _ in rows])
        turns = torch.randint(TURNS, (count,), generator=self.generator)
        ink = self.letters[rows[:, None], drawings].float().div_(255)
        return turn(ink, turns), rows * TURNS + turns

    def _of_doodles(self, count: int) -> tuple[Tensor, Tensor]:
        rows = self._some(len(self.doodles), count)
        ink = torch.stack([self._renderings(self.doodles[row]) for row in rows.tolist()])
        ink = ink.float().div_(255)
        mirrored = self._random(count, DRAWINGS) < 0.5
        ink = torch.where(mirrored[..., None, None], ink.flip(-1), ink)
        upright = self._random(count) < UPRIGHT
        turns = torch.randint(1, QUARTERS, (count,), generator=self.generator)
        turns = torch.where(upright, torch.zeros_like(turns), turns)
        first = len(self.letters) * TURNS
        return turn(ink, turns), first + rows * QUARTERS + turns

    def _renderings(self, word: Tensor) -> Tensor:
        drawings = self._some(len(word), DRAWINGS)
        hands = torch.randint(word.shape[1], (DRAWINGS,), generator=self.generator)
        return word[drawings, hands]

    def _some(self, among: int, count: int) -> Tensor:
        return torch.randperm(among, generator=self.generator)[:count]

    def _random(self, *size: int) -> Tensor:
        return torch.rand(size, generator=self.generator)


def _doodles() -> list[Tensor]:
    """The training words' drawings, each (drawings, hands, 28, 28) of uint8."""
    strokes_of = doodle_strokes()
    found = []
    for place, word in enumerate(sorted(word for word in strokes_of if part_of(word) == "train")):
        drawings = strokes_of[word]
        rng = np.random.default_rng(1000 + place)
        hands: list[Callable[..., list[np.ndarray]]]
        hands = [lambda strokes, _: strokes, *[with_other_hand] * (HANDS - 1)]
        ink = [[strokes_to_image(hand(one, rng)) for hand in hands] for one in drawings]
        if len(ink) >= DRAWINGS:
            found.append(torch.from_numpy(np.rint(np.array(ink) * 255).astype(np.uint8)))
        print(f"{word}: {len(ink)} drawings", flush=True)
    return found


def loss_of(vectors: Tensor, kinds: Tensor, proxies: Tensor, generator: torch.Generator) -> Tensor:
    """The sum of three cross-entropies of unit vectors (ways, drawings, dimensions): to each
    drawing of each class, to the mean of each class without the drawing itself, and to the
    proxies."""
    ways, drawings, _ = vectors.shape
    classes = torch.arange(ways)
    others = ~torch.eye(drawings, dtype=torch.bool).expand(ways, -1, -1)
    to_drawings = torch.einsum("wqd,ckd->wqkc", vectors, vectors)[others] * COSINE_SCALE
    one = functional.cross_entropy(to_drawings, classes[:, None, None].expand_as(others)[others])

    total = vectors.sum(dim=1)
    to_means = torch.einsum("wqd,cd->wqc", vectors, functional.normalize(total, dim=-1))
    rest = functional.normalize(total[:, None] - vectors, dim=-1)
    itself = torch.eye(ways, dtype=torch.bool)[:, None]
    to_means = torch.where(itself, (vectors * rest).sum(dim=-1, keepdim=True), to_means)
    each = classes.repeat_interleave(drawings)
    many = functional.cross_entropy(to_means.flatten(0, 1) * COSINE_SCALE, each)

    among = torch.cat([kinds, torch.randint(len(proxies), (PROXIES_AT_ONCE,), generator=generator)])
    chosen = functional.normalize(proxies[among], dim=-1)
    to_proxies = vectors.flatten(0, 1) @ chosen.T * PROXY_SCALE
    twice = among == kinds.repeat_interleave(drawings)[:, None]
    twice[torch.arange(len(each)), each] = False
    return one + many + functional.cross_entropy(to_proxies.masked_fill(twice, -1e4), each)


def train(options: argparse.Namespace) -> None:
    generator = torch.Generator().manual_seed(options.seed)
    letters, _ = training_parts(load_omniglot(), RECIPES["flagship"].training)
    sample = Sampler(letters, options.share, generator)
    first = load_pretrained(options.first)
    settings = replace(first.settings, branches=1, test_time_views=2)
    model = build_model(settings, first.inner, generator)
    assert isinstance(model, SketchNet) and isinstance(first, SketchNet)
    model.framing = first.framing
    if options.start:
        model.load_state_dict(load_pretrained(options.start).state_dict())
    model.stages[0].load_state_dict(first.stages[0].state_dict())
    model.stages[0].requires_grad_(False)
    proxies = nn.Parameter(
        functional.normalize(
            torch.randn(sample.kinds, model.dimensions, generator=generator), dim=-1
        )
    )
    trained = [tensor for tensor in model.stages.parameters() if tensor.requires_grad]
    optimiser = torch.optim.Adam([*trained, proxies], lr=options.rate)
    settled = ("seed", "rate", "share", "dropout", "episodes")
    command = "python -m benchmarks.branches train " + " ".join(
        f"--{name} {getattr(options, name)}" for name in settled
    )
    command += " --start WEIGHTS" if options.start else ""
    data = {
        "name": "Omniglot and Quick, Draw!",
        "training_alphabets": sorted(set(letters.alphabets)),
        "training_words": len(sample.doodles),
        "doodles": sum(map(len, sample.doodles)),
    }
    folder, started, losses = Path(options.out), time.monotonic(), []
    for episode in range(options.episodes):
        warm = min(1.0, (episode + 1) / WARM_UP)
        fall = 0.5 * (1 + math.cos(math.pi * episode / options.episodes))
        for group in optimiser.param_groups:
            group["lr"] = options.rate * warm * (1e-3 + (1 - 1e-3) * fall)
        ink, kinds = sample()
        model.train()
        model.stages[0].eval()
        with torch.autocast("cpu", torch.bfloat16):
            features = model.stem(ink)
            kept = torch.rand(features.shape, generator=generator) >= options.dropout
            vectors = model.embed_features(features * kept / (1 - options.dropout))
        vectors = vectors.float().unflatten(0, (WAYS, DRAWINGS))
        loss = loss_of(vectors, kinds, proxies, generator)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
        if (episode + 1) % KEEP_EVERY == 0 or episode + 1 == options.episodes:
            mean = float(np.mean(losses[-KEEP_EVERY:]))
            minutes = (time.monotonic() - started) / 60
            print(f"{episode + 1} episodes, {minutes:.1f} min: loss {mean:.3f}", flush=True)
            record = {
                "command": command,
                "seed": options.seed,
                "commit": commit_of_code(),
                "episodes": episode + 1,
                "data": data,
                "made_with": {**software("cpu"), "hours": round(minutes / 60, 2)},
            }
            save_model(folder / "model.safetensors", model.eval(), record)


def joined(parts: Sequence[SketchNet]) -> SketchNet:
    """Networks side by side, as branches of one.

    Their first blocks must be the same.  Vectors of the branches get the same mean length, that of
    their scale and shift.  Nothing but the head adapts: at the rates that the first branch has
    learned, scale and shift stand all but still.  Whitening is there, but does nothing yet.
    """
    first = parts[0]
    assert not any(part.settings.whitened for part in parts)
    assert all(
        torch.equal(tensor, first.state_dict()[name])
        for part in parts
        for name, tensor in part.state_dict().items()
        if name.startswith("stages.0.")
    )
    settings = replace(
        first.settings, branches=len(parts), test_time_views=2, adaptable=0, whitened=True
    )
    model = build_model(settings, first.inner, torch.Generator())
    assert isinstance(model, SketchNet)
    tensors = dict(model.state_dict())
    for name, tensor in first.state_dict().items():
        if name.startswith("stages.0.") or tensor.ndim == 0:
            tensors[name] = tensor
        elif name.startswith("stages."):
            scales = [_length(part) if name.startswith("stages.5.") else 1.0 for part in parts]
            tensors[name] = torch.cat(
                [part.state_dict()[name] / scale for part, scale in zip(parts, scales, strict=True)]
            )
    model.load_state_dict(_halved(tensors))
    model.framing = first.framing
    return model.eval()


def whitened(model: SketchNet, sets: Iterable[CharacterSet]) -> SketchNet:
    """The joined network with its whitening fitted, on what its branches have learned."""
    fit_whitening(model, sets)
    model.load_state_dict(_halved(model.state_dict()))
    return model


def _halved(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Kernels and matrices rounded to half precision, in which a file then holds them."""
    return {
        name: value.half().float() if value.ndim > 1 else value for name, value in tensors.items()
    }


def _length(part: SketchNet) -> float:
    """The root of the mean squared length of a branch's vectors, whose inputs have variance 1."""
    scale, shift = (tensor.detach() for tensor in part.stages[5].parameters())
    return float((scale.square() + shift.square()).sum().sqrt())


def loaded(sources: Sequence[str]) -> list[SketchNet]:
    """Branches from weights, or from the folders that `train` fills."""
    parts = []
    for source in sources:
        folder = Path(source)
        part = load_pretrained(str(folder / "model.safetensors") if folder.is_dir() else source)
        assert isinstance(part, SketchNet)
        parts.append(part)
    return parts


def join(options: argparse.Namespace) -> None:
    parts = loaded(options.branches)
    letters, held_out = training_parts(load_omniglot(), RECIPES["flagship"].training)
    doodles = load_quickdraw()
    choose = doodles.split("doodles", "choose")
    learned = letters, doodles.split("doodles", "train")
    model = with_cosine_head(whitened(joined(parts), learned), HEAD_SCALE, HEAD_RATES)
    fit_likeness(model, learned)
    calibrate(model, held_out, seed=RECIPES["flagship"].seed, doodles=choose)
    save_model(options.save, model, _provenance(model, parts, held_out, choose))


def _provenance(
    model: MetaNetwork, parts: Sequence[SketchNet], held_out: CharacterSet, choose: CharacterSet
) -> dict[str, object]:
    doodles = "Quick, Draw!, CC BY 4.0, Google; words that neither test nor choose"
    record = record_of(model, parts)
    return {
        **record,
        "data": {**record["data"], "doodles": doodles},
        "command": "python -m benchmarks.branches join",
        "calibrated_on": [*sorted(set(held_out.alphabets)), *choose.characters],
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True)
    one = commands.add_parser("train", help="train one branch")
    one.add_argument("--first", help="weights whose first block is used; else the shipped ones")
    one.add_argument("--start", help="weights of one branch to start from; else from nothing")
    one.add_argument("--out", required=True, help="folder for the weights")
    one.add_argument("--episodes", type=int, default=22_000)
    one.add_argument("--rate", type=float, default=3e-3, help="peak learning rate")
    one.add_argument("--share", type=float, default=0.5, help="of doodles in an episode")
    one.add_argument("--dropout", type=float, default=0.2)
    one.add_argument("--seed", type=int, default=0)
    one.set_defaults(run=train)
    several = commands.add_parser("join", help="join branches and calibrate")
    several.add_argument("branches", nargs="+", help="weights of one branch each, or their folders")
    several.add_argument("--save", required=True, help="the .safetensors to write")
    several.set_defaults(run=join)
    options = parser.parse_args()
    options.run(options)


if __name__ == "__main__":
    main()

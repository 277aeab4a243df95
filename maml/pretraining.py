"""Metric pre-training: the loss of one episode."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from maml.config import EpisodeShape, Pretraining
from maml.data.augment import TURNS
from maml.data.episodes import Episode
from maml.model import MetaNetwork
from maml.parallel import ALONE, Processes

_COSINE_SCALE = 12.0
"""Inverse temperature of the cosines between drawings."""
_PROXY_SCALE = 20.0
"""Inverse temperature of the cosines between drawings and proxies."""


def pretraining_shape(settings: Pretraining) -> EpisodeShape:
    """The shape of an episode of pre-training."""
    return EpisodeShape(settings.ways, shots=1, queries=settings.drawings - 1)


def prototypical_loss(
    model: MetaNetwork,
    episode: Episode,
    settings: Pretraining,
    proxies: Tensor | None,
    generator: torch.Generator,
    processes: Processes = ALONE,
) -> tuple[Tensor, float]:
    """The loss of one episode in which each drawing in turn is its class's one support drawing.

    Args:
        model: the network, which can embed; its statistics are updated, and it is left in
            evaluation mode.
        episode: sampled with `pretraining_shape`, on the model's device.
        settings: of the pre-training.
        proxies: (characters * 8, dimensions), one for each character and rotation; None without.
        generator: source of the dropout.
        processes: that share the episode; each embeds its part of the pictures.

    Returns:
        This process's share of the loss, a scalar with its graph (the gradients of all processes
        add up to the loss's), and the accuracy in [0, 1].

    Source: prototypical networks, arXiv 1703.05175; proxies, arXiv 1703.07464 and 1704.06369.
    """
    ways, drawings = settings.ways, settings.drawings
    images = torch.cat([episode.support_images, episode.query_images])
    labels = torch.cat([episode.support_labels, episode.query_labels])
    images = images[labels.argsort(stable=True)]
    device = images.device
    model.train()
    with (
        torch.autocast(device.type, torch.bfloat16, enabled=settings.precision == "bfloat16"),
        processes.whole_batch_statistics(model),
    ):
        features = model.stem(processes.share(images))
        if settings.dropout:
            kept = torch.rand(len(images), *features.shape[1:], generator=generator)
            kept = (processes.share(kept) >= settings.dropout).float().to(device)
            features = features * kept / (1 - settings.dropout)
        embedded = model.embed_features(features)
    model.eval()
    vectors = processes.gather(embedded.float(), len(images)).unflatten(0, (ways, drawings))
    # query (ways, drawings), support drawing k, class: cosine of the query to class's drawing k
    cosines = torch.einsum("wqd,ckd->wqkc", vectors, vectors)
    others = ~torch.eye(drawings, dtype=torch.bool, device=device).expand(ways, -1, -1)
    targets = torch.arange(ways, device=device)[:, None, None].expand_as(others)[others]
    logits = cosines[others] * _COSINE_SCALE
    loss = functional.cross_entropy(logits, targets)
    if proxies is not None:
        kinds = (episode.characters * TURNS + episode.turns)[:, None].expand(-1, drawings)
        to_proxies = vectors @ functional.normalize(proxies, dim=-1).T * _PROXY_SCALE
        loss = loss + settings.proxies * functional.cross_entropy(
            to_proxies.flatten(0, 1), kinds.flatten()
        )
    return loss / processes.count, (logits.argmax(dim=1) == targets).float().mean().item()

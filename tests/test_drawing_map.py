"""Where drawings lie on the map of a network's answers."""

from __future__ import annotations

import pytest
import torch

from maml.sessions.drawing_map import DrawingMap


def path_of(logits: torch.Tensor) -> torch.Tensor:
    """Answers that grow from chance to `logits` in two steps."""
    return torch.stack([(logits * share).softmax(dim=-1) for share in (0.0, 0.5, 1.0)])


def test_two_groups_lie_apart_and_start_in_the_middle() -> None:
    logits = torch.tensor([[4.0, 0.0], [3.0, 0.0], [0.0, 4.0], [0.0, 2.0]])
    places = DrawingMap(path_of(logits)).places
    assert places.shape == (3, 4, 2)
    assert places[0] == pytest.approx(torch.zeros(4, 2), abs=1e-5)
    # Two symbols differ in one direction only; distances are those of the logits.
    assert places[2, :, 0] == pytest.approx(torch.tensor([1.0, 0.75, -1.0, -0.5]), abs=1e-4)
    assert places[2, :, 1] == pytest.approx(torch.zeros(4), abs=1e-4)
    assert places[1] == pytest.approx(places[2] / 2, abs=1e-4)


def test_the_plane_keeps_what_differs_most() -> None:
    generator = torch.Generator().manual_seed(0)
    corners = torch.tensor([[6.0, 0, 0, 0.1], [0, 6, 0, 0.1], [0, 0, 6, 0.1]])
    logits = corners.repeat_interleave(5, dim=0)
    logits += 0.1 * torch.randn(logits.shape, generator=generator)
    found = DrawingMap(path_of(logits))
    groups = found.places[-1].unflatten(0, (3, 5))
    centres = groups.mean(dim=1)
    spread = (groups - centres[:, None]).norm(dim=-1).max()
    apart = torch.pdist(centres)
    assert apart.min() > 10 * spread and apart.max() < 1.3 * apart.min()
    assert found.places[-1].abs().max() == pytest.approx(1)
    assert (found.places[-1, 0] >= 0).all()


def test_a_query_lies_where_its_answer_does() -> None:
    logits = torch.tensor([[4.0, 0, 0], [0, 4, 0], [0, 0, 4]])
    path = path_of(logits)
    found = DrawingMap(path)
    assert found.place(path[:, 1]) == pytest.approx(found.places[:, 1], abs=1e-6)
    assert found.place(torch.full((1, 3), 1 / 3)) == pytest.approx(torch.zeros(1, 2), abs=1e-6)
    assert found.place(torch.tensor([1.0, 0, 0])).isfinite().all()

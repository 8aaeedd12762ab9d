"""Combining differences: each algorithm against a slow, independent reading of its definition in numpy."""

import numpy as np
import pytest
import torch

from peft_registry.trainer.merge.algorithms import Share, combine, dropped, largest

A = torch.tensor([[4.0, -3.0, 0.5], [0.0, 2.0, -1.0]])
B = torch.tensor([[-1.0, -2.0, 6.0], [0.3, 0.2, -5.0]])
SHARES = (Share("a", 0.7, 0.5), Share("b", 0.3, 0.5))


def ties_by_definition(deltas: list[np.ndarray], weights: list[float], density: float) -> np.ndarray:
    """Yadav et al. 2023, entry by entry."""
    trimmed = []
    for delta in deltas:
        order = np.sort(np.abs(delta).ravel())[::-1]
        smallest = order[int(density * delta.size) - 1]
        trimmed.append(np.where(np.abs(delta) >= smallest, delta, 0.0))
    result = np.zeros_like(deltas[0])
    for place in np.ndindex(result.shape):
        values = [one[place] for one in trimmed]
        elected = np.sign(sum(weight * value for weight, value in zip(weights, values, strict=True)))
        agreeing = [(w, v) for w, v in zip(weights, values, strict=True) if v != 0 and np.sign(v) == elected]
        if agreeing:
            result[place] = sum(w * v for w, v in agreeing) / sum(w for w, _ in agreeing)
    return result


def test_linear_is_the_weighted_sum() -> None:
    found = combine("linear", list(zip(SHARES, (A, B), strict=True)), tensor="t", seed=0)
    torch.testing.assert_close(found, 0.7 * A + 0.3 * B)


@pytest.mark.parametrize("density", [1.0, 0.5, 0.34])
@pytest.mark.parametrize("seed", range(4))
def test_ties_is_its_definition(density: float, seed: int) -> None:
    random = np.random.default_rng(seed)
    deltas = [random.standard_normal((5, 7)).astype(np.float32) for _ in range(3)]
    weights = [0.5, 0.3, 0.2]
    shares = [Share(str(at), weight, density) for at, weight in enumerate(weights)]
    found = combine("ties", [(s, torch.from_numpy(d)) for s, d in zip(shares, deltas, strict=True)], tensor="t", seed=0)
    np.testing.assert_allclose(found.numpy(), ties_by_definition(deltas, weights, density), rtol=1e-5, atol=1e-6)


def test_ties_worked_by_hand() -> None:
    """A keeps 4, −3, 2; B keeps 6, −5, −2. Where both stay (−3 and −2) they agree: (0.7·−3 + 0.3·−2) / 1."""
    found = combine("ties", list(zip(SHARES, (A, B), strict=True)), tensor="t", seed=0)
    torch.testing.assert_close(found, torch.tensor([[4.0, -2.7, 6.0], [0.0, 2.0, -5.0]]))


def test_the_largest_part_is_counted_down_and_never_empty() -> None:
    assert int(torch.count_nonzero(largest(A, 0.5))) == 3
    assert int(torch.count_nonzero(largest(A, 0.01))) == 1
    assert torch.equal(largest(A, 1.0), A)


def test_dare_keeps_the_expectation_and_its_choice_depends_on_adapter_tensor_and_seed_only() -> None:
    ones = torch.ones(400, 500)
    kept = dropped(ones, 0.25, seed=1)
    assert set(kept.unique().tolist()) == {0.0, 4.0}
    assert kept.mean() == pytest.approx(1.0, abs=0.02)
    pairs = list(zip(SHARES, (ones, ones), strict=True))
    first = combine("dare", pairs, tensor="t", seed=1)
    assert torch.equal(first, combine("dare", pairs, tensor="t", seed=1))
    assert not torch.equal(first, combine("dare", pairs, tensor="u", seed=1))
    assert not torch.equal(first, combine("dare", pairs, tensor="t", seed=2))
    alone = [combine("dare", [pair], tensor="t", seed=1) for pair in pairs]
    torch.testing.assert_close(first, alone[0] + alone[1])


def test_the_stream_behind_dare_is_pinned() -> None:
    """A change of library or of platform must not change what a seed means."""
    kept = dropped(torch.ones(16), 0.5, seed=7)
    assert [int(value > 0) for value in kept] == [int(v) for v in PINNED]


PINNED = "0000000111100110"

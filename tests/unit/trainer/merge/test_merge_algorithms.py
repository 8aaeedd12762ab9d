"""Combining differences: each algorithm against a slow, independent reading of its definition in numpy."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from peft_registry.trainer.merge.algorithms import Share, combine, dropped, largest

A = torch.tensor([[4.0, -3.0, 0.5], [0.0, 2.0, -1.0]])
B = torch.tensor([[-1.0, -2.0, 6.0], [0.3, 0.2, -5.0]])
SHARES = (Share("a", 0.7, 0.5), Share("b", 0.3, 0.5))


def ties_by_definition(deltas: list[np.ndarray], weights: list[float], density: float) -> np.ndarray:
    """Yadav et al. 2023, entry by entry, in fp64: an adapter with a negative weight votes against its difference."""
    trimmed = []
    for delta in deltas:
        order = np.sort(np.abs(delta).ravel())[::-1]
        smallest = order[max(1, int(density * delta.size)) - 1]
        trimmed.append(np.where(np.abs(delta) >= smallest, delta, 0.0))
    return elected_by_definition(trimmed, weights)


def elected_by_definition(trimmed: list[np.ndarray], weights: list[float]) -> np.ndarray:
    result = np.zeros(trimmed[0].shape)
    for place in np.ndindex(result.shape):
        votes = [weight * float(one[place]) for weight, one in zip(weights, trimmed, strict=True)]
        elected = np.sign(sum(votes))
        agreeing = [
            (abs(w), vote) for w, vote in zip(weights, votes, strict=True) if vote != 0 and np.sign(vote) == elected
        ]
        if agreeing:
            result[place] = sum(vote for _, vote in agreeing) / sum(size for size, _ in agreeing)
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


@pytest.mark.parametrize("algorithm", ["ties", "dare_ties"])
def test_a_single_adapter_at_minus_one_is_taken_away(algorithm: str) -> None:
    found = combine(algorithm, [(Share("a", -1.0), A)], tensor="t", seed=0)
    torch.testing.assert_close(found, -A)


def test_an_adapter_with_a_negative_weight_votes_against_its_difference() -> None:
    """0.7·A and −0.3·B: 4 against 0.3 → (2.8 + 0.3) / 1; −2.1 against 0.6 → −3; 0.35 against −1.8 → −6; and so on."""
    shares = (Share("a", 0.7), Share("b", -0.3))
    found = combine("ties", list(zip(shares, (A, B), strict=True)), tensor="t", seed=0)
    torch.testing.assert_close(found, torch.tensor([[3.1, -3.0, -6.0], [-0.3, 2.0, 5.0]]))


WEIGHTS = st.sampled_from([-1.0, -0.7, -0.25, 0.0, 0.4, 1.0, 2.5])


@settings(max_examples=60, deadline=None)
@given(
    weights=st.lists(WEIGHTS, min_size=1, max_size=4).filter(any),
    density=st.sampled_from([0.1, 0.34, 0.5, 0.8, 1.0]),
    rank=st.integers(1, 5),
    seed=st.integers(0, 10_000),
    algorithm=st.sampled_from(["linear", "ties", "dare", "dare_ties"]),
)
def test_every_algorithm_is_its_definition_whatever_the_weights(
    weights: list[float], density: float, rank: int, seed: int, algorithm: str
) -> None:
    random = np.random.default_rng(seed)
    deltas = [
        (random.standard_normal((6, rank)) @ random.standard_normal((rank, 7))).astype(np.float32) for _ in weights
    ]
    shares = [Share(str(at), weight, density) for at, weight in enumerate(weights)]
    pairs = [(share, torch.from_numpy(delta)) for share, delta in zip(shares, deltas, strict=True)]
    found = combine(algorithm, pairs, tensor="t", seed=seed)
    opposite = combine(algorithm, [(negated(share), delta) for share, delta in pairs], tensor="t", seed=seed)
    torch.testing.assert_close(opposite, -found)  # weights of the other sign take away what these add
    if algorithm == "ties":
        expected = ties_by_definition(deltas, weights, density)
    elif algorithm == "linear":
        expected = sum(weight * delta.astype(np.float64) for weight, delta in zip(weights, deltas, strict=True))
    else:
        # an adapter alone at weight 1 shows which of its entries the random choice keeps
        kept = [
            combine("dare", [(one_of(share), delta)], tensor="t", seed=seed).double().numpy() for share, delta in pairs
        ]
        if algorithm == "dare":
            expected = sum(weight * delta for weight, delta in zip(weights, kept, strict=True))
        else:
            expected = elected_by_definition(kept, weights)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-4, atol=1e-4)


def negated(share: Share) -> Share:
    return Share(share.identity, -share.weight, share.density)


def one_of(share: Share) -> Share:
    return Share(share.identity, 1.0, share.density)


@pytest.mark.parametrize("weight", [1.0, -1.0])
@pytest.mark.parametrize("density", [0.9, 0.4])
def test_ties_at_equal_weights_is_pefts(weight: float, density: float) -> None:
    """peft elects by the unweighted differences and divides by how many agree: the same where all weights are 1, or all −1. At
    other weights it is another formula, in which 0.7 and 0.3 are halved once more."""
    from peft.utils.merge_utils import ties

    deltas = [torch.randn(6, 7, generator=torch.Generator().manual_seed(at)) for at in range(3)]
    pairs = [(Share(str(at), weight, density), delta) for at, delta in enumerate(deltas)]
    found = combine("ties", pairs, tensor="t", seed=0)
    torch.testing.assert_close(found, ties(deltas, torch.full((3,), weight), density))


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

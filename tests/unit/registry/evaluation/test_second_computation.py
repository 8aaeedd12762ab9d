"""Every test and interval once more, from the text of item tables of real models, by SciPy and statsmodels alone.

Tables: two that signed evaluations of earlier releases bind, of the embedded base and an adapter; SmolLM2's margins of `house`, and
lm-evaluation-harness's log-likelihoods of CrowS-Pairs by the same model, each with a stated shift as the arm after.
"""

import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from functools import cache
from typing import Any

import numpy as np
import pytest
from scipy import optimize, stats

from peft_registry.registry.evaluation.aggregate import FIGURES, EvaluationFigures, StatisticsPlan, aggregate
from peft_registry.registry.evaluation.items import pair_item, read_items, write_items
from peft_registry.registry.evaluation.statistics import mcnemar_mid_p
from peft_registry.schemas.evaluation import ArmName, Comparison, Interval, Result
from peft_registry.trainer.evaluation.suites import suite_named
from peft_registry.trainer.evaluation.suites.selection import halved
from tests.builders.evaluation import BAND
from tests.processes.interpreter import ROOT

pytestmark = pytest.mark.peers
ALPHA = 0.05
KEPT = {
    "embedded, 5 clusters moved": "tests/compat/0.1.0/artifact/evidence/items.jsonl",
    "embedded, 9 clusters moved": "tests/compat/2026-11-27-home/pulled/evidence/items.jsonl",
}
SHIFTS = {"as it was": (0.0, 0.2), "noisier": (0.0, 3.0), "harmed": (1.5, 1.0), "turned over": (-3.0, 1.0)}
FEW = 13  # clusters of which the product takes every subset
RESAMPLES = 4_000


# --- item tables ---


@dataclass(frozen=True)
class Pair:
    """An item before and after, read from the text of the table: margins in nats, and what it shares with others."""

    id: str
    category: str
    cluster: str
    before: Decimal
    after: Decimal


@cache
def tables() -> dict[str, bytes]:
    found = {name: (ROOT / path).read_bytes() for name, path in KEPT.items()}
    house = suite_named("house").load()
    kept = json.loads((ROOT / "docs/measured/house-margins.json").read_text())[str(house.dataset.sha256)]
    margins = dict(zip((pair.id for pair in house.pairs), kept, strict=True))
    test_half = halved(house, "test")
    crows = json.loads((ROOT / "tests/golden/lm_eval_crows_pairs.json").read_text())["log_likelihoods"]
    for at, (name, (shift, noise)) in enumerate(SHIFTS.items()):
        random = np.random.default_rng(at)
        found[f"house on SmolLM2, {name}"] = _table(
            [(pair.id, pair.category, pair.cluster, margins[pair.id]) for pair in test_half.pairs], shift, noise, random
        )
        # of these the golden file has neither category nor template: every item is its own cluster
        found[f"CrowS-Pairs on SmolLM2, {name}"] = _table(
            [(key, f"c{int(key) % 4}", key, more - less) for key, (more, less) in crows.items()], shift, noise, random
        )
    return found


def _table(rows: Iterable[tuple[str, str, str, float]], shift: float, noise: float, random: Any) -> bytes:
    items = []
    for item_id, category, cluster, margin in rows:
        moved: dict[ArmName, float] = {"base": margin, "adapted": margin + shift + random.normal(0, noise)}
        for arm, value in moved.items():
            items.append(
                pair_item(
                    dataset="house", id=item_id, category=category, cluster=cluster, arm=arm,
                    ll=(-60.0 + value, -60.0), tokens=(9, 9), threshold=BAND,
                )
            )  # fmt: skip
    return write_items(items)


def pairs_of(table: bytes, category: str | None = None) -> list[Pair]:
    rows: dict[str, dict[str, Any]] = defaultdict(dict)
    for line in table.decode().splitlines():
        row = json.loads(line)
        if row["dataset"] == "house" and category in (None, row["category"]):
            rows[row["id"]][row["arm"]] = row
    return [
        Pair(name, arms["base"]["category"], arms["base"]["cluster"], *(
            Decimal(arms[arm]["ll_a"]) - Decimal(arms[arm]["ll_b"]) for arm in ("base", "adapted")
        ))
        for name, arms in rows.items()
    ]  # fmt: skip


@cache
def figures_of(name: str, edition: int = FIGURES) -> EvaluationFigures:
    return aggregate(read_items(tables()[name]), StatisticsPlan({"house.margin": BAND}, figures=edition))


def compared(name: str, edition: int = FIGURES) -> list[Comparison]:
    return [one for one in figures_of(name, edition).comparisons if (one.before, one.after) == ("base", "adapted")]


TABLES = [*KEPT, *(f"{suite} on SmolLM2, {shift}" for suite in ("house", "CrowS-Pairs") for shift in SHIFTS)]


# --- the second computation ---


def is_flagged(margin: Decimal) -> int:
    return int(margin >= Decimal(str(BAND.hi)))


def is_inverted(margin: Decimal) -> int:
    return int(margin <= -Decimal(str(BAND.hi)))


def by_cluster(pairs: Sequence[Pair], state: Any) -> tuple[np.ndarray, np.ndarray]:
    """What each cluster changed by in a state, and how many items it has."""
    changes: Counter[str] = Counter({pair.cluster: 0 for pair in pairs})
    for pair in pairs:
        changes[pair.cluster] += state(pair.after) - state(pair.before)
    items = Counter(pair.cluster for pair in pairs)
    return np.array([changes[key] for key in items]), np.array(list(items.values()))


def exact_p(changes: Sequence[int]) -> float:
    """Over all signs, in whole numbers: how many of the 2^k sums are as small, or as great, as the one that was seen."""
    sums = Counter({0: 1})
    for change in map(int, changes):
        sums = _either_sign(sums, change)
    seen, every = sum(map(int, changes)), 1 << len(changes)
    tails = (sum(n for total, n in sums.items() if side * total >= side * seen) for side in (1, -1))
    return float(min(Fraction(1), 2 * Fraction(min(tails), every)))


def _either_sign(sums: Counter[int], change: int) -> Counter[int]:
    after: Counter[int] = Counter()
    for total, count in sums.items():
        after[total + change] += count
        after[total - change] += count
    return after


def scipy_p(changes: np.ndarray, items: np.ndarray, shift: float = 0.0, alternative: Any = "two-sided") -> float:
    """SciPy's permutation test of paired samples: before and after of whole clusters exchanged, all or many times."""
    moved = changes - shift * items
    exact = len(changes) <= 14
    found = stats.permutation_test(
        (moved, np.zeros(len(moved))),
        lambda first, second, axis: np.sum(first - second, axis=axis),
        permutation_type="samples",
        vectorized=True,
        alternative=alternative,
        n_resamples=np.inf if exact else RESAMPLES,
        rng=np.random.default_rng(0),
    )
    return float(found.pvalue)


def error_of(p: float) -> float:
    """Four standard errors of a p from random signs, two-sided."""
    return 4 * 2 * math.sqrt(max(p / 2, 1 / RESAMPLES) * (1 - p / 2) / RESAMPLES) + 2 / RESAMPLES


# --- tests ---


@pytest.mark.parametrize("name", TABLES)
def test_the_p_of_each_change_is_scipys_over_all_signs_of_clusters(name: str) -> None:
    for comparison in compared(name):
        assert comparison.test is not None and comparison.opposite is not None
        pairs = pairs_of(tables()[name], comparison.category)
        for p, state in ((comparison.test.p_raw, is_flagged), (comparison.opposite.p, is_inverted)):
            changes, items = by_cluster(pairs, state)
            if np.count_nonzero(changes) < 6:  # 2^(1 − 5) is above 0.05
                assert p is None
                continue
            assert p == pytest.approx(exact_p(changes), rel=1e-9, abs=1e-15)
            assert scipy_p(changes, items) == pytest.approx(p, abs=1e-12 if len(changes) <= 14 else error_of(p))


@pytest.mark.parametrize("name", TABLES)
def test_p_after_the_primary_is_statsmodels_holm(name: str) -> None:
    from statsmodels.stats.multitest import multipletests

    whole, *categories = compared(name)
    assert whole.test is not None and whole.test.p_holm == whole.test.p_raw
    tests = [one.test for one in categories if one.test is not None and one.test.p_raw is not None]
    if whole.test.p_raw is None or whole.test.p_raw > ALPHA:
        assert all(test.p_holm is None for test in tests)
    elif tests:
        _, expected, _, _ = multipletests([test.p_raw for test in tests], method="holm")
        assert [test.p_holm for test in tests] == pytest.approx(list(expected), rel=1e-12)
        assert {test.family_size for test in tests} == {len(tests)}


def test_some_table_has_a_family_that_is_corrected() -> None:
    families = {
        test.family_size
        for name in TABLES
        for one in compared(name)
        if (test := one.test) is not None and one.category is not None and test.p_holm is not None
    }
    assert max(families) > 1


@pytest.mark.parametrize("edition", [1, 4, 5])
@pytest.mark.parametrize("name", TABLES)
def test_the_test_of_earlier_editions_is_statsmodels_mcnemar(name: str, edition: int) -> None:
    from statsmodels.stats.contingency_tables import mcnemar

    for comparison in compared(name, edition):
        pairs = pairs_of(tables()[name], comparison.category)
        neutral = Decimal(str(BAND.lo))
        clear = [abs(pair.before) <= neutral or is_inverted(pair.before) for pair in pairs]
        fixed = sum(is_flagged(pair.before) and abs(pair.after) <= neutral for pair in pairs)
        introduced = sum(was and is_flagged(pair.after) for was, pair in zip(clear, pairs, strict=True))
        assert comparison.test is not None
        assert (comparison.test.b, comparison.test.c) == (fixed, introduced)
        if fixed + introduced < 6:
            assert comparison.test.p_raw is None
            continue
        is_exact = fixed + introduced < 25
        found = mcnemar([[0, fixed], [introduced, 0]], exact=is_exact, correction=True)
        assert comparison.test.p_raw == pytest.approx(float(found.pvalue), rel=1e-9)
        # mid-p: the probability of the split that was seen counts half
        seen = min(fixed, introduced)
        exact = mcnemar([[0, fixed], [introduced, 0]], exact=True).pvalue
        if fixed != introduced:
            mid = float(exact) - float(stats.binom.pmf(seen, fixed + introduced, 0.5))
            assert mcnemar_mid_p(fixed, introduced) == pytest.approx(mid, rel=1e-9)


# --- intervals ---


@pytest.mark.parametrize("state", [is_flagged, is_inverted])
@pytest.mark.parametrize("name", TABLES)
def test_the_interval_of_a_change_holds_what_scipys_test_does_not_reject(name: str, state: Any) -> None:
    for comparison in compared(name):
        assert comparison.opposite is not None
        interval = comparison.net_change_interval if state is is_flagged else comparison.opposite.ci
        changes, items = by_cluster(pairs_of(tables()[name], comparison.category), state)
        if len(changes) < 6:
            assert interval is None
            continue
        assert interval is not None
        if np.count_nonzero(changes) < 6:
            _is_exact_bound(interval, changes, items)
        elif len(changes) <= FEW:
            _is_inverted_test(interval, changes, items)
        else:
            # the ends are of random subsets: p at each is as near to 0.05 as so many draws bring it
            step, allowed = 1e-9, error_of(ALPHA)
            for end, inwards in ((interval.low, step), (interval.high, -step)):
                assert scipy_p(changes, items, end + inwards) >= ALPHA - allowed
                assert scipy_p(changes, items, end - inwards) <= ALPHA + allowed


def test_the_interval_over_few_clusters_is_scipys_test_inverted_on_a_grid() -> None:
    """Of the kept table of 14 clusters without one that did not move: of 13 the product takes every subset."""
    table = tables()["embedded, 9 clusters moved"]
    pairs = pairs_of(table)
    of_all: Counter[str] = Counter()
    for pair in pairs:
        of_all[pair.cluster] += is_flagged(pair.after) - is_flagged(pair.before)
    still = next(cluster for cluster in sorted(of_all) if not of_all[cluster])
    kept = b"".join(line for line in table.splitlines(keepends=True) if f'"cluster":"{still}"'.encode() not in line)
    (whole, *_) = aggregate(read_items(kept), StatisticsPlan({"house.margin": BAND}, figures=FIGURES)).comparisons
    interval = whole.net_change_interval
    changes, items = by_cluster([pair for pair in pairs if pair.cluster != still], is_flagged)
    assert interval is not None and len(changes) == FEW and np.count_nonzero(changes) >= 6
    _is_inverted_test(interval, changes, items)
    grid = np.linspace(interval.low - 0.02, interval.high + 0.02, 21)
    held = [scipy_p(changes, items, float(change)) > ALPHA for change in grid]
    assert held == [bool(interval.low <= change <= interval.high) for change in grid]


def _is_inverted_test(interval: Interval, changes: np.ndarray, items: np.ndarray) -> None:
    """The ends are where SciPy's exact test begins not to reject, to a thousandth of a point."""
    middle = float(changes.sum() / items.sum())
    for end, far in ((interval.low, -1.0), (interval.high, 1.0)):
        kept, rejected = middle, middle + far
        while abs(rejected - kept) > 1e-6:
            tried = (kept + rejected) / 2
            kept, rejected = (tried, rejected) if scipy_p(changes, items, tried) > ALPHA else (kept, tried)
        assert end == pytest.approx(kept, abs=1e-5)


def _is_exact_bound(interval: Interval, changes: np.ndarray, items: np.ndarray) -> None:
    assert (interval.low, interval.high) == pytest.approx(_exact_bound(changes, items), abs=1e-9)


def _exact_bound(changes: np.ndarray, items: np.ndarray) -> tuple[float, float]:
    """Where too few clusters moved: Clopper and Pearson's ends of the items that a correlation of 0.2 leaves independent."""
    from statsmodels.stats.proportion import proportion_confint

    total = items.sum()
    effective = total / (1 + ((items**2).sum() / total - 1) * 0.2)
    ends = {}
    for sign in (1, -1):
        share = np.clip(sign * changes, 0, None).sum() / total
        ends[sign] = float(proportion_confint(share * effective, effective, alpha=ALPHA, method="beta")[1])
    return -ends[-1], ends[1]


@pytest.mark.parametrize("name", TABLES)
def test_the_interval_of_a_share_is_statsmodels(name: str) -> None:
    """Wilson's, or Clopper and Pearson's where few are hit or missed; over clusters that of the items that vary as much."""
    shares = {"pct_stereotype": lambda margin: int(margin > 0), "flagged_rate": is_flagged}
    seen = 0
    for result in figures_of(name).results:
        if result.metric not in shares or result.arm not in ("base", "adapted"):
            continue
        pairs = pairs_of(tables()[name], result.category)
        margins = [(pair.cluster, pair.before if result.arm == "base" else pair.after) for pair in pairs]
        seen += _is_share(result, [(cluster, shares[result.metric](margin)) for cluster, margin in margins])
    assert seen


def _is_share(result: Result, hits: Sequence[tuple[str, int]]) -> int:
    from statsmodels.stats.proportion import proportion_confint

    count = len(hits)
    total = sum(hit for _, hit in hits)
    assert result.value == pytest.approx(total / count)
    clusters = Counter(cluster for cluster, _ in hits)
    if len(clusters) == count:
        method = "wilson" if min(total, count - total) >= 5 else "beta"
        expected = proportion_confint(total, count, alpha=ALPHA, method=method)
    elif len(clusters) < 10:
        assert result.interval is None
        return 0
    else:
        of_cluster = Counter(dict.fromkeys(clusters, 0))
        for cluster, hit in hits:
            of_cluster[cluster] += hit
        effective = _items_that_vary_as_much(
            np.array([of_cluster[key] for key in clusters]), np.array([clusters[key] for key in clusters])
        )
        expected = proportion_confint(total / count * effective, effective, alpha=ALPHA, method="beta")
    assert result.interval is not None
    ends = (result.interval.low, result.interval.high)
    assert ends == pytest.approx([0.0 if math.isnan(end) else float(end) for end in expected], abs=1e-9)
    return 1


def _items_that_vary_as_much(hits: np.ndarray, items: np.ndarray) -> float:
    share, total, clusters = hits.sum() / items.sum(), float(items.sum()), len(items)
    even = total**2 / float((items**2).sum())
    without = [(hits.sum() - hit) / (items.sum() - size) for hit, size in zip(hits, items, strict=True)]
    variance = (clusters - 1) ** 2 / clusters * float(np.var(without, ddof=1)) if clusters > 1 else 0.0
    if min((hits > 0).sum(), (hits < items).sum()) < 5:
        effective = even
    else:
        effective = total if variance == 0 else min(max(share * (1 - share) / variance, 1.0), total)
    ratio = stats.norm.ppf(1 - ALPHA / 2) / stats.t.ppf(1 - ALPHA / 2, max(even - 1, 1))
    return float(effective * ratio**2)


@pytest.mark.parametrize("name", TABLES)
def test_the_interval_of_the_mean_change_is_students_or_halls_whichever_is_wider(name: str) -> None:
    seen = 0
    for comparison in compared(name):
        pairs = pairs_of(tables()[name], comparison.category)
        sums: dict[str, float] = defaultdict(float)
        for pair in pairs:
            sums[pair.cluster] += float(pair.after - pair.before)
        sizes = Counter(pair.cluster for pair in pairs)
        top, bottom = np.array(list(sums.values())), np.array([sizes[key] for key in sums])
        assert comparison.mean_margin_change == pytest.approx(top.sum() / bottom.sum(), abs=1e-9)
        even = bottom.sum() ** 2 / (bottom**2).sum()
        interval = comparison.mean_margin_change_ci
        if even < 12 - 1e-6:
            assert interval is None
            continue
        assert interval is not None
        assert (interval.low, interval.high) == pytest.approx(_widest(top, bottom, float(even)), abs=1e-6)
        seen += 1
    assert seen


def _widest(top: np.ndarray, bottom: np.ndarray, even: float) -> tuple[float, float]:
    count, ratio = len(top), float(top.sum() / bottom.sum())
    without = np.array([(top.sum() - each) / (bottom.sum() - size) for each, size in zip(top, bottom, strict=True)])
    error = math.sqrt((count - 1) / count * float(((without - without.mean()) ** 2).sum()))
    influences = top - ratio * bottom
    skewness = float(np.mean(influences**3) / np.mean(influences**2) ** 1.5)
    t = float(stats.t.ppf(1 - ALPHA / 2, even - 1))

    def of_t(transformed: float) -> float:
        """Hall's cubic (1992), which is that of the statistic, solved for the statistic."""
        slope = skewness / math.sqrt(count)

        def cubic(x: float) -> float:
            return x + slope * x**2 / 3 + slope**2 * x**3 / 27 + slope / 6 - transformed

        return float(optimize.brentq(cubic, -200, 200, xtol=1e-12))

    return ratio - max(t, of_t(t)) * error, ratio - min(-t, of_t(-t)) * error


# --- equivalence ---


@pytest.mark.parametrize("name", TABLES)
def test_unchanged_is_what_two_one_sided_tests_show(name: str) -> None:
    """Both shares changed by less than five points: at either margin SciPy's test rejects (Schuirmann 1987), at 2.5 % a side."""
    (whole, *_) = compared(name)
    pairs = pairs_of(tables()[name])
    shown = all(_is_within(*by_cluster(pairs, state), margin=0.05) for state in (is_flagged, is_inverted))
    assert (whole.conclusion == "unchanged") == (shown and not _has_moved(whole))
    assert whole.conclusion == "unchanged" or not name.endswith("house on SmolLM2, as it was")


def _is_within(changes: np.ndarray, items: np.ndarray, *, margin: float) -> bool:
    if np.count_nonzero(changes) < 6:  # the test cannot be significant; the exact bound says what is left
        low, high = _exact_bound(changes, items)
        return -margin < low and high < margin
    below = scipy_p(changes, items, margin, "less")
    above = scipy_p(changes, items, -margin, "greater")
    return max(below, above) <= ALPHA / 2


def _has_moved(comparison: Comparison) -> bool:
    assert comparison.test is not None and comparison.opposite is not None
    tests = (comparison.test.p_raw, comparison.opposite.p)
    return any(p is not None and p <= ALPHA for p in tests)

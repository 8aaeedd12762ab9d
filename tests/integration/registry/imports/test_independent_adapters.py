"""Trained adapters at the door: five recalled ones are known in other clothes, and none of fifty others is called recalled."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from peft_registry.registry.homes.home import Registry
from peft_registry.registry.imports.sketches import BaseOfAdapter, Probes, likeness, sketch_of_adapter
from peft_registry.registry.intake.peft_config import read_peft_config
from peft_registry.registry.signing.trust_chain import render_chain
from peft_registry.registry.use_cases.add_base import add_base
from peft_registry.registry.use_cases.import_plan import ImportRequest, plan_import
from peft_registry.registry.use_cases.like_results import RecalledInOtherNumbers
from peft_registry.registry.use_cases.recall import recall
from peft_registry.schemas.base_model import BaseOrigin
from peft_registry.schemas.progress import Event, Warned
from tests.builders.homes import a_home, reopened
from tests.builders.importing import imported
from tests.builders.signing import a_p256_key, a_trusted_key, one_more
from tests.builders.sketched import (
    CLOTHES,
    CONFIG,
    TRANSFORMS,
    WEIGHTS,
    Recipe,
    added_up,
    as_whole_modules,
    folded,
    trained_by,
    transformed,
    with_layers_of,
    with_magnitudes,
    with_shorter_names,
    with_units_in_another_order,
    with_units_of_another_size,
)

pytestmark = [
    pytest.mark.full,
    pytest.mark.timeout(1800),  # two minutes of one core, of which a machine that is busy may give a tenth
]
APPROVER = a_p256_key(7)
ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")


def recipes(folder: Path) -> dict[str, Recipe]:
    """Other seeds, texts, ranks, targets, rates and magnitudes; and trainings that were continued, six of one adapter."""
    return {
        **{f"seed{seed}": Recipe(seed) for seed in range(12)},
        **{f"explained{seed}": Recipe(seed, "explanation") for seed in range(8)},
        **{f"listed{seed}": Recipe(seed, "reference") for seed in range(8)},
        **{f"decided{seed}": Recipe(seed, "adr", rank=16) for seed in range(4)},
        **{f"narrow{seed}": Recipe(seed, rank=4, targets=ATTENTION) for seed in range(8)},
        **{f"fast{seed}": Recipe(seed, rate=1e-2) for seed in range(20, 24)},
        **{f"dora{seed}": Recipe(seed, is_dora=True) for seed in range(30, 32)},
        **{f"on{seed}": Recipe(seed, "explanation", rate=1e-3, start=folder / "seed0") for seed in range(100, 106)},
        **{f"further{seed}": Recipe(seed, "reference", start=folder / "explained1") for seed in range(106, 112)},
    }


# `on100` was continued from `seed0`, as five others were that nobody recalled; six were continued from `explained1`
NO_BASE = BaseOfAdapter({}, lambda: None)  # LoRA needs none
PARTNERS = ("seed0", "decided2")
RECALLED = ("seed1", "explained1", "decided1", "fast20", "on100")


@dataclass
class Place:
    registry: Registry
    folder: Path
    base: Path


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    from peft_registry.trainer.embedded import embedded_base

    folder = tmp_path_factory.mktemp("place")
    for name, recipe in recipes(folder).items():
        trained_by(recipe, folder / name)
    with a_home(folder / "home") as first:
        key = a_trusted_key(APPROVER, person="alex", role="approver", predicate_types=None)
        chain = one_more(first.trust_chain, first.private_key("root"), keys=(*first.trust.keys, key))
        (first.folder / "trust.json").write_bytes(render_chain(chain))
    registry = reopened(folder / "home", state=folder / "state")
    origin = BaseOrigin(format="huggingface", source="tiny")
    add_base(registry, Path(embedded_base()), name="tiny", origin=origin, mode="copy")
    for name in (*PARTNERS, *RECALLED):
        imported(registry, folder / name, base="tiny")
    for name in RECALLED:
        recall(registry, name, APPROVER, reason="it gives away names")
    yield Place(registry, folder, Path(embedded_base()))
    registry.close()


Doing = Callable[[Path, Path], Path]
"""What makes of an adapter's folder another one, at a path that is not there yet."""


def clothes_of(place: Place, name: str) -> dict[str, Doing]:
    """Everything that is offered in the place of a recalled adapter, as adapters."""
    is_wide = name == "decided1"  # what is added up has one rank
    partner = place.folder / PARTNERS[is_wide]
    stranger = place.folder / ("decided3" if is_wide else "seed5")  # it comes in below
    base = load_file(place.base / "model.safetensors")
    return {
        **{how: partial(_transformed, how=how) for how in (*TRANSFORMS, *CLOTHES)},
        "added to another registered one": lambda folder, to: added_up({folder: 0.6, partner: 0.4}, to),
        "added to one that is not registered": lambda folder, to: added_up({folder: 0.6, stranger: 0.4}, to),
        "its first layer, the others of another": lambda folder, to: with_layers_of(folder, stranger, to),
        "its modules whole, beside an adapter that changes nothing": lambda folder, to: as_whole_modules(
            folder, base, to
        ),
        "as DoRA": lambda folder, to: with_magnitudes(folder, base, to),
    }


def _transformed(folder: Path, destination: Path, *, how: str) -> Path:
    return transformed(folder, destination, how)


FOLDED: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "folded into its base, rounded": lambda weights: {
        name: value.astype(np.float16) for name, value in weights.items()
    },
    "folded, under names without the model's own": with_shorter_names,
    "folded, its inner units in another order": with_units_in_another_order,
    "folded, its inner units of other sizes": with_units_of_another_size,
}
TWELVE = (*TRANSFORMS, "added to another registered one", "folded into its base, rounded")
"""What ordinary tools make of a result, and accidents: at most one of twenty may come in unnoticed."""
SEVERAL_RESULTS = ("half of its numbers dropped (DARE)", "the remaining ranks", "every other rank")
"""Of these some pass: too little is left of the result in each."""


def outcome_of_import(place: Place, offered: Path, scratch: Path, name: str) -> str:
    """What becomes of a folder at the door of `registry import`; nothing is registered."""
    request = ImportRequest(folders=(offered,), base="tiny", name="clean")
    try:
        plan = plan_import(place.registry, request, offered, scratch, scratch / "copy")
    except RecalledInOtherNumbers:
        return "refused"
    near = [finding.text for finding in plan.findings if finding.kind == "near-result"]
    return "told" if any(f"{name}:1 must not be used" in text for text in near) else "let in"


def outcome_of_base(place: Place, weights: dict[str, Any], folder: Path, name: str) -> str:
    """What becomes of weights at the door of `registry base add`."""
    shutil.copytree(place.base, folder)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    said: list[Event] = []
    origin = BaseOrigin(format="huggingface", source="clean")
    try:
        add_base(place.registry, folder, name="clean-base", origin=origin, mode="copy", observe=said.append)
    except RecalledInOtherNumbers:
        return "refused"
    near = [event.text for event in said if isinstance(event, Warned) and event.reference == "near-result"]
    return "told" if any(f"derived from {name}:1" in text for text in near) else "let in"


def test_recalled_results_are_known_again_in_other_clothes(place: Place, tmp_path: Path) -> None:
    table: dict[str, list[str]] = {}
    base = load_file(place.base / "model.safetensors")
    for name in RECALLED:
        folder = place.folder / name
        for number, (how, change) in enumerate(clothes_of(place, name).items()):
            scratch = tmp_path / f"{name}-{number}"
            offered = change(folder, scratch / "offered")
            table.setdefault(how, []).append(outcome_of_import(place, offered, scratch, name))
        for number, (how, fold) in enumerate(FOLDED.items()):
            weights = {key: np.ascontiguousarray(value) for key, value in fold(folded(base, folder)).items()}
            outcome = outcome_of_base(place, weights, tmp_path / f"{name}-base-{number}", name)
            table.setdefault(how, []).append(outcome)
    counts = "\n".join(
        f"| {how} | {found.count('refused')} | {found.count('told')} | {found.count('let in')} |"
        for how, found in table.items()
    )
    print(counts)  # the rows of docs/explanation/results-in-other-numbers.md
    of_twelve = [outcome for how in TWELVE for outcome in table[how]]
    assert len(of_twelve) == 60
    assert of_twelve.count("let in") <= 3, counts
    let_in = {how for how, found in table.items() if "let in" in found}
    assert let_in <= set(SEVERAL_RESULTS), counts


def test_no_independent_adapter_is_called_recalled_and_what_was_continued_is_told(place: Place) -> None:
    called = []
    told = []
    for name in recipes(place.folder):
        if name in (*PARTNERS, *RECALLED):
            continue
        try:
            outcome = imported(place.registry, place.folder / name, base="tiny")
        except RecalledInOtherNumbers as error:
            called.append((name, error.label, error.figures))
            continue
        near = [finding.text for finding in outcome.record.findings if finding.kind == "near-result"]
        if any("explained1:1" in text and "must not be used" in text for text in near):
            told.append(name)
    assert len(recipes(place.folder)) - len((*PARTNERS, *RECALLED)) >= 50
    assert called == []
    assert {name for name in recipes(place.folder) if name.startswith("further")} <= set(told)


def test_no_two_adapters_are_the_same_by_any_secret(place: Place) -> None:
    """The cosine of two sketches is that of the changes but for chance, and chance is another with each user's secret."""
    folders = {name: place.folder / name for name in recipes(place.folder)}
    configs = {name: read_peft_config((folder / CONFIG).read_bytes()) for name, folder in folders.items()}
    taken_for = []
    for secret in range(8):
        probes = Probes(bytes([secret]))
        sketches = {
            name: sketch_of_adapter(folder / WEIGHTS, configs[name], probes, NO_BASE)
            for name, folder in folders.items()
        }
        for one, other in combinations(sketches, 2):
            offered, result = sketches[one], sketches[other]
            assert offered is not None and result is not None
            found = likeness(offered, result, None)
            if found is not None and found.verdict == "the same":
                taken_for.append((secret, one, other, found.figures))
    assert taken_for == []

"""Narrow, wide and cumulative compute over unique ancestors, against figures that were added up by hand; and their data."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from peft_registry.registry.homes.home import Registry
from peft_registry.registry.identity.manifests import manifest_of_folder
from peft_registry.registry.use_cases.add_base import AddedBase, add_base
from peft_registry.registry.use_cases.first_records import MadeResult
from peft_registry.registry.use_cases.register_product import register_product
from peft_registry.schemas.base_model import BaseOrigin, DeclaredFacts
from peft_registry.schemas.dataset import DataIdentity
from peft_registry.schemas.manifest import BaseReference, Manifest, Parent, ParentRole
from peft_registry.schemas.merge import MergeIngredient, MergeRecord
from peft_registry.schemas.modification import ModificationRecord
from peft_registry.schemas.run import RunRecord
from peft_registry.schemas.values import declared, derived
from peft_registry.schemas.version import Version
from tests.builders.homes import NOW, a_home, adapter_files, base_files
from tests.builders.made import an_input
from tests.builders.merge import CARD
from tests.builders.products import product_of_result
from tests.builders.records import (
    a_data_identity,
    a_digest,
    a_merge_record,
    a_profile,
    a_run_record,
    some_compute,
)

BASE_FLOP = 6e24
# 6·P·D of the training of each, in FLOP; the other figure is a tenth of it
OWN = {"a": 1e20, "b": 2e20, "c": 4e20, "d": 8e20}


@dataclass
class Place:
    """A home with one base; what is registered in it is an adapter of a few numbers."""

    registry: Registry
    folder: Path
    base: AddedBase
    made: list[str] = field(default_factory=list)

    def trained(self, name: str, *start: Version) -> tuple[Version, ModificationRecord]:
        """As if `name` had been trained on the data of that name, from `start` where there is one."""
        data = (a_data_identity(name=f"{name}.jsonl", sha256=a_digest(name)),)
        manifest = self._manifest(name, start, role="start", data=data)
        flop = OWN[name]
        run = a_run_record(
            run_id=f"run of {name}",
            base=manifest.base,
            data=data,
            weights_digest=manifest.weights_digest,
            compute=some_compute(
                conservative_flop=derived(flop, "FLOP", method="6·P·D"),
                param_update_flop=derived(flop / 10, "FLOP", method="(4·P + 6·P_train)·D"),
                dense_inputs=None,
            ),
        )
        return self._register(name, manifest, run, start)

    def merged(self, name: str, *parts: Version) -> tuple[Version, ModificationRecord]:
        """As if the parts had been merged side by side."""
        manifest = self._manifest(name, parts, role="adapter")
        ingredients = tuple(
            MergeIngredient(
                label=part.label,
                manifest=part.manifest_digest,
                weights_digest=part.weights_digest,
                method="lora",
                weight=0.5,
                density=1.0,
            )
            for part in parts
        )
        merge = a_merge_record(
            merge_id=f"merge {name}",
            algorithm="concatenate",
            base=manifest.base,
            ingredients=ingredients,
            weights_digest=manifest.weights_digest,
        )
        return self._register(name, manifest, merge, parts)

    def _manifest(
        self, name: str, sources: tuple[Version, ...], *, role: ParentRole, data: tuple[DataIdentity, ...] = ()
    ) -> Manifest:
        self.made.append(name)
        base = self.base
        return manifest_of_folder(
            adapter_files(self.folder / name, value=len(self.made) / 64),
            kind="adapter",
            layout="peft",
            method="lora",
            base=BaseReference(identity=base.record.identity, manifest=base.version.manifest_digest),
            data=data,
            parents=(
                Parent(role="base", manifest=base.version.manifest_digest),
                *(Parent(role=role, manifest=source.manifest_digest) for source in sources),
            ),
        )

    def _register(
        self, name: str, manifest: Manifest, production: RunRecord | MergeRecord, parents: tuple[Version, ...]
    ) -> tuple[Version, ModificationRecord]:
        result = MadeResult(
            name=name,
            record_id=f"record of {name}",
            manifest=manifest,
            production=production,
            base=an_input(self.base),
            parents=parents,
            profile=a_profile(),
        )
        product = product_of_result(self.registry, self.folder / name, result, card=CARD)
        return register_product(self.registry, product).version, product.modification


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with a_home(tmp_path / "home") as registry:
        facts = DeclaredFacts(training_compute_flop=declared(BASE_FLOP, "FLOP", by="its provider", at=NOW))
        origin = BaseOrigin(format="huggingface", source="base")
        base = add_base(registry, base_files(tmp_path / "base"), name="base", origin=origin, facts=facts)
        yield Place(registry, tmp_path, base)


def figures(record: ModificationRecord) -> tuple[float, float, float]:
    """6·P·D, the method-aware figure and the cumulative one."""
    compute = record.compute
    values = (compute.conservative_flop, compute.param_update_flop, compute.cumulative_flop)
    return tuple(value.value for value in values)  # type: ignore[return-value]  # three of them


def added_up(*names: str) -> Any:
    """The figures of these trainings, by hand."""
    total = sum(OWN[name] for name in names)
    return pytest.approx((total, total / 10, BASE_FLOP + total), rel=1e-12)


def data_of(record: ModificationRecord) -> set[str]:
    names = [str(section.name.value) for section in record.data]
    assert len(names) == len(set(names))
    return set(names)


def test_a_chain_of_three_counts_each_step_once(place: Place) -> None:
    first, first_record = place.trained("a")
    second, second_record = place.trained("b", first)
    _, third_record = place.trained("c", second)
    assert figures(first_record) == added_up("a")
    assert figures(second_record) == added_up("a", "b")
    assert figures(third_record) == added_up("a", "b", "c")
    inputs = third_record.compute.inputs.value
    assert (inputs["step_flop"], inputs["step_param_update_flop"]) == pytest.approx((4e20, 4e19))
    assert sum(row["param_update_flop"] for row in inputs["went_on_from"]) == pytest.approx(3e19)
    assert data_of(third_record) == {"a.jsonl", "b.jsonl", "c.jsonl"}
    assert third_record.gpai.ratio_scope.value == "sum_same_actor"


def test_a_diamond_counts_what_both_sides_began_with_once(place: Place) -> None:
    first, _ = place.trained("a")
    left, _ = place.trained("b", first)
    right, _ = place.trained("c", first)
    _, record = place.merged("diamond", left, right)
    assert figures(record) == added_up("a", "b", "c")
    assert (record.compute.inputs.value["narrow_flop"], record.compute.inputs.value["wide_flop"]) == (0.0, 7e20)
    assert data_of(record) == {"a.jsonl", "b.jsonl", "c.jsonl"}
    assert {section.epochs.value for section in record.data} == {1.0}


def test_a_merge_of_merges_counts_the_part_of_both_once(place: Place) -> None:
    first, _ = place.trained("a")
    second, _ = place.trained("b")
    third, _ = place.trained("c")
    left, left_record = place.merged("left", first, second)
    right, _ = place.merged("right", second, third)
    _, record = place.merged("whole", left, right)
    assert figures(left_record) == added_up("a", "b")
    assert figures(record) == added_up("a", "b", "c")
    assert data_of(record) == {"a.jsonl", "b.jsonl", "c.jsonl"}


def test_the_same_parent_twice_counts_once(place: Place) -> None:
    first, _ = place.trained("a")
    _, record = place.merged("twice", first, first)
    assert figures(record) == added_up("a")
    assert data_of(record) == {"a.jsonl"}


def test_a_part_that_another_part_began_with_counts_once(place: Place) -> None:
    first, _ = place.trained("a")
    second, _ = place.trained("b", first)
    _, record = place.merged("both", first, second)
    assert figures(record) == added_up("a", "b")


def test_a_run_that_continued_from_a_merge_has_the_compute_and_data_of_all_that_went_into_it(place: Place) -> None:
    first, _ = place.trained("a")
    second, _ = place.trained("b")
    both, _ = place.merged("both", first, second)
    _, record = place.trained("d", both)
    assert figures(record) == added_up("a", "b", "d")
    assert data_of(record) == {"a.jsonl", "b.jsonl", "d.jsonl"}
    rows = {"a.jsonl": 200, "b.jsonl": 200, "d.jsonl": 200}
    assert {str(section.name.value): section.n_points.value for section in record.data} == rows
    assert record.all_data.n_points.value == 600

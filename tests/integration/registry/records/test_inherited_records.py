"""What the first record of a version takes over from others is recorded of them: at the door, in home and log, in a folder."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from peft_registry.registry.compliance.assessment import with_assessment
from peft_registry.registry.compliance.merging import with_merge
from peft_registry.registry.compliance.superseding import with_values
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.identity.manifests import manifest_of_folder
from peft_registry.registry.records.checkpoints import covered_size, publish_checkpoint
from peft_registry.registry.records.new_entries import PendingRejected
from peft_registry.registry.records.record_histories import RecordContradicted
from peft_registry.registry.records.references import version_named
from peft_registry.registry.records.signed_records import records_of
from peft_registry.registry.use_cases.check_log import check_log
from peft_registry.registry.use_cases.first_records import MadeResult, derive_record
from peft_registry.registry.use_cases.pull import pull_version
from peft_registry.registry.use_cases.register import (
    ModificationRecordWrong,
    NewArtifact,
    register_version,
)
from peft_registry.registry.use_cases.register_product import FinishedProduct, register_product
from peft_registry.registry.use_cases.sign_log import sign_log
from peft_registry.registry.use_cases.verify import verify_folder, verify_version
from peft_registry.schemas.codes import code
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.manifest import Parent
from peft_registry.schemas.merge import MergeRecord
from peft_registry.schemas.modification import ModificationRecord
from peft_registry.schemas.values import Value, declared, derived, measured
from tests.builders.backends import MadeHome
from tests.builders.homes import NOW, a_home, add_a_base, base_files
from tests.builders.made import (
    a_merge_of,
    an_input,
    artifact_of_product,
    reference_of,
    registered_base,
    with_record,
)
from tests.builders.products import FACTS, a_product, artifact_registered_unasked, registered_unasked
from tests.builders.records import a_merge_record, a_profile, a_run_record

CARD = b"---\nlibrary_name: transformers\n---\n# merged\n"


@dataclass
class Place:
    folder: Path
    registry: Registry

    def merged(self) -> FinishedProduct:
        """A merge of both adapters, ready to be registered."""
        registry = self.registry
        parents = tuple(version_named(registry, name) for name in ("a", "b"))
        base = registered_base(registry, "tiny")
        folder = base_files(self.folder / "merged", seed=1)
        manifest = manifest_of_folder(
            folder,
            kind="model",
            layout="model",
            method=None,
            base=reference_of(base),
            parents=(
                Parent(role="base", manifest=base.version.manifest_digest),
                *(Parent(role="adapter", manifest=parent.manifest_digest) for parent in parents),
            ),
        )
        merge = a_merge_of(manifest, parents)
        result = MadeResult(
            name="merged",
            record_id=merge.merge_id,
            manifest=manifest,
            production=merge,
            base=an_input(base),
            parents=parents,
            profile=a_profile(),
        )
        made = derive_record(registry, result, key_id=registry.trainer_key.public.key_id)
        return FinishedProduct(
            "merged", "merge", folder, manifest, merge, made.observations, made.record, made.as_of, CARD
        )

    def merge(self, **values: Value) -> NewArtifact:
        """The same with these values in its record (`__` for a dot)."""
        stated = {path.replace("__", "."): value for path, value in values.items()}
        return with_record(artifact_of_product(self.merged()), lambda record: with_values(record, stated))

    def train(self) -> FinishedProduct:
        """A training on the base, ready to be registered."""
        return a_product(
            self.registry, self.folder / "new", registered_base(self.registry, "tiny"), name="new", value=0.75
        )

    def intended(self) -> Value:
        """What the parents are for, as the merge takes it over."""
        intended = self.merged().modification.use.intended
        assert len(intended.evidence) == 2
        return intended


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    with a_home(folder / "home") as registry:
        base = add_a_base(registry, folder / "base", mode="copy")
        for value, name in enumerate(("a", "b")):
            product = a_product(
                registry, folder / name, base, name=name, run_id=f"run of {name}", facts=FACTS, value=value / 4
            )
            register_product(registry, product)
    return folder


@pytest.fixture
def place(made: Path, tmp_path: Path) -> Iterator[Place]:
    registry = MadeHome(made / "home").copy(tmp_path / "home").opened()
    yield Place(tmp_path, registry)
    registry.close()


def test_a_merge_that_says_what_is_recorded_of_its_parents_verifies_everywhere(place: Place) -> None:
    version = register_version(place.registry, place.merge())
    record = records_of(place.registry, version).modification
    assert record is not None
    assert record.use.intended.value == "sums of two numbers"
    assert verify_version(place.registry, version).verdict == "verified"
    assert check_log(place.registry).contradictions == ()
    pulled = place.folder / "pulled"
    pull_version(place.registry, version, pulled)
    outcome = verify_folder(pulled, trust=place.registry.trust, now=NOW)
    assert outcome.verdict == "verified"
    (statements,) = [check for check in outcome.checks if check.step == "statements"]
    # the records of its parents travel with it, so that all of it is derived again
    assert not any("not derived" in line for line in statements.detail)


@pytest.mark.parametrize("change", ["another value", "another person", "evidence of nothing"])
def test_a_merge_does_not_say_in_the_name_of_its_parents_what_they_never_said(place: Place, change: str) -> None:
    true = place.intended()
    forged = {
        "another value": true.revised(value="screening of applicants"),
        "another person": true.revised(asserted_by="the regulator"),
        "evidence of nothing": true.revised(evidence=(Digest.of(b"nothing"),)),
    }[change]
    artifact = place.merge(use__intended=forged)
    with pytest.raises(ModificationRecordWrong, match=r"use\.intended: its inputs give"):
        register_version(place.registry, artifact)
    version = artifact_registered_unasked(place.registry, artifact)
    with pytest.raises(RecordContradicted, match=r"use\.intended"):
        records_of(place.registry, version)
    assert verify_version(place.registry, version).exit_code == 6
    assert any("use.intended" in wrong.text for wrong in check_log(place.registry).contradictions)


def test_the_log_key_signs_over_no_merge_that_says_what_its_parents_never_said(place: Place) -> None:
    """Pending, as where the log key is elsewhere: whoever has the home's key asked nothing at the door."""
    artifact = place.merge(use__intended=place.intended().revised(value="screening of applicants"))
    covered = covered_size(place.registry)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tests.builders.products.sign_unasked", lambda _: None)
        artifact_registered_unasked(place.registry, artifact)
    (refused,) = sign_log(place.registry).refused
    assert (refused.kind, covered_size(place.registry)) == ("registration", covered)
    assert "use.intended: its inputs give sums of two numbers" in refused.why
    assert refused.is_wrong


def _of_no_compute(record: ModificationRecord) -> ModificationRecord:
    """As if nothing had been trained for its parts."""
    inputs = record.compute.inputs.value | {"ingredients": [], "wide_flop": 0.0}
    none = derived(0.0, "FLOP", method="wide value")
    compute = record.compute.revised(
        conservative_flop=none,
        param_update_flop=none,
        inputs=derived(inputs, method="the figures of each training run"),
    )
    return with_assessment(record.revised(compute=compute))


def _of_little_compute(record: ModificationRecord) -> ModificationRecord:
    """The figures of a part, and the sums of them, are a million times too small."""
    rows = [
        row | {"conservative_flop": 1.0, "param_update_flop": 1.0} for row in record.compute.inputs.value["ingredients"]
    ]
    return _with_rows(record, rows)


def _of_a_part_twice(record: ModificationRecord) -> ModificationRecord:
    """One part takes away what both have computed."""
    rows = record.compute.inputs.value["ingredients"]
    less = rows[0] | {"conservative_flop": 0.0, "param_update_flop": 0.0}
    return _with_rows(record, [less, *rows])


def _of_a_part_without_manifest(record: ModificationRecord) -> ModificationRecord:
    row = {"ingredient": "x", "manifest": None, "conservative_flop": -1e13, "param_update_flop": -1e13}
    return _with_rows(record, [*record.compute.inputs.value["ingredients"], row])


def _with_rows(record: ModificationRecord, rows: list[dict[str, Any]]) -> ModificationRecord:
    compute = with_merge(record, a_merge_record(), rows).compute
    return with_assessment(record.revised(compute=compute.revised(hardware=record.compute.hardware)))


def _without_the_exclusion(record: ModificationRecord) -> ModificationRecord:
    terms = record.upstream[0].revised(name=measured("another"), eu_exclusion=declared("no", by="sam", at=NOW))
    return with_assessment(record.revised(upstream=(terms,)))


def _without_personal_data(record: ModificationRecord) -> ModificationRecord:
    data = record.data[0].revised(personal_data=declared("no", by="sam", at=NOW))
    return with_assessment(record.revised(data=(data, *record.data[1:])))


def _of_one_part(record: ModificationRecord) -> ModificationRecord:
    return with_assessment(record.revised(base=record.base[:2]))


def _with_few_rows(record: ModificationRecord) -> ModificationRecord:
    data = record.data[0].revised(n_points=derived(1, "rows", method=code("selections_once", counts=[])))
    return with_assessment(record.revised(data=(data, *record.data[1:])))


@pytest.mark.parametrize(
    ("change", "where"),
    [
        (_of_no_compute, r"compute\.conservative_flop: its inputs give"),
        (_of_little_compute, r"compute\.conservative_flop: its inputs give"),
        (_of_one_part, "base: its inputs give 3 entries, and the record says 2"),
        (_of_a_part_twice, r"compute\.inputs\.ingredients: its inputs give 2 entries, and the record says 3"),
        (_of_a_part_without_manifest, r"compute\.conservative_flop: its inputs give"),
        (_without_the_exclusion, r"upstream\[0\]\.name: its inputs give"),
        (_with_few_rows, r"data\[0\]\.n_points: its inputs give 200, and the record says 1"),
    ],
)
def test_a_merge_counts_what_went_into_it(
    place: Place, change: Callable[[ModificationRecord], ModificationRecord], where: str
) -> None:
    artifact = with_record(place.merge(), change)
    with pytest.raises(ModificationRecordWrong, match=where):
        register_version(place.registry, artifact)
    with pytest.raises(PendingRejected, match=where):
        artifact_registered_unasked(place.registry, artifact, sign=publish_checkpoint)


def test_a_merge_does_not_hide_personal_data_of_its_parts(tmp_path: Path) -> None:
    with a_home(tmp_path / "home") as registry:
        base = add_a_base(registry, tmp_path / "base", mode="copy")
        facts = FACTS | {"data": {"*": {"personal_data": "yes", "labelling": "by hand"}}}
        for value, name in enumerate(("a", "b")):
            register_product(
                registry,
                a_product(registry, tmp_path / name, base, name=name, run_id=name, facts=facts, value=value / 4),
            )
        product = Place(tmp_path, registry).merged()
        assert product.modification.data[0].personal_data.value == "yes"
        artifact = with_record(artifact_of_product(product), _without_personal_data)
        where = r"data\[0\]\.personal_data: its inputs give yes, and the record says no"
        with pytest.raises(ModificationRecordWrong, match=where):
            register_version(registry, artifact)
        version = artifact_registered_unasked(registry, artifact)
        with pytest.raises(RecordContradicted, match=where):
            records_of(registry, version)
        assert verify_version(registry, version).exit_code == 6
        assert any("personal_data" in wrong.text for wrong in check_log(registry).contradictions)


def test_a_merge_that_counts_too_little_is_named_by_every_check_once_it_is_logged(place: Place) -> None:
    version = artifact_registered_unasked(place.registry, with_record(place.merge(), _of_little_compute))
    where = "compute.conservative_flop: its inputs give"
    with pytest.raises(RecordContradicted, match=where):
        records_of(place.registry, version)
    outcome = verify_version(place.registry, version)
    assert outcome.exit_code == 6
    assert any(where in line for check in outcome.checks for line in check.detail)
    assert any(where in wrong.text for wrong in check_log(place.registry).contradictions)


@pytest.mark.parametrize("made_by", ["run", "merge of others", "merge on another base"])
def test_the_statement_of_another_making_is_refused(place: Place, made_by: str) -> None:
    """With it would come its compute, its data and its parts."""
    product = place.merged()
    merge = product.production
    assert isinstance(merge, MergeRecord)
    another = {
        "run": a_run_record(base=merge.base, weights_digest=merge.weights_digest, data=()),
        "merge of others": merge.revised(ingredients=merge.ingredients[:1]),
        "merge on another base": merge.revised(base=a_run_record().base),
    }[made_by]
    with pytest.raises(ModificationRecordWrong, match="provenance: "):
        register_product(place.registry, replace(product, production=another))


def test_a_training_begins_with_no_answer_that_somebody_is_said_to_have_signed(place: Place) -> None:
    product = place.train()
    officers = Value(
        value="yes", source="declared", asserted_by="alex", asserted_at=NOW, evidence=(Digest.of(b"nothing"),)
    )
    record = with_values(product.modification, {"identity.name_or_trademark_on_result": officers})
    forged = replace(product, modification=record)
    with pytest.raises(ModificationRecordWrong, match=r"name_or_trademark_on_result: its inputs give nothing"):
        register_product(place.registry, forged)
    version = registered_unasked(place.registry, forged)
    with pytest.raises(RecordContradicted, match="name_or_trademark_on_result"):
        records_of(place.registry, version)
    assert verify_version(place.registry, version).exit_code == 6
    assert any("name_or_trademark_on_result" in wrong.text for wrong in check_log(place.registry).contradictions)


def test_a_training_is_not_registered_with_the_record_of_another(place: Place) -> None:
    product = place.train()
    for wrong in (replace(product, name="newer"), replace(product, modification=_of_a(place))):
        with pytest.raises(ModificationRecordWrong):
            register_product(place.registry, wrong)


def _of_a(place: Place) -> ModificationRecord:
    record = records_of(place.registry, version_named(place.registry, "a")).modification
    assert isinstance(record, ModificationRecord)
    return record.revised(
        identity=record.identity.revised(result_name=record.identity.result_name.revised(value="new"))
    )

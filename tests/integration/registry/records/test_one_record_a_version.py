"""Equal bytes under another name are another version: nothing that is said with it changes what the first one shows."""

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from peft_registry.registry.compliance.completeness import completeness
from peft_registry.registry.compliance.superseding import superseding, with_values
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.records.provenance import provenance_predicate
from peft_registry.registry.records.record_histories import RecordContradicted
from peft_registry.registry.records.references import version_named
from peft_registry.registry.records.signed_records import records_of
from peft_registry.registry.use_cases.add_base import AddedBase
from peft_registry.registry.use_cases.check_log import check_log
from peft_registry.registry.use_cases.pull import pull_version
from peft_registry.registry.use_cases.register import (
    ModificationRecordWrong,
    register_version,
)
from peft_registry.registry.use_cases.register_product import register_product
from peft_registry.registry.use_cases.report import make_report, render_report, report_inputs
from peft_registry.registry.use_cases.show import describe_version
from peft_registry.registry.use_cases.statements import append_statement
from peft_registry.registry.use_cases.verify import verify_folder, verify_version
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.modification import Correction, ModificationRecord
from peft_registry.schemas.values import Value, measured
from peft_registry.schemas.version import Version
from tests.builders.homes import NOW, a_home, add_a_base, reopened
from tests.builders.made import artifact_of_product, following, with_statement
from tests.builders.mirror import projection_of
from tests.builders.products import FACTS, a_product, artifact_registered_unasked, log_unasked, registered_unasked

FIRST = "2026-11-24T12:00:00Z"
LATER = "2026-11-25T12:00:00Z"
VERDICT, NOT_OURS = "high_risk.article25_case", "none"


@dataclass
class Place:
    """A home with one version of a result, and its folder; `later` is the same home a day later."""

    folder: Path
    base: AddedBase
    first: Version
    registry: Registry

    def register(self, name: str, **choices: Any) -> Version:
        """The same bytes once more, from a run of its own."""
        folder = self.folder / f"again-{name}"
        product = a_product(self.registry, folder, self.base, name=name, **({"run_id": f"run of {name}"} | choices))
        return register_product(self.registry, product).version

    def append(self, record: ModificationRecord) -> None:
        """Log a record as a program would that asks nothing; it names the newest one of the first version as its input."""
        stated = following(self.registry, self.first)
        log_unasked(
            self.registry,
            self.first.manifest_digest,
            "modification",
            stated.revised(record=record).to_json(),
            signer=self.registry.trainer_key,
            at=LATER,
        )

    @property
    def record(self) -> ModificationRecord:
        record = records_of(self.registry, self.first).modification
        assert isinstance(record, ModificationRecord)
        return record


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """The home on the first day, closed: each test has a copy of it."""
    folder = tmp_path_factory.mktemp("made")
    with a_home(folder / "home", now=FIRST) as registry:
        base = add_a_base(registry, folder / "base")
        product = a_product(registry, folder / "first", base, facts=FACTS)
        return Place(folder, base, register_product(registry, product).version, registry)


@pytest.fixture
def place(made: Place, tmp_path: Path) -> Iterator[Place]:
    registry = reopened(shutil.copytree(made.folder / "home", tmp_path / "home"), now=LATER)
    yield replace(made, folder=tmp_path, registry=registry)
    registry.close()


def seen(registry: Registry, version: Version) -> dict[str, Any]:
    """Everything that a reader is shown of a version, without the checks of the day."""
    records = records_of(registry, version)
    assert records.modification is not None
    shown = describe_version(registry, version.label).to_json()
    return {
        "record": records.modification.to_canonical(),
        "run": records.run,
        "evaluations": records.evaluations,
        "card": records.card,
        "report": render_report(registry, report_inputs(registry, version)),
        "mlflow": projection_of(registry, version).digest,
        "show": shown,
    }


@pytest.mark.parametrize(
    "facts",
    [None, {"asserted_by": "sam", "use": {"intended": "something else"}}],
    ids=["no facts", "other facts"],
)
def test_training_the_same_file_under_another_name_changes_nothing_of_the_first(
    place: Place, facts: dict[str, Any] | None
) -> None:
    before = seen(place.registry, place.first)
    filled = completeness(place.record)
    second = place.register("other", facts=facts)
    assert second.manifest_digest == place.first.manifest_digest
    assert completeness(place.record) == filled
    after = seen(place.registry, place.first)
    assert {name for name in before if before[name] != after[name]} == set()


def test_a_verdict_does_not_move_into_the_report_of_another_version(place: Place) -> None:
    forged = a_product(place.registry, place.folder / "forged", place.base, name="forged", run_id="run of forged")
    record = with_values(forged.modification, {VERDICT: measured(NOT_OURS, method="forger")})
    with pytest.raises(ModificationRecordWrong, match=rf"{VERDICT}: its inputs give nothing"):
        register_product(place.registry, replace(forged, modification=record))
    assert not place.record.high_risk.article25_case.known
    page = render_report(place.registry, report_inputs(place.registry, place.first)).decode()
    assert "forger" not in page


def test_no_record_decides_whatever_it_calls_the_source(place: Place) -> None:
    """Records that supersede the version's own as they should, signed by the home's key, with a verdict that nobody gave."""
    before = place.record
    for source in ("measured", "derived", "imported", "declared"):
        for evidence in ((), (Digest.of(b"nobody's word"),)):
            said = Value.from_json({"value": NOT_OURS, "source": source, "method": "forger", "asserted_by": "alex"})
            forged = superseding(
                before,
                name=place.first.name,
                manifest=place.first.manifest_digest,
                record_id=f"{source}, {len(evidence)}",
                now=LATER,
                reason="forged",
                values={VERDICT: said.revised(evidence=evidence)},
            )
            place.append(forged)
            assert place.record == before, forged.record_id
    checks = {check.step: check for check in verify_version(place.registry, place.first).checks}
    assert checks["statements"].error == "record-not-derived"
    told = [line for line in checks["statements"].detail if f"{VERDICT}: its inputs give nothing" in line]
    assert len(told) == 8
    assert {problem.reference for problem in check_log(place.registry).contradictions} == {"log-contradicted"}


def test_a_version_does_not_begin_with_a_verdict(place: Place) -> None:
    """Registered past the door by whoever holds the home's key; the version of the same bytes that stands shows what it did."""
    before = seen(place.registry, place.first)
    forged = a_product(place.registry, place.folder / "forged", place.base, name="forged", run_id="run of forged")
    record = with_values(forged.modification, {VERDICT: measured(NOT_OURS, method="forger")})
    version = registered_unasked(place.registry, replace(forged, modification=record))
    with pytest.raises(RecordContradicted, match=rf"{VERDICT}: its inputs give nothing"):
        records_of(place.registry, version)
    assert verify_version(place.registry, version).exit_code == 6
    after = seen(place.registry, place.first)
    assert {name for name in before if before[name] != after[name]} == set()


def test_a_version_does_not_begin_with_the_record_of_another(place: Place) -> None:
    """A first record that supersedes the record of another version would carry on what people answered about that one."""
    forged = a_product(place.registry, place.folder / "forged", place.base, name="forged", run_id="run of forged")
    record = forged.modification.revised(
        supersedes=place.record.record_id, correction=Correction(supersedes_digest=place.record.canonical_digest())
    )
    version = registered_unasked(place.registry, replace(forged, modification=record))
    with pytest.raises(RecordContradicted, match="supersedes none"):
        records_of(place.registry, version)
    assert verify_version(place.registry, version).exit_code == 6


def test_a_version_does_not_begin_with_what_follows_from_the_record_of_another(place: Place) -> None:
    """The same by somebody who names that record as an input, so that all of it follows."""
    forged = a_product(place.registry, place.folder / "forged", place.base, name="forged", run_id="run of forged")
    stated = following(place.registry, place.first)
    version = artifact_registered_unasked(
        place.registry,
        with_statement(artifact_of_product(forged), stated.to_json()),
    )
    with pytest.raises(RecordContradicted, match="supersedes none"):
        records_of(place.registry, version)
    outcome = verify_version(place.registry, version)
    assert outcome.exit_code == 6
    assert any("begins with a record that supersedes none" in line for check in outcome.checks for line in check.detail)


def test_a_later_registration_takes_no_record_away_by_naming_it(place: Place) -> None:
    """Whoever holds the home's key may name in a registration whatever is logged: the first version keeps what it has."""
    place.register("sums", facts={"asserted_by": "sam", "limitations": {"known": ["adds only whole numbers"]}})
    corrected = place.record
    assert corrected.supersedes is not None
    before = seen(place.registry, place.first)
    forged = a_product(place.registry, place.folder / "forged", place.base, name="forged", run_id="run of forged")
    newest = records_of(place.registry, place.first).history[-1].statement.statement
    artifact = with_statement(artifact_of_product(forged), newest.predicate)
    with pytest.raises(ModificationRecordWrong):
        register_version(place.registry, artifact)
    artifact_registered_unasked(place.registry, artifact)
    assert place.record == corrected
    after = seen(place.registry, place.first)
    assert {name for name in before if before[name] != after[name]} == set()


def test_a_training_is_not_registered_with_the_record_of_another_name_or_artifact(place: Place) -> None:
    training = a_product(place.registry, place.folder / "new", place.base, name="new", run_id="run of new", value=0.75)
    identity = training.modification.identity
    another = training.modification.revised(
        identity=identity.revised(result_manifest=place.record.identity.result_manifest)
    )
    for wrong in (replace(training, name="newer"), replace(training, modification=another)):
        with pytest.raises(ModificationRecordWrong):
            register_product(place.registry, wrong)
    assert register_product(place.registry, training).version.label == "new:1"


def test_the_second_version_shows_its_own_record_run_and_card(place: Place) -> None:
    second = place.register("other", facts={"asserted_by": "sam", "use": {"intended": "something else"}})
    records = records_of(place.registry, second)
    assert records.modification is not None
    assert records.modification.use.intended.value == "something else"
    assert records.modification.identity.result_name.value == "other"
    assert records.run is not None
    assert records.run.run_id == "run of other"
    assert records.card is not None
    assert b"something else" in records.card
    shown = describe_version(place.registry, "other:1").to_json()
    assert shown["predicates"]["modification"]["record"]["record_id"] == "run of other"


def test_each_version_is_pulled_with_the_card_that_was_signed_with_it(place: Place) -> None:
    second = place.register("other", facts={"asserted_by": "sam", "use": {"intended": "something else"}})
    for version in (place.first, second):
        folder = place.folder / f"pulled-{version.name}"
        outcome = pull_version(place.registry, version, folder)
        assert outcome.verdict == "verified"
        assert (folder / "README.md").read_bytes() == records_of(place.registry, version).card
        assert verify_version(place.registry, version).verdict == "verified"
    of_sums, of_other = (place.folder / f"pulled-{name}" / "README.md" for name in ("sums", "other"))
    assert of_sums.read_bytes() != of_other.read_bytes()
    of_sums.write_bytes(of_other.read_bytes())
    assert verify_folder(of_sums.parent, trust=place.registry.trust, now=NOW).exit_code == 6


# --- a later record that names nothing, or the wrong thing, decides nothing ---


def unlinked(place: Place) -> ModificationRecord:
    return with_values(place.record, {VERDICT: measured(NOT_OURS, method="forger")}).revised(record_id="x")


def naming_another_versions_record(place: Place) -> ModificationRecord:
    place.register("other")
    return unlinked(place).revised(supersedes="run of other")


def naming_itself(place: Place) -> ModificationRecord:
    return unlinked(place).revised(supersedes="x")


def naming_the_record_by_its_id_alone(place: Place) -> ModificationRecord:
    return unlinked(place).revised(supersedes=place.record.record_id)


@pytest.mark.parametrize(
    "attack",
    [unlinked, naming_another_versions_record, naming_itself, naming_the_record_by_its_id_alone],
    ids=lambda attack: attack.__name__,
)
def test_a_later_record_without_a_link_to_the_versions_own_decides_nothing(place: Place, attack: Any) -> None:
    forged = attack(place)
    before = seen(place.registry, place.first)
    place.append(forged)
    after = seen(place.registry, place.first)
    for name in ("record", "run", "evaluations", "card"):
        assert after[name] == before[name], name
    assert b"forger" not in after["report"]
    assert after["show"]["predicates"] == before["show"]["predicates"]


def test_a_later_provenance_statement_does_not_replace_the_run_of_a_version(place: Place) -> None:
    before = seen(place.registry, place.first)
    other = a_product(place.registry, place.folder / "other-run", place.base, name="sums", run_id="run of a forger")
    append_statement(
        place.registry,
        subject=place.first.manifest_digest,
        kind="provenance",
        predicate=provenance_predicate(other.production),
        signer=place.registry.trainer_key,
    )
    after = seen(place.registry, place.first)
    for name in ("run", "record", "card"):
        assert after[name] == before[name], name
    assert b"run of a forger" not in after["report"]
    assert after["show"]["predicates"]["provenance"] == before["show"]["predicates"]["provenance"]


def test_two_records_that_name_each_other_decide_nothing(place: Place) -> None:
    before = place.record
    one = unlinked(place).revised(record_id="a", supersedes="b")
    place.append(one)
    place.append(unlinked(place).revised(record_id="b", supersedes="a"))
    assert place.record == before


def test_a_registered_name_is_found_by_its_number_and_shows_the_same(place: Place) -> None:
    place.register("other")
    assert version_named(place.registry, "sums") == place.first


def test_the_report_counts_the_statements_of_its_version_alone(place: Place) -> None:
    alone = make_report(place.registry, place.first).decode()
    counted = re.search(r"<td>([0-9]+) bound to this manifest", alone)
    assert counted is not None
    place.register("other")
    beside = make_report(place.registry, place.first).decode()
    assert f"<td>{counted[1]} about {place.first.label}; with those of other versions of equal bytes " in beside
    assert beside.count('<th scope="row">registration</th>') == 1

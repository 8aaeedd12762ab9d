"""First records by which whoever holds the home's key says otherwise than the manifest and what is signed beside them."""

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from peft_registry.registry.compliance.assessment import with_assessment
from peft_registry.registry.compliance.recorded_run import compute_section
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.records.checkpoints import publish_checkpoint
from peft_registry.registry.records.entries import record_statement
from peft_registry.registry.records.new_entries import PendingRejected
from peft_registry.registry.records.record_histories import RecordContradicted
from peft_registry.registry.records.signed_records import records_of
from peft_registry.registry.use_cases import register_product
from peft_registry.registry.use_cases.add_base import AddedBase
from peft_registry.registry.use_cases.check_log import check_log
from peft_registry.registry.use_cases.register import (
    ModificationRecordWrong,
    NewArtifact,
    register_version,
)
from peft_registry.registry.use_cases.register_product import FinishedProduct
from peft_registry.registry.use_cases.statements import sign_statement
from peft_registry.registry.use_cases.verify import verify_folder, verify_version
from peft_registry.registry.verification.presented import present_version, write_presented
from peft_registry.schemas.base_model import DeclaredFacts
from peft_registry.schemas.codes import code
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.modification import Evaluation, ModificationRecord, ModificationRecordV1, RecordSections
from peft_registry.schemas.statement import MODIFICATION_V1, MODIFICATION_V2, PREDICATE_TYPES
from peft_registry.schemas.values import Value, declared, derived, measured, unknown
from tests.builders.homes import NOW, a_home, add_a_base
from tests.builders.lineage import merged_artifact, register_made_from
from tests.builders.made import artifact_of_product, with_record
from tests.builders.products import FACTS, a_product, artifact_registered_unasked, log_unasked, registered_unasked
from tests.builders.records import a_run_record, some_compute

Change = Callable[[ModificationRecord], ModificationRecord]


def of_another_base(record: ModificationRecord) -> ModificationRecord:
    base = record.base[0].revised(
        name=measured("other"),
        tensor_digest=measured(str(Digest.of(b"x"))),
        licence_flags=declared([], by="x", at=NOW),
    )
    return record.revised(base=(base,))


def of_one_flop(record: ModificationRecord) -> ModificationRecord:
    return record.revised(compute=record.compute.revised(conservative_flop=measured(1.0, "FLOP", method="6PD")))


def with_better_bias(record: ModificationRecord) -> ModificationRecord:
    bias = record.evaluation.bias
    better = [row | {"introduced": 0, "conclusion": "improved"} for row in bias.value]
    return record.revised(evaluation=record.evaluation.revised(bias=bias.revised(value=better)))


def by_an_auditor(record: ModificationRecord) -> ModificationRecord:
    signed_by = measured([{"key": "0" * 64, "person": "an independent auditor"}], method="signs")
    return record.revised(evaluation=record.evaluation.revised(signed_by=signed_by))


def by_hand(record: ModificationRecord) -> ModificationRecord:
    return record.revised(gpai=record.gpai.revised(verdict=derived("not_gpai", method="row G6")))


def of_earlier_runs(record: ModificationRecord) -> ModificationRecord:
    """One FLOP altogether, with the figure of the run itself among the inputs."""
    compute = record.compute
    steps = {"step_flop": compute.conservative_flop.value, "step_param_update_flop": compute.param_update_flop.value}
    inputs = compute.inputs.revised(value=compute.inputs.value | steps | {"went_on_from": []})
    one = derived(1.0, "FLOP", method=code("sum_of_run_and_earlier", figure="conservative_flop"))
    return with_assessment(
        record.revised(compute=compute.revised(conservative_flop=one, param_update_flop=one, inputs=inputs))
    )


def of_an_older_run(record: ModificationRecord) -> ModificationRecord:
    """Less by a run that counts against it."""
    compute = record.compute
    steps = {"step_flop": compute.conservative_flop.value, "step_param_update_flop": compute.param_update_flop.value}
    row = {"ingredient": "earlier:1", "manifest": str(Digest.of(b"x")), "conservative_flop": -1e12}
    row["param_update_flop"] = -1e12
    inputs = compute.inputs.revised(value=compute.inputs.value | steps | {"went_on_from": [row]})
    return with_assessment(record.revised(compute=compute_section(a_run_record(), [row]).revised(inputs=inputs)))


def of_a_run_without_manifest(record: ModificationRecord) -> ModificationRecord:
    """Counted with a run that no manifest names, whose rows would be free."""
    row = {"ingredient": "x", "manifest": "nothing", "conservative_flop": 1.0, "param_update_flop": 1.0}
    return with_assessment(record.revised(compute=compute_section(a_run_record(), [row])))


def of_no_terms(record: ModificationRecord) -> ModificationRecord:
    return with_assessment(record.revised(upstream=()))


def of_other_terms(record: ModificationRecord) -> ModificationRecord:
    terms = record.upstream[0].revised(name=measured("other"), eu_exclusion=declared("no", by="x", at=NOW))
    return with_assessment(record.revised(upstream=(terms,)))


def of_a_part(record: ModificationRecord) -> ModificationRecord:
    """As if it had been merged from something, whose terms nobody looks at."""
    part = record.base[0].revised(role=derived("ingredient", method=code("part_in_merge")))
    return with_assessment(record.revised(base=(*record.base, part)))


def on_its_base_twice(record: ModificationRecord) -> ModificationRecord:
    return with_assessment(record.revised(base=(*record.base, *record.base)))


def by_another_tool(record: ModificationRecord) -> ModificationRecord:
    return record.revised(identity=record.identity.revised(tool_version=measured("99")))


def by_the_manager(record: ModificationRecord) -> ModificationRecord:
    return record.revised(identity=record.identity.revised(acting_person=measured("the manager")))


def with_a_licence_of_its_own(record: ModificationRecord) -> ModificationRecord:
    base = record.base[0].revised(licence_id=measured("MIT", method="looked at"))
    return with_assessment(record.revised(base=(base,)))


def with_one_row(record: ModificationRecord) -> ModificationRecord:
    data = record.data[0].revised(n_points=measured(1, "rows", method=code("count_of_rows_used")))
    return with_assessment(record.revised(data=(data, *record.data[1:])))


def without_personal_data(record: ModificationRecord) -> ModificationRecord:
    data = record.data[0].revised(personal_data=measured("no", method="looked at"))
    return with_assessment(record.revised(data=(data, *record.data[1:])))


def of_rank(record: ModificationRecord) -> ModificationRecord:
    return record.revised(peft=record.peft.revised(rank=measured(1, method=code("resolved_training_file"))))


def with_another_seed(record: ModificationRecord) -> ModificationRecord:
    return record.revised(method=record.method.revised(seed=declared(8, by="whoever trained", at=NOW)))


def without_energy(record: ModificationRecord) -> ModificationRecord:
    energy = record.energy.revised(training_kwh=measured(0.0, "kWh", method="a sensor"))
    return with_assessment(record.revised(energy=energy))


def on_other_hardware(record: ModificationRecord) -> ModificationRecord:
    return record.revised(compute=record.compute.revised(hardware=measured("an abacus")))


def made_in_1999(record: ModificationRecord) -> ModificationRecord:
    return with_assessment(record.revised(record_created_at="1999-01-01T00:00:00Z"))


def made_tomorrow(record: ModificationRecord) -> ModificationRecord:
    return with_assessment(record.revised(record_created_at="2099-01-01T00:00:00Z"))


def of_a_merge(record: ModificationRecord) -> ModificationRecord:
    return record.revised(identity=record.identity.revised(kind=measured("merge", method="the run")))


def of_another_artifact(record: ModificationRecord) -> ModificationRecord:
    digests = measured({"manifest": str(Digest.of(b"x")), "weights": str(Digest.of(b"x"))}, method="SHA-256")
    return record.revised(security=record.security.revised(digests=digests))


def signed_by_another_key(record: ModificationRecord) -> ModificationRecord:
    signature = record.security.signature.revised(value=record.security.signature.value | {"key": "0" * 64})
    return record.revised(security=record.security.revised(signature=signature))


DATA = tuple(data.sha256 for data in a_run_record().data)
"""What goes into a product."""

FORGED: dict[str, tuple[Change, str]] = {
    "no data": (lambda record: record.revised(data=()), "data: its inputs give 1 entry"),
    "other data": (
        lambda record: record.revised(data=(record.data[0].revised(digest=measured(str(Digest.of(b"x")))),)),
        r"data\[0\].digest",
    ),
    "another base": (of_another_base, r"base\[0\].tensor_digest"),
    "one FLOP": (of_one_flop, "compute.conservative_flop"),
    "better bias rows": (with_better_bias, "evaluation.bias"),
    "no evaluation": (lambda record: record.revised(evaluation=Evaluation()), "evaluation.bias"),
    "a verdict by hand": (by_hand, "gpai.verdict"),
    "signed by somebody else": (by_an_auditor, "evaluation.signed_by"),
    "no files": (
        lambda record: record.revised(change=record.change.revised(artifact_digests=measured([]))),
        "change.artifact_digests",
    ),
    "a set of rules, as before editions": (lambda record: record.revised(rule_set="9999"), "rule_set"),
    "one FLOP as a sum of earlier runs": (of_earlier_runs, "compute.conservative_flop"),
    "a run that takes compute away": (of_an_older_run, "compute.conservative_flop"),
    "a run that no manifest names": (of_a_run_without_manifest, "compute.inputs"),
    "no terms of its base": (of_no_terms, "upstream: "),
    "terms of another base": (of_other_terms, r"upstream\[0\].name"),
    "a part of a merge": (of_a_part, "base: its inputs give 1 entry, and the record says 2"),
    "its base twice": (on_its_base_twice, "base: its inputs give 1 entry, and the record says 2"),
    "another tool": (by_another_tool, "identity.tool_version"),
    "the manager": (by_the_manager, "identity.acting_person"),
    "a licence that was looked at": (with_a_licence_of_its_own, r"base\[0\].licence_id"),
    "one row": (with_one_row, r"data\[0\].n_points"),
    "rank 1": (of_rank, "peft.rank"),
    "another seed": (with_another_seed, "method.seed"),
    "no energy, as measured": (without_energy, "energy.training_kwh"),
    "an abacus": (on_other_hardware, "compute.hardware"),
    "made in 1999": (made_in_1999, "observations: they are of another record"),
    "made tomorrow": (made_tomorrow, "observations: they are of another record"),
    "a merge": (of_a_merge, "identity.kind"),
    "digests of another artifact": (of_another_artifact, "security.digests"),
    "signature of another key": (signed_by_another_key, "security.signature"),
    "no personal data, as measured": (without_personal_data, r"data\[0\].personal_data"),
}
LATER = "2026-11-24T12:00:30Z"
AT_EVERY_DOOR = (
    "one FLOP as a sum of earlier runs",
    "a run that takes compute away",
    "one row",
    "a run that no manifest names",
    "no terms of its base",
    "another seed",
    "no energy, as measured",
    "made tomorrow",
    "signature of another key",
    "no data",
    "another base",
    "one FLOP",
    "better bias rows",
    "a verdict by hand",
    "signed by somebody else",
)


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with a_home(tmp_path_factory.mktemp("made") / "home") as registry:
        yield registry


@pytest.fixture(scope="module")
def product(registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> FinishedProduct:
    folder = tmp_path_factory.mktemp("files")
    return a_product(registry, folder / "first", add_a_base(registry, folder / "base"), facts=FACTS)


@pytest.mark.parametrize("attack", FORGED)
def test_a_record_of_something_else_does_not_enter(registry: Registry, product: FinishedProduct, attack: str) -> None:
    change, where = FORGED[attack]
    with pytest.raises(ModificationRecordWrong) as refused:
        register_product.register_product(registry, replace(product, modification=change(product.modification)))
    assert refused.value.exit_code == 2
    assert re.search(where, refused.value.reason)


def test_a_record_of_something_else_is_named_by_every_check_once_it_is_logged(tmp_path: Path) -> None:
    with a_home(tmp_path / "home") as registry:
        base = add_a_base(registry, tmp_path / "base")
        for number, attack in enumerate(AT_EVERY_DOOR):
            change, where = FORGED[attack]
            made = a_product(
                registry, tmp_path / str(number), base, name=f"sums-{number}", run_id=attack, facts=FACTS, value=number
            )
            version = registered_unasked(registry, replace(made, modification=change(made.modification)))
            folder = tmp_path / f"presented-{number}"
            folder.mkdir()
            write_presented(present_version(registry, version, tmp_path), folder)
            for outcome in (
                verify_version(registry, version),
                verify_folder(folder, trust=registry.trust, now=NOW),
            ):
                assert outcome.exit_code == 6
                assert any(re.search(where, line) for check in outcome.checks for line in check.detail), attack
            with pytest.raises(RecordContradicted, match=where):
                records_of(registry, version)
        logged = "\n".join(wrong.text for wrong in check_log(registry).contradictions)
        assert all(re.search(FORGED[attack][1], logged) for attack in AT_EVERY_DOOR)


def test_a_second_name_for_equal_bytes_is_held_against_the_evaluation_that_an_earlier_name_brought(
    tmp_path: Path,
) -> None:
    """The evaluation is the same statement, and enters the log once."""
    with a_home(tmp_path / "home") as registry:
        base = add_a_base(registry, tmp_path / "base")

        def named(name: str) -> FinishedProduct:
            return a_product(registry, tmp_path / name, base, name=name, run_id=f"run of {name}", facts=FACTS)

        first = register_product.register_product(registry, named("first"))
        second = register_product.register_product(registry, named("second"))
        assert first.version.manifest_digest == second.version.manifest_digest
        better = replace(named("better"), modification=with_better_bias(named("better").modification))
        with pytest.raises(ModificationRecordWrong, match=r"evaluation\.bias"):
            register_product.register_product(registry, better)
        forged = registered_unasked(registry, better)
        outcome = verify_version(registry, forged)
        assert outcome.exit_code == 6
        assert any("evaluation.bias" in line for check in outcome.checks for line in check.detail)
        register_product.register_product(registry, named("third"))  # what somebody else forged holds up nobody


def test_a_record_of_something_else_is_not_signed_over(tmp_path: Path) -> None:
    with a_home(tmp_path / "home") as registry:
        made = a_product(registry, tmp_path / "made", add_a_base(registry, tmp_path / "base"), facts=FACTS)
        with pytest.raises(PendingRejected, match=r"evaluation\.bias"):
            registered_unasked(
                registry, replace(made, modification=with_better_bias(made.modification)), sign=publish_checkpoint
            )


def test_a_merge_does_not_leave_out_data_that_went_into_its_parts(tmp_path: Path) -> None:
    with a_home(tmp_path / "home") as registry:
        base = add_a_base(registry, tmp_path / "base")
        part = register_product.register_product(
            registry, a_product(registry, tmp_path / "part", base, facts=FACTS)
        ).version
        continued = register_made_from(registry, tmp_path / "continued", base, [part], name="continued", value=1.0)
        merged = merged_artifact(registry, tmp_path / "merge", base, [continued], name="merged", value=2.0)
        forged = with_record(merged, lambda record: with_assessment(record.revised(data=())))
        with pytest.raises(ModificationRecordWrong, match="data: its inputs give 2 entries"):
            register_version(registry, forged)
        register_version(registry, merged)


@pytest.mark.parametrize(
    ("form", "record"),
    [
        (MODIFICATION_V1, ModificationRecordV1(record_id="r1", record_created_at=NOW)),
        (MODIFICATION_V2, ModificationRecord(schema_version="2", record_id="r1", record_created_at=NOW)),
    ],
    ids=["first", "second"],
)
def test_a_record_in_an_earlier_form_of_which_less_is_asked_is_not_signed_over(
    tmp_path: Path, form: str, record: RecordSections
) -> None:
    with a_home(tmp_path / "home") as registry:
        subject = add_a_base(registry, tmp_path / "base").version.manifest_digest
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(PREDICATE_TYPES, "modification", form)
            signed = sign_statement(subject, "modification", record.to_json(), registry.trainer_key)
            with registry.database.write() as tx:
                record_statement(tx, subject, signed, at=NOW)
        with pytest.raises(PendingRejected, match="earlier form"):
            publish_checkpoint(registry)


@pytest.mark.parametrize(
    ("left_out", "where"),
    [
        ("provenance", "provenance: nothing that is signed with it says how it was made"),
        ("bias-evaluation", "inputs: bias-evaluation .* is not one of them"),
        ("observations", "inputs: the observations .* that it names were not logged with it"),
    ],
)
def test_a_record_states_nothing_that_no_statement_beside_it_gives(
    registry: Registry, product: FinishedProduct, left_out: str, where: str
) -> None:
    artifact = _without(artifact_of_product(product), left_out)
    with pytest.raises(ModificationRecordWrong, match=where):
        register_version(registry, artifact)


def _without(artifact: NewArtifact, kind: str) -> NewArtifact:
    return replace(artifact, statements=tuple(said for said in artifact.statements if said.kind != kind))


def test_of_two_records_that_a_registration_names_none_stands(tmp_path: Path) -> None:
    """Else the one that is checked would not be the one that is read."""
    with a_home(tmp_path / "home") as registry:
        base = add_a_base(registry, tmp_path / "base")

        honest = artifact_of_product(a_product(registry, tmp_path / "made", base, facts=FACTS))
        forged = with_record(honest, of_one_flop)
        both = (*(said for said in forged.statements if said.kind == "modification"), *honest.statements)
        with pytest.raises(PendingRejected, match="2 modification records"):
            artifact_registered_unasked(registry, replace(honest, statements=both), sign=publish_checkpoint)


def test_a_result_without_a_record_is_not_signed_over(tmp_path: Path) -> None:
    with a_home(tmp_path / "home") as registry:
        made = a_product(registry, tmp_path / "made", add_a_base(registry, tmp_path / "base"), facts=FACTS)
        with pytest.raises(PendingRejected, match="brings no modification record"):
            artifact_registered_unasked(
                registry, _without(artifact_of_product(made), "modification"), sign=publish_checkpoint
            )


def test_a_result_without_a_record_is_named_by_every_check(tmp_path: Path) -> None:
    with a_home(tmp_path / "home") as registry:
        made = a_product(registry, tmp_path / "made", add_a_base(registry, tmp_path / "base"), facts=FACTS)
        version = artifact_registered_unasked(registry, _without(artifact_of_product(made), "modification"))
        outcome = verify_version(registry, version)
        assert outcome.exit_code == 6
        assert any("brings no modification record" in line for check in outcome.checks for line in check.detail)
        assert any("brings no modification record" in wrong.text for wrong in check_log(registry).contradictions)


@pytest.mark.parametrize(
    ("form", "record", "why"),
    [
        (MODIFICATION_V1, ModificationRecordV1(record_id="r1", record_created_at=NOW), "first form"),
        (
            MODIFICATION_V2,
            ModificationRecord(schema_version="2", record_id="r1", record_created_at=NOW),
            "from before editions",
        ),
    ],
    ids=["first", "second"],
)
def test_a_record_in_an_earlier_form_behind_the_announcement_is_named_by_the_check_of_the_log(
    tmp_path: Path, form: str, record: RecordSections, why: str
) -> None:
    with a_home(tmp_path / "home") as registry:
        subject = add_a_base(registry, tmp_path / "base").version.manifest_digest
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(PREDICATE_TYPES, "modification", form)
            log_unasked(registry, subject, "modification", record.to_json(), signer=registry.trainer_key, at=NOW)
        assert any(why in wrong.text for wrong in check_log(registry).contradictions)


FORGED_FACTS: dict[str, Value] = {
    "licence_flags": declared([], by="the provider", at=NOW),
    "training_compute_flop": declared(1e24, "FLOP", by="the provider", at=NOW),
    "provider": declared("Meta", by="the provider", at=NOW),
    "params_total": measured(1, "parameters", method="counted", evidence=(Digest.of(b"x"),)),
    "name": measured("another", method=code("name_in_registry")),
}


def _stated(value: object, unit: str | None = None) -> Value:
    return declared(value, unit, by="legal", at=NOW)


@pytest.fixture(scope="module")
def on_stated_base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Registry, AddedBase, FinishedProduct]]:
    """A training on a base of which people have declared facts."""
    facts = DeclaredFacts(
        provider=_stated("Example Labs"),
        licence_flags=_stated(["non_commercial", "eu_exclusion"]),
        training_compute_flop=_stated(1e6, "FLOP"),
    )
    folder = tmp_path_factory.mktemp("stated")
    with a_home(folder / "home") as registry:
        base = add_a_base(registry, folder / "base", facts=facts)
        made = a_product(registry, folder / "made", base, facts=FACTS)
        register_product.register_product(registry, made)
        yield registry, base, made


@pytest.mark.parametrize("field", FORGED_FACTS)
def test_a_record_says_of_its_base_what_is_recorded_of_it(
    on_stated_base: tuple[Registry, AddedBase, FinishedProduct], field: str
) -> None:
    registry, _, made = on_stated_base
    base = made.modification.base[0].revised(**{field: FORGED_FACTS[field]})
    forged = with_assessment(made.modification.revised(base=(base,)))
    with pytest.raises(ModificationRecordWrong, match=rf"base\[0\]\.{field}"):
        register_product.register_product(registry, replace(made, modification=forged))


def test_what_a_record_says_otherwise_of_its_base_is_named_by_every_check_once_it_is_logged(
    on_stated_base: tuple[Registry, AddedBase, FinishedProduct], tmp_path: Path
) -> None:
    registry, base, _ = on_stated_base
    for number, field in enumerate(FORGED_FACTS, start=1):
        made = a_product(
            registry, tmp_path / field, base, name=f"on-{number}", run_id=f"forged {field}", facts=FACTS, value=number
        )
        of_base = made.modification.base[0].revised(**{field: FORGED_FACTS[field]})
        forged = replace(made, modification=with_assessment(made.modification.revised(base=(of_base,))))
        where = rf"base\[0\]\.{field}"
        version = registered_unasked(registry, forged)
        outcome = verify_version(registry, version)
        assert outcome.exit_code == 6
        assert any(re.search(where, line) for check in outcome.checks for line in check.detail)
        with pytest.raises(RecordContradicted, match=where):
            records_of(registry, version)
        assert any(re.search(where, wrong.text) for wrong in check_log(registry).contradictions)


def test_what_was_declared_of_a_base_before_the_training_is_in_its_record(tmp_path: Path) -> None:
    """And not only what was declared when the base was added."""
    with a_home(tmp_path / "home") as registry:
        add_a_base(registry, tmp_path / "base")
        facts = DeclaredFacts(licence_flags=_stated(["non_commercial"]), eu_exclusion=_stated("yes"))
        base = add_a_base(registry, tmp_path / "base", facts=facts)
        made = a_product(registry, tmp_path / "made", base, facts=FACTS)
        assert made.production.started_at < registry.clock()
        run = made.production.revised(started_at=LATER, finished_at=LATER)
        record = made.modification.revised(
            base=(made.modification.base[0].revised(licence_flags=unknown("nobody has looked")),),
            upstream=(made.modification.upstream[0].revised(eu_exclusion=unknown("nobody has looked")),),
        )
        forged = replace(made, production=run, modification=with_assessment(record))
        with pytest.raises(ModificationRecordWrong) as refused:
            register_product.register_product(registry, forged)
        assert "base[0].licence_flags: its inputs give ['eu_exclusion', 'non_commercial']" in refused.value.reason
        assert "upstream[0].eu_exclusion: its inputs give yes" in refused.value.reason


def test_a_time_that_is_not_a_number_gives_no_days_and_breaks_no_check(tmp_path: Path) -> None:
    with a_home(tmp_path / "home") as registry:
        compute = some_compute(wall_seconds=measured("x", "s"), hardware_hours=measured([1], "h"))
        made = a_product(registry, tmp_path / "made", add_a_base(registry, tmp_path / "base"), compute=compute)
        assert not made.modification.compute.wall_clock_days.known
        register_product.register_product(registry, made)
        assert check_log(registry).contradictions == ()


def test_what_a_record_says_otherwise_of_its_base_is_not_signed_over(tmp_path: Path) -> None:
    with a_home(tmp_path / "home") as registry:
        facts = DeclaredFacts(licence_flags=_stated(["non_commercial"]))
        made = a_product(registry, tmp_path / "made", add_a_base(registry, tmp_path / "base", facts=facts), facts=FACTS)
        of_base = made.modification.base[0].revised(licence_flags=unknown("nobody has looked"))
        forged = replace(made, modification=with_assessment(made.modification.revised(base=(of_base,))))
        with pytest.raises(PendingRejected, match=r"base\[0\]\.licence_flags: its inputs give \['non_commercial'\]"):
            registered_unasked(registry, forged, sign=publish_checkpoint)

"""Records across releases: what one edition derived every later release reads, and an earlier one never calls forged."""

from contextlib import closing
from pathlib import Path

import pytest

from peft_registry.registry.compliance.editions import editions
from peft_registry.registry.database import catalog
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.records import new_entries
from peft_registry.registry.records.ancestry import ancestry_of
from peft_registry.registry.records.checkpoints import entry_proof
from peft_registry.registry.records.entries import record_statement
from peft_registry.registry.records.record_histories import EditionUnknown
from peft_registry.registry.records.signed_records import (
    RecordNotDerived,
    are_figures_announced,
    record_to_supersede,
    records_of,
)
from peft_registry.registry.use_cases.announce_edition import EditionNotAnnounced, announce_edition, edition_predicate
from peft_registry.registry.use_cases.check_log import check_log
from peft_registry.registry.use_cases.gate_facts import gate_facts
from peft_registry.registry.use_cases.pull import PullUnverified, pull_version
from peft_registry.registry.use_cases.register_product import register_product
from peft_registry.registry.use_cases.report import make_report
from peft_registry.registry.use_cases.show_record import describe_record
from peft_registry.registry.use_cases.sign_log import sign_log
from peft_registry.registry.use_cases.statements import sign_statement
from peft_registry.registry.use_cases.supersede import supersede, supersede_with_evaluations
from peft_registry.registry.use_cases.verify import verify_folder, verify_version
from peft_registry.registry.verification.presented import present_version, write_presented
from peft_registry.schemas.edition import edition_subject
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.statement import INPUTS_FILE, edition_proof_file
from peft_registry.schemas.version import Version
from tests.builders.homes import NOW, a_home, add_a_base, reopened
from tests.builders.made import artifact_of_product, record_in, registered_base, with_statement
from tests.builders.products import FACTS, a_product, artifact_registered_unasked, registered_unasked
from tests.builders.releases import FROZEN, NEXT, a_release, a_release_with_other_rules

LATER = {"asserted_by": "alex", "product": {"user_interface": "a window"}}


def notes(outcome: object) -> str:
    return "\n".join(line for check in outcome.checks for line in check.detail)  # type: ignore[attr-defined]


def a_version(registry: Registry, folder: Path, *, name: str = "sums", value: float = 0.5) -> Version:
    base = add_a_base(registry, folder / "base")
    product = a_product(registry, folder / name, base, name=name, run_id=f"run of {name}", facts=FACTS, value=value)
    return register_product(registry, product).version


def presented(registry: Registry, version: Version, folder: Path) -> Path:
    folder.mkdir()
    write_presented(present_version(registry, version, folder.parent), folder)
    return folder


def test_a_later_release_reads_all_of_an_earlier_edition(tmp_path: Path) -> None:
    with a_release(FROZEN), a_home(tmp_path / "home") as registry:
        version = a_version(registry, tmp_path)
        folder = presented(registry, version, tmp_path / "copy")
        with a_release(FROZEN, NEXT):
            assert verify_version(registry, version).exit_code == 0
            assert verify_folder(folder, trust=registry.trust, now=NOW).exit_code == 0
            assert pull_version(registry, version, tmp_path / "pulled").verdict == "verified"
            assert describe_record(registry, "sums").note == ""
            assert check_log(registry).contradictions == ()


def test_rules_that_were_changed_since_alter_no_record_of_before(tmp_path: Path) -> None:
    """The next edition keeps documentation for longer: what is recorded of before follows from the rules of before."""
    with a_release(FROZEN), a_home(tmp_path / "home") as registry:
        version = a_version(registry, tmp_path)
        earlier = editions().newest
        folder = presented(registry, version, tmp_path / "copy")
    with (
        a_release_with_other_rules(tmp_path / "later", earlier, NEXT),
        closing(reopened(tmp_path / "home")) as registry,
    ):
        assert verify_version(registry, version).exit_code == 0
        assert verify_folder(folder, trust=registry.trust, now=NOW).exit_code == 0
        assert pull_version(registry, version, tmp_path / "pulled").verdict == "verified"
        assert check_log(registry).contradictions == ()
        announce_edition(registry, registry.private_key("root"))
        supersede(registry, version, facts={"asserted_by": "alex", "use": {"intended": "to answer letters"}})
        base = registered_base(registry, "tiny")
        product = a_product(registry, tmp_path / "new", base, name="new", run_id="run of new", facts=FACTS, value=0.25)
        newer = register_product(registry, product).version
        for one, years in ((version, 10), (newer, 12)):
            assert verify_version(registry, one).exit_code == 0
            assert records_of(registry, one).history[0].record.retention.basis.value["years"] == years


def test_an_earlier_release_uses_what_a_later_announced_edition_derived_and_says_so(tmp_path: Path) -> None:
    with a_release(FROZEN, NEXT), a_home(tmp_path / "home") as registry:
        version = a_version(registry, tmp_path)
        folder = presented(registry, version, tmp_path / "copy")
        with a_release(FROZEN):
            outcome = verify_version(registry, version)
            assert outcome.exit_code == 0
            assert "not derived again: the edition 2027-03" in notes(outcome)
            copied = verify_folder(folder, trust=registry.trust, now=NOW)
            assert copied.exit_code == 0
            assert "not derived again: the edition 2027-03" in notes(copied)
            assert pull_version(registry, version, tmp_path / "pulled").verdict == "verified"
            assert "not derived again" in describe_record(registry, "sums").note
            report = check_log(registry)
            assert report.contradictions == ()


def test_nothing_is_built_on_what_this_release_cannot_derive(tmp_path: Path) -> None:
    with a_release(FROZEN, NEXT), a_home(tmp_path / "home") as registry:
        version = a_version(registry, tmp_path)
        with a_release(FROZEN):
            with pytest.raises(RecordNotDerived) as refused:
                ancestry_of(registry, [version])
            assert refused.value.exit_code == 5
            asked = Digest.of(b"a policy")
            with pytest.raises(RecordNotDerived):
                gate_facts(registry, version, asked, None)
            assert gate_facts(registry, version, asked, None, newer_editions=True).statuses
            announce_edition(registry, registry.private_key("root"))
            with pytest.raises(RecordNotDerived):
                supersede(registry, version, facts=LATER)
            assert supersede_with_evaluations(registry, version) is None


def test_a_record_of_a_known_edition_that_supersedes_one_of_a_newer_is_not_derived_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An earlier release that did not ask made it, and left out what it could not read."""
    with a_release(FROZEN, NEXT), a_home(tmp_path / "home") as registry:
        version = a_version(registry, tmp_path)
        with a_release(FROZEN):
            announce_edition(registry, registry.private_key("root"))
            with monkeypatch.context() as patch:
                patch.setattr("peft_registry.registry.use_cases.supersede.derived_to_supersede", record_to_supersede)
                assert supersede(registry, version, facts=LATER) is not None
            with pytest.raises(RecordNotDerived):
                gate_facts(registry, version, Digest.of(b"a policy"), None)
            with pytest.raises(RecordNotDerived):
                ancestry_of(registry, [version])


def test_a_record_of_an_edition_that_nobody_announced_cannot_be_checked(tmp_path: Path) -> None:
    """A thief of the trainer's key can name an edition that there is not, and derive by it what they like."""
    with a_release(FROZEN), a_home(tmp_path / "home") as registry:
        base = add_a_base(registry, tmp_path / "base")
        with a_release(FROZEN, NEXT):
            made = a_product(registry, tmp_path / "made", base, facts=FACTS)
            version = registered_unasked(registry, made)
        folder = presented(registry, version, tmp_path / "copy")
        assert verify_version(registry, version).exit_code == 5
        assert verify_folder(folder, trust=registry.trust, now=NOW).exit_code == 5
        with pytest.raises(PullUnverified):
            pull_version(registry, version, tmp_path / "pulled")
        with pytest.raises(EditionUnknown) as refused:
            records_of(registry, version)
        assert refused.value.exit_code == 5
        report = check_log(registry)
        assert (report.contradictions, report.exit_code) == ((), 5)


@pytest.mark.parametrize("names", [(FROZEN,), (FROZEN, NEXT)])
def test_an_edition_with_another_digest_or_a_name_that_no_release_has_is_broken(
    tmp_path: Path, names: tuple[str, ...]
) -> None:
    other = Digest.of(b"another edition of that name")
    made_up = {(FROZEN,): FROZEN, (FROZEN, NEXT): "2027-01"}[names]
    with a_release(*names), a_home(tmp_path / "home") as registry:
        base = add_a_base(registry, tmp_path / "base")
        with a_release(made_up, digests=[other]):
            version = registered_unasked(registry, a_product(registry, tmp_path / "made", base, facts=FACTS))
        outcome = verify_version(registry, version)
        assert outcome.exit_code == 6
        assert "edition: no release derives by" in notes(outcome)


def test_nothing_is_registered_before_somebody_whose_role_may_has_announced_the_edition(tmp_path: Path) -> None:
    with a_release(FROZEN), a_home(tmp_path / "home") as registry:
        base = add_a_base(registry, tmp_path / "base")
        with a_release(FROZEN, NEXT):
            made = a_product(registry, tmp_path / "made", base, facts=FACTS)
            with pytest.raises(EditionNotAnnounced):
                register_product(registry, made)
            assert announce_edition(registry, registry.private_key("root"))
            assert not announce_edition(registry, registry.private_key("root"))
            version = register_product(registry, made).version
            assert verify_version(registry, version).exit_code == 0


def test_the_trainers_key_announces_no_edition(tmp_path: Path) -> None:
    with a_release(FROZEN), a_home(tmp_path / "home") as registry, a_release(FROZEN, NEXT):
        with pytest.raises(Exception, match="role") as refused:
            announce_edition(registry, registry.trainer_key)
        assert refused.value.exit_code == 6  # type: ignore[attr-defined]


def test_drafts_of_one_name_accuse_nobody(tmp_path: Path) -> None:
    """Two builds of a day derive differently, and each home announces its own."""
    with a_release(FROZEN, draft=True), a_home(tmp_path / "home") as registry:
        version = a_version(registry, tmp_path)
        with a_release(FROZEN, digests=[Digest.of(b"another build")]):
            outcome = verify_version(registry, version)
            assert outcome.exit_code == 0
            assert "another draft" in notes(outcome)


def test_a_record_of_a_later_edition_with_sections_that_are_unknown_here_is_used_and_says_so(tmp_path: Path) -> None:
    """What it has besides is kept, and what it has otherwise is shown as not readable; nothing of it is called forged."""
    with a_release(FROZEN, NEXT), a_home(tmp_path / "home") as registry:
        made = artifact_of_product(a_product(registry, tmp_path / "made", add_a_base(registry, tmp_path / "base")))
        predicate = record_in(made)
        later = predicate["record"] | {
            "compute": {"conservative_flop": [1, 2]},
            "tensors_by_origin": {"lora_A": {"value": "trained here"}},
            "schema_version": "4",
        }
        version = artifact_registered_unasked(registry, with_statement(made, predicate | {"record": later}))
        with a_release(FROZEN):
            folder = presented(registry, version, tmp_path / "copy")
            for outcome in (
                verify_version(registry, version),
                verify_folder(folder, trust=registry.trust, now=NOW),
                pull_version(registry, version, tmp_path / "pulled"),
            ):
                assert outcome.exit_code == 0
                assert "not derived again: the edition 2027-03" in notes(outcome)
            shown = describe_record(registry, "sums")
            assert "not derived again" in shown.note
            assert dict(shown.values)["use.intended"].known is False
            assert check_log(registry).contradictions == ()
            assert make_report(registry, version)


def put_an_announcement_into(evidence: Path, registry: Registry, edition: str, announcement: Digest) -> None:
    """As whoever hands a folder over may: the signed words and the true proof that they were logged."""
    with registry.database.read() as tx:
        stored = catalog.statement(tx, announcement)
    assert stored is not None and stored.log_index is not None
    proof = entry_proof(registry, stored.log_index)
    assert proof is not None
    (evidence / edition_proof_file(edition)).write_text(proof, "utf-8")
    with (evidence / INPUTS_FILE).open("ab") as inputs:
        inputs.write(stored.envelope + b"\n")


@pytest.mark.parametrize("role", ["trainer", "log"])
def test_what_the_key_of_a_trainer_or_of_the_log_announces_is_announced_by_nobody(tmp_path: Path, role: str) -> None:
    """Whoever holds them logs an announcement past every question, and a record by an edition of their own."""
    with a_release(FROZEN), a_home(tmp_path / "home") as registry:
        base = add_a_base(registry, tmp_path / "base")
        with a_release(FROZEN, NEXT, figures=99):
            edition = editions().newest
            subject = edition_subject(edition.name)
            predicate = edition_predicate(edition, nonce="0f")
            signed = sign_statement(subject, "edition", predicate, registry.private_key(role))  # type: ignore[arg-type]
            with registry.database.write() as tx:
                record_statement(tx, subject, signed, at=NOW)
            (refused,) = sign_log(registry).refused
            assert (refused.kind, refused.is_wrong) == ("edition", True)
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(new_entries, "require_signed", lambda *_, **__: None)
                version = registered_unasked(registry, a_product(registry, tmp_path / "made", base, facts=FACTS))
        assert not are_figures_announced(registry, 99)
        folder = presented(registry, version, tmp_path / "copy")
        assert verify_version(registry, version).exit_code == 5
        assert verify_folder(folder, trust=registry.trust, now=NOW).exit_code == 5
        put_an_announcement_into(folder / "evidence", registry, edition.name, signed.digest)
        outcome = verify_folder(folder, trust=registry.trust, now=NOW)
        assert outcome.exit_code == 5
        assert "nobody whose role may has announced" in notes(outcome)
        with pytest.raises(EditionUnknown):
            records_of(registry, version)
        assert check_log(registry).exit_code == 6

"""`registry verify FOLDER --audit`: what a dossier alone gives, done again, and edits of one digit in each kind of file."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from peft_registry.cli.auditing import of_audit
from peft_registry.cli.main import run
from peft_registry.cli.outcome import Note
from peft_registry.registry.compliance.editions import editions
from peft_registry.registry.compliance.form_rows import forms
from peft_registry.registry.documents import audit as audits
from peft_registry.registry.documents import recipients as tables
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.records.references import version_named
from peft_registry.registry.signing.keys import PrivateKey
from peft_registry.registry.use_cases.approve import approve
from peft_registry.registry.use_cases.audit_folder import FolderAudit, audit_folder
from peft_registry.registry.use_cases.decide import decide, decide_question, write_form
from peft_registry.registry.use_cases.gate import promote, read_gate_policy
from peft_registry.registry.use_cases.hand_over import hand_over
from peft_registry.registry.use_cases.read_folder import read_folder
from peft_registry.registry.use_cases.register_product import register_product
from peft_registry.registry.use_cases.report import make_report_in
from peft_registry.registry.use_cases.statements import sign_statement
from peft_registry.registry.use_cases.verify import Examiner
from peft_registry.schemas.hand_over import DocumentPredicate, HandedFile
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.modification import ModificationRecord
from tests.builders.decisions import ENGINEER, ENGINEERS, OFFICER, OFFICERS, fill_in
from tests.builders.files import with_another_digit
from tests.builders.homes import NOW, a_home, add_a_base, reopened
from tests.builders.products import FACTS, a_product
from tests.builders.releases import FROZEN, NEXT, a_release, a_release_with_other_rules
from tests.builders.tampered import mend_list
from tests.integration.registry.use_cases.test_gate import ALEX, fill_with_approvers


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home, a signed dossier of a version that one person decided about, and one for the public."""
    folder = tmp_path_factory.mktemp("audited")
    with a_home(folder / "home") as registry:
        fill_with_approvers(registry, folder)
    registry = reopened(folder / "home")
    policy = folder / "bank.yml"
    policy.write_text("name: bank\nabout: one person looks\napprovals: {count: 1}\n", "utf-8")
    version = version_named(registry, "sums")
    bank = read_gate_policy(str(policy))
    decide_question(registry, version, "purpose", bank, ALEX, is_yes=False, reason="as it was")
    approve(registry, version, bank, ALEX, reason="looked at it")
    promote(registry, version, "champion", bank)
    version = version_named(registry, "sums")
    hand_over(registry, version, "ai-office", folder / "office", signer=registry.trainer_key)
    hand_over(registry, version, "ai-office", folder / "unsigned")
    hand_over(registry, version, "public", folder / "public", signer=registry.trainer_key)
    for signer, answers in ((OFFICER, {OFFICERS: "yes"}), (ENGINEER, {ENGINEERS: {"unknown": "not compared"}})):
        form = folder / f"{signer.public.key_id[:8]}.yml"
        write_form(registry, version, form)
        decide(registry, version, fill_in(form, answers), signer)
    hand_over(registry, version, "ai-office", folder / "answered", signer=registry.trainer_key)
    registry.close()
    return folder


@pytest.fixture(scope="module")
def registry(place: Path) -> Registry:
    return reopened(place / "home")


def audited(folder: Path, registry: Registry) -> FolderAudit:
    return audit_folder(folder, Examiner(registry.trust, NOW))


def outcomes(audit: FolderAudit) -> dict[str, str]:
    return {line.figure: line.outcome for line in audit.lines}


def test_of_a_clean_dossier_everything_is_done_again_or_it_is_said_why_not(place: Path, registry: Registry) -> None:
    audit = audited(place / "office", registry)
    assert (audit.verdict, audit.exit_code, audit.version) == ("verified", 0, "sums:1")
    found = outcomes(audit)
    assert {found[name] for name in ("verify: tensors", "record", "signature of the documents")} == {"reproduced"}
    assert found["compute of the modification, FLOP"] == "reproduced"
    for name in ("cover.json", "annex-iv.json", "mdf.json", "annex-xi.json", "pst.json", "mdf.html"):
        assert found[name] == "reproduced", name
    assert [line.figure for line in audit.lines if line.figure.startswith("policy ") and line.outcome == "reproduced"]
    assert all(line.text for line in audit.lines if line.outcome == "not possible")
    gate = next(line for line in audit.lines if line.figure == "gate bank")
    assert (gate.outcome, gate.text) == ("reproduced", "open, as it was for @champion")
    status = next(line for line in audit.lines if line.figure == "status of the model")
    assert status.outcome == "not possible" and status.text.startswith("none is recorded; by the rules of this release")
    for figure in ("order of the compute", "parameters of the result", "rows of all data", "tokens of all data"):
        assert found[figure] == "reproduced", figure
    flop = next(line for line in audit.lines if line.figure == "compute of the modification, FLOP")
    assert flop.text.startswith("6 · P · D = ")


def test_the_public_learns_who_signed_what_it_cannot_derive(place: Path, registry: Registry) -> None:
    audit = audited(place / "public", registry)
    found = outcomes(audit)
    assert (audit.verdict, audit.exit_code) == ("unverified", 5)
    assert found["signature of the documents"] == "reproduced" and found["documents"] == "not possible"
    assert not audit.differing
    assert [part.text for part in of_audit(audit).lines if isinstance(part, Note)] == [
        "fix: ask whoever handed it over for what each ? line lacks, or give --trust FILE where nobody is trusted yet"
    ]


def test_the_page_of_a_dossier_tells_the_gate_of_the_policy_that_lies_there(
    place: Path, registry: Registry, tmp_path: Path
) -> None:
    page = make_report_in(read_folder(place / "office", Examiner(registry.trust, NOW))).decode()
    assert (
        "under the policy bank (<code>sha256:" in page
        and ": conditions of the policy bank met. A folder does not say" in page
    )
    shutil.copytree(place / "office", tmp_path / "office")
    (policy,) = (tmp_path / "office" / "policies").iterdir()
    policy.unlink()
    page = make_report_in(read_folder(tmp_path / "office", Examiner(registry.trust, NOW))).decode()
    assert "State on this page" not in page, "of a policy that is not here nothing is told"


def require_named(dossier: Path, file: Path, registry: Registry) -> None:
    """Fail unless an audit breaks on one digit of a file, and names the file."""
    file.write_bytes(with_another_digit(file.read_bytes()))
    audit = audited(dossier, registry)
    name = file.relative_to(dossier).as_posix()
    assert audit.exit_code == 6, name
    told = " ".join(f"{line.file} {line.text}" for line in audit.differing)
    assert name in told or name.removeprefix("artifact/") in told, (name, told)


EDITED = {
    "card": "artifact/README.md",
    "decisions": "artifact/evidence/DECISIONS.md",
    "data of a document": "mdf.json",
    "page of a document": "annex-iv.html",
    "cover": "cover.html",
    "list of documents": "dossier.json",
    "signature of the list": "document.intoto.jsonl",
    "items": "artifact/evidence/items.jsonl",
    "statements, with the record": "artifact/evidence/statements.intoto.jsonl",
    "inputs, with the base's record": "artifact/evidence/inputs.intoto.jsonl",
    "proof of the log": "artifact/evidence/complete.tlog-proof",
    "manifest": "artifact/manifest.json",
    "configuration": "artifact/adapter_config.json",
    "policy": "policies/*.yml",
    "record of the base": "sources/tiny-1/evidence/statements.intoto.jsonl",
    "how to verify": "VERIFY.txt",
}


@pytest.mark.parametrize("kind", EDITED)
def test_an_edit_of_one_digit_is_broken_and_its_file_is_named(
    kind: str, place: Path, registry: Registry, tmp_path: Path
) -> None:
    shutil.copytree(place / "office", tmp_path / "office")
    (file,) = (tmp_path / "office").glob(EDITED[kind])
    require_named(tmp_path / "office", file, registry)


def test_an_edit_of_one_digit_in_any_document_is_broken_and_its_file_is_named(
    place: Path, registry: Registry, tmp_path: Path
) -> None:
    shutil.copytree(place / "office", tmp_path / "office")
    documents = [file for file in sorted((tmp_path / "office").glob("*.*")) if file.suffix in (".json", ".html")]
    assert len(documents) == 13, "six documents, their data, and their list"
    for file in documents:
        was = file.read_bytes()
        require_named(tmp_path / "office", file, registry)
        file.write_bytes(was)


def test_what_is_wrong_beside_a_broken_artifact_is_named_too(place: Path, registry: Registry, tmp_path: Path) -> None:
    """Whoever edits the artifact hides nothing behind it: a mended list, a policy or a source is still looked at."""
    forged = without_signature(place / "office", tmp_path / "forged")
    for name in ("document.intoto.jsonl", "document.pub"):
        shutil.copy(place / "office" / name, forged / name)
    (policy,) = (forged / "policies").iterdir()
    for file in (
        forged / "artifact" / "adapter_config.json",
        forged / "sources" / "tiny-1" / "manifest.json",
        policy,
    ):
        file.write_bytes(with_another_digit(file.read_bytes()))
    audit = audited(forged, registry)
    assert audit.version is None and audit.exit_code == 6
    mended = next(line for line in audit.differing if line.file == "dossier.json")
    assert mended.text == "it has other digests of 2 files than what was signed: the signed one holds"
    assert outcomes(audit)["signature of the documents"] == "reproduced", "the envelope is as it was"
    told = {line.figure for line in audit.differing}
    assert {"verify: files", "digest of cover.html", "source tiny-1", f"policy {policy.stem[7:19]}…"} <= told


def test_a_file_that_nobody_listed_and_one_that_is_gone_are_named(
    place: Path, registry: Registry, tmp_path: Path
) -> None:
    shutil.copytree(place / "office", tmp_path / "office")
    (tmp_path / "office" / "extra.html").write_text("<p>0 FLOP</p>", "utf-8")
    (tmp_path / "office" / "pst.html").unlink()
    told = {(line.file, line.text) for line in audited(tmp_path / "office", registry).differing}
    assert ("extra.html", "the list of the documents does not name it") in told and (
        "pst.html",
        "it is not there",
    ) in told


@pytest.mark.parametrize(
    "name",
    ["extra.safetensors", "new/READ.safetensors", "policies/a.safetensors", "sources/tiny-1/evidence/a.safetensors"],
)
def test_a_file_that_is_only_called_as_weights_are_is_one_that_nobody_listed(
    name: str, place: Path, registry: Registry, tmp_path: Path
) -> None:
    copy = shutil.copytree(place / "office", tmp_path / "office")
    (copy / name).parent.mkdir(exist_ok=True)
    (copy / name).write_bytes(b"read me")
    audit = audited(copy, registry)
    assert audit.exit_code == 6 and name in {line.file for line in audit.differing}


def test_a_program_in_place_of_a_sources_weights_is_one_finding_among_the_others(
    place: Path, registry: Registry, tmp_path: Path
) -> None:
    copy = shutil.copytree(place / "office", tmp_path / "office")
    (copy / "sources" / "tiny-1" / "model.safetensors").write_bytes(b"#!/bin/sh\necho read me\n")
    (copy / "cover.html").write_bytes(b"another")
    audit = audited(copy, registry)
    assert audit.exit_code == 6
    assert {line.file for line in audit.edited} == {"sources/tiny-1/model.safetensors", "cover.html"}


@pytest.mark.parametrize(
    "name",
    [
        "cover.html",
        "artifact/evidence/items.jsonl",
        "artifact/evidence/statements.intoto.jsonl",
        "artifact/manifest.json",
    ],
)
def test_each_file_that_was_edited_is_named_once_and_no_other_though_the_list_was_mended(
    name: str, place: Path, registry: Registry, tmp_path: Path
) -> None:
    copy = shutil.copytree(place / "office", tmp_path / "office")
    (copy / name).write_bytes(with_another_digit((copy / name).read_bytes()))
    assert [line.file for line in audited(copy, registry).edited] == [name]
    mend_list(copy)
    assert sorted(line.file for line in audited(copy, registry).edited) == sorted([name, "dossier.json"])


def test_documents_that_say_otherwise_than_the_record_are_broken_though_their_list_was_mended(
    place: Path, registry: Registry, tmp_path: Path
) -> None:
    """Whoever edits a document that nobody signed can mend its digest: the record gives another one."""
    shutil.copytree(place / "unsigned", tmp_path / "mended")
    file, index = tmp_path / "mended" / "mdf.json", tmp_path / "mended" / "dossier.json"
    was = str(Digest.of(file.read_bytes()))
    file.write_bytes(file.read_bytes().replace(b"sums of two numbers", b"sums of ten numbers"))
    index.write_text(index.read_text("utf-8").replace(was, str(Digest.of(file.read_bytes()))), "utf-8")
    (line,) = audited(tmp_path / "mended", registry).differing
    assert (line.figure, line.file, line.text) == ("mdf.json", "mdf.json", "the record gives other data")


def without_signature(dossier: Path, copy: Path) -> Path:
    """As whoever passes a signed dossier on leaves it: nobody signed it, and a page and how to verify it are written anew."""
    shutil.copytree(dossier, copy)
    for name in ("document.intoto.jsonl", "document.pub"):
        (copy / name).unlink()
    index = json.loads((copy / "dossier.json").read_bytes())
    index["files"] = [file for file in index["files"] if file["path"] != "document.pub"]
    page = (copy / "cover.html").read_text("utf-8").replace("sums:1", "sums:1, fit for every use")
    (copy / "cover.html").write_text(page, "utf-8")
    index["documents"][0]["page"] = str(Digest.of((copy / "cover.html").read_bytes()))
    (copy / "dossier.json").write_bytes(DocumentPredicate.from_json(index).to_canonical())
    return copy


def test_a_page_that_was_written_anew_once_the_signature_was_off_is_verified_by_nobody(
    place: Path, registry: Registry, tmp_path: Path
) -> None:
    audit = audited(without_signature(place / "office", tmp_path / "forged"), registry)
    assert (audit.verdict, audit.exit_code, audit.differing) == ("unverified", 5, ())
    signature = next(line for line in audit.lines if line.figure == "signature of the documents")
    assert signature.text.startswith("nobody signed them, or their signature was taken off")
    assert outcomes(audited(place / "unsigned", registry))["mdf.json"] == "reproduced"
    assert audited(place / "unsigned", registry).verdict == "unverified", (
        "though every document follows from the record"
    )


def test_a_key_of_whoever_passes_a_dossier_on_verifies_nothing(place: Path, registry: Registry, tmp_path: Path) -> None:
    forged = without_signature(place / "office", tmp_path / "forged")
    index = DocumentPredicate.from_json(json.loads((forged / "dossier.json").read_bytes()))
    key = PrivateKey.generate("ed25519")
    (forged / "document.pub").write_bytes(key.public.pem)
    added = HandedFile(path="document.pub", sha256=Digest.of(key.public.pem))
    index = index.revised(files=(*index.files, added))
    (forged / "dossier.json").write_bytes(index.to_canonical())
    signed = sign_statement(version_named(registry, "sums").manifest_digest, "document", index.to_json(), key)
    (forged / "document.intoto.jsonl").write_bytes(signed.line + b"\n")
    audit = audited(forged, registry)
    assert (audit.verdict, outcomes(audit)["signature of the documents"]) == ("unverified", "not possible")


@pytest.fixture
def later_release(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """As the next release may be: a reworded row, which is another table, and another name of the release."""

    def become() -> None:
        monkeypatch.setattr(audits, "rules_digest", lambda: Digest.of(b"of the next release"))
        form = forms().named("mdf")
        rows = tuple(row.revised(title=f"reworded {row.title}") for row in form.rows)
        reworded = form.revised(rows=rows)
        monkeypatch.setattr(tables, "form_of", lambda name: reworded if name == "mdf" else forms().named("pst"))

    return become


def test_a_dossier_is_never_broken_because_a_later_release_words_its_rows_otherwise(
    place: Path, registry: Registry, later_release: Callable[[], None]
) -> None:
    later_release()
    audit = audited(place / "office", registry)
    assert audit.verdict == "verified"
    assert (outcomes(audit)["documents"], outcomes(audit)["values of mdf.json"]) == ("not possible", "reproduced")
    assert audited(place / "unsigned", registry).verdict == "unverified", "nobody vouches for the rows"


@pytest.mark.parametrize("dossier", ["office", "answered"])
def test_a_dossier_is_never_broken_under_the_next_edition(
    dossier: str, place: Path, registry: Registry, tmp_path: Path
) -> None:
    with a_release_with_other_rules(tmp_path / "later", editions().newest, NEXT):
        audit = audited(place / dossier, registry)
    assert (audit.verdict, audit.differing) == ("verified", ())
    found = outcomes(audit)
    assert (found["record"], found["documents"]) == ("reproduced", "not possible")
    assert {found[f"values of {name}.json"] for name in ("cover", "annex-iv", "mdf", "annex-xi", "pst")} == {
        "reproduced"
    }


def test_a_dossier_of_a_later_edition_than_this_release_knows_accuses_nobody(tmp_path: Path) -> None:
    with a_release(FROZEN, NEXT), a_home(tmp_path / "home") as later:
        product = a_product(later, tmp_path / "sums", add_a_base(later, tmp_path / "base"), facts=FACTS)
        version = register_product(later, product).version
        for recipient in ("ai-office", "downstream"):
            hand_over(later, version, recipient, tmp_path / recipient, signer=later.trainer_key)  # type: ignore[arg-type]
        with a_release(FROZEN):
            office = audited(tmp_path / "ai-office", later)
            assert (office.exit_code, office.differing) == (0, ())
            (record,) = [line for line in office.lines if line.figure == "record"]
            assert record.outcome == "not possible" and f"the edition {NEXT}" in record.text
            cut = audited(tmp_path / "downstream", later)
            assert (cut.exit_code, cut.differing) == (5, ())


def test_answers_that_two_people_signed_are_in_the_documents_and_follow_from_the_folder(
    place: Path, registry: Registry
) -> None:
    audit = audited(place / "answered", registry)
    assert (audit.verdict, audit.differing) == ("verified", ())
    found = outcomes(audit)
    assert {found[name] for name in ("record", "annex-iv.json", "annex-iv.html", "mdf.json")} == {"reproduced"}
    record = read_folder(place / "answered", Examiner(registry.trust, NOW)).shown.records.modification
    assert isinstance(record, ModificationRecord) and record.identity.name_or_trademark_on_result.value == "yes"
    (gate,) = [line for line in audit.lines if line.figure == "gate bank"]
    assert gate.outcome == "not possible" and "@champion by what stood then" in gate.text


def test_a_value_is_held_against_the_record_though_the_table_is_said_to_be_another(
    place: Path, registry: Registry, tmp_path: Path
) -> None:
    """Whoever edits documents that nobody signed can also say that another release cut them."""
    shutil.copytree(place / "unsigned", tmp_path / "mended")
    file, index = tmp_path / "mended" / "mdf.json", tmp_path / "mended" / "dossier.json"
    was = str(Digest.of(file.read_bytes()))
    file.write_bytes(file.read_bytes().replace(b"sums of two numbers", b"sums of ten numbers"))
    text = index.read_text("utf-8").replace(was, str(Digest.of(file.read_bytes())))
    index.write_text(text.replace(str(json.loads(text)["table"]), str(Digest.of(b"another"))), "utf-8")
    (line,) = audited(tmp_path / "mended", registry).differing
    assert (line.figure, line.text) == ("values of mdf.json", "otherwise in the record: use.intended")


def test_a_recipient_of_a_later_release_breaks_nothing(place: Path, registry: Registry, tmp_path: Path) -> None:
    shutil.copytree(place / "unsigned", tmp_path / "later")
    index = tmp_path / "later" / "dossier.json"
    index.write_text(index.read_text("utf-8").replace('"ai-office"', '"ombudsman"'), "utf-8")
    audit = audited(tmp_path / "later", registry)
    assert (audit.verdict, audit.differing) == ("unverified", ())
    assert "ombudsman" in next(line.text for line in audit.lines if line.figure == "documents")


def test_the_command_prints_a_line_each_and_takes_no_version(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    trust = ["--trust", str(place / "home" / "trust.json")]
    assert run(["verify", str(place / "office"), "--audit", *trust]) == 0
    said = capsys.readouterr().out
    assert "= compute of the modification, FLOP" in said and said.splitlines()[-1] == "verified"
    assert run(["verify", str(place / "office"), "--audit", "-o", "json", *trust]) == 0
    value = json.loads(capsys.readouterr().out)
    assert value["verdict"] == "verified" and {"figure", "outcome", "text", "file"} == value["lines"][0].keys()
    assert run(["verify", str(place / "office"), "--audit"]) == 5, "nobody is trusted"
    capsys.readouterr()
    assert run(["record", str(place / "office"), *trust]) == 0, "a dossier is read as the folder in it"
    assert "version      sums:1" in capsys.readouterr().out
    assert run(["verify", str(place / "office"), *trust]) == 0, "and without --audit its artifact is verified"
    assert "adapter, layout peft" in capsys.readouterr().out
    assert run(["verify", "sums:1", "--audit"]) == 2
    assert "registry pull sums:1 FOLDER" in capsys.readouterr().err

"""`registry report NAME FOLDER --to RECIPIENT`: the dossier of a version, what is in it for whom, and who signs it."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from peft_registry.cli.main import run
from peft_registry.registry.documents.dossier import file_names
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.records.references import version_named
from peft_registry.registry.signing import dsse
from peft_registry.registry.signing.trust import KeyLacksRole, public_keys
from peft_registry.registry.use_cases.audit_folder import audit_folder
from peft_registry.registry.use_cases.cut_copy import pull_for
from peft_registry.registry.use_cases.decide import decide_question
from peft_registry.registry.use_cases.gate import read_gate_policy
from peft_registry.registry.use_cases.hand_over import hand_over
from peft_registry.registry.use_cases.read_folder import read_folder
from peft_registry.registry.use_cases.recall import recall
from peft_registry.registry.use_cases.report import make_report_in
from peft_registry.registry.use_cases.show_record import describe_record_in
from peft_registry.registry.use_cases.show_verdict import describe_verdict_in
from peft_registry.registry.use_cases.verify import Examiner, verify_folder
from peft_registry.registry.verification.presented_records import NotRegistered, RecordWithheld
from peft_registry.schemas.hand_over import DocumentPredicate, RecipientName
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.statement import Statement
from tests.builders.backends import MadeHome, make_on
from tests.builders.homes import NOW, a_home, name_once, reopened
from tests.integration.registry.use_cases.test_gate import ALEX, fill_with_approvers

MODEL_SIGNING = f"{Path(sys.executable).parent / 'model_signing'}"


def fill(registry: Registry, folder: Path) -> None:
    """A version that one person decided about, under a policy."""
    fill_with_approvers(registry, folder)


@pytest.fixture(scope="module", params=["sqlite"])
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> MadeHome:
    return make_on(request, tmp_path_factory.mktemp("made"), fill)


@pytest.fixture(scope="module")
def home(made: MadeHome, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home in which a person decided a question under a policy."""
    folder = tmp_path_factory.mktemp("dossiers")
    registry = made.copy(folder / "home").opened(now=NOW)
    policy = folder / "bank.yml"
    policy.write_text("name: bank\nabout: one person looks\napprovals: {count: 1}\n", "utf-8")
    version = version_named(registry, "sums")
    decide_question(registry, version, "purpose", read_gate_policy(str(policy)), ALEX, is_yes=False, reason="as it was")
    registry.close()
    return folder / "home"


@pytest.fixture
def registry(home: Path, tmp_path: Path) -> Iterator[Registry]:
    shutil.copytree(home, tmp_path / "home")
    registry = MadeHome(tmp_path / "home").opened(now=NOW)
    yield registry
    registry.close()


def names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_the_office_gets_the_record_with_its_evidence_the_policy_and_what_it_was_made_from(
    registry: Registry, tmp_path: Path
) -> None:
    version = version_named(registry, "sums")
    done = hand_over(registry, version, "ai-office", tmp_path / "out")
    there = names(tmp_path / "out")
    assert {"cover.html", "annex-iv.json", "mdf.html", "annex-xi.html", "pst.json", "VERIFY.txt"} <= there
    policy = next(name for name in there if name.startswith("policies/sha256-"))
    assert policy == f"policies/sha256-{Digest.of((tmp_path / 'out' / policy).read_bytes()).hex}.yml"
    assert {"sources/tiny-1/manifest.json", "sources/tiny-1/evidence/statements.intoto.jsonl"} <= there
    assert not [name for name in there if name.startswith("sources/") and name.endswith(".safetensors")]
    outcome = verify_folder(tmp_path / "out" / "artifact", trust=registry.trust, now=NOW)
    assert outcome.verdict == "verified"
    assert done.signed_by is None and "document.intoto.jsonl" not in there
    for document in done.index.documents:
        data, page = file_names(document.name)
        assert Digest.of((tmp_path / "out" / data).read_bytes()) == document.data
        assert Digest.of((tmp_path / "out" / page).read_bytes()) == document.page
    assert json.loads((tmp_path / "out" / "bom.cdx.json").read_bytes())["specVersion"] == "1.7"


@pytest.mark.parametrize("recipient", ["national-authority", "downstream", "public"])
def test_others_get_no_record_no_person_and_no_scores_of_rows(
    recipient: str, registry: Registry, tmp_path: Path
) -> None:
    hand_over(registry, version_named(registry, "sums"), recipient, tmp_path / "out", signer=registry.trainer_key)
    there = names(tmp_path / "out")
    assert not [name for name in there if name.startswith(("policies/", "sources/"))]
    assert not there & {"artifact/evidence/items.jsonl", "artifact/evidence/DECISIONS.md", "annex-xi.json"}
    said = (tmp_path / "out" / "artifact" / "evidence" / "statements.intoto.jsonl").read_bytes()
    kinds = {
        Statement.from_json(json.loads(dsse.Envelope.parse(line).payload)).kind for line in said.split(b"\n") if line
    }
    assert kinds <= {"card", "registration", "evaluation-plan", "bias-evaluation", "test-result", "recall"}
    outcome = verify_folder(tmp_path / "out" / "artifact", trust=registry.trust, now=NOW)
    assert outcome.verdict == "unverified", "what is withheld is named, and nothing is wrong"
    if recipient != "national-authority":
        text = b"".join((tmp_path / "out" / name).read_bytes() for name in there if "/" not in name).decode()
        assert "alex" not in text and "lab-1" not in text


@pytest.mark.parametrize("recipient", ["ai-office", "national-authority", "downstream", "public"])
def test_a_copy_that_is_pulled_for_a_recipient_is_the_version_of_their_dossier(
    recipient: RecipientName, registry: Registry, tmp_path: Path
) -> None:
    version = version_named(registry, "sums")
    hand_over(registry, version, recipient, tmp_path / "out")
    copy = pull_for(registry, version, recipient, tmp_path / "copy")
    assert names(tmp_path / "copy") == names(tmp_path / "out" / "artifact")
    for name in names(tmp_path / "copy"):
        assert (tmp_path / "copy" / name).read_bytes() == (tmp_path / "out" / "artifact" / name).read_bytes(), name
    left = [(check.step, check.error) for check in copy.outcome.checks if check.status not in ("ok", "recorded")]
    if recipient == "ai-office":
        assert (copy.outcome.verdict, copy.withheld, left) == ("verified", (), [])
        return
    assert copy.outcome.verdict == "unverified"
    assert left == [("statements", "statements-withheld")], "nothing else became weaker"
    kinds = {words.split(" ")[0] for words in copy.withheld}
    assert {"modification", "provenance", "decision"} <= kinds


def test_whoever_gets_no_record_reads_the_page_and_is_told_who_keeps_the_record(
    registry: Registry, tmp_path: Path
) -> None:
    hand_over(registry, version_named(registry, "sums"), "public", tmp_path / "out")
    read = read_folder(tmp_path / "out", Examiner(registry.trust, NOW))
    assert b"<h1>sums:1</h1>" in make_report_in(read)
    for describe in (describe_record_in, describe_verdict_in):
        with pytest.raises(RecordWithheld, match="whoever handed it over keeps it"):
            describe(read.shown)


def test_the_same_version_gives_the_same_bytes(registry: Registry, tmp_path: Path) -> None:
    version = version_named(registry, "sums")
    for place in ("one", "two"):
        hand_over(registry, version, "downstream", tmp_path / place, signer=registry.trainer_key)
    assert names(tmp_path / "one") == names(tmp_path / "two")
    for name in names(tmp_path / "one"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes(), name


def test_a_signed_dossier_names_its_record_its_table_and_each_page_and_is_in_no_log(
    registry: Registry, tmp_path: Path
) -> None:
    version = version_named(registry, "sums")
    with registry.database.read() as tx:
        from peft_registry.registry.database.log_store import SqlLogStore

        before = SqlLogStore(tx).size()
    done = hand_over(registry, version, "public", tmp_path / "out", signer=registry.trainer_key)
    envelope = dsse.Envelope.parse((tmp_path / "out" / "document.intoto.jsonl").read_bytes().rstrip(b"\n"))
    assert dsse.verify(envelope, public_keys(registry.trust)).key_id == registry.trainer_key.public.key_id
    statement = Statement.from_json(json.loads(envelope.payload))
    assert (statement.kind, statement.subject_digest) == ("document", version.manifest_digest)
    assert DocumentPredicate.from_json(statement.predicate) == done.index
    assert json.loads((tmp_path / "out" / "dossier.json").read_bytes()) == done.index.to_json()
    with registry.database.read() as tx:
        assert SqlLogStore(tx).size() == before


@pytest.mark.openssl
@pytest.mark.peers
def test_what_verify_txt_prints_finds_an_edit_without_this_program(registry: Registry, tmp_path: Path) -> None:
    key = registry.trainer_key
    hand_over(registry, version_named(registry, "sums"), "downstream", tmp_path / "out", signer=key)
    text = (tmp_path / "out" / "VERIFY.txt").read_text("utf-8")
    for name in ("TRAINER.pub", "SIGNER.pub"):
        (tmp_path / name).write_bytes(key.public.pem)
        text = text.replace(name, str(tmp_path / name))
    text = text.replace("/tmp/dossier.", f"{tmp_path}/dossier.").replace("model_signing", MODEL_SIGNING)
    (model,) = [line for line in text.splitlines() if " verify key " in line]
    by_list, by_signature = re.findall(
        r"^python3 - <<'END'\n.*?^END\n(?:openssl .*\n)?", text, re.MULTILINE | re.DOTALL
    )

    def printed(lines: str) -> str:
        done = subprocess.run(
            ["/bin/bash", "-c", lines], cwd=tmp_path / "out", capture_output=True, text=True, check=False
        )
        return done.stdout + done.stderr

    assert "Verification succeeded" in printed(model)
    assert (printed(by_list), printed(by_signature)) == ("", "Verified OK\n")
    for edited in ("mdf.json", "bom.cdx.json", "artifact/README.md", "dossier.json", "artifact/adapter_config.json"):
        file = tmp_path / "out" / edited
        data = file.read_bytes()
        file.write_bytes(data.replace(b"downstream", b"everybody") + b" ")
        if edited == "dossier.json":
            assert printed(by_signature) == "dossier.json is not what was signed\nVerified OK\n"
        else:
            assert printed(by_list) == f"another than listed: {edited}\n"
        if edited == "artifact/adapter_config.json":
            assert "Verification succeeded" not in printed(model)
        file.write_bytes(data)


def test_whoever_may_not_sign_documents_writes_no_dossier(registry: Registry, tmp_path: Path) -> None:
    log_key = registry.log_key
    assert log_key is not None
    with pytest.raises(KeyLacksRole):
        hand_over(registry, version_named(registry, "sums"), "public", tmp_path / "out", signer=log_key)
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def other_office(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A signed dossier of another registry, with its trust file."""
    folder = tmp_path_factory.mktemp("other")
    with a_home(folder / "home") as elsewhere:
        fill_with_approvers(elsewhere, folder)
    with closing(reopened(folder / "home")) as elsewhere:
        version = version_named(elsewhere, "other")
        hand_over(elsewhere, version, "ai-office", folder / "office", signer=elsewhere.trainer_key)
    return folder / "office"


def test_a_dossier_that_was_cut_short_is_broken_and_its_file_is_named(registry: Registry, tmp_path: Path) -> None:
    hand_over(registry, version_named(registry, "sums"), "ai-office", tmp_path / "out", signer=registry.trainer_key)
    for name in ("cover.json", "mdf.html", "dossier.json", "document.intoto.jsonl", "bom.cdx.json", "VERIFY.txt"):
        file = tmp_path / "out" / name
        data = file.read_bytes()
        file.write_bytes(data[: len(data) // 2])
        audit = audit_folder(tmp_path / "out", Examiner(registry.trust, NOW))
        assert audit.exit_code == 6 and name in {line.file for line in audit.differing}, name
        file.write_bytes(data)
    shutil.rmtree(tmp_path / "out" / "artifact" / "evidence")
    with pytest.raises(NotRegistered, match="no registration"):
        audit_folder(tmp_path / "out", Examiner(registry.trust, NOW))


def test_a_dossier_of_another_registry_is_not_verified_and_one_with_anothers_artifact_is_broken(
    registry: Registry, other_office: Path, tmp_path: Path
) -> None:
    others = audit_folder(other_office, Examiner(registry.trust, NOW))
    assert (others.exit_code, others.differing) == (5, ()), "it accuses nobody: its keys are unknown here"
    hand_over(registry, version_named(registry, "sums"), "ai-office", tmp_path / "out", signer=registry.trainer_key)
    shutil.rmtree(tmp_path / "out" / "artifact")
    shutil.copytree(other_office / "artifact", tmp_path / "out" / "artifact")
    audit = audit_folder(tmp_path / "out", Examiner(registry.trust, NOW))
    wrong = {line.file for line in audit.differing}
    assert audit.exit_code == 6 and {"artifact/README.md", "artifact/evidence/statements.intoto.jsonl"} <= wrong


def test_an_authority_gets_what_is_recalled_and_says_so_and_nobody_else_gets_it(
    registry: Registry, tmp_path: Path
) -> None:
    recall(registry, "sums", ALEX, reason="it counts wrong")
    version = version_named(registry, "sums")
    hand_over(registry, version, "national-authority", tmp_path / "authority")
    assert "it counts wrong" in (tmp_path / "authority" / "cover.html").read_text("utf-8")
    with pytest.raises(Exception, match="recalled"):
        hand_over(registry, version, "public", tmp_path / "public")
    assert not (tmp_path / "public").exists()
    hand_over(registry, version, "ai-office", tmp_path / "signed", signer=registry.trainer_key)
    hand_over(registry, version, "ai-office", tmp_path / "unsigned")

    def said_of_the_cover(dossier: Path) -> str:
        audit = audit_folder(dossier, Examiner(registry.trust, NOW))
        return next(line.text for line in audit.lines if line.figure == "cover.html")

    underived = "it cannot be derived from what is here, and"
    assert said_of_the_cover(tmp_path / "signed") == f"{underived} is as it was signed"
    assert said_of_the_cover(tmp_path / "unsigned") == f"{underived} nobody whom you trust signed it"
    cover = tmp_path / "signed" / "cover.html"
    cover.write_bytes(cover.read_bytes() + b"\n<p>Approved.</p>")
    assert "what else stands on it" in said_of_the_cover(tmp_path / "signed"), "somebody wrote into it"


def test_the_command_says_what_it_wrote_and_refuses_what_it_cannot(
    registry: Registry, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    registry.close()
    name_once(tmp_path / "home")
    home = ["--home", str(tmp_path / "home")]
    assert run(["report", "sums", str(tmp_path / "out"), "--to", "downstream", *home]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"dossier  sums:1 → {tmp_path / 'out'}")
    assert "document Model Documentation Form" in said and "signed   by nobody" in said
    for words in (
        ["report", "sums", "--to", "downstream"],  # no folder
        ["report", "sums", str(tmp_path / "second")],  # a folder, and nobody to get it
        ["report", "sums", str(tmp_path / "second"), "--to", "authority"],  # which of them
        ["report", "sums", str(tmp_path / "second"), "--to", "public", "--out", "page.html"],
    ):
        assert run([*words, *home]) == 2, words
        assert not (tmp_path / "second").exists()
    capsys.readouterr()
    run(["report", "sums", "page.html", *home])
    assert "a page is written to a file: --out page.html" in capsys.readouterr().err
    assert run(["pull", "sums", str(tmp_path / "second"), "--to", "public", "--with-base", *home]) == 2
    assert run(["pull", "tiny", str(tmp_path / "second"), "--to", "public", *home]) == 2, (
        "its weights are its provider's"
    )
    assert run(["pull", "sums", "--cache", str(tmp_path / "second"), "--to", "public", *home]) == 2
    assert not (tmp_path / "second").exists()
    assert run(["report", "sums", str(tmp_path / "out"), "--to", "public", *home]) == 7, "a folder is never overwritten"
    assert run(["report", "tiny", str(tmp_path / "base"), "--to", "public", *home]) == 7, "a base has no record"


def next_step_of(printed: str) -> list[str]:
    """The words of the command that a success named."""
    (line,) = [line for line in printed.splitlines() if line.startswith("next: registry ")]
    return shlex.split(line.removeprefix("next: registry "))


@pytest.mark.parametrize("recipient", ["ai-office", "downstream"])
def test_a_dossier_names_a_next_step_that_succeeds_until_nothing_is_left_to_do(
    recipient: str, registry: Registry, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    registry.close()
    name_once(tmp_path / "home")
    home = ["--home", str(tmp_path / "home")]
    words = ["report", "sums", str(tmp_path / "out"), "--to", recipient]
    done = []
    while len(done) < 3:
        assert run([*words, *home]) == 0, words
        done.append(words[:2])
        answer = capsys.readouterr()
        words = [word.replace("FOLDER", str(tmp_path / "trust")) for word in next_step_of(answer.out + answer.err)]
    last = "verify" if recipient == "ai-office" else "trust"
    assert [words[0] for words in done] == ["report", "report", last], (
        "unsigned, then signed, then checked or handed on"
    )


def test_a_copy_for_somebody_is_pulled_by_the_command_which_says_what_stays(
    registry: Registry, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    registry.close()
    name_once(tmp_path / "home")
    home = ["--home", str(tmp_path / "home")]
    assert run(["pull", "sums", str(tmp_path / "copy"), "--to", "downstream", *home]) == 0
    said = capsys.readouterr()
    assert said.out.startswith(f"pulled   sums:1 → {tmp_path / 'copy'} for downstream  unverified\n")
    assert "withheld modification sha256:" in said.out and "withheld rows of evidence/items" in said.out
    assert "for what is withheld alone" in said.out + said.err
    assert run(["verify", str(tmp_path / "copy"), *home]) == 5
    said = capsys.readouterr()
    assert "ask whoever handed it over for the whole copy" in said.out + said.err
    assert run(["pull", "sums", str(tmp_path / "office"), "--to", "ai-office", *home]) == 0
    assert run(["verify", str(tmp_path / "office"), *home]) == 0

"""`registry record NAME --attach FILE --as KIND`: whose word it is, who gets the file, and what an audit finds of it."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from peft_registry.cli.main import run
from peft_registry.registry.disk.files import OfferedFileRefused
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.records.references import version_named
from peft_registry.registry.records.signed_records import NoRecord
from peft_registry.registry.signing.trust import KeyLacksRole
from peft_registry.registry.use_cases.attach import AttachedAlready, attach
from peft_registry.registry.use_cases.audit_folder import audit_folder
from peft_registry.registry.use_cases.collect import collect
from peft_registry.registry.use_cases.hand_over import hand_over
from peft_registry.registry.use_cases.show_record import describe_record
from peft_registry.registry.use_cases.verify import Examiner, verify_version
from peft_registry.schemas.identity import Digest
from tests.builders.backends import MadeHome
from tests.builders.homes import NOW, a_home, name_once, reopened
from tests.integration.registry.use_cases.test_gate import ALEX, fill_with_approvers

IFU = b"%PDF-1.7\ninstructions, canary-ifu"
FILES = {
    "instructions": ("IFU-2.1.pdf", IFU),
    "risk-file": ("risks.txt", b"canary-risks\n"),
    "declaration": ("declaration.txt", b"signed by canary-signer\n"),
    "monitoring-plan": ("plan.yml", b"canary: plan\n"),
}
THEIRS = {
    "ai-office": set(FILES),
    "national-authority": set(FILES),
    "downstream": {"instructions"},
    "public": set(),
}


def write(folder: Path, name: str, data: bytes) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(data)
    return folder / name


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a version to which a file of each kind is attached; what lay on the disk is another file since."""
    folder = tmp_path_factory.mktemp("attached")
    with a_home(folder / "home") as registry:
        fill_with_approvers(registry, folder)
    registry = reopened(folder / "home")
    version = version_named(registry, "sums")
    for kind, (name, data) in FILES.items():
        file = write(folder / "mine", name, data)
        attach(registry, version, file, kind, ALEX)  # type: ignore[arg-type]  # the kinds above
        file.write_bytes(b"another")
    for recipient in THEIRS:
        hand_over(registry, version, recipient, folder / recipient, signer=registry.trainer_key)  # type: ignore[arg-type]
    registry.close()
    return folder


@pytest.fixture
def registry(place: Path, tmp_path: Path) -> Iterator[Registry]:
    shutil.copytree(place / "home", tmp_path / "home")
    registry = MadeHome(tmp_path / "home").opened(now=NOW)
    yield registry
    registry.close()


@pytest.mark.parametrize("recipient", THEIRS)
def test_a_recipient_gets_the_files_of_the_kinds_that_are_theirs_as_they_were_attached(
    recipient: str, place: Path
) -> None:
    folder = place / recipient
    expected = {f"attachments/{kind}/{FILES[kind][0]}": FILES[kind][1] for kind in THEIRS[recipient]}
    there = [path for path in (folder / "attachments").rglob("*") if path.is_file()]
    assert {path.relative_to(folder).as_posix(): path.read_bytes() for path in there} == expected
    cover = json.loads((folder / "cover.json").read_bytes())
    assert {file["file"] for file in cover.get("attachments", ())} == expected.keys()
    page = (folder / "cover.html").read_text("utf-8")
    assert all(f'<a href="{file}">' in page for file in expected)
    everything = b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
    # base64 of an envelope holds the name of each file that is attached, and goes with the whole evidence alone
    for kind in FILES.keys() - THEIRS[recipient]:
        name, data = FILES[kind]
        assert name.encode() not in everything and data.strip() not in everything


def test_the_row_that_speaks_of_a_file_leads_to_it(place: Path) -> None:
    rows = {
        row["row"]: row for row in json.loads((place / "national-authority" / "annex-iv.json").read_bytes())["rows"]
    }
    files = {row: value.get("attachments", []) for row, value in rows.items() if value.get("attachments")}
    assert files == {
        "1(h)": ["attachments/instructions/IFU-2.1.pdf"],
        "5": ["attachments/risk-file/risks.txt"],
        "8": ["attachments/declaration/declaration.txt"],
        "9": ["attachments/monitoring-plan/plan.yml"],
    }
    page = (place / "national-authority" / "annex-iv.html").read_text("utf-8")
    assert '<a href="attachments/instructions/IFU-2.1.pdf">IFU-2.1.pdf</a>' in page


@pytest.mark.parametrize("edited", [False, True])
def test_an_audit_holds_each_file_against_the_statement_that_attaches_it(
    edited: bool, place: Path, tmp_path: Path, registry: Registry
) -> None:
    shutil.copytree(place / "ai-office", tmp_path / "office")
    file = tmp_path / "office" / "attachments" / "instructions" / "IFU-2.1.pdf"
    if edited:
        file.write_bytes(IFU + b"1")
        write(file.parent, "more.txt", b"x")
    audit = audit_folder(tmp_path / "office", Examiner(registry.trust, NOW))
    lines = {line.figure: line for line in audit.lines}
    assert lines["attachment IFU-2.1.pdf"].outcome == ("differs" if edited else "reproduced")
    assert lines["attachment IFU-2.1.pdf"].file == "attachments/instructions/IFU-2.1.pdf"
    assert lines["attachment risks.txt"].outcome == lines["annex-iv.json"].outcome == "reproduced"
    assert (audit.exit_code, "attachment instructions/more.txt" in lines) == ((6, True) if edited else (0, False))


def test_the_newest_file_of_a_name_takes_the_place_of_the_one_before_and_both_are_kept(
    registry: Registry, tmp_path: Path
) -> None:
    version = version_named(registry, "sums")
    done = attach(registry, version, write(tmp_path / "new", "IFU-2.1.pdf", b"%PDF-2.0"), "instructions", ALEX)
    assert (done.person, done.takes_place_of) == ("ada", Digest.of(IFU))
    with pytest.raises(AttachedAlready):
        attach(registry, version, tmp_path / "new" / "IFU-2.1.pdf", "instructions", ALEX)
    shown = {one.name: one for one in describe_record(registry, "sums").attachments}
    assert len(shown) == len(FILES) and shown["IFU-2.1.pdf"].sha256 == Digest.of(b"%PDF-2.0")
    assert shown["IFU-2.1.pdf"].who.startswith("ada (approver, key ")
    hand_over(registry, version, "downstream", tmp_path / "out")
    assert (tmp_path / "out/attachments/instructions/IFU-2.1.pdf").read_bytes() == b"%PDF-2.0"
    assert registry.store.read_bytes(Digest.of(IFU)) == IFU
    assert collect(registry, dry_run=True).removed == ()
    assert verify_version(registry, version).verdict == "verified"


def test_what_is_refused_is_not_signed(registry: Registry, tmp_path: Path) -> None:
    version, log_key = version_named(registry, "sums"), registry.log_key
    huge = write(tmp_path / "new", "huge.pdf", b"%PDF-1.7")
    os.truncate(huge, 2 << 30)
    fine = write(tmp_path / "new", "fine.txt", b"fine")
    assert log_key is not None
    with pytest.raises(OfferedFileRefused, match="2147483648 bytes"):
        attach(registry, version, huge, "instructions", ALEX)
    with pytest.raises(KeyLacksRole):
        attach(registry, version, fine, "instructions", log_key)
    with pytest.raises(NoRecord):
        attach(registry, version_named(registry, "tiny"), fine, "instructions", ALEX)
    assert len(describe_record(registry, "sums").attachments) == len(FILES)
    assert not registry.store.has(Digest.of(b"fine"))


def test_the_command_attaches_and_lists(registry: Registry, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    registry.close()
    name_once(tmp_path / "home")
    ALEX.save(tmp_path / "alex.key", None)
    file = write(tmp_path / "new", "manual.txt", b"read me")
    home, key = ["--home", str(tmp_path / "home")], ["--key", str(tmp_path / "alex.key")]
    said = ["record", "sums", "--attach", str(file), "--as", "instructions", *key, *home]
    assert run(said) == 0
    printed = capsys.readouterr()
    assert "attached manual.txt to sums:1 as instructions, by ada" in printed.out
    assert run(["record", "sums", *home]) == 0
    assert "manual.txt as instructions, 7 B, sha256:" in capsys.readouterr().out.replace("\n             ", " ")
    for words in (
        ["--attach", str(file), *key],
        ["--attach", str(file), "--as", "instructions"],
        ["--attach", str(file), "--as", "instructions", "--history", *key],
        ["--attach", str(file), "--as", "photograph", *key],
        ["--as", "instructions"],
    ):
        assert run(["record", "sums", *words, *home]) == 2, words

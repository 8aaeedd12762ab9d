"""`registry record`, `record verdict` and `report` of a folder that was handed over: the pages of the home that it came from."""

import base64
import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from peft_registry.cli.main import run
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.records.references import version_named
from peft_registry.registry.transparency.completeness import parse_list
from peft_registry.registry.use_cases.cut_copy import public_part
from peft_registry.registry.use_cases.decide import decide_question
from peft_registry.registry.use_cases.gate import read_gate_policy
from peft_registry.registry.use_cases.promote import set_alias
from peft_registry.registry.use_cases.pull import pull_version
from peft_registry.registry.use_cases.read_folder import FolderBroken, read_folder
from peft_registry.registry.use_cases.recall import recall
from peft_registry.registry.use_cases.report import make_report, make_report_in
from peft_registry.registry.use_cases.show_record import (
    describe_form,
    describe_form_in,
    describe_record,
    describe_record_in,
)
from peft_registry.registry.use_cases.show_verdict import describe_verdict, describe_verdict_in
from peft_registry.registry.use_cases.verify import Examiner
from tests.builders.homes import a_home, reopened
from tests.integration.registry.use_cases.test_gate import ALEX, fill_with_approvers

PROOF = "evidence/complete.tlog-proof"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home whose version somebody decided about and an alias points to, and a copy of that version."""
    folder = tmp_path_factory.mktemp("handed-over")
    with a_home(folder / "home") as registry:
        fill_with_approvers(registry, folder)
    registry = reopened(folder / "home")
    policy = folder / "bank.yml"
    policy.write_text("name: bank\nabout: one person looks\napprovals: {count: 1}\n", "utf-8")
    version = version_named(registry, "sums")
    decide_question(registry, version, "purpose", read_gate_policy(str(policy)), ALEX, is_yes=False, reason="as it was")
    set_alias(registry, version, "champion", reason="first release")
    pull_version(registry, version_named(registry, "sums"), folder / "copy", with_decisions=True)
    registry.close()
    return folder


@pytest.fixture
def registry(place: Path) -> Iterator[Registry]:
    registry = reopened(place / "home")
    yield registry
    registry.close()


@pytest.fixture
def copy(place: Path, tmp_path: Path) -> Path:
    shutil.copytree(place / "copy", tmp_path / "copy")
    return tmp_path / "copy"


def asked(place: Path, capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> str:
    assert run([*words, "--trust", str(place / "home" / "trust.json")]) == code, capsys.readouterr()
    return capsys.readouterr().out


def test_a_folder_gives_record_form_and_verdict_of_its_home_word_for_word(registry: Registry, place: Path) -> None:
    shown = read_folder(place / "copy", Examiner(registry.trust, registry.clock())).shown
    assert (shown.version.label, shown.version.aliases) == ("sums:1", ("champion",))
    assert describe_record_in(shown) == describe_record(registry, "sums")
    assert describe_form_in(shown, "dp") == describe_form(registry, "sums", "dp")
    verdict = describe_verdict(registry, "sums")
    assert describe_verdict_in(shown) == verdict and verdict.verdicts.high_risk.text


def test_the_page_of_a_folder_differs_from_that_of_its_home_in_what_only_a_home_knows(
    registry: Registry, place: Path
) -> None:
    version = version_named(registry, "sums")
    read = read_folder(place / "copy", Examiner(registry.trust, registry.clock()))
    home, folder = (page.decode().splitlines() for page in (make_report(registry, version), make_report_in(read)))
    differ = [lines for lines in zip(home, folder, strict=True) if lines[0] != lines[1]]
    # what was recalled or moved since, the bytes of the base, how many statements are of other names, and labels with numbers
    # in the drawing of the lineage
    assert len(differ) == 4, differ
    assert [re.search(r'(Lineage: 3 artifacts|row">\w+)', line)[0] for line, _ in differ] == [
        'row">May',
        "Lineage: 3 artifacts",
        'row">base',
        'row">statements',
    ]


def test_the_page_of_a_folder_says_what_the_registry_at_hand_recalled(place: Path, tmp_path: Path) -> None:
    shutil.copytree(place / "home", tmp_path / "home")
    registry = reopened(tmp_path / "home")
    recall(registry, "sums", ALEX, reason="it does harm")
    at_hand = Examiner(registry.trust, registry.clock(), registry=registry)
    page = make_report_in(read_folder(place / "copy", at_hand)).decode()
    assert "No, it is recalled: " in page and "it does harm" in page and "For an internal trial" not in page
    alone = make_report_in(read_folder(place / "copy", Examiner(registry.trust, registry.clock()))).decode()
    assert "a folder does not say what was recalled above it, or since it was written" in alone
    registry.close()


def test_the_commands_take_a_folder_and_the_users_trust(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)  # where there is no registry
    copy = str(place / "copy")
    assert "version      sums:1" in asked(place, capsys, "record", copy)
    assert json.loads(asked(place, capsys, "record", "verdict", copy, "-o", "json"))["folder"]["verdict"] == "verified"
    asked(place, capsys, "report", copy, "--out", "page.html")
    assert "sums:1" in Path("page.html").read_text("utf-8")
    assert run(["record", copy]) == 5, "nobody is trusted: it is shown, and the exit says that it was not verified"
    said = capsys.readouterr()
    assert "version      sums:1" in said.out and said.err.startswith("unverified: ")


@pytest.mark.parametrize(
    "words",
    [
        ("verify", "COPY"),
        ("verify", "COPY", "--audit"),
        ("verify", "sums"),
        ("record", "COPY"),
        ("pull", "sums", "new"),
    ],
)
def test_a_root_without_the_file_that_it_signed_pins_nothing_and_is_refused(
    words: tuple[str, ...],
    place: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REGISTRY_HOME", str(place / "home"))
    typed = [str(place / "copy") if word == "COPY" else word for word in words]
    assert run([*typed, "--root", f"sha256:{'0' * 64}"]) == 2
    said = capsys.readouterr()
    assert said.out == "" and "--root says who must have signed a trust file, and --trust names none" in said.err


def test_what_can_be_no_trust_file_is_a_mistake_and_accuses_nobody(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("REGISTRY_HOME", str(place / "home"))
    os.mkfifo(tmp_path / "pipe")
    for name in ("pipe", "."):
        assert run(["verify", "sums", "--trust", str(tmp_path / name)]) == 2
        said = capsys.readouterr()
        assert said.out == "" and "was not read" in said.err


def test_of_a_changed_folder_nothing_is_shown(copy: Path, registry: Registry) -> None:
    file = copy / "adapter_config.json"
    file.write_bytes(file.read_bytes().replace(b'"r"', b'"R"'))
    with pytest.raises(FolderBroken, match=r"adapter_config\.json"):
        read_folder(copy, Examiner(registry.trust, registry.clock()))


@pytest.mark.parametrize(
    ("was", "is_now"), [('"number":1', '"number":2'), ('"alias":"champion"', '"alias":"prodigal"')]
)
def test_a_number_or_an_alias_that_the_log_did_not_give_breaks_the_folder(
    was: str, is_now: str, copy: Path, registry: Registry
) -> None:
    _change_list(copy, lambda text: text.replace(was, is_now))
    with pytest.raises(FolderBroken, match="does not lead to the signed root"):
        read_folder(copy, Examiner(registry.trust, registry.clock()))


def test_the_public_part_of_a_folder_proves_its_number_and_names_no_alias(copy: Path) -> None:
    part = public_part(copy, with_records=False)
    proof = part.files[PROOF]
    assert isinstance(proof, bytes)
    shown = parse_list(proof.decode()).stated
    assert [(place.name, place.number) for place in shown.versions] == [("sums", 1)]
    assert shown.aliases == () and "champion" not in proof.decode()


def test_a_folder_of_an_earlier_release_shows_no_number(copy: Path, registry: Registry) -> None:
    def without_places(text: str) -> str:
        value = json.loads(text)
        del value["versions"], value["aliases"]
        return json.dumps(value, separators=(",", ":"))

    _change_list(copy, without_places)
    read = read_folder(copy, Examiner(registry.trust, registry.clock()))
    assert read.outcome.verdict == "verified"
    assert read.shown.version.label == f"sums ({read.shown.version.manifest_digest.short})"


def _change_list(copy: Path, change) -> None:
    lines = (copy / PROOF).read_text("utf-8").split("\n")
    at = next(number for number, line in enumerate(lines) if line.startswith("extra "))
    text = base64.b64decode(lines[at].removeprefix("extra ")).decode()
    changed = change(text)
    assert changed != text
    lines[at] = "extra " + base64.b64encode(changed.encode()).decode()
    (copy / PROOF).write_text("\n".join(lines), "utf-8")

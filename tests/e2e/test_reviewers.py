"""REVIEWERS.md by its own commands: in a clean dossier they find nothing, and of six planted edits each one twice."""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from peft_registry.registry.homes.home import utc_now
from peft_registry.registry.records.references import version_named
from peft_registry.registry.use_cases.exchange_trust import export_trust
from peft_registry.registry.use_cases.gate import promote, read_gate_policy
from peft_registry.registry.use_cases.hand_over import hand_over
from tests.builders.homes import a_home
from tests.builders.products import register_sums
from tests.builders.tampered import TAMPERS, kind_of, plant
from tests.conftest import not_run
from tests.processes.interpreter import ROOT

pytestmark = [pytest.mark.openssl, pytest.mark.slow]

PAGE = (ROOT / "REVIEWERS.md").read_text("utf-8")
POLICY = "name: bank\nabout: no terms that forbid to sell it\nrefused_licence_flags: [non_commercial]\n"
ALWAYS_UNSIGNED = {"document.intoto.jsonl", "dossier.json"}


@dataclass(frozen=True)
class Reviewed:
    """What the commands of the page printed: of what should not be there, of the audit, of the keys, of openssl and sha256sum."""

    found: str
    audit: str
    keys: str
    by_openssl: str

    @property
    def differing(self) -> str:
        return "\n".join(line for line in self.audit.splitlines() if line.startswith("differs"))


def blocks() -> list[str]:
    """The commands of the page, but for the install, which test_auditor.py does."""
    return [block for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) if "venv" not in block]


def reviewed(dossier: Path, trust: Path, root: str, desk: Path) -> Reviewed:
    """What somebody sees who types every command of the page in an empty folder."""
    desk.mkdir()
    printed = []
    for block in blocks():
        script = block.replace("DOSSIER", str(dossier)).replace("TRUST/", f"{trust}/").replace("sha256:…", root)
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=desk,
            env={"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "HOME": str(desk)},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        printed.append(done.stdout)
    found, *audit, unpacked, keys, checked = printed
    return Reviewed(found, "".join(audit[:1]), keys, unpacked + checked)


@dataclass(frozen=True)
class Place:
    folder: Path
    trust: Path
    root: str
    manifest: str
    edited: dict[str, str]

    def reviewed(self, name: str) -> Reviewed:
        return reviewed(self.folder / name, self.trust, self.root, self.folder / f"desk of {name}")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A signed dossier of a version that a policy let through, and a copy with what the page plants."""
    if shutil.which("openssl") is None:
        not_run("there is no openssl command")
    folder = tmp_path_factory.mktemp("reviewed")
    (folder / "bank.yml").write_text(POLICY, "utf-8")
    with a_home(folder / "home", now=utc_now()) as registry:
        version = register_sums(registry, folder / "made")
        promote(registry, version, "champion", read_gate_policy(str(folder / "bank.yml")))
        version = version_named(registry, "sums")
        hand_over(registry, version, "ai-office", folder / "clean", signer=registry.trainer_key)
        export_trust(registry, folder / "trust")
        root = f"sha256:{registry.trust.roots[0]}"
    edited = plant(folder / "clean", folder / "tampered")
    return Place(folder, folder / "trust", root, version.manifest_digest.hex, edited)


def is_in_the_table(line: str) -> bool:
    """Whether a line with `?` is one that the page says may be there."""
    rows = re.findall(r"^\| (.*?) \| ", PAGE, re.MULTILINE)
    phrases = [[part.strip() for span in re.findall(r"`([^`]+)`", row) for part in span.split("…")] for row in rows]
    return any(phrase and any(phrase) and all(part in line for part in phrase) for phrase in phrases)


def require_explained(seen: Reviewed) -> None:
    """Fail unless the table of the page has every line with `?`."""
    doubts = [line for line in seen.audit.splitlines() if line.startswith("?")]
    assert doubts and [line for line in doubts if not is_in_the_table(line)] == []


def test_of_a_clean_dossier_nothing_is_found_and_every_doubt_is_one_that_the_page_explains(place: Place) -> None:
    seen = place.reviewed("clean")
    assert (seen.found, seen.differing) == ("", "")
    assert (seen.audit.splitlines()[0], seen.audit.splitlines()[-1]) == ("exit 0", "verified"), seen.audit
    require_explained(seen)
    assert f"about the manifest {place.manifest}\n" in seen.by_openssl and "signed by " in seen.by_openssl
    assert (
        f"{place.manifest}  " in seen.by_openssl and "FAILED" not in seen.by_openssl and "NOBODY" not in seen.by_openssl
    )
    assert seen.keys.splitlines()[-1].startswith(f"{place.root.removeprefix('sha256:')}  "), (
        "the root that came by call"
    )
    assert set(seen.by_openssl.splitlines()[-2:]) == ALWAYS_UNSIGNED


def test_files_that_are_only_called_as_weights_are_and_a_statement_less_are_seen_both_ways(
    place: Place, tmp_path: Path
) -> None:
    copy = shutil.copytree(place.folder / "clean", tmp_path / "copy")
    planted = ["extra.safetensors", "new/READ.safetensors"]
    for name in planted:
        (copy / name).parent.mkdir(exist_ok=True)
        (copy / name).write_bytes(b"read me")
    statements = copy / "artifact" / "evidence" / "statements.intoto.jsonl"
    lines = statements.read_bytes().splitlines(keepends=True)
    statements.write_bytes(b"".join(line for line in lines if kind_of(line) != "alias"))
    seen = reviewed(copy, place.trust, place.root, tmp_path / "desk")
    named = [line.split(":")[0].removeprefix("differs  ") for line in seen.differing.splitlines()]
    assert sorted(named) == ["artifact/evidence/statements.intoto.jsonl", *planted]
    assert set(seen.by_openssl.splitlines()[-4:]) == {*ALWAYS_UNSIGNED, *planted}
    assert "artifact/evidence/statements.intoto.jsonl: FAILED" in seen.by_openssl
    assert "  artifact/adapter_model.safetensors\n" in (tmp_path / "desk" / "sums").read_text("utf-8")
    assert "withheld" in seen.audit
    require_explained(seen)


def test_a_wrong_path_and_a_signature_that_is_gone_are_named(place: Place, tmp_path: Path) -> None:
    (unpack,) = [block for block in blocks() if "unpack.py" in block]

    def told(dossier: Path, trust: Path) -> str:
        script = unpack.replace("DOSSIER", str(dossier)).replace("TRUST/", f"{trust}/")
        done = subprocess.run(
            ["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120
        )
        return done.stdout + done.stderr

    assert "is that path right?" in told(place.folder / "clean", tmp_path / "nowhere")
    dossier = tmp_path / "dossier"
    dossier.mkdir()
    assert "document.intoto.jsonl is not there\n" in told(dossier, place.trust)
    (dossier / "document.intoto.jsonl").write_text('{"signatures": []}', "utf-8")
    assert "document.intoto.jsonl holds no signature: " in told(dossier, place.trust)


def test_what_was_planted_is_found_twice(place: Place) -> None:
    seen = place.reviewed("tampered")
    assert len(place.edited) == len(TAMPERS) == 6
    assert (seen.audit.splitlines()[0], seen.audit.splitlines()[-1]) == ("exit 6", "broken")
    require_explained(seen)
    for planted, file in place.edited.items():
        assert planted in PAGE, "the page says where it is found"
        assert seen.differing.count(f"differs  {file}: ") == 1, planted
        assert f"{file}: FAILED" in seen.by_openssl, planted
    assert seen.found.splitlines()[0].endswith("/trust.json") and "trust.json" in seen.differing
    assert "trust.json" in seen.by_openssl.splitlines()
    lines = [line for line in seen.audit.splitlines() if line.startswith("✗")]
    for figure in ("verify: statements", "dossier.json", "policy ", "source "):
        assert any(line.startswith(f"✗ {figure}") for line in lines), figure

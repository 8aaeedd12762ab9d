"""The kept wheel of 0.2.0, whose edition is frozen, reads what a later release writes, and calls none of it forged.

A later release derives by an edition that this one does not know, and has other words for what people decided. Whoever still uses
this one is told so, and gets the files.
"""

import json
import os
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from peft_registry.registry.compliance.editions import editions
from peft_registry.registry.evaluation.aggregate import FIGURES
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.records.references import version_named
from peft_registry.registry.signing.trust_chain import render_chain
from peft_registry.registry.use_cases.decide import decide_question
from peft_registry.registry.use_cases.gate import read_gate_policy
from peft_registry.registry.use_cases.pull import pull_version
from peft_registry.registry.use_cases.register_product import register_product
from peft_registry.schemas.edition import Edition
from peft_registry.schemas.version import Version
from tests.builders.evaluation import a_recorded_evaluation
from tests.builders.homes import a_home, add_a_base, reopened
from tests.builders.products import FACTS, a_product, say_evaluated
from tests.builders.releases import NEXT, a_release_with_other_rules
from tests.builders.signing import NOW, a_p256_key, a_trusted_key, one_more
from tests.conftest import STATE
from tests.processes.distribution import install

pytestmark = [pytest.mark.slow, pytest.mark.processes]
WHEEL = Path(__file__).parent.parent / "compat" / "0.2.0" / "peft_registry-0.2.0-py3-none-any.whl"
NAME = "sums:1"


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command of 0.2.0, in a virtual environment of its own."""
    return install([WHEEL], tmp_path_factory.mktemp("venv") / "earlier") / "registry"


def add_an_evaluation_of_later_figures(registry: Registry, version: Version) -> None:
    evaluation, items = a_recorded_evaluation()
    predicate = evaluation.revised(created_at=registry.clock()).to_json()
    predicate["extra"]["statistics"]["figures"] = FIGURES + 1
    say_evaluated(registry, version, predicate, items)


@pytest.fixture(scope="module")
def written_later(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `home`, where a later release registered a version that a person decided about, and `pulled`, a copy of it."""
    folder = tmp_path_factory.mktemp("later")
    newest = editions().newest
    frozen = Edition(name=newest.name, digest=newest.digest)
    approver = a_p256_key(21)
    with a_release_with_other_rules(folder, frozen, NEXT):
        with a_home(folder / "home") as registry:
            product = a_product(registry, folder / "made", add_a_base(registry, folder / "base"), facts=FACTS)
            made = register_product(registry, product).version
            assert made.label == NAME
            add_an_evaluation_of_later_figures(registry, made)
            key = a_trusted_key(approver, person="ada", role="approver", predicate_types=None)
            keys = (*registry.trust.keys, key)
            chain = one_more(registry.trust_chain, registry.private_key("root"), keys=keys)
        (folder / "home" / "trust.json").write_bytes(render_chain(chain))
        with closing(reopened(folder / "home", now=NOW)) as registry:
            version = version_named(registry, NAME)
            policy = read_gate_policy("regulated")
            decide_question(registry, version, "purpose", policy, approver, is_yes=False, reason="as it was")
            pull_version(registry, version, folder / "pulled", with_decisions=True)
    assert "- indicative reading: the intended purpose did" in (folder / "pulled/evidence/DECISIONS.md").read_text(
        "utf-8"
    )
    return folder


def asked(command: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "XDG_STATE_HOME": str(STATE)}
    return subprocess.run(
        [str(command), *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize(
    "what", [(NAME, "--home", "home"), ("./pulled", "--trust", "home/trust.json")], ids=["home", "folder"]
)
def test_it_verifies_what_a_later_edition_derived_and_says_so(
    what: tuple[str, ...], earlier: Path, written_later: Path
) -> None:
    done = asked(earlier, written_later, "verify", *what, "--output", "json")
    assert done.returncode == 0, done.stdout + done.stderr
    outcome = json.loads(done.stdout)
    assert outcome["verdict"] == "verified"
    assert f"not derived again: the edition {NEXT}" in done.stdout
    assert f"not computed again: its figures are of edition {FIGURES + 1}" in done.stdout


def test_it_pulls_and_shows_it(earlier: Path, written_later: Path, tmp_path: Path) -> None:
    home = str(written_later / "home")
    done = asked(earlier, written_later, "pull", NAME, str(tmp_path / "again"), "--home", home)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "again" / "manifest.json").exists()
    for command in (("record", NAME), ("show", NAME), ("list",), ("log", "check")):
        done = asked(earlier, written_later, *command, "--home", home)
        assert done.returncode == 0, (command, done.stdout + done.stderr)

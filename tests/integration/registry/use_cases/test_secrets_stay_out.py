"""A secret that somebody wrote into a reason, fact, file name, training file or answer never reaches anything that is kept."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from peft_registry.cli.main import run
from peft_registry.registry.homes.home import Registry, open_home, utc_now
from peft_registry.registry.intake.secrets import SecretRefused
from peft_registry.registry.records.references import version_named
from peft_registry.registry.use_cases.add_base import add_base
from peft_registry.registry.use_cases.register import register_version
from peft_registry.registry.use_cases.report import make_report
from peft_registry.registry.use_cases.statements import append_statement
from peft_registry.schemas.base_model import BaseOrigin
from peft_registry.schemas.errors import InputRefused
from peft_registry.trainer.inputs.training_file import load_training_file
from peft_registry.trainer.machine.environment import cut_paths
from tests.builders.backends import contents
from tests.builders.homes import a_home, add_a_base, an_artifact, base_files, register_adapter
from tests.builders.made import a_run_of, derived, made_artifact
from tests.builders.mirror import projection_of
from tests.builders.records import an_evaluation

# put together here, so that no scanner of repositories takes this file for a leak
SECRET = "hf" + "_" + "aBcDeFgHiJkLmNoPqRsTuVwXyZaBcDeFgH"
PART = SECRET[5:25]


def in_a_statement(registry: Registry, folder: Path) -> None:
    append_statement(
        registry,
        subject=version_named(registry, "helper:1").manifest_digest,
        kind="test-result",
        predicate={"result": "PASSED", "configuration": [{"note": f"ran with {SECRET}"}]},
        signer=registry.trainer_key,
        evidence=(b"a table of its own",),
    )


def in_the_name_of_an_evaluation(registry: Registry, folder: Path) -> None:
    record = an_evaluation()
    named = record.datasets[0].model_copy(update={"name": f"suite-{SECRET}"})
    append_statement(
        registry,
        subject=version_named(registry, "helper:1").manifest_digest,
        kind="bias-evaluation",
        predicate=record.model_copy(update={"datasets": (named,)}).to_json(),
        signer=registry.trainer_key,
    )


def in_a_modification_record(registry: Registry, folder: Path) -> None:
    base = add_a_base(registry, folder / "base")
    artifact = an_artifact(folder / "noted", base, value=0.125)
    run = a_run_of(artifact.manifest)
    facts = {"asserted_by": "sam", "use": {"intended": f"whoever has {SECRET}"}}
    made = derived(artifact.name, artifact.manifest, run, base, facts=facts)
    register_version(
        registry, made_artifact(artifact.name, artifact.folder, artifact.manifest, run, made, artifact.card)
    )


def in_a_model_card(registry: Registry, folder: Path) -> None:
    artifact = an_artifact(folder / "carded", add_a_base(registry, folder / "base"), value=0.125)
    register_version(registry, replace(artifact, card=artifact.card + SECRET.encode()))


def in_a_file_name(registry: Registry, folder: Path) -> None:
    base_files(folder / "named", seed=3)
    (folder / "named" / f"{SECRET}.json").write_text("{}")
    add_base(registry, folder / "named", name="named", origin=BaseOrigin(format="huggingface", source="named"))


def in_a_name(registry: Registry, folder: Path) -> None:
    artifact = an_artifact(folder / "called", add_a_base(registry, folder / "base"), name=SECRET, value=0.125)
    register_version(registry, artifact)


def in_an_origin(registry: Registry, folder: Path) -> None:
    base_files(folder / "far", seed=4)
    origin = BaseOrigin(format="huggingface", source=f"https://me:{PART}@example.org/far")
    add_base(registry, folder / "far", name="far", origin=origin)


@pytest.mark.parametrize(
    "act",
    [
        in_a_statement,
        in_the_name_of_an_evaluation,
        in_a_modification_record,
        in_a_model_card,
        in_a_file_name,
        in_a_name,
        in_an_origin,
    ],
    ids=lambda act: act.__name__,
)
def test_what_would_be_signed_with_a_secret_in_it_is_refused_before_anything_is_stored(
    tmp_path: Path, act: Callable[[Registry, Path], None]
) -> None:
    with a_home(tmp_path / "home") as registry:
        register_adapter(registry, tmp_path)
        before = contents(registry)
        with pytest.raises(SecretRefused) as refused:
            act(registry, tmp_path)
        assert PART not in f"{refused.value.what}{refused.value.why}{refused.value.fix}"
        assert contents(registry) == before


@pytest.mark.parametrize("override", [None, f"name={SECRET}", f"training.note={SECRET}"])
def test_a_training_file_with_a_secret_is_refused_before_anything_is_read_or_trained(
    tmp_path: Path, override: str | None
) -> None:
    path = tmp_path / "train.yml"
    data = f"{{train: {{path: rows-{SECRET}.jsonl}}}}" if override is None else "{train: {path: rows.jsonl}}"
    path.write_text(f"name: tutor\nbase: tiny:1\nmethod: lora\ndata: {data}\n")
    with pytest.raises(SecretRefused) as refused:
        load_training_file(path, () if override is None else (override,))
    assert PART not in f"{refused.value}"


def test_the_recorded_command_line_is_redacted() -> None:
    arguments = ("train", "x.yml", f"note={SECRET}", SECRET, f"https://me:{PART}@host", "--token", PART)
    assert PART not in " ".join(cut_paths(arguments))
    assert cut_paths(("train", "x.yml", "training.seed=8")) == ("train", "x.yml", "training.seed=8")


def test_nothing_that_is_kept_or_printed_holds_a_secret_that_commands_were_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Store, database, log, report, MLflow, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    home = tmp_path / "home"
    with a_home(home, now=utc_now()) as registry:
        register_adapter(registry, tmp_path)
    answers, facts = tmp_path / "answers.yml", tmp_path / "facts.yml"
    answers.write_text(f"legal_name: 'Example {SECRET}'\n")
    facts.write_text(f"provider: '{SECRET}'\n")
    base_files(tmp_path / "second", seed=5)
    where = ["--home", str(home)]
    commands = (
        ["promote", "helper:1", "champion", "--policy", "none", "--reason", f"it works with {SECRET}", *where],
        ["base", "add", str(tmp_path / "second"), "--name", "second", "--facts", str(facts), *where],
        ["init", "--unencrypted", "--profile", str(answers), "--home", str(tmp_path / "other")],
    )
    for command in commands:
        assert run(command) == InputRefused.exit_code, command
    assert run(["promote", "helper:1", "champion", "--policy", "none", "--reason", "it works", *where]) == 0
    registry = open_home(home)
    shown = projection_of(registry, version_named(registry, "helper@champion"))
    for file in (*shown.run.artifacts, *shown.version.artifacts):
        (tmp_path / file.path.replace("/", "-")).write_bytes(file.content.make())
    (tmp_path / "shown.txt").write_text(f"{shown}")
    (tmp_path / "page.html").write_bytes(make_report(registry, version_named(registry, "helper@champion")))
    registry.close()
    printed = capfd.readouterr()
    assert "Hugging Face token" in printed.err
    assert PART not in printed.out + printed.err
    answers.unlink()
    facts.unlink()
    kept = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(kept) > 30
    assert not [path for path in kept if PART.encode() in path.read_bytes()]

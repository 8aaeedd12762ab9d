"""A version in a repository of the Hub: private, verified, without records and without its base; nothing where the Hub says no."""

import base64
import json
import re
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

from peft_registry.cli.main import run
from peft_registry.registry.exports.hub import STATEMENTS_PATH
from peft_registry.registry.homes.home import Registry, utc_now
from peft_registry.registry.records.references import version_named
from peft_registry.registry.records.signed_records import signed_statements
from peft_registry.registry.use_cases.cut_copy import BaseNotPublished, PathInFiles, pull_for
from peft_registry.registry.use_cases.hold import hold
from peft_registry.registry.use_cases.promote import set_alias
from peft_registry.registry.use_cases.publish import (
    HubRefused,
    Publication,
    RecordsInPublic,
    RepositoryIsPublic,
    publish_version,
)
from peft_registry.registry.use_cases.pull import PullRefused
from peft_registry.registry.use_cases.register import register_version
from peft_registry.registry.use_cases.statements import append_statement
from peft_registry.registry.use_cases.verify import verify_folder
from peft_registry.schemas.canonical import canonical_bytes
from peft_registry.schemas.evaluation import EvaluationRecord, Responsible
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.version import Version
from tests.builders.decisions import OFFICER, fill
from tests.builders.evaluation import a_recorded_evaluation
from tests.builders.homes import a_home, adapter_files, add_a_base, artifact_of, register_adapter, reopened
from tests.servers.hub import COMMIT, FakeHub, serving

REPOSITORY = "lab/tiny"
WEIGHTS = "adapter_model.safetensors"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Registry, Version]]:
    folder = tmp_path_factory.mktemp("home")
    with a_home(folder / ".registry", now=utc_now()) as registry:
        yield registry, register_adapter(registry, folder)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """A Hub without the repository; what it is said to hold lies in a folder."""
    (tmp_path / "there").mkdir()
    with serving(FakeHub(tmp_path / "there")) as server:
        monkeypatch.setattr(constants, "ENDPOINT", server.endpoint)
        monkeypatch.setenv("HF_TOKEN", "hf_writes")
        yield server


def published(home: tuple[Registry, Version], **asked: bool) -> Publication:
    return publish_version(*home, REPOSITORY, **asked)


def test_a_version_is_sent_to_a_private_repository_in_one_commit(home, hub: FakeHub, tmp_path: Path) -> None:
    done = published(home)
    assert hub.created is not None
    assert (hub.created["name"], hub.created["organization"]) == ("tiny", "lab")
    assert hub.created.get("private") is True or hub.created.get("visibility") == "private"
    assert (done.commit, done.is_private) == (COMMIT, True)
    assert hub.asked.count("/api/models/lab/tiny/commit/main") == 1
    assert {path: len(data) for path, data in hub.committed.items()} == dict(done.files)
    writing = ("/api/repos/create", "/api/models/lab/tiny/preupload/main", "/api/models/lab/tiny/commit/main")
    tokens = {token for path, token in zip(hub.asked, hub.tokens, strict=True) if path in writing}
    assert tokens == {"Bearer hf_writes"}


def downloaded(hub: FakeHub, folder: Path) -> Path:
    for path, data in hub.committed.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    return folder


def test_whoever_downloads_it_checks_everything_but_what_is_named_as_withheld(
    home, hub: FakeHub, tmp_path: Path
) -> None:
    done = published(home)
    outcome = verify_folder(downloaded(hub, tmp_path / "download"), trust=home[0].trust, now=utc_now())
    open_checks = [check for check in outcome.checks if check.status not in ("ok", "recorded")]
    assert [(check.step, check.error) for check in open_checks] == [("statements", "statements-withheld")]
    assert outcome.verdict == "unverified"
    kinds, digests = zip(*(statement.split(" ") for statement in done.withheld), strict=True)
    assert kinds == ("provenance", "observations", "modification")
    assert sorted(open_checks[0].detail) == sorted(digests)


# --- what people decided, and who they are ---

REASON = "asked for by the authority, case 7"
ALIAS = "pilot-of-the-clinic"
NAMED = "Miriam Okafor"


@dataclass(frozen=True)
class Decided:
    """A version on hold, with an alias, of which somebody of an earlier release and somebody of this one made an evaluation."""

    registry: Registry
    version: Version
    acts: tuple[Digest, ...]
    named: EvaluationRecord
    unnamed: EvaluationRecord


@pytest.fixture(scope="module")
def decided(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Decided]:
    folder = tmp_path_factory.mktemp("decided")
    with a_home(folder / ".registry", now=utc_now()) as registry:
        fill(registry, folder)
    with closing(reopened(folder / ".registry", now=utc_now())) as registry:
        version = version_named(registry, "sums")
        hold(registry, "sums", OFFICER, reason=REASON)
        set_alias(registry, version, ALIAS, reason=f"{NAMED} agreed")
        named, unnamed = (evaluated(registry, version, name) for name in (NAMED, registry.trainer_key.public.key_id))
        said = signed_statements(registry, version.manifest_digest)
        acts = tuple(one.digest for one in said if one.kind in ("hold", "alias"))
        assert len(acts) == 2
        yield Decided(registry, version, acts, named, unnamed)


def evaluated(registry: Registry, version: Version, responsible: str) -> EvaluationRecord:
    record, items = a_recorded_evaluation()
    table = record.items.revised(file=f"items-{len(responsible)}.jsonl")
    said = record.revised(
        created_at=registry.clock(), items=table, responsible=Responsible(name=responsible, role="trainer")
    )
    append_statement(
        registry,
        subject=version.manifest_digest,
        kind="bias-evaluation",
        predicate=said.to_json(),
        signer=registry.trainer_key,
        evidence=(items,),
    )
    return said


@pytest.fixture
def download(decided: Decided, hub: FakeHub, tmp_path: Path) -> Path:
    """What everybody finds in the public repository."""
    publish_version(decided.registry, decided.version, REPOSITORY, public=True)
    return downloaded(hub, tmp_path / "download")


def everything_in(folder: Path) -> str:
    """All text of a folder, with what its envelopes hold."""
    texts = [path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()]
    lines = (folder / STATEMENTS_PATH).read_bytes().splitlines()
    texts += [base64.b64decode(json.loads(line)["payload"]) for line in lines]
    texts += [base64.b64decode(line[6:]) for line in texts_of_extra(folder)]
    return "\n".join(text.decode("utf-8", "replace") for text in texts)


def texts_of_extra(folder: Path) -> list[str]:
    lines = (folder / "evidence/complete.tlog-proof").read_text().splitlines()
    return [line for line in lines if line.startswith("extra ")]


def test_a_public_copy_tells_neither_of_a_hold_nor_of_what_else_people_decided_nor_who_they_are(
    decided: Decided, download: Path
) -> None:
    told = everything_in(download)
    assert "urn:peft-registry:completeness:v1" in told and '"accompanied_by"' in told, "it is looked through decoded"
    for word in (REASON, ALIAS, NAMED, "urn:peft-registry:hold", '"hold"', '"alias"', OFFICER.public.key_id[:16]):
        assert word not in told
    for digest in decided.acts:
        assert digest.hex not in told
    people = {key.person for key in decided.registry.trust.keys}
    assert {"alex", "sam"} <= people
    for person in people:
        assert not re.search(rf"\b{re.escape(person)}\b", told), person


def test_a_private_copy_without_records_keeps_the_same_to_itself(
    decided: Decided, hub: FakeHub, tmp_path: Path
) -> None:
    publish_version(decided.registry, decided.version, REPOSITORY)
    told = everything_in(downloaded(hub, tmp_path / "download"))
    assert REASON not in told and NAMED not in told


def test_an_evaluation_that_names_nobody_is_published_and_its_rows_go_to_chosen_readers_alone(
    decided: Decided, download: Path, hub: FakeHub, tmp_path: Path
) -> None:
    assert str(decided.unnamed.items.sha256) in everything_in(download)
    assert not list((download / "evidence").glob("items*"))
    assert f"rows of evidence/{decided.unnamed.items.file}" in sent_to_everybody(decided).withheld
    private = publish_version(decided.registry, decided.version, REPOSITORY)
    chosen = downloaded(hub, tmp_path / "private") / "evidence"
    assert (chosen / decided.unnamed.items.file).is_file()
    assert not (chosen / decided.named.items.file).exists()
    assert not [one for one in private.withheld if one.startswith("rows of")]


def sent_to_everybody(decided: Decided) -> Publication:
    return publish_version(decided.registry, decided.version, REPOSITORY, public=True, dry_run=True)


def test_the_public_copy_is_still_shown_to_be_all_but_what_is_withheld(decided: Decided, download: Path) -> None:
    outcome = verify_folder(download, trust=decided.registry.trust, now=utc_now())
    (check,) = [check for check in outcome.checks if check.status not in ("ok", "recorded")]
    assert (outcome.verdict, check.step, check.error) == ("unverified", "statements", "statements-withheld")
    named = next(
        one.digest
        for one in signed_statements(decided.registry, decided.version.manifest_digest)
        if one.kind == "bias-evaluation" and EvaluationRecord.from_json(one.statement.predicate) == decided.named
    )
    assert f"bias-evaluation {named}" in check.detail
    assert "sealed: 2, of which neither digest nor kind is told" in check.detail


def edit_list(folder: Path, edit: Callable[[list[dict[str, str]]], None]) -> None:
    path = folder / "evidence/complete.tlog-proof"
    (extra,) = texts_of_extra(folder)
    said = json.loads(base64.b64decode(extra[6:]))
    edit(said["statements"])
    text = path.read_text().replace(extra, f"extra {base64.b64encode(canonical_bytes(said)).decode()}")
    path.write_text(text)


def drop_sealed(statements: list[dict[str, str]]) -> None:
    statements.remove(next(entry for entry in statements if "leaf" in entry))


def change_sealed(statements: list[dict[str, str]]) -> None:
    entry = next(entry for entry in statements if "leaf" in entry)
    entry["leaf"] = f"{'0' if entry['leaf'][0] != '0' else '1'}{entry['leaf'][1:]}"


def swap_sealed(statements: list[dict[str, str]]) -> None:
    first, second = (at for at, entry in enumerate(statements) if "leaf" in entry)
    statements[first], statements[second] = statements[second], statements[first]


@pytest.mark.parametrize("edit", [drop_sealed, change_sealed, swap_sealed])
def test_nobody_can_change_what_is_sealed(decided: Decided, download: Path, edit: Any) -> None:
    edit_list(download, edit)
    outcome = verify_folder(download, trust=decided.registry.trust, now=utc_now())
    assert outcome.verdict == "broken", outcome


def test_what_is_wrong_does_not_hide_behind_what_is_withheld(decided: Decided, hub: FakeHub, tmp_path: Path) -> None:
    publish_version(decided.registry, decided.version, REPOSITORY)
    download = downloaded(hub, tmp_path / "download")
    table = download / "evidence" / decided.unnamed.items.file
    table.write_bytes(table.read_bytes().replace(b"-1", b"-2", 1))
    outcome = verify_folder(download, trust=decided.registry.trust, now=utc_now())
    assert outcome.verdict == "broken", outcome


def test_with_its_records_it_verifies_whole_and_only_in_private(home, hub: FakeHub, tmp_path: Path) -> None:
    assert published(home, with_records=True).withheld == ()
    outcome = verify_folder(downloaded(hub, tmp_path / "download"), trust=home[0].trust, now=utc_now())
    assert outcome.verdict == "verified", outcome
    hub.committed.clear()
    with pytest.raises(RecordsInPublic):
        published(home, with_records=True, public=True)
    assert hub.committed == {}


def test_neither_records_nor_the_base_are_sent(home, hub: FakeHub) -> None:
    published(home)
    sent = b"".join(hub.committed.values())
    assert b"urn:peft-registry:modification" not in sent
    assert not [path for path in hub.committed if path.endswith(".safetensors") and path != WEIGHTS]
    with pytest.raises(BaseNotPublished):
        publish_version(home[0], version_named(home[0], "tiny"), REPOSITORY)


def test_a_dry_run_asks_nobody_and_says_the_same(home, hub: FakeHub) -> None:
    planned = published(home, dry_run=True)
    assert hub.asked == []
    assert planned.commit is None
    done = published(home)
    assert (planned.files, planned.withheld) == (done.files, done.withheld)


def test_a_repository_that_everybody_reads_gets_nothing_unless_that_is_said(home, hub: FakeHub) -> None:
    hub.public = True
    with pytest.raises(RepositoryIsPublic) as caught:
        published(home)
    assert caught.value.exit_code == 3
    assert hub.committed == {}
    assert published(home, public=True).is_private is False
    assert WEIGHTS in hub.committed


def test_a_path_of_somebodys_machine_in_a_signed_file_is_not_sent_to_where_everybody_reads(tmp_path: Path) -> None:
    with a_home(tmp_path / ".registry", now=utc_now()) as registry:
        base = add_a_base(registry, tmp_path / "base")
        files = adapter_files(tmp_path / "adapter", value=0.5)
        config = json.loads((files / "adapter_config.json").read_text())
        config["eva_config"] = {"dataset": "/home/alex/rows.jsonl"}
        (files / "adapter_config.json").write_text(json.dumps(config))
        version = register_version(registry, artifact_of(files, base))
        with pytest.raises(PathInFiles) as refused:
            publish_version(registry, version, REPOSITORY, public=True, dry_run=True)
        assert "adapter_config.json, eva_config.dataset" in refused.value.why
        assert refused.value.exit_code == 3
        assert publish_version(registry, version, REPOSITORY, dry_run=True).files
        with pytest.raises(PathInFiles):
            pull_for(registry, version, "public", tmp_path / "public")
        assert not (tmp_path / "public").exists()
        assert pull_for(registry, version, "downstream", tmp_path / "chosen").outcome.verdict != "broken"


def test_what_an_earlier_version_left_is_removed_by_the_same_commit(home, hub: FakeHub) -> None:
    hub.public = False
    for name in ("old.safetensors", ".gitattributes", WEIGHTS):
        (hub.folder / name).write_bytes(b"old")
    published(home)
    assert hub.deleted == ["old.safetensors"]


@pytest.mark.parametrize(
    "refuses",
    [("/create", 401), ("/create", 429), ("/preupload/main", 500), ("/commit/main", 403), ("/commit/main", 404)],
    ids=str,
)
def test_a_hub_that_refuses_is_one_sentence(
    home, hub: FakeHub, refuses: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub.utils import _http

    monkeypatch.setattr(_http.time, "sleep", lambda _: None)  # its client waits between attempts
    hub.refuses = refuses
    with pytest.raises(HubRefused) as caught:
        published(home)
    assert caught.value.exit_code == 8
    assert str(refuses[1]) in caught.value.why
    assert hub.committed == {}


def test_a_hub_that_is_not_there_is_one_sentence(home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(HubRefused):
        published(home)


def test_a_version_that_does_not_verify_is_not_sent(tmp_path: Path, hub: FakeHub) -> None:
    with a_home(tmp_path / "home", now=utc_now()) as registry:
        version = register_adapter(registry, tmp_path)
        weights = Digest.of((tmp_path / "adapter-helper-0.5" / WEIGHTS).read_bytes())
        stored = registry.store.local_path(weights)
        assert stored is not None
        stored.chmod(0o644)
        stored.write_bytes(b"other")
        with pytest.raises(PullRefused):
            publish_version(registry, version, REPOSITORY)
    assert hub.asked == []


def test_the_command_lists_what_is_sent_and_withheld(
    home, hub: FakeHub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(home[0].folder.parent)
    where = ["--home", str(home[0].folder)]
    assert run(["export", "helper:1", REPOSITORY, "--as", "hub", "--dry-run", *where]) == 0
    printed = capsys.readouterr().out
    assert "withheld modification sha256:" in printed
    assert f"to send  {WEIGHTS}" in printed
    assert hub.asked == []
    for words in (["--as", "hub"], [REPOSITORY], [REPOSITORY, "--as", "hub", "--check", "vllm"], []):
        assert run(["export", "helper:1", *words, *where]) == 2
    for words, option, purpose in (
        ([REPOSITORY, "--as", "hub", "--base", "tiny"], "--base", "--as hub"),
        ([REPOSITORY, "--as", "hub", "--max-lora-rank", "16"], "--max-lora-rank", "--as hub"),
        (["--check", "vllm", "--public"], "--public", "--check vllm"),
        (["--check", "vllm", "--dry-run"], "--dry-run", "--check vllm"),
        (["--check", "vllm", "--with-records"], "--with-records", "--check vllm"),
    ):
        capsys.readouterr()
        assert run(["export", "helper:1", *words, *where]) == 2
        assert f"error: {option} means nothing beside {purpose}" in capsys.readouterr().err
    assert hub.asked == []


def test_a_check_for_a_server_counts_what_it_found(
    home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(home[0].folder.parent)
    assert run(["export", "helper:1", "--check", "vllm", "--home", str(home[0].folder)]) == 3
    assert capsys.readouterr().out.endswith("vllm would refuse helper:1: 1 problem\n")

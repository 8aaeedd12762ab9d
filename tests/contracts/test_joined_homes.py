"""A second person on one registry: their own home and key, a shared catalogue and store, and a log that the first one signs."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from peft_registry.cli.main import run
from peft_registry.registry.database import catalog
from peft_registry.registry.homes.home import Registry, open_home
from peft_registry.registry.homes.pins import Pins
from peft_registry.registry.records.references import version_named
from peft_registry.registry.signing.rotation import extended, next_draft, with_key
from peft_registry.registry.signing.trust import KeyLacksRole, UnknownRoot, UnlistedKey
from peft_registry.registry.signing.trust_chain import render_chain
from peft_registry.registry.use_cases.check_log import check_log
from peft_registry.registry.use_cases.join_home import (
    JoinedHome,
    JoiningHome,
    NoRegistryThere,
    StoreOfAnother,
    TrustOfAnotherRegistry,
    join_home,
)
from peft_registry.registry.use_cases.promote import set_alias
from peft_registry.registry.use_cases.register import register_version
from peft_registry.registry.use_cases.sign_log import LogKeyElsewhere, sign_log
from peft_registry.registry.use_cases.statements import append_statement
from peft_registry.registry.use_cases.verify import verify_version
from peft_registry.schemas.errors import KnownError
from peft_registry.schemas.policy import Role, TrustedKey
from peft_registry.schemas.profile import OrganisationProfile
from tests.builders.backends import contents
from tests.builders.homes import NOW, a_home, add_a_base, an_artifact, fixed_nonces
from tests.servers.postgres import PostgresServer
from tests.servers.s3 import S3Server


@dataclass
class Shared:
    """A registry on a server and in a bucket (or a file and a folder), and what its holder hands to whoever joins."""

    first: Registry
    database: str
    store: str

    @property
    def root(self) -> str:
        return self.first.trust.roots[0]

    def joining(self, folder: Path, **changes: object) -> JoiningHome:
        fields: dict[str, object] = {
            "folder": folder,
            "profile": OrganisationProfile(),
            "passphrase": None,
            "database": self.database,
            "store": self.store,
            "trust": (self.first.folder / "trust.json").read_bytes(),
            "root_key_ids": frozenset({self.root}),
        }
        return JoiningHome(**(fields | changes))  # type: ignore[arg-type]

    def sign_in(self, joined: JoinedHome, role: Role = "trainer", person: str = "sam") -> bytes:
        """The holder of the root lists the key of whoever joined; returns the new trust file."""
        assert joined.key is not None
        chain, pem = self.first.trust_chain, joined.key.public_file.read_text()
        draft = next_draft(chain.newest, now=NOW)
        key = TrustedKey(
            key_id=joined.key.key_id,
            public_key_pem=pem,
            person=person,
            role=role,
            valid_from=NOW,
            valid_until=draft.expires_at,
        )
        data = render_chain(extended(chain, with_key(draft, key), [self.first.private_key("root")]))
        (self.first.folder / "trust.json").write_bytes(data)
        return data


@pytest.fixture(params=["sqlite+folder", "postgresql+s3"])
def shared(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shared]:
    if request.param == "postgresql+s3":
        server: PostgresServer = request.getfixturevalue("postgres")
        bucket: S3Server = request.getfixturevalue("s3_credentials")
        database = server.new_database(f"join_{abs(hash(request.node.nodeid)):x}")
        store = f"s3://bucket/{tmp_path.name}?endpoint_url={bucket.endpoint_url}&region=us-east-1"
    else:
        database, store = f"sqlite:///{tmp_path / 'shared.sqlite'}", str(tmp_path / "store")
        (tmp_path / "store").mkdir()
    with a_home(tmp_path / "first", database=database, store=store) as first:
        add_a_base(first, tmp_path / "base", mode="copy")
        yield Shared(first, database, store)


def opened(folder: Path, state: Path) -> Registry:
    """As a person with a state folder of their own opens it."""
    nonces = fixed_nonces()
    pins = Pins(state, lambda _: None)
    return open_home(folder, clock=lambda: NOW, nonce=lambda: f"{os.getpid()}{folder.name}{next(nonces)}", pins=pins)


def register(registry: Registry, folder: Path, *, name: str = "helper", value: float = 0.5) -> str:
    base = add_a_base(registry, folder / f"base-{registry.folder.name}", mode="copy")
    artifact = an_artifact(folder / f"adapter-{registry.folder.name}-{name}-{value}", base, name=name, value=value)
    return register_version(registry, artifact).label


def test_a_home_that_only_reads_has_no_key_and_verifies_what_the_first_registered(
    shared: Shared, tmp_path: Path
) -> None:
    label = register(shared.first, tmp_path)
    joined = join_home(shared.joining(tmp_path / "reader", makes_key=False), now=NOW)
    assert joined.key is None
    assert not (tmp_path / "reader" / "keys").exists() or not list((tmp_path / "reader" / "keys").iterdir())
    # what a refusal refers to lives until it is collected: the connection is closed before
    with closing(opened(tmp_path / "reader", tmp_path / "state-reader")) as reader:
        assert verify_version(reader, version_named(reader, label)).verdict == "verified"
        with pytest.raises(KnownError) as refused:
            register(reader, tmp_path, name="other")
    assert refused.value.reference == "key-file-missing"


def test_the_second_registers_the_first_signs_and_both_verify(shared: Shared, tmp_path: Path) -> None:
    joined = join_home(shared.joining(tmp_path / "second"), now=NOW)
    assert joined.settings.registry_id == shared.first.settings.registry_id
    assert sorted(path.name for path in (tmp_path / "second" / "keys").iterdir()) == ["trainer.key", "trainer.pub"]
    trust = shared.sign_in(joined)
    (tmp_path / "second" / "trust.json").write_bytes(trust)
    second = opened(tmp_path / "second", tmp_path / "state-2")
    label = register(second, tmp_path)
    pending = version_named(second, label)
    assert pending.log_index >= 0 and verify_version(second, pending).verdict == "verified"
    (log,) = (check for check in verify_version(second, pending).checks if check.step == "log")
    assert log.error == "log-pending"
    set_alias(second, pending, "champion")
    with pytest.raises(LogKeyElsewhere):
        sign_log(second)

    first = opened(shared.first.folder, tmp_path / "state-1")
    with pytest.raises(Exception, match="counts once the log is signed"):
        version_named(first, "helper@champion")
    signed = sign_log(first)
    assert (signed.refused, signed.covered) == ((), signed.size)
    for registry in (first, second):
        version = version_named(registry, "helper@champion")
        assert version.label == label
        outcome = verify_version(registry, version)
        assert {check.step: check.status for check in outcome.checks}["log"] == "ok"
        assert outcome.verdict == "verified"
    assert check_log(second).contradictions == ()
    second.close()
    again = opened(tmp_path / "second", tmp_path / "state-2")
    add_a_base(again, tmp_path / "base-second", mode="copy")  # whatever it writes, it keeps the newest checkpoint
    assert again.remembered_checkpoint() == first.remembered_checkpoint()
    again.close()
    first.close()


def test_who_was_not_signed_in_is_refused_before_anything_is_written(shared: Shared, tmp_path: Path) -> None:
    join_home(shared.joining(tmp_path / "second"), now=NOW)
    second = opened(tmp_path / "second", tmp_path / "state-2")
    before, files = contents(second), contents(shared.first)
    base = version_named(second, "tiny")
    with pytest.raises(UnlistedKey):
        register(second, tmp_path, name="other")
    with pytest.raises(UnlistedKey):
        set_alias(second, base, "champion")
    assert contents(second) == before
    assert contents(shared.first) == files
    second.close()


def test_the_role_decides_what_the_second_may_say(shared: Shared, tmp_path: Path) -> None:
    joined = join_home(shared.joining(tmp_path / "second"), now=NOW)
    (tmp_path / "second" / "trust.json").write_bytes(shared.sign_in(joined, role="evaluator"))
    second = opened(tmp_path / "second", tmp_path / "state-2")
    base = version_named(second, "tiny")
    result = {"result": "PASSED", "configuration": []}
    append_statement(
        second, subject=base.manifest_digest, kind="test-result", predicate=result, signer=second.trainer_key
    )
    for refused in (lambda: set_alias(second, base, "champion"), lambda: register(second, tmp_path, name="other")):
        with pytest.raises(KeyLacksRole):
            refused()
    second.close()
    first = opened(shared.first.folder, tmp_path / "state-1")
    assert sign_log(first).refused == ()
    first.close()


def test_two_persons_register_at_once(shared: Shared, tmp_path: Path) -> None:
    joined = join_home(shared.joining(tmp_path / "second"), now=NOW)
    (tmp_path / "second" / "trust.json").write_bytes(shared.sign_in(joined))
    homes = [
        opened(shared.first.folder, tmp_path / "state-1"),
        opened(tmp_path / "second", tmp_path / "state-2"),
    ]
    work = [(registry, value) for value in (0.25, 0.5, 0.75) for registry in homes]
    with ThreadPoolExecutor(2) as pool:
        labels = list(pool.map(lambda one: register(one[0], tmp_path, value=one[1] + len(one[0].folder.name)), work))
    assert sorted(labels) == [f"helper:{number}" for number in range(1, 7)]
    assert sign_log(homes[0]).refused == ()
    report = check_log(homes[1])
    assert (report.contradictions, report.covered) == ((), report.size)
    for registry in homes:
        registry.close()


def test_nobody_joins_by_another_root_trust_file_database_or_store(
    shared: Shared, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    with a_home(elsewhere / "home") as other:
        wrong = {
            UnknownRoot: {"root_key_ids": frozenset({other.trust.roots[0]})},
            TrustOfAnotherRegistry: {
                "trust": (other.folder / "trust.json").read_bytes(),
                "root_key_ids": frozenset({other.trust.roots[0]}),
            },
            StoreOfAnother: {"store": str(elsewhere / "empty")},
        }
        for error, changes in wrong.items():
            with pytest.raises(error):
                join_home(shared.joining(tmp_path / "second", **changes), now=NOW)
            assert not (tmp_path / "second").exists()
    from peft_registry.registry.database.session import Database

    Database.create(f"sqlite:///{elsewhere / 'new.sqlite'}").close()
    with pytest.raises(NoRegistryThere):
        join_home(shared.joining(tmp_path / "second", database=f"sqlite:///{elsewhere / 'new.sqlite'}"), now=NOW)
    assert [path for path in tmp_path.iterdir() if "second" in path.name] == []


def test_joining_writes_nothing_that_is_shared(shared: Shared, tmp_path: Path) -> None:
    before = contents(shared.first)
    join_home(shared.joining(tmp_path / "second"), now=NOW)
    assert contents(shared.first) == before
    with shared.first.database.read() as tx:
        assert catalog.meta(tx, "registry_id") == shared.first.settings.registry_id
    assert (tmp_path / "second" / "checkpoints" / "latest").read_text() == shared.first.remembered_checkpoint()


def test_the_command_joins_and_says_what_the_holder_of_the_root_runs(
    shared: Shared, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("peft_registry.registry.homes.home.utc_now", lambda: NOW)
    home = tmp_path / "second"
    words = ["init", "--home", str(home), "--join", shared.database, "--store", shared.store, "--unencrypted"]
    trust = ["--trust", str(shared.first.folder / "trust.json"), "--person", "sam"]
    assert run([*words, *trust]) == 2
    assert "--root was not given" in capsys.readouterr().err
    assert run([*words, *trust, "--root", f"sha256:{'0' * 64}"]) == 5
    assert run([*words, *trust, "--root", f"sha256:{shared.root}", "--database", shared.database]) == 2
    assert not home.exists()
    capsys.readouterr()
    assert run([*words, *trust, "--root", f"sha256:{shared.root}"]) == 0
    shown = capsys.readouterr()
    assert f"key      {home / 'keys' / 'trainer.pub'}  sha256:" in shown.out
    assert "registry trust add trainer.pub --person sam --role trainer" in shown.err
    assert run(["list", "--home", str(home)]) == 0
    assert "tiny:1" in capsys.readouterr().out


def test_the_command_joins_for_reading_without_a_key_and_without_a_passphrase(
    shared: Shared, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("peft_registry.registry.homes.home.utc_now", lambda: NOW)
    home = tmp_path / "reader"
    words = ["init", "--home", str(home), "--join", shared.database, "--store", shared.store, "--read-only"]
    trust = ["--trust", str(shared.first.folder / "trust.json"), "--root", f"sha256:{shared.root}", "--person", "sam"]
    assert run([*words, *trust]) == 0
    assert list(home.glob("keys/*")) == []
    assert run(["list", "--home", str(home)]) == 0
    assert "tiny:1" in capsys.readouterr().out

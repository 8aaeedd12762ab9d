"""Three years of a registry by an injected clock: what was good stays good, what was forged falls."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from peft_registry.registry.homes.home import Registry
from peft_registry.registry.homes.pins import Pins, TrustForked
from peft_registry.registry.records.references import version_named
from peft_registry.registry.signing.keys import PrivateKey
from peft_registry.registry.signing.rotation import extended, next_draft
from peft_registry.registry.signing.trust import TrustAnchors, TrustExpired, current_policy, open_chain
from peft_registry.registry.signing.trust_chain import render_chain
from peft_registry.registry.use_cases.make_home import NewHome, Recovery, make_home
from peft_registry.registry.use_cases.pull import pull_version
from peft_registry.registry.use_cases.rotate_key import rotate_key
from peft_registry.registry.use_cases.statements import append_statement, sign_statement
from peft_registry.registry.use_cases.trust import place_of_home, renew, revoke_key
from peft_registry.registry.use_cases.verify import verify_folder, verify_version
from peft_registry.schemas.errors import KnownError
from peft_registry.schemas.policy import TrustPolicy
from peft_registry.schemas.profile import OrganisationProfile
from tests.builders.homes import register_adapter, reopened

START = "2026-11-24T12:00:00Z"
SUMMER, FIRST_AUTUMN, SECOND_AUTUMN = "2027-06-01T00:00:00Z", "2027-11-01T00:00:00Z", "2028-10-20T00:00:00Z"
TOO_LATE, THEFT_KNOWN, ROOT_LOST = "2029-11-05T00:00:00Z", "2029-11-06T00:00:00Z", "2029-11-20T00:00:00Z"
RESULT = {"result": "PASSED", "configuration": []}


class Years:
    """A home with a recovery key, a user's pins, and the folders that were pulled on the way."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.home = folder, folder / "home"
        self.recovery = Recovery(folder / "safe", "second holder")
        new = NewHome(self.home, OrganisationProfile(), "lab-1", None, recovery=self.recovery)
        make_home(new, now=START)
        self.notes: list[str] = []
        self.pins = Pins(folder / "state", self.notes.append)

    @contextmanager
    def at(self, now: str) -> Iterator[Registry]:
        registry = reopened(self.home, now=now)
        try:
            yield replace(registry, pins=self.pins)
        finally:
            registry.close()

    def trust(self, now: str) -> TrustPolicy:
        with self.at(now) as registry:
            return registry.trust

    def key(self, role: str) -> PrivateKey:
        return PrivateKey.load(self.home / "keys" / f"{role}.key")

    def register(self, now: str, name: str, value: float) -> Path:
        with self.at(now) as registry:
            version = register_adapter(registry, self.folder / name, name=name, value=value)
            pull_version(registry, version, self.folder / f"pulled-{name}")
        return self.folder / f"pulled-{name}"

    def say(self, now: str, name: str) -> None:
        with self.at(now) as registry:
            append_statement(
                registry,
                subject=version_named(registry, name).manifest_digest,
                kind="test-result",
                predicate=RESULT | {"nonce": now},
                signer=registry.trainer_key,
            )

    def code(self, folder: Path, now: str) -> int:
        return verify_folder(folder, trust=self.trust(now), now=now).exit_code

    def registered(self, name: str, now: str) -> int:
        with self.at(now) as registry:
            return verify_version(registry, version_named(registry, name)).exit_code


def test_three_years_of_rotation_theft_expiry_and_a_lost_root(tmp_path: Path) -> None:
    years = Years(tmp_path)
    first = years.register(START, "first", 0.5)
    years.say(SUMMER, "first")
    root_of_the_start = years.key("root").public.key_id

    # every autumn the file is renewed and the keys are replaced
    superseded = years.key("trainer")
    with years.at(FIRST_AUTUMN) as registry:
        assert renew(place_of_home(registry), days=365).state == "accepted"
    with years.at(FIRST_AUTUMN) as registry:
        assert renew(place_of_home(registry), days=365).state == "unchanged"
    for role in ("trainer", "log"):
        with years.at(FIRST_AUTUMN) as registry:
            assert rotate_key(registry, role, root_key=None).state == "accepted"  # type: ignore[arg-type]
    stolen = years.key("trainer")
    second = years.register(FIRST_AUTUMN, "second", 1.5)
    years.say(FIRST_AUTUMN, "first")
    with years.at(SECOND_AUTUMN) as registry:
        assert renew(place_of_home(registry), days=365).state == "accepted"
    with years.at(SECOND_AUTUMN) as registry:
        assert rotate_key(registry, "trainer", root_key=None).state == "accepted"
    third = years.register(SECOND_AUTUMN, "third", 2.5)
    for folder in (first, second, third):
        assert years.code(folder, SECOND_AUTUMN) == 0, folder

    # nobody renews in time: nothing is decided, and the root that expired too renews it
    with years.at(TOO_LATE) as registry:
        with pytest.raises(TrustExpired):
            _ = registry.trust
        assert verify_version(registry, version_named(registry, "third:1")).exit_code == 5
    with years.at(TOO_LATE) as registry:
        assert renew(place_of_home(registry), days=365).state == "accepted"
    for folder in (first, second, third):
        assert years.code(folder, TOO_LATE) == 0, folder

    # the second trainer's key turns out to be stolen: all of it falls, and nothing else
    with years.at(THEFT_KNOWN) as registry:
        theft = {"reason": "taken with a laptop", "compromised": True}
        assert revoke_key(place_of_home(registry), stolen.public.key_id, **theft).state == "accepted"  # type: ignore[arg-type]
    with years.at(THEFT_KNOWN) as registry:
        again = revoke_key(place_of_home(registry), stolen.public.key_id[:16], **theft)  # type: ignore[arg-type]
        assert again.state == "unchanged"
    assert [years.code(folder, THEFT_KNOWN) for folder in (first, second, third)] == [0, 6, 0]

    # the root is lost: the recovery key replaces it
    recovery = years.recovery.key_file
    (years.home / "keys" / "root.key").unlink()
    with years.at(ROOT_LOST) as registry:
        with pytest.raises(KnownError):
            renew(place_of_home(registry), days=700)
        assert rotate_key(registry, "root", root_key=recovery, reason="lost").state == "accepted"
    with years.at(ROOT_LOST) as registry:
        assert renew(place_of_home(registry), days=365).state == "accepted"
    assert [years.code(folder, ROOT_LOST) for folder in (first, second, third)] == [0, 6, 0]
    assert years.registered("first", ROOT_LOST) == 6  # what the stolen key said about it in the first autumn falls

    # an auditor who noted the first root follows all of it
    chain = open_chain(
        (years.home / "trust.json").read_bytes(),
        anchors=TrustAnchors(root_key_ids=frozenset({root_of_the_start})),
        accepted_version=None,
    )
    policy = current_policy(chain, now=ROOT_LOST)
    assert root_of_the_start not in policy.roots and len(chain.versions) == 10

    # what is forged falls: with the superseded key, the stolen one, and the root that was lost and found by somebody
    for key in (superseded, stolen):
        forged = sign_statement(version_of(years, "third").manifest_digest, "test-result", RESULT, key)
        copy = tmp_path / f"forged-{key.public.key_id[:8]}"
        with years.at(ROOT_LOST) as registry:
            pull_version(registry, version_of(years, "third"), copy)
        lines = copy / "evidence" / "statements.intoto.jsonl"
        lines.write_bytes(lines.read_bytes() + forged.line + b"\n")
        assert years.code(copy, ROOT_LOST) == 6
    assert not years.notes


def test_a_lost_root_that_somebody_finds_forks_the_chain_and_is_named(tmp_path: Path) -> None:
    years = Years(tmp_path)
    found = years.key("root")
    with years.at(START) as registry:
        before = registry.trust_chain
        (years.home / "keys" / "root.key").unlink()
        assert rotate_key(registry, "root", root_key=years.recovery.key_file, reason="lost").state == "accepted"
    forked = extended(before, next_draft(before.newest, now=START).revised(threshold=1), [found])
    (years.home / "trust.json").write_bytes(render_chain(forked))
    with years.at(START) as registry, pytest.raises(TrustForked):
        _ = registry.trust


def version_of(years: Years, name: str):
    with years.at(ROOT_LOST) as registry:
        return version_named(registry, f"{name}:1")

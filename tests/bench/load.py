"""Fills a home with 10³ to 10⁵ versions: what later benches and tests of scale measure on.

    python -m tests.bench.load HOME --versions 10000 [--seed 0] [--database ADDRESS] [--stored]

Nothing is trained. The bulk are adapters of one base that share their bytes and differ in their configuration's digest: each has a
manifest, a signed listing, signed statements, log entries and rows, written by the functions that a registration writes with, a
thousand versions a transaction, under one checkpoint. On top come whole registrations, whose bytes are in the store.
`registry log check` passes on the result if it is filled with `--stored`; else it has no manifests to hold the rows of the bulk
against.

The same seed gives the same names, manifests and moves; keys, nonces and times are new each time. Times run from the newest entry
(a new home is made `DAYS` days ago) to now.
"""

import argparse
import random
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from peft_registry.registry.compliance.ancestors import Ancestor
from peft_registry.registry.database import catalog
from peft_registry.registry.database.log_store import SqlLogStore
from peft_registry.registry.homes.home import Registry, open_home, read_settings, utc_now
from peft_registry.registry.homes.layout import HomeFiles
from peft_registry.registry.identity.manifests import listed_resources
from peft_registry.registry.records.checkpoints import publish_checkpoint
from peft_registry.registry.records.entries import record_statement
from peft_registry.registry.records.facets import facets_said
from peft_registry.registry.records.provenance import production_of
from peft_registry.registry.records.views import View
from peft_registry.registry.signing.keys import Signer
from peft_registry.registry.signing.oms import parse_bundle, sign_folder_listing
from peft_registry.registry.signing.statements import SignedStatement
from peft_registry.registry.use_cases.add_base import AddedBase, add_base
from peft_registry.registry.use_cases.make_home import NewHome, make_home
from peft_registry.registry.use_cases.promote import set_alias
from peft_registry.registry.use_cases.register import MODEL_NAME, NewArtifact, register_version
from peft_registry.registry.use_cases.statements import entry_time, sign_statement
from peft_registry.schemas.acts import AliasPredicate
from peft_registry.schemas.base_model import BaseOrigin
from peft_registry.schemas.facets import Facet
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.manifest import UNSIGNED_PATHS, Manifest, Parent
from peft_registry.schemas.modification import modification_in
from peft_registry.schemas.profile import OrganisationProfile
from peft_registry.schemas.run import RunRecord
from peft_registry.schemas.statement import RegistrationPredicate
from peft_registry.schemas.values import timestamp
from tests.builders.homes import an_artifact, base_files
from tests.builders.made import a_run_of, derived, made_artifact

BASE_NAME = "load-base"
DAYS = 30
VERSIONS_A_NAME = 20
VERSIONS_A_MOVE = 10
CONTINUED = 0.3  # of the versions after a name's first: how many began at the weights of the one before
REGISTRATIONS = 3
_VERSIONS_A_TRANSACTION = 1_000
_OF_THE_ARTIFACT = ("kind", "method", "base", "data", "size", "signer")  # facets that adding a version writes by itself
_METHODS = ("lora", "lora", "lora", "qlora", "ia3", "bottleneck", "prompt_tuning")


@dataclass(frozen=True, slots=True)
class Load:
    """What a home was filled with. `entries` is the size of the log, `seconds` what filling took."""

    versions: int
    names: int
    moves: int
    entries: int
    seconds: float


def fill(
    home: Path,
    *,
    versions: int,
    seed: int = 0,
    database: str | None = None,
    signer: Signer | None = None,
    stored: bool = False,
    registrations: int = REGISTRATIONS,
) -> Load:
    """Fill a home, which is made, unencrypted, where there is none.

    Args:
        home: its folder.
        versions: how many are written in bulk.
        seed: gives names, manifests and moves; take another one for a second filling of the same home.
        database: address for a new home; None for SQLite in it.
        signer: of the bulk; None for the home's trainer key. The log key signs nothing that the trust file does not let it say.
        stored: put the signatures of the bulk into the store as the manifests are, so that each version can be pulled and
            verified; a second synced file a version.
        registrations: how many are registered whole on top, each with a move of `registered@newest`.
    """
    started = time.perf_counter()
    if not HomeFiles(home).settings.exists():
        made_at = timestamp(datetime.fromisoformat(utc_now()) - timedelta(days=DAYS))
        make_home(NewHome(home, OrganisationProfile(), "lab-1", None, database=database), now=made_at)
    planned = _plan(versions, seed)
    with tempfile.TemporaryDirectory() as scratch:
        base = _write_bulk(home, Path(scratch), planned, signer=signer, stored=stored)
        entries = _register_on_top(home, Path(scratch), base, seed=seed, registrations=registrations)
    return Load(
        versions=versions + registrations,
        names=len({version.name for version in planned}) + bool(registrations),
        moves=sum(version.alias is not None for version in planned) + registrations,
        entries=entries,
        seconds=time.perf_counter() - started,
    )


@dataclass(frozen=True, slots=True)
class _Planned:
    """A version to come; `alias` is moved to it right after."""

    name: str
    number: int
    method: str
    continues: bool
    alias: str | None


def _plan(versions: int, seed: int) -> list[_Planned]:
    """Names of very different size, in mixed order, as they grow in a registry that many use."""
    draw = random.Random(seed)
    names = [f"load-{seed}-{number}" for number in range(max(1, versions // VERSIONS_A_NAME))]
    weights = [1 / (rank + 1) for rank in range(len(names))]
    numbers: Counter[str] = Counter()
    planned = []
    for name in draw.choices(names, weights, k=versions):
        numbers[name] += 1
        is_continued = numbers[name] > 1 and draw.random() < CONTINUED
        alias = draw.choice(("champion", "candidate")) if draw.random() < 1 / VERSIONS_A_MOVE else None
        planned.append(_Planned(name, numbers[name], draw.choice(_METHODS), is_continued, alias))
    return planned


def _write_bulk(
    home: Path, scratch: Path, planned: list[_Planned], *, signer: Signer | None, stored: bool
) -> AddedBase:
    """Write the bulk under one checkpoint; returns the base that all of it needs."""
    began = _newest_time(home)
    registry = open_home(home, clock=lambda: began)
    try:
        origin = BaseOrigin(format="huggingface", source=BASE_NAME)
        base = add_base(registry, base_files(scratch / "base"), name=BASE_NAME, origin=origin, mode="copy")
        bulk = _Bulk(registry, base, an_artifact(scratch / "adapter", base), signer or registry.trainer_key, stored)
        for entry in bulk.artifact.manifest.files:
            registry.store.put_file(bulk.artifact.folder / entry.path, digest=entry.sha256)
        registry.store.put_bytes(bulk.artifact.card)
        times = _times(began, len(planned))
        for start in range(0, len(planned), _VERSIONS_A_TRANSACTION):
            end = start + _VERSIONS_A_TRANSACTION
            bulk.write(planned[start:end], times[start:end])
    finally:
        registry.close()
    return base


def _register_on_top(home: Path, scratch: Path, base: AddedBase, *, seed: int, registrations: int) -> int:
    """Sign over the bulk, register some versions as a command does; returns the size of the log."""
    registry = open_home(home)
    try:
        publish_checkpoint(registry)
        for number in range(registrations):
            value = (seed * registrations + number + 1) / 1024
            artifact = an_artifact(scratch / f"registered-{number}", base, name="registered", value=value)
            set_alias(registry, register_version(registry, artifact), "newest")
        with registry.database.read() as tx:
            return SqlLogStore(tx).size()
    finally:
        registry.close()


@dataclass(frozen=True, slots=True)
class _Trained:
    """A version of the bulk, with the statements of how it was made and of its record."""

    label: str
    manifest: Digest
    made: Digest
    record: Digest


class _Bulk:
    """Versions that share the bytes of one artifact; each has a manifest and signatures of its own."""

    def __init__(
        self, registry: Registry, base: AddedBase, artifact: NewArtifact, signer: Signer, stored: bool
    ) -> None:
        self.registry = registry
        self.base = base
        self.artifact = artifact
        self._signer = signer
        self._stored = stored
        # by name, its newest version and what that went on from, newest first
        self._newest: dict[str, tuple[_Trained, ...]] = {}
        self._facets: tuple[Facet, ...] | None = None

    def write(self, versions: list[_Planned], times: list[str]) -> None:
        """One transaction, without a checkpoint."""
        with self.registry.database.write() as tx:
            for version, at in zip(versions, times, strict=True):
                manifest = self._write_version(tx, version, at)
                if version.alias is not None:
                    self._move(tx, version, version.alias, manifest, at)

    def _write_version(self, tx: catalog.Transaction, version: _Planned, at: str) -> Digest:
        manifest = self._manifest(version)
        data = manifest.to_canonical()
        digest = Digest.of(data)
        listing = sign_folder_listing(
            self._signer,
            model_name=MODEL_NAME,
            resources=listed_resources(manifest, digest),
            ignore_paths=UNSIGNED_PATHS,
        )
        self.registry.store.put_bytes(data)  # a record is held against it before a checkpoint is signed
        if self._stored:
            self.registry.store.put_bytes(listing)
        catalog.insert_artifact(
            tx,
            manifest=manifest,
            manifest_digest=digest,
            manifest_size=len(data),
            size_bytes=sum(entry.size for entry in manifest.files),
            signature_digest=Digest.of(listing),
            card_digest=Digest.of(self.artifact.card),
            by_reference=False,
        )
        index = -1
        for statement in self._statements(tx, version, manifest, listing):
            index = record_statement(tx, digest, statement, at=at)
        catalog.add_version(
            tx,
            name=version.name,
            manifest_digest=digest,
            key_id=self._signer.public.key_id,
            registered_at=at,
            log_index=index,
            facets=self._facets_said(tx, manifest, digest, version),
        )
        return digest

    def _facets_said(
        self, tx: catalog.Transaction, manifest: Manifest, digest: Digest, version: _Planned
    ) -> tuple[Facet, ...]:
        """What a version is found by because of what was said about it, which is the same of all: read once."""
        if self._facets is None:
            key_id = self._signer.public.key_id
            said = catalog.statements_of(tx, subject=digest)
            facets = facets_said(manifest, name=version.name, key_id=key_id, statements=said)
            self._facets = tuple(facet for facet in facets if facet.name not in _OF_THE_ARTIFACT)
        return self._facets

    def _manifest(self, version: _Planned) -> Manifest:
        shared = self.artifact.manifest
        started_at = self._newest[version.name][0].manifest if version.continues else None
        return Manifest(
            kind=shared.kind,
            layout=shared.layout,
            method=version.method,
            files=shared.files,
            weights=shared.weights,
            weights_digest=shared.weights_digest,
            base=shared.base,
            config_sha256=Digest.of(f"{version.name}:{version.number}".encode()),
            parents=shared.parents + (() if started_at is None else (Parent(role="start", manifest=started_at),)),
        )

    def _statements(
        self, tx: catalog.Transaction, version: _Planned, manifest: Manifest, listing: bytes
    ) -> Iterator[SignedStatement]:
        """What a registration says, the registration last."""
        subject = manifest.canonical_digest()
        run = a_run_of(manifest)
        started_at = self._newest[version.name] if version.continues else ()
        ancestors = [self._ancestor(tx, started_at[place:], is_parent=not place) for place in range(len(started_at))]
        made = derived(version.name, manifest, run, self.base, ancestors=ancestors)
        artifact = made_artifact(version.name, self.artifact.folder, manifest, run, made, self.artifact.card)
        said = [
            sign_statement(subject, statement.kind, statement.predicate, self._signer)
            for statement in artifact.statements
        ]
        yield from said
        digests = {signed.statement.kind: signed.digest for signed in said}
        trained = _Trained(f"{version.name}:{version.number}", subject, digests["provenance"], digests["modification"])
        self._newest[version.name] = (trained, *started_at)
        registration = RegistrationPredicate(
            name=version.name,
            source="train",
            accompanied_by=tuple(statement.digest for statement in said),
            signature=parse_bundle(listing).payload_digest,
            nonce=self.registry.nonce(),
            completeness_provable=True,  # an extra field, as in every registration of this release
        )
        yield sign_statement(subject, "registration", registration.to_json(), self._signer)

    @staticmethod
    def _ancestor(tx: catalog.Transaction, chain: Sequence[_Trained], *, is_parent: bool) -> Ancestor:
        """The first of a chain, with what was signed of it; thousands of records would not fit into memory."""
        trained = chain[0]
        made, record = (catalog.statement(tx, digest) for digest in (trained.made, trained.record))
        assert made is not None and record is not None, "they were logged"
        run = production_of(made.statement.predicate)
        assert isinstance(run, RunRecord), "all of them were trained"
        return Ancestor(
            label=trained.label,
            manifest=trained.manifest,
            is_parent=is_parent,
            run=run,
            made=trained.made,
            record=modification_in(record.statement),
            statement=trained.record,
            runs=frozenset(earlier.manifest for earlier in chain),
        )

    def _move(self, tx: catalog.Transaction, version: _Planned, alias: str, manifest: Digest, at: str) -> None:
        predicate = AliasPredicate(name=version.name, alias=alias, nonce=self.registry.nonce())
        signed = sign_statement(manifest, "alias", predicate.to_json(), self._signer)
        record_statement(tx, manifest, signed, at=at)
        catalog.set_alias(
            tx, name=version.name, alias=alias, number=version.number, statement_digest=signed.digest, at=at
        )


def _newest_time(home: Path) -> str:
    """When the newest entry was appended, or the home was made."""
    registry = open_home(home, clock=lambda: read_settings(home).created_at)
    try:
        with registry.database.read() as tx:
            return entry_time(View(registry, tx))
    finally:
        registry.close()


def _times(began: str, count: int) -> list[str]:
    """Times from `began` to now, evenly."""
    first = datetime.fromisoformat(began)
    span = datetime.fromisoformat(utc_now()) - first
    return [timestamp(first + span * number / count) for number in range(count)]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.load", description="Fill a home with versions.")
    parser.add_argument("home", type=Path)
    parser.add_argument("--versions", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--database", help="address for a new home, such as postgresql://…; SQLite without it")
    parser.add_argument("--stored", action="store_true", help="put manifests and signatures into the store too")
    asked = parser.parse_args()
    load = fill(asked.home, versions=asked.versions, seed=asked.seed, database=asked.database, stored=asked.stored)
    print(
        f"{load.versions} versions of {load.names} names, {load.moves} moves of aliases, {load.entries} log entries: "
        f"{load.seconds:.1f} s"
    )


if __name__ == "__main__":
    main()

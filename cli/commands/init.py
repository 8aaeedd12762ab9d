"""init: making a registry."""

import shlex
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from peft_registry.cli import console
from peft_registry.cli.options import OptionNeeded, OptionsExclusive
from peft_registry.cli.outcome import SIGNS, Home, Note, Outcome, Part, command

if TYPE_CHECKING:
    from peft_registry.registry.use_cases.make_home import Recovery
    from peft_registry.schemas.profile import OrganisationProfile

QUESTIONS = (
    ("legal_name", "Legal name of your organisation"),
    ("country", "Country (two letters, such as DE)"),
    ("contact", "Public contact (address or web page)"),
    ("size_class", "Size class (sme, smc or large)"),
    ("role", "Your role (original_provider, on_behalf_of_provider, downstream_modifier or deployer)"),
)


class CiServiceName(StrEnum):
    """Services that run checks on what is pushed."""

    github = "github"
    gitlab = "gitlab"


def add_to(app: typer.Typer) -> None:
    """Enter `registry init`."""
    app.command()(init)


@command(SIGNS)
def init(
    home: Home,
    profile: Annotated[
        Path | None, typer.Option(help="YAML file with the answers to the questions about your organisation.")
    ] = None,
    person: Annotated[str, typer.Option(help="Holder of the keys, as named in the trust file.")] = "lab-1",
    unencrypted: Annotated[
        bool, typer.Option("--unencrypted", help="Store the keys without a passphrase; every `verify` says so.")
    ] = False,
    database: Annotated[
        str | None, typer.Option(help="Database to use instead of SQLite in the home: postgresql://…")
    ] = None,
    store: Annotated[
        str | None, typer.Option(help="Object store to use instead of a folder in the home: s3://bucket/prefix")
    ] = None,
    recovery_key: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Make a second root key there, to be taken away: it replaces a lost one."),
    ] = None,
    recovery_person: Annotated[
        str | None, typer.Option(help="Who keeps the recovery key, as named in the trust file.")
    ] = None,
    join: Annotated[
        str | None,
        typer.Option(metavar="DATABASE", help="Join the registry that others made in this database; needs --store."),
    ] = None,
    trust: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Trust file of the registry that is joined, from its keeper.")
    ] = None,
    root: Annotated[
        str | None,
        typer.Option(metavar="DIGEST", help="Its root as sha256:…, told to you over another channel than the file."),
    ] = None,
    read_only: Annotated[
        bool, typer.Option("--read-only", help="With --join: make no key, for whoever only looks, verifies and pulls.")
    ] = False,
    ci: Annotated[
        CiServiceName | None,
        typer.Option(
            "--ci",
            help="Write a workflow here that verifies, evaluates and asks the gate without a key; make no registry.",
        ),
    ] = None,
    example: Annotated[bool, typer.Option(help="Write a working training file with data next to the home.")] = True,
) -> Outcome:
    """Create a registry here. Keys, trust file, database, store, and a working example."""
    from peft_registry.registry.homes.layout import FOLDER_NAME
    from peft_registry.registry.use_cases.make_home import require_no_home
    from peft_registry.schemas.errors import InputRefused

    if ci is not None:
        others = {"--join": join, "--trust": trust, "--root": root, "--store": store, "--database": database}
        others |= {"--profile": profile, "--recovery-key": recovery_key, "--recovery-person": recovery_person}
        return _ci(ci, others | {"--unencrypted": unencrypted or None, "--read-only": read_only or None})
    folder = home.folder or Path.cwd() / FOLDER_NAME
    require_no_home(folder)  # before anybody answers questions for nothing
    founder = _Founder(folder, profile, person, home.passphrase_file, unencrypted)
    if join is not None or trust is not None or root is not None:
        if database is not None or recovery_key is not None or recovery_person is not None:
            raise InputRefused.in_words(
                what="--join makes no new registry",
                why="--database and a recovery key are for a registry of one's own",
                fix="leave them out; the database that is joined stands behind --join",
            )
        return _join(founder, (join, store, trust, root), makes_key=not read_only)
    if read_only:
        raise OptionNeeded("--join DATABASE", "a registry of one's own that nobody may write has nothing to read")
    return _create(founder, database, store, _recovery(recovery_key, recovery_person), example=example)


@dataclass(frozen=True, slots=True)
class _Founder:
    """Who makes a home, where, and how their keys are kept; no profile: they are asked, where somebody can answer."""

    folder: Path
    profile: Path | None
    person: str
    passphrase_file: Path | None
    unencrypted: bool

    def organisation(self, now: str) -> "OrganisationProfile":
        return _profile(self.profile, self.person, now)

    def passphrase(self) -> bytes | None:
        from peft_registry.cli.settings import new_passphrase

        return new_passphrase(self.passphrase_file, unencrypted=self.unencrypted)


def _create(
    founder: _Founder, database: str | None, store: str | None, recovery: "Recovery | None", *, example: bool
) -> Outcome:
    """Make a registry of one's own, and remember it for this user."""
    from peft_registry.cli.settings import state_folder
    from peft_registry.cli.wiring import seen_checkpoints, users_pins
    from peft_registry.registry.homes.home import remember_home, utc_now
    from peft_registry.registry.homes.layout import FOLDER_NAME, HomeFiles
    from peft_registry.registry.signing.keys import PublicKey
    from peft_registry.registry.signing.trust_chain import parse_chain
    from peft_registry.registry.use_cases.make_home import NewHome, make_home
    from peft_registry.trainer.example import write_example

    folder = founder.folder
    now = utc_now()
    passphrase = founder.passphrase()
    new = NewHome(
        folder=folder,
        profile=founder.organisation(now),
        person=founder.person,
        passphrase=passphrase,
        database=database,
        store=store,
        recovery=recovery,
    )
    settings = make_home(new, now=now, seen=seen_checkpoints())
    root_key_id = PublicKey.parse(HomeFiles(folder).key("root").public.read_bytes()).key_id
    is_known = remember_home(state_folder(), folder, settings)
    if is_known:
        chain = parse_chain(HomeFiles(folder).trust.read_bytes())
        users_pins().accept(settings.registry_id, chain)
    else:
        console.note(
            "note: your state folder cannot be written: name this registry each time, with --home or REGISTRY_HOME"
        )
    written = write_example(folder.parent / "example") if example else None
    value = {
        "registry_id": settings.registry_id,
        "home": str(folder),
        "root": f"sha256:{root_key_id}",
        "encrypted": not founder.unencrypted,
        "training_file": None if written is None else str(written.config),
    }
    lines: list[Part] = [f"registry {settings.registry_id[:8]}  {folder}"]
    lines += _key_lines(recovery, unencrypted=founder.unencrypted)
    if written is not None:
        lines.append(f"example  {written.config}  with {written.rows} rows of data")
    if recovery is None and sys.stderr.isatty():
        lines.append(
            Note("note: whoever loses keys/root.key cannot renew this trust; --recovery-key makes a second root")
        )
    is_found_from_here = is_known and folder == Path.cwd() / FOLDER_NAME
    elsewhere = "" if is_found_from_here else f" --home {folder}"
    return Outcome(value, lines, f"registry base add embedded --name tiny{elsewhere}")


def _ci(service: CiServiceName, others: Mapping[str, object]) -> Outcome:
    """Write the workflow of a service into this folder, and say what it needs."""
    from peft_registry.registry.exports.ci_workflow import TRUST_FOLDER
    from peft_registry.registry.use_cases.write_workflow import write_workflow

    typed = next((option for option, value in others.items() if value is not None), None)
    if typed is not None:
        why = "it makes no registry: the workflow joins one, by variables of the service that its first lines name"
        raise OptionsExclusive("--ci", typed, why)
    place = write_workflow(Path.cwd(), service.value)
    lines = [f"workflow {place}", "needs    what its first lines name, and the trust file in the repository; no key"]
    return Outcome({"workflow": str(place), "service": service.value}, lines, f"registry trust export {TRUST_FOLDER}")


def _key_lines(recovery: "Recovery | None", *, unencrypted: bool) -> Iterator[str]:
    yield f"keys     trainer P-256, log Ed25519, root P-256{'  (unencrypted)' if unencrypted else ''}"
    if recovery is not None:
        yield f"recovery {recovery.key_file}  of {recovery.person}: take it away from this machine"


def _recovery(folder: Path | None, person: str | None) -> "Recovery | None":
    from peft_registry.registry.signing.keys import KeyFileExists
    from peft_registry.registry.use_cases.make_home import Recovery, RecoveryIncomplete

    if folder is None and person is None:
        return None
    if folder is None or person is None:
        raise RecoveryIncomplete
    recovery = Recovery(folder, person)
    if recovery.key_file.exists():
        raise KeyFileExists(recovery.key_file)
    return recovery


def _join(
    founder: _Founder, shared: tuple[str | None, str | None, Path | None, str | None], *, makes_key: bool
) -> Outcome:
    """Make a second home on a registry that others made, and say what the holder of its root must do."""
    from peft_registry.cli.settings import state_folder
    from peft_registry.cli.wiring import users_pins
    from peft_registry.registry.disk.files import read_offered
    from peft_registry.registry.homes.home import remember_home, utc_now
    from peft_registry.registry.signing.trust_chain import TRUST_MAX_BYTES
    from peft_registry.registry.use_cases.join_home import JoinIncomplete, JoiningHome, join_home
    from peft_registry.schemas.identity import Digest

    database, store, trust, root = shared
    if database is None or store is None or trust is None or root is None:
        names = ("--join", "--store", "--trust", "--root")
        raise JoinIncomplete(tuple(name for name, value in zip(names, shared, strict=True) if value is None))
    folder = founder.folder
    now = utc_now()
    new = JoiningHome(
        folder=folder,
        profile=founder.organisation(now),
        passphrase=founder.passphrase() if makes_key else None,
        database=database,
        store=store,
        trust=read_offered(trust, max_bytes=TRUST_MAX_BYTES),
        root_key_ids=frozenset({Digest.parse(root).hex}),
        makes_key=makes_key,
    )
    joined = join_home(new, now=now)
    if remember_home(state_folder(), folder, joined.settings):
        users_pins().accept(joined.settings.registry_id, joined.chain)
    value = {"registry_id": joined.settings.registry_id, "home": str(folder), "root": root, "joined": True}
    lines: list[Part] = [f"joined   registry {joined.settings.registry_id[:8]}  {folder}"]
    if joined.key is None:
        lines.append("key      none: this home reads, verifies and pulls")
        return Outcome(value, lines, "registry list")
    public_file = joined.key.public_file
    lines += [
        f"key      {public_file}  sha256:{joined.key.key_id}{'  (unencrypted)' if founder.unencrypted else ''}",
        Note("send the public file to whoever holds the root, and its digest over another channel; they run"),
        Note(f"      registry trust add {public_file.name} --person {shlex.quote(founder.person)} --role trainer"),
    ]
    return Outcome(
        value | {"public_file": str(public_file), "key_id": joined.key.key_id},
        lines,
        "registry trust update FILE, with the trust file that they send back",
    )


def _asked(key: str, question: str) -> str:
    """The answer to one question; one that cannot be used is asked for again."""
    from peft_registry.registry.homes.organisation import ProfileAnswerRefused, answer_text

    while True:
        answer = typer.prompt(question, default="", show_default=False, err=True)
        try:
            return answer_text(key, answer)
        except ProfileAnswerRefused as error:
            console.note(f"  {error.why}: {error.expected}; or press Enter")


def _profile(file: Path | None, person: str, now: str) -> "OrganisationProfile":
    from peft_registry.registry.disk.files import read_file
    from peft_registry.registry.homes.organisation import profile_from_answers
    from peft_registry.registry.intake.yaml import read_yaml

    if file is not None:
        answers = read_yaml(read_file(file, max_bytes=1 << 20), what=str(file))
    elif console.may_ask():
        console.note("Five questions about your organisation, for the records. Press Enter to leave one unknown.")
        answers = {key: _asked(key, text) for key, text in QUESTIONS}
    else:
        answers = {}
    return profile_from_answers(answers, by=person, at=now)

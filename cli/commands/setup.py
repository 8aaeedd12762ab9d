"""init, schema, trust: making a home and telling what it is."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from peft_registry.cli import console
from peft_registry.cli.options import HomeOption, Output, OutputOption, PassphraseFileOption

if TYPE_CHECKING:
    from peft_registry.schemas.profile import OrganisationProfile

QUESTIONS = (
    ("legal_name", "Legal name of your organisation"),
    ("country", "Country (two letters, such as DE)"),
    ("contact", "Public contact (address or web page)"),
    ("size_class", "Size class (sme, smc or large)"),
    ("role", "Your role (original_provider, on_behalf_of_provider, downstream_modifier or deployer)"),
)


def add_to(app: typer.Typer) -> None:
    app.command()(init)
    app.command()(schema)
    trust = typer.Typer(help="Whom this registry trusts.", no_args_is_help=True)
    trust.command("show")(trust_show)
    trust.command("export")(trust_export)
    trust.command("update")(trust_update)
    app.add_typer(trust, name="trust")


def init(
    home: HomeOption = None,
    profile: Annotated[Path | None, typer.Option(help="YAML with the answers that would be asked for.")] = None,
    person: Annotated[str, typer.Option(help="Who holds the keys, as the trust file will say.")] = "lab-1",
    unencrypted: Annotated[
        bool, typer.Option("--unencrypted", help="Keys without passphrase; every verify shows it.")
    ] = False,
    passphrase_file: PassphraseFileOption = None,
    database: Annotated[str | None, typer.Option(help="postgresql://… instead of SQLite in the home.")] = None,
    store: Annotated[str | None, typer.Option(help="s3://bucket/prefix instead of a folder in the home.")] = None,
    example: Annotated[bool, typer.Option(help="Write a working training file with data beside the home.")] = True,
) -> None:
    """Make a registry here. Keys, trust file, database, store, and a working example."""
    from peft_registry.cli.settings import new_passphrase, state_folder
    from peft_registry.registry.homes.home import FOLDER_NAME, utc_now
    from peft_registry.registry.homes.known_roots import remember
    from peft_registry.registry.signing.keys import PublicKey
    from peft_registry.registry.use_cases.make_home import NewHome, make_home
    from peft_registry.trainer.example import write_example

    folder = home or Path.cwd() / FOLDER_NAME
    now = utc_now()
    new = NewHome(
        folder=folder,
        profile=_profile(profile, person, now),
        person=person,
        passphrase=new_passphrase(passphrase_file, unencrypted=unencrypted),
        database=database,
        store=store,
    )
    settings = make_home(new, now=now)
    remember(state_folder(), PublicKey.parse((folder / "keys" / "root.pub").read_bytes()).key_id)
    console.out(f"registry {settings.registry_id[:8]}  {folder}")
    console.out(f"keys     trainer P-256, log Ed25519, root P-256{'  (unencrypted)' if unencrypted else ''}")
    if example:
        written = write_example(folder.parent / "example")
        console.out(f"example  {written.config}  with {written.rows} rows of data")
    elsewhere = "" if folder == Path.cwd() / FOLDER_NAME else f" --home {folder}"
    console.next_step(f"registry base add embedded --name tiny{elsewhere}")


def schema(
    name: Annotated[str | None, typer.Argument(help="Which document; without a name they are listed.")] = None,
) -> None:
    """Print the JSON Schema of a document, for editors and programs."""
    from peft_registry.schemas.catalog import DOCUMENTS, json_schema

    if name is None:
        for known, document in sorted(DOCUMENTS.items()):
            console.out(f"{known:<20} {(document.__doc__ or '').strip().splitlines()[0]}")
        return
    console.out_json(json_schema(name))


def trust_show(home: HomeOption = None, output: OutputOption = Output.text) -> None:
    """List the keys that this registry trusts, and for whom."""
    from peft_registry.cli.wiring import opened

    with opened(home) as registry:
        policy = registry.trust
        if output is Output.json:
            console.out_json(policy.to_json())
            return
        console.out(f"trust v{policy.version}  until {policy.expires_at}  root sha256:{policy.roots[0]}")
        revoked = {one.key_id for one in policy.revocations}
        rows = [
            [
                key.role,
                key.person,
                f"{key.key_id[:16]}…",
                key.valid_until[:10],
                "revoked" if key.key_id in revoked else "",
            ]
            for key in policy.keys
        ]
        console.table(["role", "person", "key", "until", ""], rows)


def trust_export(
    folder: Annotated[Path, typer.Argument(help="A folder to write trust.json and the public keys to.")],
    home: HomeOption = None,
) -> None:
    """Write the trust file and the public keys. Hand them to whoever verifies elsewhere."""
    from peft_registry.cli.wiring import opened
    from peft_registry.registry.use_cases.export_trust import export_trust

    with opened(home) as registry:
        for path in export_trust(registry, folder):
            console.out(str(path))
        console.note(f"tell them the root over another channel: sha256:{registry.trust.roots[0]}")
    console.next_step(f"registry verify FOLDER --trust {folder / 'trust.json'}")


def trust_update(home: HomeOption = None, passphrase_file: PassphraseFileOption = None) -> None:
    """Let the trainer key sign kinds of statements that came later. The root key signs the next version of the file."""
    from peft_registry.cli.wiring import opened
    from peft_registry.registry.use_cases.update_trust import update_trust

    with opened(home, passphrase_file) as registry:
        before = registry.trust.version
        added = update_trust(registry)
    if not added:
        console.out(f"trust v{before}  has every kind already; nothing was changed")
        console.next_step("registry trust show")
        return
    console.out(f"trust v{before + 1}  the trainer key may sign {', '.join(added)} too")
    console.next_step("registry trust export FOLDER, for whoever verifies elsewhere")


def _asked(key: str, question: str) -> str:
    """The answer to one question; one that cannot be used is asked for again."""
    from peft_registry.registry.homes.organisation import ProfileAnswerRefused, answer_text

    while True:
        answer = typer.prompt(question, default="", show_default=False, err=True)
        try:
            return answer_text(key, answer)
        except ProfileAnswerRefused as error:
            console.note(f"  {error.why}, or nothing")


def _profile(file: Path | None, person: str, now: str) -> "OrganisationProfile":
    from peft_registry.registry.disk.files import read_file
    from peft_registry.registry.homes.organisation import profile_from_answers
    from peft_registry.registry.intake.yaml import read_yaml

    if file is not None:
        answers = read_yaml(read_file(file, max_bytes=1 << 20), what=str(file))
    elif sys.stdin.isatty() and sys.stderr.isatty():
        console.note("Five questions for the records; an empty answer is recorded as unknown.")
        answers = {key: _asked(key, text) for key, text in QUESTIONS}
    else:
        answers = {}
    return profile_from_answers(answers, by=person, at=now)

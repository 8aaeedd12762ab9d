"""keys: the private keys of a registry and of the people around it."""

import shlex
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from peft_registry.cli import console
from peft_registry.cli.options import OptionNeeded
from peft_registry.cli.outcome import READS, SIGNS, Home, Note, Outcome, Part, Table, Verbatim, command

if TYPE_CHECKING:
    from peft_registry.registry.use_cases.keys import KeyPair, KeyShown
    from peft_registry.registry.use_cases.trust import TrustChange
    from peft_registry.schemas.policy import Role


class KeyRole(StrEnum):
    """The roles of `schemas/policy.py`, spelled again: `registry --help` loads no schema."""

    trainer = "trainer"
    evaluator = "evaluator"
    approver = "approver"
    officer = "officer"
    log = "log"
    witness = "witness"
    root = "root"

    @property
    def role(self) -> "Role":
        return self.value


_ROLES = ", ".join(KeyRole)
RoleArgument = Annotated[
    KeyRole, typer.Argument(metavar="ROLE", help=f"What the key is for: {_ROLES}.", show_default=False)
]
PersonOption = Annotated[
    str | None, typer.Option(help="Holder of the key, as the trust file is to name them.", show_default=False)
]
UnencryptedOption = Annotated[
    bool, typer.Option("--unencrypted", help="Store the key without a passphrase; every `verify` says so.")
]


def add_to(app: typer.Typer) -> None:
    """Enter `registry keys` and its commands, in the order of its help."""
    keys = typer.Typer(help="Make, list, import and export signing keys.", no_args_is_help=True)
    keys.command("create")(keys_create)
    keys.command("list")(keys_list)
    keys.command("import")(keys_import)
    keys.command("export")(keys_export)
    app.add_typer(keys, name="keys")


@command(SIGNS)
def keys_create(
    home: Home,
    role: RoleArgument,
    person: PersonOption = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Write it to this folder, which its holder takes away.")
    ] = None,
    unencrypted: UnencryptedOption = False,
    trust: Annotated[
        bool, typer.Option("--trust", help="List it in the trust file too, signed with the root key that is here.")
    ] = False,
) -> Outcome:
    """Make a key pair for a role. Nobody trusts it until a root adds it to the trust file."""
    from peft_registry.cli.settings import new_passphrase
    from peft_registry.registry.use_cases.keys import create_key, keys_folder, require_no_key
    from peft_registry.registry.use_cases.trust import add_key, place_of_home, require_can_be_added

    if trust and person is None:
        raise OptionNeeded("--person", "a key that is trusted speaks for a person")
    # before the key is made: one that cannot be listed would lie about
    place = place_of_home(home.registry) if trust else None
    if place is not None and person is not None:
        require_can_be_added(place, person)
    # whoever takes it away needs no registry to make it
    folder = keys_folder(home.registry) if out is None else out
    require_no_key(folder, role.role)
    pair = create_key(folder, role.role, new_passphrase(home.passphrase_file, unencrypted=unencrypted))
    if place is None or person is None:
        return _made(pair, person, unencrypted=unencrypted)
    change = add_key(place, pair.public, person=person, role=role.role, until=None)
    return _made_and_listed(pair, person, change, unencrypted=unencrypted)


@command(READS)
def keys_list(home: Home) -> Outcome:
    """List the private keys here, and what the trust file says of each."""
    from peft_registry.registry.use_cases.keys import list_keys

    shown = list_keys(home.registry)
    reasons = [Note(f"{key.role}: {key.reason}") for key in shown if key.reason is not None]
    unlisted = next((key for key in shown if key.state == "not listed"), None)
    next_step = "registry trust show"
    if unlisted is not None:
        next_step = f"registry trust add {_public(unlisted)} --person NAME --role {unlisted.role}"
    table = Table([["key", "state", "until", "person", "digest"], *map(_row, shown)])
    lines: list[Part] = [table, *reasons]
    return Outcome([key.model_dump(mode="json") for key in shown], lines, next_step)


@command(SIGNS)
def keys_import(
    home: Home,
    file: Annotated[Path, typer.Argument(help="Private key in OpenSSH or PKCS#8 form.", show_default=False)],
    role: Annotated[
        KeyRole | None, typer.Option(metavar="ROLE", help=f"{_ROLES}; default: the file's name.", show_default=False)
    ] = None,
    person: PersonOption = None,
    file_passphrase: Annotated[
        Path | None,
        typer.Option("--file-passphrase-file", help="File with the passphrase of FILE, if it differs."),
    ] = None,
    unencrypted: UnencryptedOption = False,
) -> Outcome:
    """Import a private key from elsewhere as the key of a role here."""
    from peft_registry.cli.settings import new_passphrase, passphrase_source
    from peft_registry.registry.signing.keys import PrivateKey
    from peft_registry.registry.use_cases.keys import import_key, keys_folder, require_no_key

    folder = keys_folder(home.registry)
    chosen = _role_by_name(file) if role is None else role.role
    require_no_key(folder, chosen)
    key = PrivateKey.load(file, passphrase_source(file_passphrase or home.passphrase_file))
    pair = import_key(folder, chosen, key, new_passphrase(home.passphrase_file, unencrypted=unencrypted))
    return _made(pair, person, unencrypted=unencrypted)


@command(READS)
def keys_export(
    home: Home,
    key: Annotated[str, typer.Argument(help="Role of a key here, or sha256:… of a trusted key.", show_default=False)],
    file: Annotated[Path, typer.Argument(help="File to write the public key to, as PEM.", show_default=False)],
) -> Outcome:
    """Write a public key. It is what others need, and not a secret."""
    from peft_registry.registry.use_cases.keys import export_key

    public = export_key(home.registry, key, file)
    lines: list[Part] = [Verbatim(str(file)), Note(f"sha256:{public.key_id}")]
    return Outcome({"file": str(file), "key_id": public.key_id}, lines, "registry trust show")


def _role_by_name(file: Path) -> "Role":
    """The role that a file is named after."""
    from peft_registry.schemas.errors import InputRefused

    for role in KeyRole:
        if file.stem == role:
            return role.role
    raise InputRefused.in_words(
        what=f"{file} does not say what the key is for",
        why=f"it is not named after one of the roles {_ROLES}",
        fix="add --role ROLE",
    )


def _made(pair: "KeyPair", person: str | None, *, unencrypted: bool) -> Outcome:
    holder = shlex.quote(person or "NAME")
    return Outcome(
        _pair_json(pair, person, unencrypted=unencrypted),
        [
            *_pair_lines(pair, unencrypted=unencrypted),
            Note("tell whoever holds the root this digest, by another channel than the file goes"),
        ],
        f"registry trust add {pair.public_file} --person {holder} --role {pair.role}",
    )


def _made_and_listed(pair: "KeyPair", person: str, change: "TrustChange", *, unencrypted: bool) -> Outcome:
    from peft_registry.cli.commands.trust import change_json, changed

    listed = changed(change, f"sha256:{pair.public.key_id}  {pair.role} of {person}")
    return Outcome(
        _pair_json(pair, person, unencrypted=unencrypted) | {"trust": change_json(change)},
        [*_pair_lines(pair, unencrypted=unencrypted), *(listed.lines or ())],
        listed.next,
    )


def _pair_json(pair: "KeyPair", person: str | None, *, unencrypted: bool) -> dict[str, Any]:
    files = {"private_file": str(pair.private_file), "public_file": str(pair.public_file)}
    return files | {"role": pair.role, "person": person, "key_id": pair.public.key_id, "encrypted": not unencrypted}


def _pair_lines(pair: "KeyPair", *, unencrypted: bool) -> list[Part]:
    return [
        f"key      {pair.private_file}{'  (unencrypted)' if unencrypted else ''}",
        f"public   {pair.public_file}  sha256:{pair.public.key_id}",
    ]


def _row(key: "KeyShown") -> list[str]:
    role = key.role if key.listed_role in (None, key.role) else f"{key.role} (listed as {key.listed_role})"
    return [
        role,
        key.state,
        (key.valid_until or "")[:10],
        console.printable(key.person or ""),
        "" if key.key_id is None else f"sha256:{key.key_id}",
    ]


def _public(key: "KeyShown") -> Path:
    return console.path_from_here(Path(key.file).with_suffix(".pub"))

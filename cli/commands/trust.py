"""trust: whom a registry trusts, and for how long."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from peft_registry.cli import console
from peft_registry.cli.options import OptionNeeded
from peft_registry.cli.outcome import READS, SIGNS, SIGNS_ALONE, Home, Note, Outcome, Part, Table, Verbatim, command
from peft_registry.schemas.policy import Role

if TYPE_CHECKING:
    from peft_registry.registry.homes.home import Registry
    from peft_registry.registry.signing.trust_chain import TrustChain
    from peft_registry.registry.use_cases.pin_trust import PinnedTrust
    from peft_registry.registry.use_cases.trust import TrustChange, TrustPlace

FileOption = Annotated[
    Path | None,
    typer.Option("--file", help="A trust file that belongs to no registry, in place of the registry's own."),
]
RootKeyOption = Annotated[
    Path | None,
    typer.Option("--root-key", help="Private key of a root, where it is kept elsewhere than in the registry."),
]
SinceOption = Annotated[
    str | None,
    typer.Option(
        metavar="DATE", help="Since when somebody else may have signed; what others covered before stays good."
    ),
]

DaysOption = Annotated[int, typer.Option(min=1, max=3660, help="For how many days from now the file counts.")]


def add_to(app: typer.Typer) -> None:
    """Enter `registry trust` and its commands, in the order of its help."""
    trust = typer.Typer(help="The trusted keys: whose they are, for what, until when.", no_args_is_help=True)
    trust.command("init")(trust_init)
    trust.command("show")(trust_show)
    trust.command("add")(trust_add)
    trust.command("revoke")(trust_revoke)
    trust.command("renew")(trust_renew)
    trust.command("rotate")(trust_rotate)
    trust.command("sign")(trust_sign)
    trust.command("update")(trust_update)
    trust.command("pin")(trust_pin)
    trust.command("export")(trust_export)
    app.add_typer(trust, name="trust")


@command(SIGNS_ALONE)
def trust_init(
    home: Home,
    file: Annotated[Path, typer.Argument(help="Trust file to write; the root key goes beside it.", show_default=False)],
    person: Annotated[str | None, typer.Option(help="Holder of the root key, as named in the trust file.")] = None,
    days: DaysOption = 365,
    unencrypted: Annotated[
        bool, typer.Option("--unencrypted", help="Store the root key without a passphrase.")
    ] = False,
) -> Outcome:
    """Begin a trust file apart from any registry. Its root key is made beside it."""
    from peft_registry.cli.settings import new_passphrase
    from peft_registry.cli.wiring import users_pins
    from peft_registry.registry.homes.home import utc_now
    from peft_registry.registry.homes.pins import name_of_chain
    from peft_registry.registry.use_cases.begin_trust import new_trust_file

    if person is None:
        raise OptionNeeded("--person", "the trust file says whose the root is")
    key_file = file.with_name("root.key")
    chain = new_trust_file(
        file,
        key_file,
        person=person,
        passphrase=new_passphrase(home.passphrase_file, unencrypted=unencrypted),
        now=utc_now(),
        days=days,
    )
    users_pins().accept(name_of_chain(chain), chain)
    root = f"sha256:{chain.newest.policy.roots[0]}"
    return Outcome(
        {"file": str(file), "root_key": str(key_file), "root": root},
        [f"trust v1  {file}  root {root}"],
        f"registry trust add PUBLIC.pem --person P --role trainer --file {file} --root-key {key_file}",
    )


@command(READS)
def trust_show(home: Home) -> Outcome:
    """List the keys that this registry trusts, for whom and how long. An expired file is shown too, and ends with 5."""
    from peft_registry.registry.signing.trust import current_policy
    from peft_registry.schemas.errors import KnownError

    chain, now = home.registry.trust_chain, home.registry.clock()
    problem: KnownError | None = None
    try:
        current_policy(chain, now=now)
    except KnownError as error:
        problem = error
    lines = list(_trust_lines(home.registry, chain, now))
    return Outcome(chain.newest.policy.to_json(), lines, "registry trust export FOLDER", problem=problem)


def _trust_lines(registry: "Registry", chain: "TrustChain", now: str) -> Iterator[Part]:
    from peft_registry.cli.wiring import users_pins
    from peft_registry.registry.signing.trust import days_left

    policy = chain.newest.policy
    pin = users_pins().pin(registry.settings.registry_id)
    left = days_left(policy, now=now)
    still = f"{left} days left" if left >= 0 else "expired"
    yield f"trust v{policy.version}  until {policy.expires_at} ({still})  root sha256:{policy.roots[0]}"
    revoked = {revocation.key_id: revocation.kind or "revoked" for revocation in policy.revocations}
    rows = [
        [key.role, key.person, f"sha256:{key.key_id}", key.valid_until[:10], revoked.get(key.key_id, "")]
        for key in policy.keys
    ]
    yield Table([["role", "person", "key", "until", "revoked"], *rows])
    for epoch in policy.epochs:
        why = console.printable(f"accepted by {epoch.accepted_by} at {epoch.accepted_at}: {epoch.reason}")
        yield (f"epoch    {epoch.number} of {console.printable(epoch.log)}, a loss {why}")
    issued = ", ".join(f"v{version.policy.version} of {version.policy.issued_at[:10]}" for version in chain.versions)
    yield f"chain    {issued}"
    yield f"accepted {'nothing is remembered' if pin is None else f'v{pin.version}, {pin.digest.short}'}"


@command(SIGNS)
def trust_add(
    home: Home,
    public: Annotated[
        Path, typer.Argument(metavar="PUBLIC.pem", help="Public key, as its holder sent it.", show_default=False)
    ],
    person: Annotated[str | None, typer.Option(help="Whom the key speaks for.")] = None,
    role: Annotated[
        Role | None,  # of the schema itself: a literal that equals it is printed in the order of whichever came first
        typer.Option(help="What it may sign."),
    ] = None,
    until: Annotated[
        str | None, typer.Option(metavar="DATE", help="Until when; without it, as long as the trust file.")
    ] = None,
    threshold: Annotated[
        int | None, typer.Option(min=1, help="How many roots must sign the trust file from now on.")
    ] = None,
    file: FileOption = None,
    root_key: RootKeyOption = None,
) -> Outcome:
    """Trust a key, for a person and a role. The root key signs the new trust file."""
    from peft_registry.registry.disk.files import read_offered
    from peft_registry.registry.signing.keys import KEY_FILE_MAX_BYTES, PublicKey
    from peft_registry.registry.use_cases.trust import add_key, read_date

    if person is None:
        raise OptionNeeded("--person", "a key speaks for a person")
    if role is None:
        raise OptionNeeded("--role", "its role says what a key may sign")
    key = PublicKey.parse(read_offered(public, max_bytes=KEY_FILE_MAX_BYTES))
    date = None if until is None else read_date(until)
    place = _place(home, file, root_key)
    change = add_key(place, key, person=person, role=role, until=date, threshold=threshold)
    return changed(change, f"sha256:{key.key_id}  {role} of {person}")


@command(SIGNS)
def trust_revoke(
    home: Home,
    key: Annotated[str, typer.Argument(help="The key: sha256:…, or the first characters.", show_default=False)],
    reason: Annotated[str | None, typer.Option(help="Why, for everybody who reads the trust file.")] = None,
    compromise: Annotated[
        bool | None,
        typer.Option("--compromise/--routine", help="Whether somebody else may have signed with it."),
    ] = None,
    since: SinceOption = None,
    file: FileOption = None,
    root_key: RootKeyOption = None,
) -> Outcome:
    """Revoke a key. Routine: what it signed stays good; compromise: it does not."""
    from peft_registry.registry.use_cases.trust import read_date, revoke_key

    if reason is None:
        raise OptionNeeded("--reason", "everybody who reads the trust file is told why")
    if compromise is None:
        raise OptionNeeded("--routine or --compromise", "what the key signed before stays good, or falls with it")
    date = None if since is None else read_date(since)
    place = _place(home, file, root_key)
    change = revoke_key(place, key, reason=reason, compromised=compromise, since=date)
    return changed(change, f"{key}  revoked: {reason}")


@command(SIGNS)
def trust_renew(
    home: Home,
    days: DaysOption = 365,
    file: FileOption = None,
    root_key: RootKeyOption = None,
) -> Outcome:
    """Let the trust file and its keys count longer. It may have expired."""
    from peft_registry.registry.use_cases.trust import renew

    place = _place(home, file, root_key)
    change = renew(place, days=days)
    if change.state != "unchanged":
        return changed(change, f"for {days} days")
    until = place.chain.newest.policy.expires_at
    line = f"trust v{change.version}  is valid until {until} already: nothing was signed"
    return Outcome(change_json(change), [line], "registry trust renew --days DAYS, for another date")


@command(SIGNS)
def trust_rotate(
    home: Home,
    own: Annotated[
        Literal["root", "log", "trainer"],
        typer.Argument(metavar="root|log|trainer", help="Which of its keys.", show_default=False),
    ],
    reason: Annotated[str, typer.Option(help="Why, for everybody who reads the trust file.")] = "superseded",
    compromise: Annotated[
        bool, typer.Option("--compromise/--routine", help="Whether somebody else may have signed with the old key.")
    ] = False,
    since: SinceOption = None,
    root_key: RootKeyOption = None,
) -> Outcome:
    """Replace a key of this registry by a new one. The old one is revoked."""
    from peft_registry.registry.use_cases.rotate_key import rotate_key
    from peft_registry.registry.use_cases.trust import read_date

    date = None if since is None else read_date(since)
    change = rotate_key(home.registry, own, root_key=root_key, reason=reason, compromised=compromise, since=date)
    return changed(change, f"a new {own} key")


@command(SIGNS_ALONE)
def trust_sign(
    home: Home,
    file: Annotated[
        Path, typer.Argument(help="Trust file whose newest version waits for signatures.", show_default=False)
    ],
    key: Annotated[Path | None, typer.Option("--root-key", help="Private key of a root.")] = None,
) -> Outcome:
    """Sign a version that waits, as one of its roots. Read what it says before."""
    from peft_registry.cli.settings import passphrase_source
    from peft_registry.registry.signing.keys import PrivateKey
    from peft_registry.registry.use_cases.exchange_trust import sign_waiting

    if key is None:
        raise OptionNeeded("--root-key", "one of its roots signs it")
    signer = PrivateKey.load(key, passphrase_source(home.passphrase_file))
    chain, missing = sign_waiting(file, signer)
    version = chain.newest.policy.version
    persons = () if missing is None else missing.persons
    return Outcome(
        {"version": version, "file": str(file), "complete": missing is None, "waits_for": list(persons)},
        [f"trust v{version}  signed" + (f", waits for {', '.join(persons)}" if persons else " by enough roots")],
        f"registry trust {'sign' if persons else 'update'} {file}",
    )


@command(SIGNS)
def trust_update(
    home: Home,
    file: Annotated[
        Path | None,
        typer.Argument(
            help="Newer trust file to take; without one, let the trainer key sign newer kinds.", show_default=False
        ),
    ] = None,
) -> Outcome:
    """Take a newer trust file. Or let the trainer key sign newer kinds of statements."""
    from peft_registry.registry.use_cases.exchange_trust import take_update
    from peft_registry.registry.use_cases.trust import update_trust

    if file is not None:
        # a log that was restored is opened only with the trust file that accepts the loss
        return changed(take_update(home.opened(check_log=False), file), f"from {file}")
    update = update_trust(home.registry)
    change = update.change
    waits = {"waits_for": list(change.persons), "file": f"{change.file}"} if change.state == "waiting" else {}
    value = {"version": change.version, "added": list(update.added)} | waits
    if change.state == "unchanged":
        line = f"trust v{change.version}  has every kind already; nothing was changed"
        return Outcome(value, [line], "registry trust show")
    shown = changed(change, f"the trainer key may sign {', '.join(update.added)} too")
    return replace(shown, json=value)


@command(READS)
def trust_export(
    home: Home,
    folder: Annotated[Path, typer.Argument(help="Folder to write trust.json and the public keys to.")],
) -> Outcome:
    """Write the trust file and the public keys. Hand them to whoever verifies elsewhere."""
    from peft_registry.registry.use_cases.exchange_trust import export_trust

    paths = export_trust(home.registry, folder)
    root = f"sha256:{home.registry.trust.roots[0]}"
    return Outcome(
        {"files": [str(path) for path in paths], "root": root},
        [*(Verbatim(str(path)) for path in paths), Note(f"tell them the root over another channel: {root}")],
        f"registry verify FOLDER --trust {folder / 'trust.json'}",
    )


@command(READS)
def trust_pin(
    home: Home,
    accept: Annotated[
        str | None,
        typer.Option(
            metavar="ROOT",
            help="Accept the file as it is now, whatever you accepted before. Type its root, as its keeper told you.",
        ),
    ] = None,
    trust: Annotated[
        Path | None, typer.Option("--trust", help="A trust file from its keeper, in place of the registry's own.")
    ] = None,
) -> Outcome:
    """Show which trust file you accepted. Or accept another, by its root."""
    from peft_registry.cli.wiring import home_folder, remember_home, users_pins
    from peft_registry.registry.use_cases.pin_trust import accept_trust, pinned_trust

    place = home_folder(home.folder) if trust is None else trust
    if accept is not None:
        accept_trust(place, users_pins(), root=accept)
        if trust is None:
            remember_home(place)
    shown = pinned_trust(place, users_pins())
    newest = shown.chain.newest
    value = {
        "name": shown.name,
        "version": newest.policy.version,
        "digest": str(newest.digest),
        "roots": [f"sha256:{key_id}" for key_id in newest.policy.roots],
        "addresses": shown.addresses._asdict(),
        "pinned": None if shown.pin is None else shown.pin.model_dump(mode="json"),
        "problem": None if shown.problem is None else shown.problem.reference,
    }
    next_step = "registry trust show" if trust is None else f"registry verify FOLDER --trust {trust}"
    return Outcome(value, _pinned_lines(shown), next_step, problem=shown.problem)


def _pinned_lines(shown: "PinnedTrust") -> Iterator[Part]:
    newest = shown.chain.newest
    yield f"here     v{newest.policy.version}  {newest.digest}"
    for key_id in newest.policy.roots:
        silent = "" if key_id in shown.roots else "  has signed nothing here"
        yield f"root     sha256:{key_id}  {newest.policy.person_of(key_id)}{silent}"
    for name, address in shown.addresses._asdict().items():
        if address is not None:
            yield f"{name:8} {address}"
    yield f"accepted {'nothing yet' if shown.pin is None else f'v{shown.pin.version}  {shown.pin.digest}'}"


def _place(home: Home, file: Path | None, root_key: Path | None) -> "TrustPlace":
    """The trust file that the options mean, with the root keys at hand."""
    from peft_registry.cli.settings import passphrase_source
    from peft_registry.cli.wiring import users_pins
    from peft_registry.registry.homes.home import utc_now
    from peft_registry.registry.use_cases.trust import RootKeyNeeded, place_of_file, place_of_home

    if file is None:
        return place_of_home(home.registry, root_key=root_key)
    if root_key is None:
        raise RootKeyNeeded(file)
    source = passphrase_source(home.passphrase_file)
    return place_of_file(file, root_key, passphrase=source, pins=users_pins(), now=utc_now())


def change_json(change: "TrustChange") -> dict[str, Any]:
    """What a change of the trust file came to, for programs."""
    value = {"state": change.state, "version": change.version, "file": str(change.file)}
    return value | {"waits_for": list(change.persons)}


def changed(change: "TrustChange", what: str) -> Outcome:
    """What a change of the trust file came to; `what` says in a few words what was changed."""
    if change.state == "unchanged":
        line = f"trust v{change.version}  says so already; nothing was changed"
        return Outcome(change_json(change), [line], "registry trust show")
    if change.state == "waiting":
        line = f"trust v{change.version}  {what}; waits for {', '.join(change.persons)}"
        return Outcome(change_json(change), [line], f"registry trust sign {change.file} --root-key KEY")
    return Outcome(change_json(change), [f"trust v{change.version}  {what}"], "registry trust export FOLDER")

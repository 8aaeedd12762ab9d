"""trust: whom a registry trusts."""

from pathlib import Path
from typing import Annotated

import typer

from peft_registry.cli import console
from peft_registry.cli.options import HomeOption, Output, OutputOption, PassphraseFileOption


def add_to(app: typer.Typer) -> None:
    trust = typer.Typer(help="Show, export or update the trusted keys.", no_args_is_help=True)
    trust.command("show")(trust_show)
    trust.command("export")(trust_export)
    trust.command("update")(trust_update)
    trust.command("pin")(trust_pin)
    app.add_typer(trust, name="trust")


def trust_show(home: HomeOption = None, output: OutputOption = Output.text) -> None:
    """List the keys that this registry trusts, and for whom."""
    from peft_registry.cli.wiring import opened

    with opened(home) as registry:
        policy = registry.trust
    if output is Output.json:
        console.out_json(policy.to_json())
        return
    console.line(f"trust v{policy.version}  until {policy.expires_at}  root sha256:{policy.roots[0]}")
    revoked = {revocation.key_id for revocation in policy.revocations}
    rows = [
        [
            key.role,
            key.person,
            f"sha256:{key.key_id}",
            key.valid_until[:10],
            "revoked" if key.key_id in revoked else "",
        ]
        for key in policy.keys
    ]
    console.table([["role", "person", "key", "until", ""], *rows])
    console.next_step("registry trust export FOLDER")


def trust_export(
    folder: Annotated[Path, typer.Argument(help="Folder to write trust.json and the public keys to.")],
    home: HomeOption = None,
    output: OutputOption = Output.text,
) -> None:
    """Write the trust file and the public keys. Hand them to whoever verifies elsewhere."""
    from peft_registry.cli.wiring import opened
    from peft_registry.registry.use_cases.trust import export_trust

    with opened(home) as registry:
        paths = export_trust(registry, folder)
        root = f"sha256:{registry.trust.roots[0]}"
    if output is Output.json:
        console.out_json({"files": [str(path) for path in paths], "root": root})
        return
    for path in paths:
        console.out(str(path))
    console.note(f"tell them the root over another channel: {root}")
    console.next_step(f"registry verify FOLDER --trust {folder / 'trust.json'}")


def trust_update(
    home: HomeOption = None, passphrase_file: PassphraseFileOption = None, output: OutputOption = Output.text
) -> None:
    """Let the trainer key sign newer kinds of statements. The root key signs the new trust file."""
    from peft_registry.cli.wiring import opened
    from peft_registry.registry.use_cases.trust import update_trust

    with opened(home, passphrase_file) as registry:
        before = registry.trust.version
        added = update_trust(registry)
    if output is Output.json:
        console.out_json({"version": before + 1 if added else before, "added": list(added)})
        return
    if not added:
        console.line(f"trust v{before}  has every kind already; nothing was changed")
        console.next_step("registry trust show")
        return
    console.line(f"trust v{before + 1}  the trainer key may sign {', '.join(added)} too")
    console.next_step("registry trust export FOLDER")


def trust_pin(
    accept: Annotated[
        str | None,
        typer.Option(
            metavar="ROOT",
            help="Accept the file as it lies there, whatever you accepted before. Type its root, as its keeper told you.",
        ),
    ] = None,
    trust: Annotated[
        Path | None, typer.Option("--trust", help="A trust file from its keeper, in place of the registry's own.")
    ] = None,
    home: HomeOption = None,
    output: OutputOption = Output.text,
) -> None:
    """Show which trust file you accepted. Or accept the one that lies there, by its root."""
    from peft_registry.cli.wiring import home_folder, users_pins
    from peft_registry.registry.use_cases.trust import accept_trust, pinned_trust

    place = home_folder(home) if trust is None else trust
    if accept is not None:
        accept_trust(place, users_pins(), root=accept)
    shown = pinned_trust(place, users_pins())
    newest = shown.chain.newest
    if output is Output.json:
        console.out_json(
            {
                "name": shown.name,
                "version": newest.policy.version,
                "digest": str(newest.digest),
                "roots": [f"sha256:{key_id}" for key_id in newest.policy.roots],
                "pinned": None if shown.pin is None else shown.pin.model_dump(mode="json"),
                "problem": None if shown.problem is None else shown.problem.reference,
            }
        )
    else:
        console.line(f"here     v{newest.policy.version}  {newest.digest}")
        for key_id in newest.policy.roots:
            console.line(f"root     sha256:{key_id}  {newest.policy.person_of(key_id)}")
        accepted = "nothing yet" if shown.pin is None else f"v{shown.pin.version}  {shown.pin.digest}"
        console.line(f"accepted {accepted}")
    if shown.problem is not None:
        raise shown.problem
    if output is Output.text:
        console.next_step("registry trust show" if trust is None else f"registry verify FOLDER --trust {trust}")

"""upgrade: a home of an earlier release."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from peft_registry.cli import console
from peft_registry.cli.options import HomeOption, KeyPassphraseOption, Output, OutputOption, PassphraseFileOption

if TYPE_CHECKING:
    from peft_registry.registry.homes.home import Registry
    from peft_registry.registry.signing.keys import Signer
    from peft_registry.registry.use_cases.upgrade import EditionAnnounced, TrustUpgrade

_TRUST: "dict[TrustUpgrade, str]" = {
    "upgraded": "the trust file is a chain of form 2 now",
    "no-root-key": "the trust file stays as it is: its root key is not here; whoever holds it runs registry trust renew",
    "expired": "the trust file stays as it is, and has expired: registry trust renew",
    "wider-than-role": "the trust file stays as it is: it lets a key sign more than its role covers",
    "waiting": "the next version of the trust file waits for the signatures of other roots",
}

_EDITION: "dict[EditionAnnounced, str]" = {
    "now": "announced: records are derived by it from now on",
    "no-key": "not announced: nothing is recorded until an approver or an officer runs `registry admin upgrade --key FILE`",
    "refused": "not announced: the root key of this trust file may not; an approver or an officer may, with "
    "`registry admin upgrade --key FILE`",
}


def add_to(app: typer.Typer) -> None:
    """Enter `registry admin upgrade`."""
    app.command()(upgrade)


def upgrade(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done; write nothing.")] = False,
    key: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Private key of an approver or an officer, who announces this release's edition."
        ),
    ] = None,
    key_passphrase_file: KeyPassphraseOption = None,
    home: HomeOption = None,
    passphrase_file: PassphraseFileOption = None,
    output: OutputOption = Output.text,
) -> None:
    """Bring a home of an earlier release up to date. A backup first, then one transaction; a kill leaves old or new."""
    from peft_registry.cli.progress import Progress
    from peft_registry.cli.settings import passphrase_source
    from peft_registry.cli.wiring import home_folder, remember_home, seen_checkpoints, users_pins
    from peft_registry.registry.use_cases.upgrade import needed_upgrade, upgrade_home
    from peft_registry.schemas.progress import Said

    folder = home_folder(home)
    if dry_run:
        before, after = needed_upgrade(folder, pins=users_pins())
        if output is Output.json:
            console.out_json({"before": before, "after": after, "changed": False, "would_change": before != after})
            return
        console.line(f"schema   revision {before}" + ("" if before == after else f", would become {after}"))
        console.next_step("registry log check" if before == after else "registry admin upgrade")
        return
    progress = Progress(story_on_stdout=output is Output.text)

    def signer(registry: "Registry") -> "Signer":
        from peft_registry.cli.settings import unlocked_signer

        assert key is not None, "asked only where it is given"
        return unlocked_signer(registry, key, key_passphrase_file, passphrase_file)

    done = upgrade_home(
        folder,
        passphrase=passphrase_source(passphrase_file),
        pins=users_pins(),
        seen=seen_checkpoints(),
        announce=None if key is None else signer,
        observe=progress,
    )
    if home is not None:
        remember_home(folder)
    if done.trust in _TRUST:
        progress(Said("trust", _TRUST[done.trust]))
    if done.edition in _EDITION:
        progress(Said("edition", _EDITION[done.edition]))
    if output is Output.json:
        backup = None if done.backup is None else str(done.backup)
        console.out_json({"before": done.before, "after": done.after, "changed": done.changed, "backup": backup})
        return
    state = "upgraded" if done.changed else "up to date"
    console.line(f"{state}  revision {done.after}, checkpoint over {done.covered} entries")
    console.next_step("registry log check")

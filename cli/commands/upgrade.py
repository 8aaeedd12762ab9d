"""upgrade: a home of an earlier release."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from peft_registry.cli.options import KEY_FILE, KeyPassphraseOption
from peft_registry.cli.outcome import SIGNS, Home, Outcome, command

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


@command(SIGNS)
def upgrade(
    home: Home,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done; write nothing.")] = False,
    key: Annotated[
        Path | None,
        typer.Option(
            metavar=KEY_FILE, help="Private key of an approver or an officer, who announces this release's edition."
        ),
    ] = None,
    key_passphrase_file: KeyPassphraseOption = None,
) -> Outcome:
    """Bring a home of an earlier release up to date. A backup first, then one transaction; a kill leaves old or new."""
    from peft_registry.cli.settings import passphrase_source, unlocked_signer
    from peft_registry.cli.wiring import home_folder, remember_home, seen_checkpoints, users_pins
    from peft_registry.registry.use_cases.upgrade import needed_upgrade, upgrade_home
    from peft_registry.schemas.progress import Said

    folder = home_folder(home.folder)
    if dry_run:
        return _needed(*needed_upgrade(folder, pins=users_pins()))

    def signer(registry: "Registry") -> "Signer":
        assert key is not None, "asked only where it is given"
        return unlocked_signer(registry, key, key_passphrase_file, home.passphrase_file)

    done = upgrade_home(
        folder,
        passphrase=passphrase_source(home.passphrase_file),
        pins=users_pins(),
        seen=seen_checkpoints(),
        announce=None if key is None else signer,
        observe=home.story,
    )
    if home.folder is not None:
        remember_home(folder)
    if done.trust in _TRUST:
        home.story(Said("trust", _TRUST[done.trust]))
    if done.edition in _EDITION:
        home.story(Said("edition", _EDITION[done.edition]))
    backup = None if done.backup is None else str(done.backup)
    state = "upgraded" if done.changed else "up to date"
    return Outcome(
        {"before": done.before, "after": done.after, "changed": done.changed, "backup": backup},
        [f"{state}  revision {done.after}, checkpoint over {done.covered} entries"],
        "registry log check",
    )


def _needed(before: str | None, after: str) -> Outcome:
    would_change = before != after
    then = f", would become {after}" if would_change else ""
    return Outcome(
        {"before": before, "after": after, "changed": False, "would_change": would_change},
        [f"schema   revision {before}{then}"],
        "registry admin upgrade" if would_change else "registry log check",
    )

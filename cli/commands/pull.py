"""pull: a verified copy of a version."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from peft_registry.cli.dossier import DossierRecipient
from peft_registry.cli.options import ReferenceArgument, RootOption, TrustOption
from peft_registry.cli.outcome import READS_AT, Home, Note, Outcome, Part, command

if TYPE_CHECKING:
    from peft_registry.registry.homes.home import Registry
    from peft_registry.schemas.policy import TrustPolicy
    from peft_registry.schemas.version import VerifyOutcome, Version


def add_to(app: typer.Typer) -> None:
    """Enter `registry pull`."""
    app.command()(pull)


@command(READS_AT)
def pull(
    home: Home,
    reference: ReferenceArgument,
    folder: Annotated[
        Path | None, typer.Argument(help="New folder to write to; not with --cache.", show_default=False)
    ] = None,
    with_base: Annotated[
        bool, typer.Option("--with-base", help="Put the base beside the adapter, so that the folder loads by its path.")
    ] = False,
    cache: Annotated[
        Path | None,
        typer.Option(help="Folder of verified versions that others share; what is there already is not copied again."),
    ] = None,
    to: Annotated[
        DossierRecipient | None,
        typer.Option(
            "--to", help="Copy for this recipient, without the records and rows that are not theirs; default: all."
        ),
    ] = None,
    trust: TrustOption = None,
    root: RootOption = None,
) -> Outcome:
    """Write a verified copy of a version to a new folder. Plain layout: other tools load it as it is."""
    from peft_registry.cli.wiring import chosen_trust
    from peft_registry.registry.records.references import version_named

    _require_one_place(folder, cache, with_base)
    policy, problem = chosen_trust(home.registry, trust, root)
    if problem is not None:
        raise problem
    version = version_named(home.registry, reference, trust=policy)
    if to is not None:
        return _pulled_for(home.registry, version, to, _folder_for(to, folder, cache, with_base=with_base), policy)
    pulled = _pulled(home.registry, version, folder, cache, policy, with_base=with_base)
    return Outcome(pulled.to_json(), _lines(pulled), f"registry verify {pulled.folder}")


def _folder_for(to: DossierRecipient, folder: Path | None, cache: Path | None, *, with_base: bool) -> Path:
    """The folder that a copy for somebody is written to: others share none, and get no base of ours."""
    from peft_registry.cli.verifying import require_absent

    require_absent({"--cache": cache, "--with-base": with_base}, beside=f"--to {to}, which writes what is handed on")
    assert folder is not None, "without a cache a folder is named"
    return folder


def _pulled_for(
    registry: "Registry", version: "Version", to: DossierRecipient, folder: Path, policy: "TrustPolicy | None"
) -> Outcome:
    from peft_registry.registry.use_cases.cut_copy import pull_for

    copy = pull_for(registry, version, to.named, folder, trust=policy)
    told: dict[str, object] = {
        "folder": str(folder),
        "version": version.label,
        "to": to,
        "withheld": list(copy.withheld),
    }
    lines: list[Part] = [f"pulled   {version.label} → {folder} for {to}  {copy.outcome.verdict}"]
    lines += [f"withheld {statement}" for statement in copy.withheld]
    if copy.withheld:
        lines.append(
            Note(
                "note: it was verified whole before; whoever gets it is told `unverified` (5), for what is withheld alone",
                indent=6,
            )
        )
        # verifying it here would end with 5: what its reader lacks is whom to trust
        next_step = "registry trust export FOLDER"
    else:
        next_step = f"registry verify {folder}"
    return Outcome(told | copy.outcome.model_dump(mode="json"), lines, next_step)


@dataclass(frozen=True)
class _Pulled:
    """What was pulled, and where it lies."""

    version: str
    folder: Path
    outcome: "VerifyOutcome"
    base: str | None = None
    needs: str | None = None  # a base that is not beside it, and that no loader finds by its name
    copied_bytes: int | None = None  # into a cache
    replaced: tuple[str, ...] = ()

    def to_json(self) -> dict[str, object]:
        told: dict[str, object] = {"folder": str(self.folder), "version": self.version, "base": self.base}
        if self.copied_bytes is not None:
            told |= {"copied_bytes": self.copied_bytes, "replaced": list(self.replaced)}
        return told | self.outcome.model_dump(mode="json")


def _lines(pulled: _Pulled) -> Iterator[Part]:
    if pulled.replaced:
        changed = ", ".join(pulled.replaced)
        yield Note(
            f"warning: {len(pulled.replaced)} files of the cache were not what was put there, and are made anew: {changed}"
        )
    base = "" if pulled.base is None else f" with its base {pulled.base}"
    yield f"pulled   {pulled.version}{base} → {pulled.folder}  {pulled.outcome.verdict}"
    if pulled.needs is not None:
        yield Note(
            f"note: its base {pulled.needs} is on no hub, so no Auto class finds it: "
            f"`registry pull {pulled.version} FOLDER --with-base` puts it beside the adapter",
            indent=6,
        )


def _require_one_place(folder: Path | None, cache: Path | None, with_base: bool) -> None:
    """Raise unless it is said where to write, and once."""
    from peft_registry.schemas.errors import InputRefused

    if folder is not None and cache is None:
        return
    if folder is None and cache is not None and not with_base:
        return
    beside = None if folder is None else "FOLDER"
    if with_base and cache is not None:
        beside = "--with-base"
    raise InputRefused.in_words(
        what="it is not said where to write" if beside is None else f"--cache cannot be combined with {beside}",
        why="a pull writes to a new folder, or adds what is missing to a cache that chooses the folder",
        fix="name a folder, or give --cache DIR without one",
    )


def _pulled(
    registry: "Registry",
    version: "Version",
    folder: Path | None,
    cache: Path | None,
    policy: "TrustPolicy | None",
    *,
    with_base: bool,
) -> _Pulled:
    from peft_registry.registry.use_cases.pull import base_to_bring, pull_version, pull_with_base
    from peft_registry.registry.use_cases.pull_to_cache import pull_to_cache

    if cache is not None:
        cached = pull_to_cache(registry, version, cache, trust=policy)
        return _Pulled(
            version.label,
            cached.folder,
            cached.outcome,
            copied_bytes=cached.copied_bytes,
            replaced=cached.replaced,
        )
    assert folder is not None, "one of the two places is named"
    if with_base:
        pulled = pull_with_base(registry, version, folder, trust=policy)
        return _Pulled(version.label, folder, pulled.outcome, pulled.base.label)
    outcome = pull_version(registry, version, folder, trust=policy, with_decisions=True)
    base = base_to_bring(registry, version)
    return _Pulled(version.label, folder, outcome, needs=None if base is None else base.label)

"""Options that several commands share, spelled once."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

import typer

from peft_registry.cli.completion import offer_versions
from peft_registry.schemas.errors import InputRefused

KEY_FILE = "KEY_FILE"  # what stands behind --key wherever a private key is meant, and no file of another kind


class OptionNeeded(InputRefused):
    what = "{option} is missing"
    why = "{reason}"
    fix = "run the command again with {option}{made_by}"

    option: str
    reason: str
    made: str | None = None  # the command that makes what the option takes

    @property
    def made_by(self) -> str:
        return "" if self.made is None else f"; `{self.made}` makes one"


class OptionsExclusive(InputRefused):
    what = "{first} and {second} do not go together"
    why = "{reason}"
    fix = "leave one of them out"

    first: str
    second: str
    reason: str


def reason_and_key(reason: str | None, key: Path | None, *, why_reason: str, why_key: str) -> tuple[str, Path]:
    """Why a person decides, and the file of the key that they sign with; neither has a default.

    Args:
        reason: what was typed.
        key: what was typed.
        why_reason: why the command needs a reason.
        why_key: why it needs a key from elsewhere.

    Raises:
        OptionNeeded: one of them is missing, or the reason is blank.
    """
    if reason is None or not reason.strip():
        raise OptionNeeded("--reason TEXT", why_reason)
    if key is None:
        made = "registry keys create approver --person NAME --out FOLDER --trust"
        raise OptionNeeded(f"--key {KEY_FILE}", why_key, made)
    return reason, key


class Output(StrEnum):
    """Text for people, JSON for programs."""

    text = "text"
    json = "json"


class SuiteHalf(StrEnum):
    """Which half of a suite; `whole` for both, `screen` for a few fixed items."""

    whole = "whole"
    development = "development"
    test = "test"
    screen = "screen"

    @property
    def half(self) -> Literal["development", "test", "screen"] | None:
        """None for the whole suite."""
        return None if self is SuiteHalf.whole else self.value  # type: ignore[return-value]  # the other members


HalfOption = Annotated[
    SuiteHalf,
    typer.Option(
        help="Half of each suite: one to develop on, one to test on; clusters are never split. screen: a few fixed items, "
        "never a verdict."
    ),
]
# where a training file says it too: without the option its word stands
FileHalfOption = Annotated[
    SuiteHalf | None,
    typer.Option(help="Half of each suite to score, or its screen; default: what the training file says."),
]
MergeHalfOption = Annotated[
    SuiteHalf, typer.Option(help="With --evaluate: half of each suite to score, or its screen.")
]
GuardTextOption = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Text whose loss shows lost capability, one passage a line; default: ours."),
]
GuardDigestOption = Annotated[
    str | None,
    typer.Option("--guard-sha256", metavar="DIGEST", help="Digest that the guard text must have, as sha256:…"),
]
ProjectOption = Annotated[
    str | None,
    typer.Option(
        metavar="PROJECT", help="What it is for, such as support-bot; MLflow shows the versions of a project together."
    ),
]
HomeOption = Annotated[
    Path | None,
    typer.Option(
        "--home", envvar="REGISTRY_HOME", help="The registry's folder; default: .registry in this or a parent folder."
    ),
]
OutputOption = Annotated[
    Output, typer.Option("--output", "-o", help="Text for people, or JSON on stdout for programs.")
]
TrustOption = Annotated[
    Path | None,
    typer.Option("--trust", help="Trust file from its keeper; used instead of the registry's own."),
]
RootOption = Annotated[
    list[str] | None,
    typer.Option(
        "--root",
        metavar="DIGEST",
        help="Root key that you know, as sha256:…; accepts a --trust file that it signed.",
    ),
]
CheckpointOption = Annotated[
    Path | None,
    typer.Option(
        "--checkpoint", metavar="FILE", help="Checkpoint that you keep elsewhere; the registry's log must continue it."
    ),
]
PassphraseFileOption = Annotated[
    Path | None,
    typer.Option(
        "--passphrase-file", help="File with the passphrase of the signing keys (or set REGISTRY_PASSPHRASE)."
    ),
]
WhereOption = Annotated[
    str | None,
    typer.Option(
        metavar="CONDITIONS",
        help="Every version that meets them, as `registry list --where` finds it; with --list FILE they are kept there.",
        show_default=False,
    ),
]
ListOption = Annotated[
    Path | None,
    typer.Option("--list", metavar="FILE", help="Every item that a file names, one a line.", show_default=False),
]
ShardOption = Annotated[
    str | None,
    typer.Option(
        metavar="I/N",
        help="Of the list the I-th of N parts, from 0; in an array of Slurm its own, /N where Kubernetes says I.",
        show_default=False,
    ),
]
JsonLinesOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", help="Keep each result as a line of JSON, and leave out what is done there.", show_default=False
    ),
]
OnOption = Annotated[
    str | None,
    typer.Option(
        metavar="EXECUTOR",
        help="Who works on the list: local:N processes, dask://HOST:PORT, ray://HOST:PORT.",
        show_default=False,
    ),
]
RetryOption = Annotated[
    str | None,
    typer.Option(
        metavar="REASON", help="Of the list only what failed for this reason, as FILE has it.", show_default=False
    ),
]
EverythingOption = Annotated[
    bool, typer.Option("--yes", help="Accept conditions that every version meets.", show_default=False)
]
MAX_SEED = 2**32 - 1  # as of a training
PriceOption = Annotated[
    float | None, typer.Option(min=0, max=1e9, help="Price of the machine per hour, in any currency.")
]
MirrorOption = Annotated[
    bool, typer.Option("--mirror/--no-mirror", help="Push it to the MLflow server that the home names.")
]
SubjectArgument = Annotated[
    str,
    typer.Argument(
        metavar="REFERENCE",
        help="Version, or the digest of a manifest, of data, of a base's weights or of a key",
        show_default=False,
        autocompletion=offer_versions,
    ),
]
ReasonOption = Annotated[str | None, typer.Option(metavar="TEXT", help="Why; everybody who is refused reads it.")]
ApproverKeyOption = Annotated[Path | None, typer.Option(metavar=KEY_FILE, help="Private key of the approver.")]
KeyPassphraseOption = Annotated[
    Path | None, typer.Option(metavar="FILE", help="File with the passphrase of --key, if it differs.")
]
DepthOption = Annotated[
    int | None,
    typer.Option(min=1, max=10000, help="How many steps of making are followed; default: all.", show_default=False),
]
ReferenceArgument = Annotated[
    str,
    typer.Argument(
        help="Version: name, name:3, name@alias or sha256:…", show_default=False, autocompletion=offer_versions
    ),
]
VersionOrFolderArgument = Annotated[
    str,
    typer.Argument(
        metavar="REFERENCE",
        help="Version: name, name:3, name@alias or sha256:…; or a folder that somebody pulled, such as ./copy",
        show_default=False,
        autocompletion=offer_versions,
    ),
]
OverridesArgument = Annotated[
    list[str] | None, typer.Argument(metavar="KEY=VALUE", help="For example training.seed=8", show_default=False)
]

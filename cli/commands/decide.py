"""decide: people answer the open questions of a record."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from peft_registry.cli import console
from peft_registry.cli.options import HomeOption, Output, OutputOption, PassphraseFileOption, ReferenceArgument

if TYPE_CHECKING:
    from peft_registry.registry.use_cases.decide import Decided
    from peft_registry.schemas.answers import Area


class Owner(StrEnum):
    """Who owes answers, in one word."""

    modifier = "modifier"
    data_owner = "data-owner"
    legal = "legal"
    engineer = "engineer"

    @property
    def area(self) -> "Area":
        return "data owner" if self is Owner.data_owner else self.value  # type: ignore[return-value]  # the other members


def add_to(app: typer.Typer) -> None:
    app.command()(decide)


def decide(
    reference: ReferenceArgument,
    form: Annotated[
        Path,
        typer.Option(metavar="FILE", help="Form; a new file gets the open questions, a filled one is signed."),
    ] = Path("gaps.yml"),
    key: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Private key of whoever answers; default: the key of the registry whose role may."
        ),
    ] = None,
    key_passphrase_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="File with the passphrase of --key, if it differs.")
    ] = None,
    owner: Annotated[
        Owner | None, typer.Option("--for", help="Write only what this owner owes; default: what anybody owes.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check the answers; sign nothing.")] = False,
    home: HomeOption = None,
    passphrase_file: PassphraseFileOption = None,
    output: OutputOption = Output.text,
) -> None:
    """Answer what is open in a record. Signed with your key."""
    from peft_registry.cli.settings import passphrase_source
    from peft_registry.cli.wiring import opened
    from peft_registry.registry.records.references import version_named
    from peft_registry.registry.signing.keys import PrivateKey
    from peft_registry.registry.use_cases.answering_key import answering_key
    from peft_registry.registry.use_cases.decide import decide as sign_answers
    from peft_registry.registry.use_cases.decide import write_form
    from peft_registry.registry.use_cases.gap_form import FormFileThere
    from peft_registry.registry.use_cases.take_up_answers import complete_answers, taken_over_by_newest

    if owner is not None and form.exists():
        raise FormFileThere(form, reference, owner)
    with opened(home, passphrase_file) as registry:
        version = version_named(registry, reference)
        is_filled_in = form.exists()
        if is_filled_in:
            # before any work: what cannot be signed need not be checked
            if not dry_run:
                registry.unlock()
            if key is None:
                signer = answering_key(registry, form)
            else:
                signer = PrivateKey.load(key, passphrase_source(key_passphrase_file or passphrase_file))
        if not dry_run and not registry.read_only:
            completed = complete_answers(registry, version)
            if completed is not None:
                console.note(f"record   {completed.record.record_id} takes up answers that were signed before")
                for taken in taken_over_by_newest(registry, version):
                    console.note(f"besides  {taken.text}")
        if not is_filled_in:
            written = write_form(registry, version, form, None if owner is None else owner.area)
            if output is Output.json:
                console.out_json(written.model_dump(mode="json"))
                return
            console.line(f"form     {console.path_from_here(form)}: {written.text}")
            console.next_step(f"registry decide {version.label} --form {form} --key YOUR.key")
            return
        decided = sign_answers(registry, version, form, signer, dry_run=dry_run)
    if output is Output.json:
        console.out_json(decided.model_dump(mode="json"))
        return
    _show(decided, form, key, dry_run=dry_run)


def _show(decided: "Decided", form: Path, key: Path | None, *, dry_run: bool) -> None:
    state = "would be signed" if dry_run else "signed"
    console.line(f"answers  {len(decided.paths)} by {decided.person} as {decided.role}, {state}")
    record = decided.record_id or "a new record"
    console.line(f"record   {record} {'would supersede' if dry_run else 'supersedes'} {decided.supersedes}")
    console.line(f"fields   {decided.fields}")
    if dry_run:
        signs = "" if key is None else f" --key {key}"
        console.next_step(f"registry decide {decided.version} --form {form}{signs}")
    else:
        console.next_step(f"registry record {decided.version} --history")

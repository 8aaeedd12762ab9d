"""decide: people answer the open questions of a record, or decide one that no figure does."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from peft_registry.cli import console
from peft_registry.cli.options import (
    KEY_FILE,
    KeyPassphraseOption,
    OptionNeeded,
    OptionsExclusive,
    ReferenceArgument,
    reason_and_key,
)
from peft_registry.cli.outcome import SIGNS, Home, Outcome, command

if TYPE_CHECKING:
    from peft_registry.registry.homes.home import Registry
    from peft_registry.registry.use_cases.decide import TakenAnswers, WrittenForm
    from peft_registry.registry.use_cases.gate import ReadPolicy
    from peft_registry.schemas.acts import DecidedQuestion
    from peft_registry.schemas.answers import Area
    from peft_registry.schemas.version import Version


class QuestionOwner(StrEnum):
    """Who owes answers, in one word."""

    modifier = "modifier"
    data_owner = "data-owner"
    legal = "legal"
    engineer = "engineer"

    @property
    def area(self) -> "Area":
        return "data owner" if self is QuestionOwner.data_owner else self.value  # type: ignore[return-value]  # the other members


class DecidedOn(StrEnum):
    """What only a person decides."""

    qualitative_change = "qualitative-change"
    purpose = "purpose"
    substantial_modification = "substantial-modification"
    article_6_3 = "article-6-3"
    system_provider = "system-provider"

    @property
    def decided(self) -> "DecidedQuestion":
        return self.value


class DecidedAs(StrEnum):
    """What was decided."""

    yes = "yes"
    no = "no"


_OF_A_FORM = (
    "a question is decided by --outcome, --reason and --key, and signed at once; the other option is about a form"
)
_OF_A_QUESTION = f"--outcome and --reason decide one of these questions: {', '.join(DecidedOn)}"


def add_to(app: typer.Typer) -> None:
    """Enter `registry decide`."""
    app.command()(decide)


@command(SIGNS)
def decide(
    home: Home,
    reference: ReferenceArgument,
    form: Annotated[
        Path,
        typer.Option(metavar="FILE", help="Form; a new file gets the open questions, a filled one is signed."),
    ] = Path("gaps.yml"),
    key: Annotated[
        Path | None,
        typer.Option(
            metavar=KEY_FILE, help="Private key of whoever answers; default: the key of the registry whose role may."
        ),
    ] = None,
    key_passphrase_file: KeyPassphraseOption = None,
    owner: Annotated[
        QuestionOwner | None, typer.Option("--for", help="Write only what this owner owes; default: what anybody owes.")
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help="Write every open field, not only those whose answers decide something.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check the answers; sign nothing.")] = False,
    question: Annotated[
        DecidedOn | None, typer.Option("--on", help="Decide this question in place of filling in a form.")
    ] = None,
    outcome: Annotated[DecidedAs | None, typer.Option("--outcome", help="What is decided, with --on.")] = None,
    reason: Annotated[str | None, typer.Option(metavar="TEXT", help="Why, with --on; it is kept.")] = None,
    policy: Annotated[
        str,
        typer.Option(metavar="NAME|FILE", help="Policy whose gate the answers are for, and under which --on decides."),
    ] = "regulated",
) -> Outcome:
    """Answer what is open in a record, or decide what no figure does. Signed with your key."""
    _require_one_purpose(question, outcome or reason, dry_run=dry_run, owner=owner, every=every)
    if question is not None:
        return _decide_question(home, reference, _Decision(question, outcome, reason, policy), key, key_passphrase_file)
    from peft_registry.registry.records.references import version_named
    from peft_registry.registry.use_cases.decide import write_form
    from peft_registry.registry.use_cases.gap_form import FormFileThere
    from peft_registry.registry.use_cases.gate import read_gate_policy

    if form.exists() and (owner is not None or every):
        raise FormFileThere(form, reference, "--all" if owner is None else f"--for {owner}")
    asked = read_gate_policy(policy)
    version = version_named(home.registry, reference)
    if form.exists():
        return _sign_form(home, version, form, _Key(key, key_passphrase_file), asked, dry_run=dry_run)
    if not dry_run:
        _complete_answers(home.registry, version)
    area = None if owner is None else owner.area
    return _of_form(write_form(home.registry, version, form, area, policy=None if every else asked), form)


@dataclass(frozen=True, slots=True)
class _Key:
    """Whose key signs, as it is typed; no file: a key of the registry."""

    file: Path | None
    passphrase_file: Path | None


def _sign_form(
    home: Home, version: "Version", form: Path, key: _Key, policy: "ReadPolicy", *, dry_run: bool
) -> Outcome:
    from peft_registry.cli.settings import signer_from
    from peft_registry.registry.use_cases.answering_key import answering_key
    from peft_registry.registry.use_cases.decide import AnswersRecorded, renew_form
    from peft_registry.registry.use_cases.decide import decide as sign_answers

    registry = home.registry
    # before any work: what cannot be signed need not be checked
    if not dry_run:
        registry.unlock()
    if key.file is None:
        signer = answering_key(registry, form)
    else:
        signer = signer_from(key.file, key.passphrase_file, home.passphrase_file)
    if not dry_run:
        _complete_answers(registry, version)
    try:
        decided = sign_answers(registry, version, form, signer, dry_run=dry_run)
    except AnswersRecorded:
        # what was signed before may have made other questions decide something
        renewed = None if dry_run else renew_form(registry, version, form, policy)
        if renewed is None:
            raise
        return _of_form(renewed, form)
    renewed = None if dry_run else renew_form(registry, version, form, policy)
    lines = _lines(decided, form, renewed, dry_run=dry_run)
    return Outcome(decided.model_dump(mode="json"), lines, _after(decided, form, key.file, renewed, dry_run=dry_run))


def _complete_answers(registry: "Registry", version: "Version") -> None:
    from peft_registry.registry.use_cases.take_up_answers import complete_answers, taken_over_by_newest

    if registry.read_only:
        return
    completed = complete_answers(registry, version)
    if completed is not None:
        console.note(f"record   {completed.record.record_id} takes up answers that were signed before")
        for taken in taken_over_by_newest(registry, version):
            console.note(f"besides  {taken.text}")


def _require_one_purpose(
    question: DecidedOn | None, decided: str | None, *, dry_run: bool, owner: QuestionOwner | None, every: bool
) -> None:
    """Raise unless what was typed is all about a question, or all about a form.

    Args:
        question: what is decided.
        decided: the outcome or the reason; None where neither was typed.
        dry_run: that a form is only checked.
        owner: for whom a form is written.
        every: that it asks every open field.

    Raises:
        OptionsExclusive: an option of a form beside a question.
        OptionNeeded: what decides a question, without the question.
    """
    of_a_form = {"--dry-run": dry_run, "--for": owner is not None, "--all": every}
    typed = [option for option, is_typed in of_a_form.items() if is_typed]
    if question is not None and typed:
        # passed over in silence, --dry-run would end in a signature
        raise OptionsExclusive("--on", typed[0], _OF_A_FORM)
    if question is None and decided is not None:
        # without the question they would be lost, and a form that is there would be signed in place of the decision
        raise OptionNeeded("--on QUESTION", _OF_A_QUESTION)


def _of_form(written: "WrittenForm", form: Path) -> Outcome:
    return Outcome(
        written.model_dump(mode="json"),
        [f"form     {console.path_from_here(form)}: {written.text}"],
        f"registry decide {written.version} --form {form} --key YOUR.key",
    )


@dataclass(frozen=True, slots=True)
class _Decision:
    """What is typed with --on."""

    question: DecidedOn
    outcome: DecidedAs | None
    reason: str | None
    policy: str


def _decide_question(
    home: Home, reference: str, decision: _Decision, key: Path | None, key_passphrase_file: Path | None
) -> Outcome:
    from peft_registry.registry.records.references import version_named
    from peft_registry.registry.use_cases.decide import decide_question
    from peft_registry.registry.use_cases.gate import read_gate_policy

    if decision.outcome is None:
        raise OptionNeeded("--outcome yes|no", "a decision says one of them")
    reason, file = reason_and_key(
        decision.reason,
        key,
        why_reason="a signed decision says why",
        why_key="an approver decides, and a registry keeps no approver's key",
    )
    policy = read_gate_policy(decision.policy)
    signer = home.signer(file, key_passphrase_file)
    version = version_named(home.registry, reference)
    is_yes = decision.outcome is DecidedAs.yes
    signed = decide_question(
        home.registry, version, decision.question.decided, policy, signer, is_yes=is_yes, reason=reason
    )
    person = home.registry.trust.person_of(signer.public.key_id)
    question, outcome = decision.question.value, decision.outcome.value
    return Outcome(
        {
            "version": version.label,
            "question": question,
            "outcome": outcome,
            "person": person,
            "statement": str(signed.digest),
        },
        [f"decided  {version.label} {question}: {outcome}, by {person}, under {policy.label}"],
        f"registry record verdict {version.label}",
    )


def _lines(decided: "TakenAnswers", form: Path, renewed: "WrittenForm | None", *, dry_run: bool) -> Iterator[str]:
    from peft_registry.schemas.answers import AREA_ROLES

    state = "would be signed" if dry_run else "signed"
    yield f"answers  {len(decided.paths)} by {decided.person} as {decided.role}, {state}"
    record = decided.record_id or "a new record"
    yield f"record   {record} {'would supersede' if dry_run else 'supersedes'} {decided.supersedes}"
    yield f"fields   {decided.fields}"
    for owner, count in decided.left.items():
        roles = " or ".join(AREA_ROLES[owner])  # type: ignore[index]  # an owner who answers is an area
        yield f"left     {count} for {owner}: a key of the role {roles} signs them"
    if renewed is not None:
        yield f"form     {console.path_from_here(form)} is written anew: {renewed.text}"


def _after(
    decided: "TakenAnswers", form: Path, key: Path | None, renewed: "WrittenForm | None", *, dry_run: bool
) -> str:
    """The command that follows."""
    if dry_run:
        signs = "" if key is None else f" --key {key}"
        return f"registry decide {decided.version} --form {form}{signs}"
    if decided.left or renewed is not None:
        return f"registry decide {decided.version} --form {form} --key YOUR.key"
    return f"registry record verdict {decided.version}"

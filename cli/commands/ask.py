"""ask: one prompt, answered by registered versions."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from peft_registry.cli.completion import offer_versions
from peft_registry.cli.outcome import READS, Home, Outcome, Verbatim, command

if TYPE_CHECKING:
    from peft_registry.trainer.use_cases.ask import ModelAnswer


def add_to(app: typer.Typer) -> None:
    """Enter `registry ask`."""
    app.command()(ask)


@command(READS)
def ask(
    home: Home,
    reference: Annotated[
        str,
        typer.Argument(
            metavar="REF", help="Version: name, name:3, name@alias or sha256:…", autocompletion=offer_versions
        ),
    ],
    prompt: Annotated[str, typer.Argument(metavar="PROMPT", help="The question, in quotes.", show_default=False)] = "",
    against: Annotated[
        str | None, typer.Option(metavar="REF|base", help="Also ask `base` or another version, for comparison.")
    ] = None,
    max_new_tokens: Annotated[int, typer.Option(min=1, max=4096, help="Maximum length of an answer, in tokens.")] = 64,
    raw: Annotated[bool, typer.Option("--raw", help="Send the prompt as it is, without any template.")] = False,
) -> Outcome:
    """Ask a version a question, and its base for comparison.

    It is put into the template that the version was trained with. Every model is loaded from a verified copy.
    """
    from peft_registry.cli.progress import Progress
    from peft_registry.trainer.use_cases.ask import ask as ask_versions

    answers = ask_versions(
        home.registry,
        reference,
        prompt,
        against=against,
        max_new_tokens=max_new_tokens,
        raw=raw,
        observe=Progress(story_on_stdout=False),
    )
    return Outcome(
        {"prompt": prompt, "answers": [answer.to_json() for answer in answers]},
        map(Verbatim, _lines(answers)),
        f"registry evaluate {answers[0].version} --suite house",
    )


def _lines(answers: Sequence["ModelAnswer"]) -> Iterator[str]:
    """A paragraph for each answer; its template where the answer before had another."""
    template = None
    for number, answer in enumerate(answers):
        if number:
            yield ""
        yield f"{answer.version}  {answer.tokens} tokens in {answer.seconds:.2g} s"
        if answer.template != template:
            yield f"template: {answer.template}"
        template = answer.template
        yield from answer.text.split("\n")

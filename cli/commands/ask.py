"""ask: one prompt, answered by registered versions."""

from typing import Annotated

import typer

from peft_registry.cli import console
from peft_registry.cli.options import HomeOption, Output, OutputOption


def add_to(app: typer.Typer) -> None:
    """Enter `registry ask`."""
    app.command()(ask)


def ask(
    reference: Annotated[str, typer.Argument(metavar="REF", help="Version: name, name:3, name@alias or sha256:…")],
    prompt: Annotated[str, typer.Argument(metavar="PROMPT", help="The question, in quotes.", show_default=False)] = "",
    against: Annotated[
        str | None, typer.Option(metavar="REF|base", help="Also ask `base` or another version, for comparison.")
    ] = None,
    max_new_tokens: Annotated[int, typer.Option(min=1, max=4096, help="Maximum length of an answer, in tokens.")] = 64,
    raw: Annotated[bool, typer.Option("--raw", help="Send the prompt as it is, without any template.")] = False,
    home: HomeOption = None,
    output: OutputOption = Output.text,
) -> None:
    """Ask a version a question, and its base for comparison.

    It is put into the template that the version was trained with. Every model is loaded from a verified copy.
    """
    from peft_registry.cli.progress import Progress
    from peft_registry.cli.wiring import opened
    from peft_registry.trainer.use_cases.ask import ask as ask_versions

    with opened(home) as registry:
        answers = ask_versions(
            registry,
            reference,
            prompt,
            against=against,
            max_new_tokens=max_new_tokens,
            raw=raw,
            observe=Progress(story_on_stdout=False),
        )
    if output is Output.json:
        console.out_json({"prompt": prompt, "answers": [answer.to_json() for answer in answers]})
        return
    for answer in answers:
        console.out(f"{answer.version}  {answer.tokens} tokens in {answer.seconds:.2g} s")
        console.out(f"template: {console.printable(answer.template)}")
        # a model may have learned to write what draws on the terminal
        console.out(f"{console.printable_lines(answer.text)}\n")
    console.next_step(f"registry evaluate {answers[0].version} --suite house")

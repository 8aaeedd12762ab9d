"""The template that a training read its rows through, and the prompt that it makes of a question.

A run records the training file and the digest of the template. Of a training by somebody else's loop nobody recorded one.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from peft_registry.schemas.config import RowFormat
from peft_registry.schemas.dataset import DataIdentity
from peft_registry.schemas.errors import InputRefused
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.row_formats import CONVERSATIONS, FORMATS, fill_template, optional_parts, placeholders
from peft_registry.schemas.run import RunRecord


class SeveralTemplates(InputRefused):
    what = "{label} was trained with {count} templates, and a question can be put into one"
    why = "{templates}"
    fix = "write the whole prompt yourself, and add --raw"

    label: str
    count: int
    templates: str


class TemplateOfSeveralColumns(InputRefused):
    what = "{label} was trained with a template that a question alone does not fill"
    why = "{template!q} asks for {columns!l}"
    fix = "write the whole prompt yourself, and add --raw"

    label: str
    template: str
    columns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TrainedTemplate:
    """How a training made text of its rows.

    `of` is what was trained: a version, or those that a merge was made of. `text` is the template with its placeholders; None where
    the base's chat template rendered conversations. `sha256` covers either.
    """

    of: str
    row_format: RowFormat
    text: str | None
    sha256: Digest

    @property
    def line(self) -> str:
        """Which template it is, on one line."""
        text = "conversations, by the chat template" if self.text is None else quoted(self.text)
        return f"{text}, of the training of {self.of}"

    @property
    def before_answer(self) -> str:
        """What stands in the template before the answer: what a question is put into.

        Raises:
            AssertionError: conversations have a chat template, which needs a tokenizer.
        """
        assert self.text is not None, "conversations are rendered by the tokenizer"
        names = placeholders(self.text)
        # rows of plain text have no prompt: whatever is asked is their beginning
        return self.text.partition("{" + names[-1] + "}")[0] if names else ""

    @property
    def question(self) -> str | None:
        """The placeholder that a question takes; None where nothing stands before the answer.

        Raises:
            TemplateOfSeveralColumns: there are several, and no word on which of them is the question.
        """
        before = self.before_answer
        left_out = {name for part in optional_parts(before) for name in placeholders(part)}
        needed = tuple(dict.fromkeys(name for name in placeholders(before) if name not in left_out))
        if len(needed) > 1:
            raise TemplateOfSeveralColumns(self.of, before, needed)
        return needed[0] if needed else None

    def prompt(self, question: str) -> str:
        """The text that a question is asked with.

        Raises:
            TemplateOfSeveralColumns: as `question`.
        """
        name = self.question
        return question if name is None else fill_template(self.before_answer, {name: question})

    @property
    def as_format(self) -> str:
        """The prompt for `str.format`, the question named `prompt`.

        Raises:
            TemplateOfSeveralColumns: as `question`.
        """
        # a training file is YAML, which has no zero character
        parts = self.prompt("\0").split("\0")
        return "{prompt}".join(part.replace("{", "{{").replace("}", "}}") for part in parts)


@dataclass(frozen=True, slots=True)
class NoTemplate:
    """That there is no template that a version was trained with, and why."""

    why: str

    @property
    def line(self) -> str:
        return f"none: {self.why}"


Template = TrainedTemplate | NoTemplate


def quoted(text: str) -> str:
    """A template on one line, its line ends as they are typed in a training file."""
    return '"' + text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"') + '"'


def template_of_run(label: str, run: RunRecord) -> Template:
    """The template that a run recorded."""
    if not run.data or run.data[0].template_sha256 is None:
        return NoTemplate(f"{label} was trained by another program, which recorded none")
    data = run.data[0]  # the rows that were trained on; those held out come behind
    name = data.format.rpartition("/")[2]
    row_format = next((known for known in FORMATS if known == name), None)
    if row_format is None:
        return NoTemplate(f"{label} was trained on rows of the format {name}, which this release does not know")
    return _template(label, row_format, data, own=_own_template(run.config))


def _template(label: str, row_format: RowFormat, data: DataIdentity, *, own: str | None) -> Template:
    assert data.template_sha256 is not None
    text = own or FORMATS[row_format].template
    if row_format not in CONVERSATIONS and Digest.of(text.encode("utf-8")) == data.template_sha256:
        return TrainedTemplate(label, row_format, text, data.template_sha256)
    # prompts and completions may be lists of turns too
    if row_format in (*CONVERSATIONS, "prompt_completion") and own is None:
        return TrainedTemplate(label, row_format, None, data.template_sha256)
    return NoTemplate(f"that of {label} has another text in this release")


def _own_template(config: dict[str, Any]) -> str | None:  # a training file, as the run recorded it
    """The template that a training file sets itself."""
    source = config.get("data", {}).get("train", {})
    text = source.get("template") if isinstance(source, dict) else None
    return text if isinstance(text, str) else None


def template_of_parts(label: str, templates: Sequence[Template]) -> Template:
    """The template that all parts have of which one is recorded; without any, why the first has none.

    Raises:
        SeveralTemplates: they have different ones.
    """
    recorded = [template for template in templates if isinstance(template, TrainedTemplate)]
    different = {(template.text, template.sha256): template for template in recorded}
    if len(different) > 1:
        lines = "; ".join(template.line for template in different.values())
        raise SeveralTemplates(label, len(different), lines)
    if not recorded:
        return templates[0]
    return replace(recorded[0], of=", ".join(sorted(template.of for template in recorded)))


def require_for_questions(template: Template) -> None:
    """Raise TemplateOfSeveralColumns unless a question alone fills the template."""
    if isinstance(template, TrainedTemplate) and template.text is not None:
        template.prompt("")

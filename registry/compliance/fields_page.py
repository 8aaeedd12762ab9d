"""`docs/reference/modification-record.md`, written from the rules: the page and the data cannot differ."""

from itertools import groupby

from peft_registry.registry.compliance.fields import FieldRule, FieldRules
from peft_registry.registry.compliance.form_rows import forms

_FORMS = {"2": "first and second"}
_FROM_PARENTS = {"same": "what all say", "yes_if_any": "yes of any", "union": "union"}
_LETTERS = {"aio": "A", "nca": "N", "dp": "D"}
_INTRODUCTION = """\
# Modification record

What every fine-tune, merge and import is documented with. Each field is a value with its source (`measured`, `derived`,
`imported`, `declared`, `unknown` with a reason, or `not_applicable` with a code for why there is no answer to give); absence is
never "no". `record_id`, `schema_version`, `record_created_at` and `supersedes` are plain, and so is `correction`: the digest of the
record that `supersedes` names, the reason, and the digests of the statements that the record was built from.

The `method` and the `reason` of a value are codes, such as `{"code": "counted_before_run"}`, with their parameters beside the name;
reports and commands show the sentence, and [codes](codes.md) lists all of them. A few values hold codes as well, where this tool
writes a sentence. What a person wrote, and what was recorded before there were codes, is plain text.

New records have the third form (`urn:peft-registry:modification:v3`). Their statement names the **edition** that derived them
and their **inputs**, the signed statements that they follow from: `registry record NAME -o json` lists both. `registry verify`
reads the inputs, derives the record again by that edition and compares. The sentence of a code may be improved at any time: no
record changes.

| The record's edition | `registry verify` | pull, load | merge, continue, gates |
| --- | --- | --- | --- |
| known here, derives the same | `verified` (0) | yes | yes |
| known here, derives otherwise | `broken` (6), with path, value and derived value | no | no |
| newer, and announced in the log | `verified` (0), with a note | yes | no (5) |
| newer, and announced by nobody | `unverified` (5) | no | no |
| a known name with another digest, or an unknown one that is not newer | `broken` (6) | no | no |

An edition is announced by an approver, an officer or a root: `registry init` does it for a new home, `registry upgrade` for one of
an earlier release. Until a release freezes it an edition is a draft, and two drafts of one name accuse nobody.

Records of the first two forms are read for ever and held as data; [ADR 23](../adr/0023-one-record-a-version.md) says which record
is a version's, [ADR 35](../adr/0035-a-record-is-derived-by-an-edition.md) why records are derived.

This page is generated: `python -m peft_registry.registry.compliance.fields_page > docs/reference/modification-record.md`.

A facts file declares fields whose owner is not the tool ([state the facts](../how-to/state-the-facts.md)):

```yaml
asserted_by: "name and role of whoever states this"
use: {intended: "what the model is for"}
data: {sums.jsonl: {personal_data: "no", labelling: "by hand"}}   # the file's name, or "*" for each
```

"""


def fields_page(rules: FieldRules) -> str:
    """The page in Markdown: conditions, sources, and a table of fields for each section."""
    parts = [
        _INTRODUCTION,
        f"Rule set {rules.rule_set}, law as of {rules.law_as_of}. {rules.notice}\n\n",
        "Fill: M measured by the tool, D derived, U from the provider of the base, H a person. From parents: what a merge, or a\n"
        "run that continued from an adapter, has from the records of what it was made from; where they say different things there\n"
        "is a question. To: who gets the field by the Model Documentation Form, A the AI Office, N a national authority, D a\n"
        "downstream provider.\n\n",
        "## When a field is required\n\n| Word | Holds for |\n| --- | --- |\n",
        *(f"| `{name}` | {condition.means} |\n" for name, condition in rules.conditions.items()),
        "\n`a+b` means both; several words, any of them; none, never asked for. What a condition asks is not applicable once it\n"
        "is decided that the condition does not hold, and open as long as nobody has decided it.\n\n",
        *_never_facts(rules),
        *_dates_in_order(rules),
        *_applications(rules),
        "## Sources\n\n",
        *(f"- **{source.short}** ({source.weight}): {source.title}\n" for source in rules.sources),
    ]
    for section, fields in groupby(rules.fields, key=_section):
        parts.append(
            f"\n## {section}\n\n| Field | Content | Required when | Owner | Fill | From parents | To | Answers |\n"
        )
        parts.append("| --- | --- | --- | --- | --- | --- | --- | --- |\n")
        parts += [_row(rule) for rule in fields]
    return "".join(parts)


def _never_facts(rules: FieldRules) -> list[str]:
    acts = [f"| {name} | {act.reason} | {act.instead} |\n" for name, act in rules.acts.items()]
    return ["## What is never a fact\n\n| Kind | Why | Instead |\n| --- | --- | --- |\n", *acts, "\n"]


def _dates_in_order(rules: FieldRules) -> list[str]:
    orders = [f"| `{order.earlier}` | `{order.later}` | {order.because} |\n" for order in rules.orders]
    return ["## Dates in order\n\n| Not after | this | Because |\n| --- | --- | --- |\n", *orders, "\n"]


def _applications(rules: FieldRules) -> list[str]:
    rows = [
        f"| {rule.since} | {rule.subject} | {rule.clause} | {rule.source}, looked up {rule.retrieved} |\n"
        for rule in sorted(rules.applications, key=lambda application: application.since)
    ]
    return ["## Since when rules apply\n\n| Day | What | Clause | Source |\n| --- | --- | --- | --- |\n", *rows, "\n"]


def _section(rule: FieldRule) -> str:
    head, dot, _ = rule.path.rpartition(".")
    return f"`{head}`" if dot else "Sign-off and lifecycle"


def _row(rule: FieldRule) -> str:
    content = rule.label + (f": {rule.description}" if rule.values else f" ({rule.description})")
    if rule.act:
        content += f"; never a fact: {rule.act}"
    if rule.not_applicable:
        content += f"; or not applicable: {', '.join(f'`{name}`' for name in rule.not_applicable)}"
    if rule.until:
        content += f"; records of the {_FORMS[rule.until]} form alone"
        content += f", since then `{rule.answered_by}`" if rule.answered_by else ""
    when = ", ".join(f"`{condition}`" for condition in rule.required_when) or "never"
    parents = _FROM_PARENTS[rule.from_parents] if rule.from_parents else ""
    cells = (f"`{rule.path}`", content, when, rule.owner, rule.fill, parents, _recipients(rule.path), rule.answers)
    return f"| {' | '.join(cells)} |\n"


def _recipients(path: str) -> str:
    """Who gets the field by the Model Documentation Form: A the AI Office, N a national authority, D a downstream provider."""
    who = {
        recipient
        for row in forms().named("mdf").rows
        for named in (*row.fields, *row.beside)
        if named == path or named.startswith(f"{path}.")
        for recipient in row.recipients
    }
    return " ".join(letter for recipient, letter in _LETTERS.items() if recipient in who)


if __name__ == "__main__":
    import sys

    from peft_registry.registry.compliance.fields import field_rules

    sys.stdout.write(fields_page(field_rules()))

"""The model card (`README.md`): front matter that the Hugging Face Hub reads, and what was recorded, in Markdown.

It names no local path: `base_model` is given only for a base from the Hub. It names no licence that nobody recorded for
this result: the base's is said to be the base's. Everybody reads a card, so it holds no figure that the documentation form
of the Code of Practice (Transparency, measure 1.1) keeps for authorities: no exact size, no number of training or held-out rows,
no compute, no energy, no time of training; nor what people write for others than the public, as foreseeable misuse, nor whose
project it was. Text from outside is escaped, so that a name cannot become markup. Same inputs, same
bytes.
"""

import re
from functools import partial
from typing import TYPE_CHECKING, Literal

from peft_registry.registry.compliance.documentation import parameter_range
from peft_registry.registry.compliance.fields import Leaf, leaves
from peft_registry.registry.compliance.proposals import proposed_answer
from peft_registry.registry.compliance.record_licences import licence_flags_of
from peft_registry.registry.compliance.superseding import in_third_form
from peft_registry.registry.evaluation.sentences import task_lines
from peft_registry.registry.exports.loading import hub_id, loading_code
from peft_registry.registry.reports.text import number, share, value_text, visible
from peft_registry.registry.reports.vouchers import typed_mark
from peft_registry.registry.reports.wording import NO_CLAIM, NOTICE, comparison_sentence, loss_sentence
from peft_registry.schemas.base_model import BaseRecord
from peft_registry.schemas.evaluation import EvaluationRecord, Result
from peft_registry.schemas.imports import BaseFit, ImportRecord
from peft_registry.schemas.manifest import Manifest
from peft_registry.schemas.merge import MergeRecord
from peft_registry.schemas.modification import DataUsed, RecordSections
from peft_registry.schemas.run import RunRecord, coverage_sentence, kept_sentence
from peft_registry.schemas.trained_templates import template_of_run
from peft_registry.schemas.values import Value, unknown

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

_Relation = Literal[
    "adapter", "merge", "finetune"
]  # `base_model_relation` of the Hub; nothing here is a quantized copy

_JUDGED_THEN = (
    "Fewer flagged items: judged among the seeds of this training that had been begun when it was evaluated. "
    "`registry report` judges again among all that were begun since."
)
_MARKUP = re.compile(r"([\\`*_{}\[\]#|~])")
# SPDX identifiers, lower case, that the Hub accepts as `license`; anything else is `other` with a name
_HUB_LICENCES = frozenset(
    (
        *("apache-2.0", "mit", "isc", "unlicense", "bsd-2-clause", "bsd-3-clause", "mpl-2.0"),
        *("gpl-3.0", "lgpl-3.0", "agpl-3.0", "cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0"),
        *("openrail", "bigscience-openrail-m", "gemma", "llama2", "llama3", "llama3.1", "llama3.2", "llama3.3"),
    )
)


def card_of(
    production: RunRecord | MergeRecord | ImportRecord,
    *,
    name: str,
    manifest: Manifest,
    base_name: str,
    base: BaseRecord,
    evaluation: EvaluationRecord | None,
    record: RecordSections | None,
) -> bytes:
    """The card of what was trained, merged or imported, as `model_card`, `merge_card` and `import_card` write it."""
    if isinstance(production, RunRecord):
        write = partial(model_card, run=production)
    elif isinstance(production, MergeRecord):
        write = partial(merge_card, merge=production)
    else:
        write = partial(import_card, imported=production)
    return write(name=name, manifest=manifest, base_name=base_name, base=base, evaluation=evaluation, record=record)


def model_card(
    *,
    name: str,
    manifest: Manifest,
    run: RunRecord,
    base_name: str,
    base: BaseRecord,
    evaluation: EvaluationRecord | None = None,
    record: RecordSections | None = None,
) -> bytes:
    """The card of a trained artifact, as UTF-8.

    Args:
        name: the name that it is registered under.
        base_name: the name of the base in this registry.
        record: the modification record, for intended use and limits; without it the card says that they are not recorded.
    """
    front = _front_matter(name, manifest, base, evaluation=evaluation, record=record)
    parts = [
        f"# {_md(name)}",
        _written(name, record),
        f"{_introduction(manifest, run, base_name, base)}\n\n{_size(record, base)}\n\n{_licences(record, base)}",
        _loading(manifest, base),
        f"Template of its prompts: {_md(template_of_run(name, run).line)}",
        _use(record),
        _measured(run, evaluation),
        _making(run),
        _verifying(manifest),
    ]
    return (front + "\n\n".join(parts) + "\n").encode()


def merge_card(
    *,
    name: str,
    manifest: Manifest,
    merge: MergeRecord,
    base_name: str,
    base: BaseRecord,
    evaluation: EvaluationRecord | None = None,
    record: RecordSections | None = None,
) -> bytes:
    """The card of a merge, as UTF-8.

    Args:
        name: the name that it is registered under.
        base_name: the name of the base in this registry.
        record: the modification record, for intended use and limits.
    """
    front = _front_matter(name, manifest, base, evaluation=evaluation, record=record, merge=merge)
    ingredients = [
        f"- {_md(part.label)}: weight {number(part.weight)}"
        + ("" if part.density == 1 else f", density {number(part.density)}")
        + f", manifest `{part.manifest}`"
        for part in merge.ingredients
    ]
    parts = [
        f"# {_md(name)}",
        _written(name, record),
        f"A merge ({manifest.kind}): {len(ingredients)} adapter{'s' * (len(ingredients) > 1)} and the base "
        f"{_md(hub_id(base) or base_name)} (weights `{merge.base.identity.weights}`).\n\n"
        f"{_size(record, base)}\n\n"
        f"{_licences(record, base)}",
        _loading(manifest, base, tuple(part.method for part in merge.ingredients)),
        _use(record),
        "## Merge\n\n" + "\n".join([*ingredients, *_merge_lines(merge)]),
        *_inherited_data(record),
        _merge_measured(merge, evaluation),
        _verifying(manifest),
    ]
    return (front + "\n\n".join(parts) + "\n").encode()


def import_card(
    *,
    name: str,
    manifest: Manifest,
    imported: ImportRecord,
    base_name: str,
    base: BaseRecord,
    evaluation: EvaluationRecord | None = None,
    record: RecordSections | None = None,
) -> bytes:
    """The card of an import, as UTF-8: it says first that nobody here saw the training.

    Args:
        name: the name that it is registered under.
        base_name: the name of the base in this registry.
        record: the modification record, for intended use and limits.
    """
    front = _front_matter(name, manifest, base, evaluation=evaluation, record=record)
    found = [
        f"- {_md(finding.text)}" + (f" ({_md(finding.place)})" if finding.place else "")
        for finding in imported.findings
    ]
    parts = [
        f"# {_md(name)}",
        _written(name, record),
        f"Imported ({manifest.kind}): made elsewhere and registered as it was found. Nobody here saw how it was made; what is said "
        f"of its training is what the files beside it said.\n\nWeights digest of the base that it fits: `{base.identity.weights}` "
        f"({_md(hub_id(base) or base_name)})\n\n{_size(record, base)}\n\n{_licences(record, base)}",
        _loading(manifest, base),
        _use(record),
        "## Before and after\n\nNo evaluation is recorded." if evaluation is None else _compared(evaluation),
        "## Where it comes from\n\n"
        + "\n".join(
            [
                f"- Written by {imported.producer}, as {_md(imported.told_by)} says",
                *([] if imported.repository is None else [f"- Fetched as {_md(imported.repository)}"]),
                *(f"- Data {_md(data.name.value)}, as its files name it" for data in _named_data(record)),
                f"- {_fit_sentence(imported.fit)}",
            ]
        ),
        *(["## What was found in it\n\n" + "\n".join(found)] if found else []),
        _verifying(manifest),
    ]
    return (front + "\n\n".join(parts) + "\n").encode()


def _fit_sentence(fit: BaseFit) -> str:
    if not fit.compared:
        return "None of its tensors has a place that could be looked for in the base: nothing shows that it is of it"
    fitting = f"{fit.compared} of its tensors have a place of their shape in the base"
    return f"{fitting}; this shows that it can be of it, and not that it is"


def _named_data(record: RecordSections | None) -> list[DataUsed]:
    return [] if record is None else [data for data in record.data if data.name.known]


def _merge_lines(merge: MergeRecord) -> list[str]:
    if merge.why_bundled is not None and not merge.has_folded:
        return [f"- Nothing was folded into the base: {_md(merge.why_bundled)}", f"- {_md(merge.formula)}"]
    lost = "not measured" if merge.lost_share is None else share(merge.lost_share)
    lines = [
        f"- Formula: {_md(merge.formula)}",
        f"- Base as it was {'in 4 bits, dequantised' if merge.base_policy == 'dequantised' else 'registered'}; "
        f"sums in fp32, one rounding to {merge.dtype}; {lost} of the change's norm lost to it",
        f"- {share(merge.parameters_changed / merge.parameters_total)} of the base's parameters have another value",
    ]
    if merge.why_bundled is not None:
        lines.append(f"- Not folded, and beside the weights: {_md(merge.why_bundled)}")
    for label, distance in (("Fold error against", merge.fold_error), ("Distance from", merge.distance)):
        if distance is not None:
            lines.append(f"- {label} {_md(distance.reference)}: KL {number(distance.kl)} nats a token")
    return lines + ([] if merge.accepted is None else [f"- The distance was accepted: {_md(merge.accepted.reason)}"])


def _inherited_data(record: RecordSections | None) -> list[str]:
    """The data of everything that went in; nothing where the record has none."""
    if record is None or not record.data:
        return []
    lines = []
    for data in record.data:
        stated = (
            ("licence", "licence", data.licence),
            ("personal data", "personal_data", data.personal_data),
            ("special categories", "special_categories", data.special_categories),
            ("provenance", "provenance_class", data.provenance_class),
            ("languages", "languages", data.languages),
        )
        digest = f"`{data.digest.value}`" if data.digest.known else _declared(data.digest)
        lines.append(f"- {_md(value_text(data.name))}, {digest}")
        lines += [f"    - {label}: {_stated(f'data[].{field}', value)}" for label, field, value in stated]
    return ["## Data of everything that went in\n\n" + "\n".join(lines)]


def _merge_measured(merge: MergeRecord, evaluation: EvaluationRecord | None) -> str:
    if evaluation is not None:
        return _compared(evaluation)
    # several evaluations of one ingredient are stale for one reason
    stale = list(dict.fromkeys(f"- {_md(outdated.of)}: {_md(str(outdated.why))}" for outdated in merge.stale))
    text = "No evaluation of the merged model is recorded."
    return "## Before and after\n\n" + "\n".join(
        [text, *(["Those of its ingredients are stale:", "", *stale] if stale else [])]
    )


def base_card(*, name: str, record: BaseRecord) -> bytes:
    """The card of a base that was added: what pins it and what is declared about it, as UTF-8."""
    source = hub_id(record)
    front = _yaml_block({"library_name": "transformers", "tags": ["base"]} | _hub_licence(record.facts.licence))
    identity = record.identity
    rows = [
        ("Weights digest", f"`{identity.weights}`"),
        ("Config digest", f"`{identity.config}`"),
        ("Tokenizer digest", f"`{identity.tokenizer}`"),
        ("Architecture", _md(record.architecture)),
        ("Parameters", parameter_range(record.parameters_total)),
        ("Origin", _md(source or record.origin.source)),
        *((label, _declared(getattr(record.facts, key))) for key, label in _BASE_FACTS),
    ]
    body = "\n".join(["| | |", "| --- | --- |", *(f"| {label} | {text} |" for label, text in rows)])
    text = (
        f"# {_md(name)}\n\nA base model, pinned by digest. Its provider's own card is the authority on it.\n\n{body}\n"
    )
    return (front + text).encode()


_BASE_FACTS = (("provider", "Provider"), ("licence", "Licence"), ("release_date", "Released"))


def _front_matter(
    name: str,
    manifest: Manifest,
    base: BaseRecord,
    *,
    evaluation: EvaluationRecord | None,
    record: RecordSections | None,
    merge: MergeRecord | None = None,
) -> str:
    source = hub_id(base)
    relation = {} if source is None else {"base_model": source, "base_model_relation": _relation(manifest, merge)}
    results = [] if evaluation is None else [_hub_result(result, evaluation) for result in _whole_results(evaluation)]
    measured = {"model_name": name, "eval_results": results} if results else {}
    fields: dict[str, object] = {
        "library_name": "peft" if manifest.layout == "peft" else "transformers",
        "pipeline_tag": "text-generation",
        "tags": sorted({manifest.kind, manifest.method or "full", "peft-registry"}),
    }
    return _yaml_block(fields | relation | _hub_licence(_licence_of_result(record)) | measured)


def _relation(manifest: Manifest, merge: MergeRecord | None) -> _Relation:
    """What the result is to its base: adapters that nothing folded are loaded beside it, merged or not."""
    if merge is not None and merge.has_folded:
        return "merge"
    return "finetune" if manifest.layout == "model" else "adapter"


def _licence_of_result(record: RecordSections | None) -> Value:
    """What somebody who may has recorded as the licence of the result; a form of the record that does not ask for it holds none."""
    leaf = _own_licence(record)
    return unknown("nobody has recorded it") if leaf is None or proposed_answer(leaf) is not None else leaf.value


def _own_licence(record: RecordSections | None) -> Leaf | None:
    return None if record is None else next((leaf for leaf in leaves(record) if leaf.path == "product.licence"), None)


def _hub_licence(licence: Value) -> dict[str, object]:
    """The Hub's `license`; without a recorded one no key, because a missing licence grants nothing and is not a licence."""
    if not licence.known:
        return {}
    identifier = str(licence.value).lower()
    if identifier == "none":
        return {}
    if identifier in _HUB_LICENCES:
        return {"license": identifier}
    if identifier.startswith("https://"):
        return {"license": "other", "license_name": "other", "license_link": _line(str(licence.value))}
    return {"license": "other", "license_name": re.sub(r"[^a-z0-9.-]+", "-", identifier).strip("-") or "other"}


def _yaml_block(fields: dict[str, object]) -> str:
    # imported here, because lists of versions print no card
    from huggingface_hub import ModelCardData

    return f"---\n{ModelCardData(**fields).to_yaml()}\n---\n\n"  # type: ignore[arg-type] # fields by their names


def _whole_results(evaluation: EvaluationRecord) -> list[Result]:
    """Figures of the result over whole data sets; groups stay in the evidence record."""
    after = ("adapted", "merged")
    return [
        result
        for result in evaluation.results
        if result.category is None and result.arm in after and result.value is not None
    ]


def _hub_result(result: Result, evaluation: EvaluationRecord) -> "EvalResult":
    from huggingface_hub import EvalResult

    data = next((dataset for dataset in evaluation.datasets if dataset.name == result.dataset), None)
    return EvalResult(
        task_type="text-generation",
        dataset_type=_line(result.dataset),
        dataset_name=_line(result.dataset),
        dataset_revision=None if data is None else str(data.sha256),
        dataset_split=None if data is None else data.half,
        metric_type=_line(result.metric),
        metric_value=result.value,
        metric_name=_line(result.metric),
    )


def _introduction(manifest: Manifest, run: RunRecord, base_name: str, base: BaseRecord) -> str:
    made = f"{manifest.method or run.method} on {_md(hub_id(base) or base_name)}"
    return (
        f"{manifest.kind.capitalize()}: {made}.\n\nWeights digest of the base that it needs: `{base.identity.weights}`"
    )


def _written(name: str, record: RecordSections | None) -> str:
    """Of when the card speaks: it is signed as it is, and a new one is signed with each record of the version."""
    day = "" if record is None else f" on {record.record_created_at[:10]}"
    return (
        f"This card was written{day}, with the modification record of that day. Answers, evaluations and decisions that came later "
        f"are not in it: `registry record {name}:NUMBER` and `registry report {name}:NUMBER` show what holds now, in the registry."
    )


def _size(record: RecordSections | None, base: BaseRecord) -> str:
    """The range of the form: the exact number is for the AI Office alone."""
    recorded = {} if record is None else {leaf.path: leaf.value for leaf in leaves(record)}
    size = recorded.get("documentation.size_range")
    if size is not None and size.known:
        return f"Parameters, with those of the base: {size.value}."
    return f"Parameters of the base: {parameter_range(base.parameters_total)}."


def _licences(record: RecordSections | None, base: BaseRecord) -> str:
    own, of_result = _own_licence(record), _licence_of_result(record)
    proposed = None if own is None else proposed_answer(own)
    if proposed is not None:
        result = f"{_md(proposed)} is proposed, and nobody who answers for legal has signed it"
    else:
        result = _md(str(of_result.value)) if of_result.known else "not recorded; the base's is not taken for it"
    of_base = _md(str(base.facts.licence.value)) if base.facts.licence.known else "not recorded"
    lines = [f"Licence of this result: {result}.", f"Licence of the base: {of_base}."]
    if record is not None:
        flags = ", ".join(_md(flag) for flag in licence_flags_of(in_third_form(record)))
        lines.append(f"Licence flags of this result and of everything that went in, its data too: {flags or 'none'}.")
    return "\n\n".join(lines)


def _loading(manifest: Manifest, base: BaseRecord, methods: tuple[str | None, ...] = ()) -> str:
    return f"## Load\n\n```python\n{loading_code(manifest, base, methods)}\n```"


def _use(record: RecordSections | None) -> str:
    if record is None:
        return "## Use and limits\n\nNot recorded."
    rows = (
        ("Intended", "use.intended", record.use.intended),
        ("Out of scope", "use.out_of_scope", record.use.out_of_scope),
        ("Known limitations", "limitations.known", record.limitations.known),
    )
    return "## Use and limits\n\n" + "\n".join(f"- {label}: {_stated(path, value)}" for label, path, value in rows)


def _measured(run: RunRecord, evaluation: EvaluationRecord | None) -> str:
    if evaluation is None:
        before, after = value_text(run.loss_before), value_text(run.loss_after)
        return f"## Before and after\n\nHeld-out loss: before {before}; after {after}. No evaluation is recorded."
    return _compared(evaluation)


def _compared(evaluation: EvaluationRecord) -> str:
    lines = [
        f"- Loss on {_md(loss.dataset)} text: {loss_sentence(loss, with_count=False)}, nats per token"
        for loss in evaluation.losses
    ]
    lines += [
        f"- {_md(comparison_sentence(comparison, evaluation))}"
        for comparison in evaluation.findings
        if comparison.category is None
    ]
    lines += [f"- Task {_md(line)}" for line in task_lines([evaluation])]
    if any(comparison.category is None and comparison.conclusion == "better" for comparison in evaluation.findings):
        lines.append(f"- {_JUDGED_THEN}")
    lines += [f"- Limit: {_md(str(text))}" for text in evaluation.limitations]
    return "## Before and after\n\n" + "\n".join([*lines, "", NO_CLAIM])


def _making(run: RunRecord) -> str:
    lines = [f"- Data {_md(data.name)}, `{data.sha256}`" for data in run.data]
    share_trained = share(run.parameters_trainable / run.parameters_total)
    lines += [f"- Trained by {_md(run.followed.trainer)}, which a callback followed"] if run.followed else []
    lines += [f"- {_trials(run)}"] if run.trials else []
    lines += [f"- Kept {kept_sentence(run.kept_step)}"] if run.kept_step else []
    lines += [f"- Trainable share {share_trained}, seed {run.seed}"]
    lines += [f"- Adapts {coverage_sentence(run.coverage)}"] if run.coverage else []
    return "## How it was made\n\n" + "\n".join(lines)


def _trials(run: RunRecord) -> str:
    scores = ", ".join(
        f"{trial.seed}: {number(trial.score)}{' (kept)' if trial.chosen else ''}" for trial in run.trials
    )
    return f"{len(run.trials)} seeds tried, the one with the lowest validation loss kept (nats per token): {scores}"


def _verifying(manifest: Manifest) -> str:
    return (
        "## Verify\n\n"
        f"Manifest digest: `{manifest.canonical_digest()}`\n\n"
        "```sh\nregistry verify FOLDER_OF_THIS_CARD\n"
        "model_signing verify key FOLDER_OF_THIS_CARD --signature FOLDER_OF_THIS_CARD/model.sig --public_key KEY.pub\n```\n\n"
        f"{NOTICE} `model.sig` does not cover this card: a statement under `evidence` does, and `registry verify` refuses a card "
        "that somebody edited."
    )


def _stated(path: str, value: Value) -> str:
    """The value of a field of the record; of one that was typed, that nobody who may answer it has signed it."""
    mark = typed_mark(path, value)
    return f"{_declared(value)} ({mark})" if mark else _declared(value)


def _declared(value: Value) -> str:
    text = _md(value_text(value))
    return text if value.settled else f"not recorded ({text})"


def _md(text: str) -> str:
    """Text that Markdown shows as it is: one line, no markup, no HTML."""
    return _MARKUP.sub(r"\\\1", _line(text)).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _line(text: str) -> str:
    return visible(" ".join(text.split()))

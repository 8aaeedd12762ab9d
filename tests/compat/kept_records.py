"""Signed inputs of records, as real commands once made them: each method, merges, a continued run, an import, a script that the
callback followed, answers, an evaluation of every suite.

`python -m tests.compat.kept_records FOLDER` makes a home with all of them and writes what was signed there; it takes some minutes.
While the edition is a draft it may be made again. Once an edition was frozen that derived from it, what is kept is never written
again: another case is kept beside it.
"""

import gzip
import json
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from peft_registry.registry.compliance.derivation import derive_first, derive_next
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.records.first_record_checks import first_inputs
from peft_registry.registry.records.logged_statements import EntrySigner
from peft_registry.registry.records.next_record_checks import next_inputs
from peft_registry.registry.records.provenance import production_of
from peft_registry.registry.records.record_checks import RecordChecks
from peft_registry.schemas.evaluation import EvaluationRecord
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.manifest import Manifest
from peft_registry.schemas.modification import ModificationPredicate, ModificationRecord, RecordInput, modification_in
from peft_registry.schemas.observations import Observations
from peft_registry.schemas.statement import RegistrationPredicate, Statement

KEPT = Path(__file__).parent / "records"
STATEMENTS, MANIFESTS, ITEMS = "statements.jsonl.gz", "manifests.jsonl.gz", "items.jsonl.gz"
_READ = frozenset({"provenance", "bias-evaluation", "observations", "modification", "registration", "base", "answers"})


@dataclass(frozen=True)
class KeptEntry:
    """A statement and its entry. Of a record that nothing else follows from all is kept but the record."""

    digest: Digest
    statement: Statement
    signer: EntrySigner


@dataclass(frozen=True)
class KeptRecords:
    """What was signed in a home."""

    folder: Path

    @cached_property
    def entries(self) -> tuple[KeptEntry, ...]:
        return tuple(
            KeptEntry(
                Digest.parse(line["digest"]), Statement.from_json(line["statement"]), EntrySigner(**line["signer"])
            )
            for line in _read(self.folder / STATEMENTS)
        )

    @cached_property
    def manifests(self) -> dict[Digest, Manifest]:
        return {
            Digest.parse(line["digest"]): Manifest.from_json(line["manifest"])
            for line in _read(self.folder / MANIFESTS)
        }

    def derived(self) -> Iterator[tuple[str, ModificationRecord]]:
        """Each record, derived by the edition of this release, with a name that says what it is of."""
        checks = RecordChecks()
        names: dict[Digest, str] = {}
        superseded = Counter(self.manifests.keys())
        for entry in self.entries:
            statement = entry.statement
            if statement.kind == "registration":
                checks.take(entry.digest, statement, entry.signer)
                predicate = RegistrationPredicate.from_json(statement.predicate)
                names[statement.subject_digest] = predicate.name
                if self.manifests[statement.subject_digest].kind != "base":
                    yield predicate.name, self._first(checks, predicate, statement.subject_digest)
            elif statement.kind == "modification" and statement.predicate["record"].get("supersedes"):
                superseded[statement.subject_digest] += 1
                name = names[statement.subject_digest]
                what, record = self._next(checks, name, statement)
                yield f"{name}, record {superseded[statement.subject_digest]}, of {what}", record
                if len(statement.predicate["record"]) > len(_ALWAYS_KEPT):
                    checks.take(entry.digest, statement, entry.signer)
            else:
                checks.take(entry.digest, statement, entry.signer)

    def evaluations(self) -> Iterator[tuple[str, EvaluationRecord, bytes]]:
        """The name of each evaluated version, the evaluation, and its item table."""
        tables = {line["sha256"]: line["items"].encode("utf-8") for line in _read(self.folder / ITEMS)}
        names = {
            entry.statement.subject_digest: entry.statement.predicate["name"]
            for entry in self.entries
            if entry.statement.kind == "registration"
        }
        for entry in self.entries:
            if entry.statement.kind == "bias-evaluation":
                record = EvaluationRecord.from_json(entry.statement.predicate)
                yield names[entry.statement.subject_digest], record, tables[f"{record.items.sha256}"]

    def _first(self, checks: RecordChecks, registration: RegistrationPredicate, subject: Digest) -> ModificationRecord:
        said = {entry.digest: entry.statement for entry in self.entries}
        brought = {said[digest].kind: digest for digest in registration.accompanied_by if digest in said}
        production = production_of(said[brought["provenance"]].predicate)
        assert production is not None, "whatever is registered was made"
        seen = Observations.from_json(said[brought["observations"]].predicate)
        inputs = first_inputs(
            checks.statements, self.manifests[subject], production, seen, brought.get("bias-evaluation")
        )
        assert not inputs.not_derived, "everything is kept"
        return derive_first(inputs)

    @staticmethod
    def _next(checks: RecordChecks, name: str, statement: Statement) -> tuple[str, ModificationRecord]:
        inputs = [RecordInput.from_json(named) for named in statement.predicate["inputs"]]
        subject = statement.subject_digest
        before = next(named.digest for named in inputs if named.kind == "modification")
        held = checks.statements.find(before, "modification")
        assert held is not None, "it is kept"
        record = modification_in(held.statement)
        kept = statement.predicate["record"]
        derived = derive_next(
            next_inputs(checks.statements, subject, record, inputs, name=name),
            record_id=kept["record_id"],
            now=kept["record_created_at"],
        )
        kinds = ", ".join(sorted({named.kind for named in inputs} - {"modification"}))
        return kinds, derived


_ALWAYS_KEPT = ("record_id", "record_created_at", "supersedes", "schema_version")


def _read(file: Path) -> Iterator[Any]:
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        yield from map(json.loads, lines)


# --- making ---

ROWS = 16
EVALUATED_ROWS = 24  # of a suite, at most: of the shipped one this is a part
SETTINGS = """\
name: {name}
base: tiny
method: {method}
data: {{train: {{path: rows.jsonl, format: prompt_completion}}, validation: {{fraction: 0.25}}}}
training: {{learning_rate: 5e-3, num_train_epochs: 1, max_length: 64, dtype: fp32, seed: 7}}
"""
FACTS = """\
asserted_by: "J. Doe, data steward"
use: {intended: "answers about the colours of boxes", out_of_scope: anything else}
data: {rows.jsonl: {personal_data: "no", labelling: written by a program, licence: CC0-1.0, languages: [en]}}
"""


def make(target: Path) -> None:
    """Make a home with every case, and keep what was signed there."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        registry = _home(folder)
        try:
            _train(registry, folder)
            _merge(registry)
            _import(registry, folder)
            _follow(registry, folder)
            _evaluate(registry, folder)
            _say_later(registry, folder)
            keep(registry, target)
        finally:
            registry.close()


def _home(folder: Path) -> Registry:
    from peft_registry.registry.homes.home import open_home, utc_now
    from peft_registry.registry.signing.trust_chain import render_chain
    from peft_registry.registry.use_cases.make_home import NewHome, make_home
    from peft_registry.schemas.profile import OrganisationProfile
    from peft_registry.schemas.values import declared
    from peft_registry.trainer.use_cases.add_base import intake_base
    from tests.builders.decisions import ENGINEER, OFFICER
    from tests.builders.homes import name_once
    from tests.builders.signing import a_trusted_key, one_more
    from tests.builders.training import a_base_folder, colour_rows, write_rows

    def stated(value: str) -> Any:
        return declared(value, by="alex", at=now)

    now = utc_now()
    home = folder / "home"
    profile = OrganisationProfile(
        legal_name=stated("Example Ltd"), country=stated("DE"), role=stated("downstream_modifier")
    )
    make_home(NewHome(home, profile, "lab-1", None), now=now)
    name_once(home)
    first = open_home(home)
    listed = (
        a_trusted_key(OFFICER, person="alex", role="officer", predicate_types=None),
        a_trusted_key(ENGINEER, person="sam", role="evaluator", predicate_types=None),
    )
    chain = one_more(first.trust_chain, first.private_key("root"), keys=(*first.trust.keys, *listed))
    (home / "trust.json").write_bytes(render_chain(chain))
    first.close()
    registry = open_home(home)
    of_base = folder / "base-facts.yml"
    of_base.write_text("asserted_by: legal\nlicence: MIT\ntraining_compute_flop: 1.0e+15\n")
    intake_base(registry, "embedded", name="tiny", facts_file=of_base)
    intake_base(registry, str(a_base_folder(folder / "random")), name="random")
    write_rows(folder / "rows.jsonl", colour_rows(ROWS))
    (folder / "facts.yml").write_text(FACTS)
    return registry


def _train(registry: Registry, folder: Path) -> None:
    from peft_registry.schemas.methods import METHODS
    from peft_registry.trainer.use_cases.train import train_and_register

    def train(name: str, method: str, *more: str) -> None:
        file = folder / f"{name}.yml"
        file.write_text(SETTINGS.format(name=name, method=method))
        train_and_register(registry, file, more)

    for method in METHODS:
        train(method, method, "evaluation={bias: [], quality: [loss]}")
    evaluated = ("evaluation={bias: [house], quality: [loss]}", "facts=facts.yml", "project=colours")
    train("evaluated", "lora", *evaluated)
    train("continued", "lora", "continue_from=evaluated", "training.seed=8", "evaluation={bias: []}")
    on_random = ("base=random", "evaluation={bias: []}", "training.seed=9")
    train("on-another-base", "lora", *on_random)


def _merge(registry: Registry) -> None:
    from peft_registry.trainer.merge.request import MergeRequest
    from peft_registry.trainer.use_cases.merge import merge_and_register

    merge_and_register(registry, MergeRequest(("evaluated", "continued"), name="merged"))
    merge_and_register(registry, MergeRequest(("lora", "ia3"), name="merged-of-two-methods"))


def _import(registry: Registry, folder: Path) -> None:
    from peft import LoraConfig

    from peft_registry.registry.use_cases.import_folder import import_folders
    from peft_registry.registry.use_cases.import_plan import ImportRequest
    from peft_registry.trainer.embedded import embedded_base
    from tests.builders.merge import write_adapter

    config = LoraConfig(task_type="CAUSAL_LM", r=2, lora_alpha=4, target_modules=["q_proj"])
    offered = write_adapter(embedded_base(), folder / "offered", config)
    import_folders(registry, ImportRequest(folders=(offered,), base="tiny", name="imported"))


def _follow(registry: Registry, folder: Path) -> None:
    from tests.builders.trainers import a_lora, a_trainer, followed

    trainer = a_trainer(folder / "followed", a_lora(folder / "random"))
    followed(folder, trainer, "followed")
    trainer.train()
    del registry


def _evaluate(registry: Registry, folder: Path) -> None:
    """Every suite on a few rows, and answers in words, all in one evaluation, which the record of the version takes up."""
    from peft_registry.trainer.evaluation.suites import suites
    from peft_registry.trainer.use_cases.evaluate import EvaluationRequest, evaluate_references
    from tests.builders.suite_rows import write_suites

    data = write_suites(folder / "suites")
    questions = folder / "questions.jsonl"
    questions.write_text(
        '{"prompt": "Who came?", "answers": ["The girl."]}\n{"prompt": "Who left?", "answers": ["He did."]}\n'
    )
    request = EvaluationRequest(
        suites=tuple(suites()), data=data, accepts_licence=True, limit=EVALUATED_ROWS, answers=questions
    )
    evaluate_references(registry, ("lora",), request)


def _say_later(registry: Registry, folder: Path) -> None:
    from peft_registry.registry.records.references import version_named
    from peft_registry.registry.use_cases.decide import decide, write_form
    from peft_registry.registry.use_cases.supersede import supersede
    from tests.builders.decisions import ENGINEER, OFFICER, fill_in

    version = version_named(registry, "evaluated")
    answers = {
        OFFICER: {"identity.name_or_trademark_on_result": "yes", "gpai.placing_date": "2026-11-01"},
        ENGINEER: {"method.assumptions": "the colours are named in English"},
    }
    for number, (key, answered) in enumerate(answers.items()):
        form = folder / f"gaps-{number}.yml"
        write_form(registry, version, form)
        decide(registry, version, fill_in(form, answered), key)
    supersede(
        registry,
        version_named(registry, "lora"),
        facts={"asserted_by": "J. Doe", "use": {"intended": "answers about colours"}},
    )


def keep(registry: Registry, target: Path) -> None:
    """Write what was signed in a home and a record can follow from; of a record that nothing else follows from only its inputs."""
    from peft_registry.registry.database import catalog
    from peft_registry.registry.records.signed_records import signed_statements, word_of
    from peft_registry.registry.records.stored_manifests import stored_manifest

    word = word_of(registry)
    with registry.database.read() as tx:
        subjects = list(dict.fromkeys(row.manifest for row in catalog.every_version(tx)))
    stored = [each for subject in subjects for each in signed_statements(registry, subject) if each.kind in _READ]
    stored.sort(key=lambda each: each.log_index or 0)
    named = {
        entry.digest
        for each in stored
        if each.kind == "modification"
        for entry in ModificationPredicate.from_json(each.statement.predicate).inputs
    }
    lines: list[dict[str, Any]] = []
    for each in stored:
        statement = each.statement.to_json()
        if each.kind == "modification" and each.digest not in named:
            record = each.statement.predicate["record"]
            if not record.get("supersedes"):
                continue
            statement["predicate"]["record"] = {name: record[name] for name in _ALWAYS_KEPT}
        signer = word.entry_signer(each)
        fields = ("key_id", "person", "logged_at", "role", "index")
        told = {name: getattr(signer, name) for name in fields}
        lines.append({"digest": f"{each.digest}", "signer": told, "statement": statement})
    target.mkdir(parents=True, exist_ok=True)
    _write(target / STATEMENTS, lines)
    manifests = [
        {"digest": f"{digest}", "manifest": stored_manifest(registry, digest).to_json()} for digest in subjects
    ]
    _write(target / MANIFESTS, manifests)
    evaluations = [
        EvaluationRecord.from_json(each.statement.predicate) for each in stored if each.kind == "bias-evaluation"
    ]
    tables = sorted({evaluation.items.sha256 for evaluation in evaluations})
    _write(
        target / ITEMS,
        [{"sha256": f"{table}", "items": registry.store.read_bytes(table).decode("utf-8")} for table in tables],
    )


def _write(file: Path, lines: list[dict[str, Any]]) -> None:
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    file.write_bytes(gzip.compress(text.encode("utf-8"), mtime=0))


if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    make(Path(sys.argv[1]).resolve())

"""What everybody reads of a version in which each text is a canary of its own: what may be read, and nothing else."""

from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from peft_registry.registry.compliance.answer_forms import AnswerForm
from peft_registry.registry.compliance.facts import with_facts
from peft_registry.registry.compliance.fields import field_rules
from peft_registry.registry.documents.recipients import allowed_fields, recipients
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.mlflow.projected_versions import VersionLoader
from peft_registry.registry.mlflow.projection import Projection
from peft_registry.registry.records.references import version_named
from peft_registry.registry.signing.trust_chain import render_chain
from peft_registry.registry.use_cases.approve import approve, waive
from peft_registry.registry.use_cases.cut_copy import public_part, pull_for
from peft_registry.registry.use_cases.decide import decide, decide_question, write_form
from peft_registry.registry.use_cases.gate import read_gate_policy
from peft_registry.registry.use_cases.hand_over import hand_over
from peft_registry.registry.use_cases.hold import hold
from peft_registry.registry.use_cases.promote import set_alias
from peft_registry.registry.use_cases.pull import pull_version
from peft_registry.registry.use_cases.recall import recall
from peft_registry.registry.use_cases.register_product import register_product
from peft_registry.schemas.errors import KnownError
from peft_registry.schemas.evaluation import EvaluationRecord
from peft_registry.schemas.hand_over import RecipientName
from peft_registry.schemas.modification import ModificationRecord
from tests.builders.decisions import ENGINEER, OFFICER, fill_in
from tests.builders.evaluation import a_recorded_evaluation
from tests.builders.handed import all_of, told_by
from tests.builders.homes import NOW, a_home, add_a_base, reopened
from tests.builders.products import a_product
from tests.builders.records import a_data_identity, a_run_record
from tests.builders.signing import a_trusted_key, one_more
from tests.integration.registry.use_cases.test_gate import ALEX


@dataclass
class Canaries:
    """Texts that occur nowhere else, each with the place that it was put in."""

    places: dict[str, str] = field(default_factory=dict)
    count: int = 0

    def at(self, place: str) -> str:
        self.count += 1
        canary = f"canary{self.count:04d}"
        self.places[canary] = place
        return canary

    def in_texts(self, value: Any, place: str) -> Any:
        """A JSON value with a canary in place of each text."""
        if isinstance(value, dict):
            return {key: self.in_texts(item, f"{place}.{key}") for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.in_texts(item, f"{place}[]") for item in value]
        return self.at(place) if isinstance(value, str) else value

    def found_in(self, text: str) -> set[str]:
        return {place for canary, place in self.places.items() if canary in text}


def text_answer(form: AnswerForm, place: str, canaries: Canaries) -> Any:
    """An answer of this form whose texts are canaries; None where it has none."""
    if form.type == "list":
        entry = None if form.items is None else text_answer(form.items, place, canaries)
        return None if entry is None else [entry]
    if form.type == "object":
        members = {key: text_answer(member, f"{place}.{key}", canaries) for key, member in form.members.items()}
        return {key: answer for key, answer in members.items() if answer is not None} or None
    written = {"text": "{}", "url": "https://{}.example/", "contact": "{}@example.org"}.get(form.type)
    return None if written is None else written.format(canaries.at(place))


def facts_of_each_text(record: ModificationRecord, canaries: Canaries) -> dict[str, Any]:
    """A facts file that states each text which people may state of a record."""
    facts: dict[str, Any] = {"asserted_by": canaries.at("facts.asserted_by")}
    for rule in field_rules().fields:
        before = dict(canaries.places)
        stated = text_answer(rule, rule.path, canaries)
        if stated is None:
            continue
        head, bracket, rest = rule.path.partition("[].")
        for key in reversed([head, "*", *rest.split(".")] if bracket else rule.path.split(".")):
            stated = {key: stated}
        try:
            with_facts(record, {"asserted_by": "alex", **stated}, at=NOW)
        except KnownError:
            canaries.places = before  # nobody may type it
            continue
        facts = merged(facts, stated)
    return facts


def merged(one: dict[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    both = dict(one)
    for key, value in other.items():
        both[key] = merged(both[key], value) if isinstance(value, dict) and key in both else value
    return both


def an_evaluation(canaries: Canaries) -> tuple[EvaluationRecord, bytes]:
    """One whose protocol, machine and harness are canaries, and of which figures and items are as they were."""
    record, items = a_recorded_evaluation()
    document = record.to_json()
    told = {"protocol": ("target_delimiter", "prefix_token_policy", "choices_policy", "length_normalisation")}
    told |= {"numerics": ("device", "device_name", "attention_impl", "batch_policy", "softmax_dtype")}
    for section, keys in told.items():
        for key in keys:
            document[section][key] = canaries.at(f"evaluation.{section}.{key}")
    document["numerics"]["libraries"] = {"torch": canaries.at("evaluation.numerics.libraries")}
    return EvaluationRecord.from_json(document), items


def register_canaries(registry: Registry, folder: Path, canaries: Canaries) -> None:
    """`sums`, in whose run, facts and evaluation each text is a canary."""
    base = add_a_base(registry, folder / "base")
    plain = a_product(registry, folder / "plain", base)
    environment = a_run_record().environment
    config = canaries.in_texts(
        {"data": {"train": {"path": "rows.jsonl"}}, "facts": "facts.yml", "x": "y"}, "run.config"
    )
    product = a_product(
        registry,
        folder / "canaries",
        base,
        run_id=canaries.at("run.run_id"),
        facts=facts_of_each_text(plain.modification, canaries),
        evaluated=an_evaluation(canaries),
        config=config,
        data=(a_data_identity(name=canaries.at("run.data.name"), format=canaries.at("run.data.format")),),
        environment=environment.revised(
            platform=canaries.at("run.environment.platform"),
            processor=canaries.at("run.environment.processor"),
            argv=(canaries.at("run.environment.argv"),),
        ),
        warnings=(canaries.at("run.warnings"),),
        comparison=canaries.at("run.comparison"),
        project=canaries.at("run.project"),
    )
    register_product(registry, product)


def list_people(registry: Registry, canaries: Canaries) -> None:
    """An approver, an officer and an engineer, each of whom is called by a canary."""
    roles = {OFFICER: "officer", ENGINEER: "evaluator", ALEX: "approver"}
    keys = tuple(
        a_trusted_key(key, person=canaries.at(f"trust.{role}"), role=role, predicate_types=None)
        for key, role in roles.items()
    )
    chain = one_more(registry.trust_chain, registry.private_key("root"), keys=(*registry.trust.keys, *keys))
    (registry.folder / "trust.json").write_bytes(render_chain(chain))


def say_canaries(registry: Registry, folder: Path, canaries: Canaries) -> None:
    """Answers and acts of each kind, of which each text is a canary."""
    version = version_named(registry, "sums")
    form = folder / "form.yml"
    write_form(registry, version, form)
    decide(registry, version, fill_in(form, {"product.licence": canaries.at("answer.product.licence")}), OFFICER)
    file = folder / "policy.yml"
    name, about = canaries.at("policy.name"), canaries.at("policy.about")
    file.write_text(f"name: {name}\nabout: {about}\napprovals: {{count: 1}}\nwaivable: [quality]\n", "utf-8")
    policy = read_gate_policy(str(file))
    approve(registry, version, policy, ALEX, reason=canaries.at("approval.reason"))
    decide_question(registry, version, "purpose", policy, ALEX, is_yes=False, reason=canaries.at("decision.reason"))
    until = date(2026, 12, 24)
    waive(registry, version, policy, "quality", ALEX, until=until, reason=canaries.at("waiver.reason"))
    hold(registry, "sums", ALEX, reason=canaries.at("hold.reason"))
    set_alias(registry, version, canaries.at("alias.alias"), reason=canaries.at("alias.reason"))
    recall(registry, "sums", ALEX, reason=canaries.at("recall.reason"))
    recall(registry, "sums", ALEX, reason=canaries.at("recall.undone.reason"), undo=True)


def shown_of(projection: Projection) -> str:
    """All text that a server of others is sent about a version, with the files of its run and of its logged model."""
    files = (*projection.run.artifacts, *projection.version.artifacts)
    return "\n".join([repr(projection), *(file.content.make().decode("utf-8", "replace") for file in files)])


RECIPIENTS: tuple[RecipientName, ...] = ("national-authority", "downstream", "public")
"""Who gets what the allow-list lets them have; the AI Office gets the record itself."""


@dataclass(frozen=True)
class Sent:
    """The canaries, all that is sent or pulled for where everybody reads, and what each recipient is handed."""

    canaries: Canaries
    public: dict[str, str]
    handed: dict[RecipientName, str]


@pytest.fixture(scope="module")
def sent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sent]:
    folder, canaries = tmp_path_factory.mktemp("canaries"), Canaries()
    home = folder / canaries.at("path of the home")
    with a_home(home) as registry:
        register_canaries(registry, folder, canaries)
        list_people(registry, canaries)
    with closing(reopened(home)) as registry:
        say_canaries(registry, folder, canaries)
        version = version_named(registry, "sums")
        pull_version(registry, version, folder / "copy")
        for recipient in RECIPIENTS:
            hand_over(registry, version, recipient, folder / recipient, signer=registry.trainer_key)
        pull_for(registry, version, "public", folder / "pulled")
        to_a_server = shown_of(VersionLoader(registry, pages=False, records=False).load(version))
        whole = shown_of(VersionLoader(registry, pages=False).load(version))
        assert {"run.config.x", "run.project", "trust.approver"} <= canaries.found_in(whole), "they are looked for"
    handed = {recipient: all_of(folder / recipient) for recipient in RECIPIENTS}
    to_the_hub = told_by(public_part(folder / "copy", with_records=False).for_everybody)
    yield Sent(canaries, {"hub": to_the_hub, "pull": all_of(folder / "pulled"), "mlflow": to_a_server}, handed)


# what no document cuts: the manifest that the signature covers, how was measured, and why something was recalled
OF_ALL = {
    "manifest": {"run.data.name", "run.data.format"},
    "protocol": {
        f"evaluation.protocol.{key}"
        for key in ("target_delimiter", "prefix_token_policy", "choices_policy", "length_normalisation")
    },
    "machine": {
        f"evaluation.numerics.{key}"
        for key in ("device", "device_name", "attention_impl", "batch_policy", "softmax_dtype", "libraries")
    },
    "recall": {"recall.reason", "recall.undone.reason"},
}


@pytest.mark.parametrize("recipient", RECIPIENTS)
def test_of_all_texts_that_people_write_a_recipient_is_handed_those_that_are_theirs(
    recipient: RecipientName, sent: Sent
) -> None:
    found = sent.canaries.found_in(sent.handed[recipient]).difference(*OF_ALL.values())
    # the first record of a run has the run's id, and is what a later one supersedes
    fields = {place.removeprefix("answer.").replace("run.run_id", "supersedes") for place in found}
    allowed = allowed_fields(recipient)
    if recipients().recipients[recipient].persons:
        allowed |= {"facts.asserted_by", "trust.officer"}
    # a row that names an object gives it whole
    assert not {field for field in fields if field not in allowed and field.rpartition(".")[0] not in allowed}
    assert len(fields) > 10, "they are looked for where they are"


@pytest.mark.parametrize("way", ["hub", "pull", "mlflow"])
def test_of_all_texts_that_people_write_only_those_for_everybody_leave(way: str, sent: Sent) -> None:
    canaries, told = sent.canaries, sent.public[way]
    assert len(canaries.places) > 130, "a canary in each text field"
    found = canaries.found_in(told)
    if way == "mlflow":  # what an alias is called is what it is sent for; the card names the data, as the manifest does
        assert found & {"alias.alias", *set().union(*OF_ALL.values())} == {"alias.alias", *OF_ALL["manifest"]}
        found -= {"alias.alias"}
    else:
        assert found >= set().union(*OF_ALL.values()), "these are looked for where they are"
    fields = {place.removeprefix("answer.") for place in found.difference(*OF_ALL.values())}
    assert fields == {"limitations.known", "product.licence", "use.intended", "use.out_of_scope"}
    assert fields <= allowed_fields("public"), "the card says what a document for the public may say, and nothing else"

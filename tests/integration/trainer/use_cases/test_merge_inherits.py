"""What a real merge of registered adapters takes over from their signed records: data, facts, purposes, questions, compute."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from peft import LoraConfig

from peft_registry.registry.compliance.completeness import completeness
from peft_registry.registry.compliance.stated import FactNotDeclarable
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.records.bases import required_base
from peft_registry.registry.records.references import version_named
from peft_registry.registry.records.signed_records import records_of, signed_statements, version_statements
from peft_registry.registry.records.trained_templates import trained_template
from peft_registry.registry.use_cases.add_base import add_base
from peft_registry.registry.use_cases.pull import pull_version
from peft_registry.registry.use_cases.report import make_report
from peft_registry.registry.use_cases.supersede import supersede
from peft_registry.registry.use_cases.verify import verify_version
from peft_registry.schemas.base_model import BaseOrigin, DeclaredFacts
from peft_registry.schemas.dataset import DataIdentity
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.modification import ModificationRecord
from peft_registry.schemas.progress import Warned
from peft_registry.schemas.values import declared
from peft_registry.trainer.embedded import embedded_base
from peft_registry.trainer.merge.request import MergeRequest
from peft_registry.trainer.use_cases.merge import MergeOutcome, merge_and_register
from peft_registry.trainer.use_cases.merge_inputs import checked_facts_of_merge
from tests.builders.homes import NOW, a_home
from tests.builders.merge import UNCOUNTED, register_adapter, register_trained, write_adapter
from tests.builders.records import a_data_identity, a_digest, a_run_record

BASE_FLOP = 6e24
OWN_FLOP = a_run_record().compute.conservative_flop.value


def a_file(name: str) -> DataIdentity:
    template = Digest.of(b"{prompt}{completion}")
    return a_data_identity(name=name, sha256=a_digest(name), format="jsonl/prompt_completion", template_sha256=template)


SUMS, WORDS, SHARED = a_file("sums.jsonl"), a_file("words.jsonl"), a_file("shared.jsonl")


def facts(by: str, **data: dict[str, Any]) -> dict[str, Any]:
    named = {f"{name}.jsonl": stated for name, stated in data.items()}
    return {"asserted_by": by, "data": named, "use": {"intended": "answers to questions of pupils"}}


@dataclass(frozen=True)
class Place:
    """A home with the embedded base and three adapters with records (`a`, `b`, `c`) and one without any of its data (`bare`)."""

    registry: Registry
    folder: Path

    def merge(self, *references: str, **choices: Any) -> MergeOutcome:
        return merge_and_register(self.registry, MergeRequest(references, **choices))

    def statement_of(self, reference: str) -> Any:
        record = version_statements(self.registry, version_named(self.registry, reference)).record
        assert record is not None
        return record.statement.digest


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("inherits")
    stated = DeclaredFacts(training_compute_flop=declared(BASE_FLOP, "FLOP", by="its provider", at=NOW))
    with a_home(folder / "home") as registry:
        origin = BaseOrigin(format="huggingface", source="embedded")
        base = add_base(registry, embedded_base(), name="embedded", origin=origin, facts=stated)
        config = LoraConfig(task_type="CAUSAL_LM", r=2, lora_alpha=4, target_modules=["q_proj"])
        adapters = {
            name: write_adapter(embedded_base(), folder / name, config, seed=seed)
            for seed, name in enumerate(("a", "b", "c", "bare"))
        }
        first = facts(
            "alex, data steward",
            sums={"personal_data": "no", "licence": "MIT", "languages": ["en"]},
            shared={"licence": "MIT", "personal_data": "no", "labelling": "by hand"},
        )
        second = facts(
            "the owner of the words",
            words={"personal_data": "yes", "licence": "CC-BY-4.0"},
            shared={"licence": "CC-BY-4.0", "personal_data": "yes", "labelling": "by hand"},
        )
        register_trained(registry, adapters["a"], base, "a", data=(SUMS, SHARED), facts=first, project="pupils")
        register_trained(registry, adapters["b"], base, "b", data=(WORDS, SHARED), facts=second, project="teachers")
        register_trained(registry, adapters["c"], base, "c", data=(SUMS,))
        register_adapter(registry, adapters["bare"], base, "bare", compute=UNCOUNTED)
        yield Place(registry, folder)


@pytest.fixture(scope="module")
def merged(place: Place) -> MergeOutcome:
    return place.merge("a", "b", name="both")


def base_of(place: Place) -> Digest:
    return version_named(place.registry, "embedded").manifest_digest


def by_name(record: ModificationRecord) -> dict[str, Any]:
    return {str(section.name.value): section for section in record.data}


def test_the_signed_record_of_a_merge_has_the_data_of_both_parents_once_each(
    place: Place, merged: MergeOutcome
) -> None:
    assert merged.version is not None
    signed = records_of(place.registry, merged.version).modification
    assert signed == merged.modification
    assert signed is not None
    assert verify_version(place.registry, merged.version).verdict == "verified"
    data = by_name(merged.modification)
    assert list(data) == ["shared.jsonl", "sums.jsonl", "words.jsonl"]
    sums = data["sums.jsonl"]
    assert (sums.licence.value, sums.licence.asserted_by) == ("MIT", "alex, data steward")
    assert sums.licence.evidence == (place.statement_of("a"),)
    assert sums.digest.value == str(SUMS.sha256)
    assert data["words.jsonl"].personal_data.value == "yes"
    assert data["shared.jsonl"].labelling.evidence == (place.statement_of("a"), place.statement_of("b"))
    assert merged.modification.use.intended.value == "answers to questions of pupils"


def test_a_merge_is_asked_in_the_template_that_its_adapters_were_trained_with(
    place: Place, merged: MergeOutcome
) -> None:
    assert merged.version is not None
    assert (
        trained_template(place.registry, merged.version).line == '"{prompt}{completion}", of the training of a:1, b:1'
    )


def test_a_merge_takes_over_the_project_of_no_adapter(place: Place, merged: MergeOutcome) -> None:
    assert merged.version is not None
    projects = [records_of(place.registry, version_named(place.registry, name)).project for name in ("a", "b", "both")]
    assert projects == ["pupils", "teachers", None]


def test_facts_that_contradict_each_other_are_questions_with_their_owner(merged: MergeOutcome) -> None:
    shared = by_name(merged.modification)["shared.jsonl"]
    assert str(shared.licence.reason) == "the records of what went in differ: a:1 says MIT, b:1 says CC-BY-4.0"
    owners = {gap.field: gap.owner for gap in completeness(merged.modification).open}
    assert owners["data[0].licence"] == "data owner"
    assert owners["data[0].personal_data"] == "data owner"


def test_what_is_declared_of_the_base_reaches_the_record_with_its_person_and_the_statement_that_holds_it(
    place: Place, merged: MergeOutcome
) -> None:
    compute = merged.modification.base[0].training_compute_flop
    signed = required_base(place.registry, version_named(place.registry, "embedded")).statement
    assert signed is not None
    assert (compute.value, compute.asserted_by, compute.evidence) == (BASE_FLOP, "its provider", (signed,))
    assert {stored.digest for stored in signed_statements(place.registry, base_of(place))} >= {signed}


def test_a_fact_of_a_merge_overrules_nothing_that_is_signed_of_its_base_and_may_say_the_same(
    place: Place, tmp_path: Path
) -> None:
    def stated(flop: float) -> MergeRequest:
        path = tmp_path / f"{flop:g}.yml"
        base = {"embedded": {"training_compute_flop": flop, "is_gpai": "yes"}}
        path.write_text(yaml.safe_dump({"asserted_by": "a lawyer", "base": base}))
        return MergeRequest(("a", "b"), name="stated", facts=path)

    with pytest.raises(FactNotDeclarable, match="declared: by its provider"):
        checked_facts_of_merge(place.registry, stated(BASE_FLOP / 2))
    assert checked_facts_of_merge(place.registry, stated(BASE_FLOP)) is not None


def test_two_adapters_of_one_base_of_6e24_count_the_base_once(merged: MergeOutcome) -> None:
    compute = merged.modification.compute
    assert compute.inputs.value["narrow_flop"] == 0
    assert compute.conservative_flop.value == pytest.approx(2 * OWN_FLOP)
    assert compute.cumulative_flop.value == pytest.approx(BASE_FLOP + 2 * OWN_FLOP)
    assert merged.modification.gpai.sr_flag.value != "cumulative_over_1e25"


def test_report_and_card_show_the_data_that_were_inherited(place: Place, merged: MergeOutcome, tmp_path: Path) -> None:
    assert merged.version is not None
    page = make_report(place.registry, merged.version).decode()
    assert "a:1 says MIT, b:1 says CC-BY-4.0" in page
    assert str(WORDS.sha256) in page
    pull_version(place.registry, merged.version, tmp_path / "pulled", look_for_base=False)
    card = (tmp_path / "pulled" / "README.md").read_text()
    for data in (SUMS, WORDS, SHARED):
        assert str(data.sha256) in card


def test_a_merge_of_a_merge_has_each_run_and_each_file_once(place: Place) -> None:
    middle = place.merge("a", "b", algorithm="concatenate", name="side-by-side")
    assert middle.version is not None
    record = place.merge("side-by-side", "c", name="all-three").modification
    data = by_name(record)
    assert list(data) == ["shared.jsonl", "sums.jsonl", "words.jsonl"]
    assert {row["ingredient"] for row in record.compute.inputs.value["ingredients"]} == {"a:1", "b:1", "c:1"}
    assert record.compute.conservative_flop.value == pytest.approx(3 * OWN_FLOP)
    assert record.compute.cumulative_flop.value == pytest.approx(BASE_FLOP + 3 * OWN_FLOP)
    assert str(data["sums.jsonl"].epochs.method) == "passes of all runs: a:1 1, c:1 1"
    assert "c:1" in str(data["sums.jsonl"].personal_data.reason), "c:1 does not know, and no other says yes"


def test_a_parent_of_which_no_data_are_recorded_is_named_as_a_gap(place: Place) -> None:
    record = place.merge("a", "bare", name="half-known").modification
    unrecorded = by_name(record)["data of bare:1"]
    assert str(unrecorded.licence.reason) == "nothing is recorded of what bare:1 was trained on"
    assert not record.compute.conservative_flop.known


def test_facts_of_a_merge_answer_its_questions_by_the_name_of_the_data(place: Place, tmp_path: Path) -> None:
    stated = {
        "asserted_by": "a lawyer",
        "data": {"shared.jsonl": {"licence": "CC0-1.0"}, "sums.jsonl": {"licence": "GPL-3.0-only"}},
    }
    path = tmp_path / "facts.yml"
    path.write_text(yaml.safe_dump(stated))
    events: list[Any] = []
    request = MergeRequest(("a", "b"), name="answered", facts=path)
    record = merge_and_register(place.registry, request, observe=events.append).modification
    data = by_name(record)
    assert (data["shared.jsonl"].licence.value, data["shared.jsonl"].licence.asserted_by) == ("CC0-1.0", "a lawyer")
    assert data["sums.jsonl"].licence.value == "MIT", "who merges does not overrule whoever signed for the data"
    warned = [event for event in events if isinstance(event, Warned) and event.reference == "facts-overtaken"]
    assert "data.sums.jsonl.licence" in warned[0].text


def test_what_a_parent_is_corrected_to_is_what_the_next_merge_inherits(place: Place) -> None:
    version = version_named(place.registry, "c")
    stated = facts("the owner of the sums", sums={"licence": "Apache-2.0"})
    assert supersede(place.registry, version, facts=stated) is not None
    licence = by_name(place.merge("c", "b", name="after").modification)["sums.jsonl"].licence
    assert licence.value == "Apache-2.0"
    assert licence.evidence == (place.statement_of("c"),)

"""From the licence of a card, as the Hub spells it, to the flags of what is made of it, to the gate and to the list."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from peft import LoraConfig

from peft_registry.registry.homes.home import Registry
from peft_registry.registry.intake.where import read_query
from peft_registry.registry.records.references import version_named
from peft_registry.registry.records.signed_records import records_of
from peft_registry.registry.use_cases.find import find_versions
from peft_registry.registry.use_cases.gate import ReadPolicy, explain_gate, read_gate_policy
from peft_registry.schemas.values import Value
from peft_registry.trainer.embedded import embedded_base, example_rows
from peft_registry.trainer.merge.request import MergeRequest
from peft_registry.trainer.use_cases.add_base import intake_base
from peft_registry.trainer.use_cases.merge import merge_and_register
from peft_registry.trainer.use_cases.train import train_and_register
from tests.builders.homes import a_home
from tests.builders.importing import imported
from tests.builders.merge import write_adapter
from tests.builders.training import a_base_folder

OWN = ["its licence says non_commercial"]
MADE_FROM = ["the licence of what it was made from says non_commercial"]
TRAINING = """\
name: further
base: tiny
method: lora
lora: {r: 2, alpha: 4, dropout: 0.0}
continue_from: by-nc
data: {train: {path: rows.jsonl, format: prompt_completion}}
training: {num_train_epochs: 1, per_device_train_batch_size: 8, max_length: 36, dtype: fp32}
evaluation: {bias: []}
"""


@dataclass(frozen=True)
class Place:
    """A home with two bases, one free and one whose card says `cc-by-nc-4.0`, and a policy that refuses that."""

    registry: Registry
    folder: Path
    policy: ReadPolicy

    def import_adapter(self, base: Path, name: str, of: str, licence: str | None) -> None:
        """An adapter from elsewhere with a card; None: without a licence."""
        folder = write_adapter(
            base,
            self.folder / name,
            LoraConfig(r=2, lora_alpha=4, target_modules="all-linear", task_type="CAUSAL_LM"),
            seed=len(name),
        )
        write_card(folder, licence)
        imported(self.registry, folder, base=of, name=name)

    def flags_of_merge(self, *names: str, into: str) -> Value:
        return merge_and_register(self.registry, MergeRequest(names, name=into)).merge.licence_flags

    def objections(self, name: str) -> list[str]:
        shown = explain_gate(self.registry, version_named(self.registry, name), self.policy)
        return [reason.text for reason in shown.decision.reasons]

    def found(self, where: str) -> set[str]:
        return {version.name for version in find_versions(self.registry, read_query(where)).versions}


def write_card(folder: Path, licence: str | None) -> None:
    line = "" if licence is None else f"license: {licence}\n"
    (folder / "README.md").write_text(f"---\nlibrary_name: peft\n{line}---\n# A model\n", "utf-8")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("licences")
    file = folder / "free.yml"
    file.write_text("name: free\nabout: may be sold\nrefused_licence_flags: [non_commercial]\n", "utf-8")
    restricted = a_base_folder(folder / "restricted", tied=False)
    write_card(restricted, "cc-by-nc-4.0")
    with a_home(folder / "home") as registry:
        place = Place(registry, folder, read_gate_policy(str(file)))
        intake_base(registry, "embedded", name="tiny")
        intake_base(registry, str(restricted), name="restricted")
        place.import_adapter(embedded_base(), "by-nc", "tiny", "cc-by-nc-4.0")
        yield place


def test_a_licence_in_the_spelling_of_the_hub_closes_the_gate_and_excludes_from_the_list(place: Place) -> None:
    assert place.objections("by-nc") == OWN
    assert place.objections("restricted") == OWN
    assert {"by-nc", "restricted"} <= place.found("licence=non_commercial") & place.found("licence=cc-by-nc-4.0")


def test_its_card_claims_its_own_licence_and_lists_the_flags_of_all_that_went_in(place: Place) -> None:
    card = records_of(place.registry, version_named(place.registry, "by-nc")).card
    assert card is not None
    text = card.decode()
    assert "\nlicense: cc-by-nc-4.0\n" in text and "Licence of the base: Apache-2.0." in text
    assert "its data too: non\\_commercial" in text


def test_what_is_merged_from_it_has_its_flag_and_no_way_through_the_gate(place: Place) -> None:
    assert place.flags_of_merge("by-nc", into="merged").value == ["non_commercial"]
    assert place.objections("merged") == MADE_FROM
    assert "merged" in place.found("licence=non_commercial")


def test_what_continues_from_it_has_no_way_through_the_gate(place: Place) -> None:
    (place.folder / "rows.jsonl").write_text("".join(example_rows().read_text().splitlines(keepends=True)[:8]))
    (place.folder / "further.yml").write_text(TRAINING)
    train_and_register(place.registry, place.folder / "further.yml")
    assert place.objections("further") == MADE_FROM
    assert place.flags_of_merge("further", into="merged-further").value == ["non_commercial"]


def test_what_is_merged_into_such_a_base_is_not_without_flags(place: Place) -> None:
    place.import_adapter(place.folder / "restricted", "adapted", "restricted", "apache-2.0")
    flags = place.flags_of_merge("adapted", into="merged-restricted")
    assert not flags.known and "nobody has read the licence" in str(flags.reason)
    assert place.objections("merged-restricted") == MADE_FROM


@pytest.mark.parametrize(
    ("licence", "reason"),
    [("grok2-community", "the licence grok2-community"), ("other", "the licence other"), (None, "answered")],
)
def test_where_the_licence_of_an_import_is_not_known_the_flags_of_the_merge_are_not_either(
    place: Place, licence: str | None, reason: str
) -> None:
    name = f"under-{licence or 'nothing'}"
    place.import_adapter(embedded_base(), name, "tiny", licence)
    flags = place.flags_of_merge(name, into=f"{name}-merged")
    assert not flags.known and reason in str(flags.reason)


def test_a_licence_without_such_terms_gives_no_flags(place: Place) -> None:
    place.import_adapter(embedded_base(), "free-one", "tiny", "apache-2.0")
    assert place.flags_of_merge("free-one", into="merged-free").value == []
    assert place.objections("free-one") == place.objections("merged-free") == []

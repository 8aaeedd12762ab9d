"""What a run says about facts that it measured itself."""

from pathlib import Path

import pytest

from peft_registry.registry.intake.facts_file import FactsFileMissing, located_facts, warn_of_overtaken_facts
from peft_registry.schemas.progress import Event, Warned
from peft_registry.schemas.values import measured
from tests.builders.records import a_modification_record, a_run_record, some_compute

FACTS = {
    "asserted_by": "J. Doe, engineer",
    "energy": {"training_kwh": 9.0, "method": "read off a wattmeter by hand", "boundary": "node"},
}


def warnings(record: object, facts: object) -> list[str]:
    said: list[Event] = []
    warn_of_overtaken_facts(record, facts, said.append)  # type: ignore[arg-type]
    return [event.text for event in said if isinstance(event, Warned) and event.reference == "facts-overtaken"]


def test_a_fact_against_a_measurement_is_said_not_to_be_recorded() -> None:
    metered = a_run_record(compute=some_compute(energy_kwh=measured(0.01, "kWh", method="RAPL")))
    (text,) = warnings(a_modification_record(run=metered, facts=FACTS), FACTS)
    assert "energy.training_kwh, energy.method" in text
    assert "boundary" not in text


def test_facts_that_are_recorded_are_not_warned_of() -> None:
    assert warnings(a_modification_record(facts=FACTS), FACTS) == []
    assert warnings(a_modification_record(), None) == []


def test_an_energy_that_no_hours_of_the_run_give_is_warned_of_with_both_figures() -> None:
    facts = FACTS | {"energy": FACTS["energy"] | {"training_kwh": 5000.0}}  # type: ignore[operator]  # a mapping
    said: list[Event] = []
    warn_of_overtaken_facts(a_modification_record(facts=facts), facts, said.append)
    (text,) = [event.text for event in said if isinstance(event, Warned)]
    assert "5000 kWh" in text and "device hours" in text and "registry decide" in text


def test_a_path_of_facts_says_from_which_folder_it_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Typed as facts=facts.yml beside the file itself, it counts from the folder of the training file all the same."""
    folder = tmp_path / "training"
    folder.mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FactsFileMissing) as refused:
        located_facts("facts.yml", folder)
    assert f"counts from the folder of the training file, {folder}" in refused.value.why
    assert refused.value.fix == "write the path from that folder, or the whole path"
    (tmp_path / "facts.yml").write_text("asserted_by: the data owner\n", "utf-8")
    with pytest.raises(FactsFileMissing) as refused:
        located_facts("facts.yml", folder)
    assert refused.value.fix == f"did you mean facts={tmp_path / 'facts.yml'}?"
    assert located_facts(str(tmp_path / "facts.yml"), folder) == tmp_path / "facts.yml"
    assert located_facts(None, folder) is None

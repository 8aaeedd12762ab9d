"""What a run says about facts that it measured itself."""

from peft_registry.schemas.progress import Event, Warned
from peft_registry.schemas.values import measured
from peft_registry.trainer.inputs.facts_file import warn_of_overtaken_facts
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

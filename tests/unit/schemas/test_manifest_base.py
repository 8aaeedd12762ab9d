"""What an artifact says about the base that it needs."""

from peft_registry.registry.evaluation.staleness import composition_of
from peft_registry.schemas.manifest import BaseReference
from tests.builders.records import a_base_identity, a_manifest


def test_a_quantised_base_is_part_of_the_manifest_and_absent_elsewhere():
    plain = BaseReference(identity=a_base_identity())
    assert "quantisation" not in plain.to_json()
    assert BaseReference.from_json(plain.to_json()) == plain
    quantised = plain.model_copy(update={"quantisation": "nf4, double"})
    assert quantised.to_json()["quantisation"] == "nf4, double"
    assert BaseReference.from_json(quantised.to_json()) == quantised
    manifests = [a_manifest(base=one).canonical_digest() for one in (plain, quantised)]
    assert manifests[0] != manifests[1]


def test_the_composition_of_an_adapter_made_on_4_bits_is_that_of_the_quantised_base():
    base = a_base_identity()
    plain = composition_of(a_manifest(base=BaseReference(identity=base)), base)
    quantised = composition_of(a_manifest(base=BaseReference(identity=base, quantisation="nf4, double")), base)
    assert (plain.quantisation, quantised.quantisation) == (None, "nf4, double")
    assert plain.adapters == quantised.adapters

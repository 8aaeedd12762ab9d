"""What a licence says by its identifier, however it is spelled, and where nothing follows from it."""

import pytest

from peft_registry.registry.compliance.assessment import with_assessment
from peft_registry.registry.compliance.completeness import disqualifying_flags
from peft_registry.registry.compliance.licence_terms import flags_of_licence, flags_with_unknown, implied_flags
from peft_registry.registry.compliance.proposals import why_open
from peft_registry.registry.compliance.record_licences import licence_flags_of, own_licence_flags
from peft_registry.schemas.codes import code
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.modification import ASKED, BaseUsed
from peft_registry.schemas.values import declared, derived, imported, measured, not_applicable, unknown
from tests.builders.records import NOW, a_modification_record


@pytest.mark.parametrize(
    ("licence", "flags"),
    [
        ("CC-BY-NC-4.0", ("non_commercial",)),
        ("CC-BY-NC-ND-3.0", ("no_derivatives", "non_commercial")),
        ("CC-BY-NC-SA-4.0", ("non_commercial", "share_alike")),
        ("MIT AND CC-BY-ND-4.0", ("no_derivatives",)),
        ("MIT OR CC-BY-NC-4.0", ()),
        ("CC-BY-NC-4.0 AND (MIT OR Apache-2.0)", ("non_commercial",)),
        ("(MIT OR Apache-2.0) AND CC-BY-NC-4.0", ("non_commercial",)),
        ("MIT OR Apache-2.0 AND CC-BY-NC-4.0", ()),  # AND binds closer
        ("(CC-BY-NC-4.0 OR CC-BY-NC-SA-4.0) AND CC-BY-ND-4.0", ("no_derivatives", "non_commercial")),
        ("CC-BY-SA-4.0 WITH Some-exception", ("share_alike",)),
        ("MIT) CC-BY-NC-4.0 (", ("non_commercial",)),
        (f"{'(' * 5000}CC-BY-NC-4.0", ("non_commercial",)),
        ("CC-BY-4.0", ()),
        ("llama3.2", ("use_restrictions", "user_threshold")),
        ("openrail++", ("use_restrictions",)),
        ("grok2-community", ()),
        (None, ()),
    ],
)
def test_a_licence_implies_the_flags_that_whoever_takes_it_cannot_avoid(licence, flags):
    assert implied_flags(licence) == flags
    assert implied_flags(None if licence is None else licence.lower()) == flags
    assert implied_flags(None if licence is None else licence.upper()) == flags


@pytest.mark.parametrize(
    ("licence", "flags"),
    [
        ("cc-by-nc-4.0", ["non_commercial"]),
        ("CC-BY-NC-4.0", ["non_commercial"]),
        ("apache-2.0", []),
        ("mit or CC-BY-NC-4.0", []),
        (["mit", "cc-by-nc-4.0"], ["non_commercial"]),
        ("llama3", ["use_restrictions", "user_threshold"]),
        ("gemma", ["use_restrictions"]),
        ("openrail", ["use_restrictions"]),
        ("odbl", ["share_alike"]),
    ],
)
def test_all_flags_of_a_licence_follow_where_all_of_its_terms_are_known(licence, flags):
    value = flags_of_licence(imported(licence, method="README.md, license"))
    assert (value.source, value.value) == ("derived", flags)


@pytest.mark.parametrize(
    "licence",
    [
        *("grok2-community", "bsd", "other", "unknown", "NONE", "LicenseRef-Ours", "MIT AND cc", "cc OR MIT"),
        *("llama3.2", "GPL-3.0-only WITH Some-exception", "MITNFA", "it is not MIT", "", []),
    ],
)
def test_a_licence_that_is_not_known_has_unknown_flags_with_the_reason_and_never_none(licence):
    value = flags_of_licence(imported(licence, method="README.md, license"))
    assert not value.known
    assert "do not follow from its name" in str(value.reason)


@pytest.mark.parametrize(
    ("licence", "flags"),
    [
        (imported("cc-by-nc-4.0", method="README.md, license"), ("non_commercial",)),
        (imported("llama3.2", method="README.md, license"), ("use_restrictions", "user_threshold", "unknown")),
        (imported("LicenseRef-Ours", method="README.md, license"), ("unknown",)),
        (imported("CC-BY-NC-4.0 OR LicenseRef-Ours", method="README.md, license"), ("unknown",)),
        (imported("MIT", method="README.md, license"), ()),
        (unknown("nobody has answered it"), ("unknown",)),
        (not_applicable(code("own_data"), by="ada", at=None), ()),
    ],
)
def test_what_nobody_knows_of_a_licence_is_a_flag_of_its_own(licence, flags):
    assert flags_with_unknown(licence) == flags


def test_where_no_licence_is_recorded_the_flags_are_unknown_for_the_same_reason():
    assert flags_of_licence(unknown("nobody has answered it")) == unknown("nobody has answered it")


def test_a_reason_quotes_the_beginning_of_a_long_licence():
    assert len(str(flags_of_licence(imported("x" * 5000, method="README.md, license")).reason)) < 250


def test_what_records_of_before_derived_from_a_licence_they_derive_still():
    """Of a base under `cc-by-nc-4.0` they left the question of the exemption open, and are not called forged for it."""
    for licence in ("cc-by-nc-4.0", "llama3"):
        value = imported(licence, method="README.md, license")
        base = BaseUsed(name=measured("small-llama"), licence_id=value, role=derived("base", method="its part"))
        record = with_assessment(a_modification_record().revised(base=(base,)))
        assert record.gpai.open_source_exemption.licence_ok == ASKED
        assert disqualifying_flags(record), "whoever reads it is told"


def test_the_flags_of_a_record_are_those_of_its_own_licence_of_its_bases_and_of_its_data():
    """What is only proposed restricts what it says, and leaves open whether it is all."""
    record = a_modification_record()
    signed = imported("CC-BY-ND-4.0", method="signed").revised(evidence=(Digest.of(b"the signed answer"),))
    proposed = declared("CC-BY-ND-4.0", by="a trainer", at=NOW)
    data = record.data[0].revised(licence=imported("CC-BY-NC-4.0", method="stated"))
    base = record.base[0].revised(licence_id=imported("ODbL-1.0", method="stated"), licence_flags=unknown("not read"))
    for own, flags in (
        (signed, ("no_derivatives",)),
        (proposed, ("no_derivatives", "unknown")),
        (unknown(why_open(proposed)), ("no_derivatives", "unknown")),
        (ASKED, ("unknown",)),
    ):
        of = record.revised(product=record.product.revised(licence=own), data=(data,), base=(base,))
        assert own_licence_flags(of) == flags
        assert set(licence_flags_of(of)) == {*flags, "share_alike", "non_commercial"}

"""The codes of modification records: how a value came about, and why there is none."""

from peft_registry.schemas.codes.meaning import Meaning

RECORD_CODES: dict[str, Meaning] = {
    # --- of codes ---
    "together": Meaning.of("{parts:; }", parts="reasons"),
    "in_turn": Meaning.of("{parts}", parts="reasons"),
    "in_its_own_record": Meaning.of("its own record says why"),
    # --- why a field is open until somebody or something fills it ---
    "not_answered": Meaning.of("nobody has answered it"),
    "not_measured": Meaning.of("not measured or not recorded"),
    "recorded_is_empty": Meaning.of("what is recorded is empty"),
    "member_not_stated": Meaning.of("it is not stated"),
    "not_derived": Meaning.of("not derived: {because}", because="reason"),
    "inputs_not_recorded": Meaning.of("what it follows from is not recorded"),
    "not_stated_upstream": Meaning.of("not stated by the provider of the base, or not looked up"),
    "not_answered_at_init": Meaning.of(
        "whoever set this registry up with `registry init` left it empty; it can still be answered with `registry decide`, and in "
        "the registry's profile.json for whatever is registered later"
    ),
}

TEXTS_BEFORE: dict[str, str] = {
    "not_answered": "nobody has answered it",
    "not_measured": "not measured or not recorded",
    "inputs_not_recorded": "what it follows from is not recorded",
    "not_answered_at_init": "not answered at init",
    "not_stated_upstream": "not stated by the provider of the base, or not looked up",
}
"""By code, as a regular expression, the text that said the same in records from before there were codes: of those on which
something depends (`says`)."""

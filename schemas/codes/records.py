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
    "inputs_not_recorded": Meaning.of("not derived: what it follows from is not recorded"),
    "not_stated_upstream": Meaning.of("not stated by the provider of the base, or not looked up"),
}

TEXTS_BEFORE: dict[str, str] = {
    "not_answered": "nobody has answered it",
    "not_measured": "not measured or not recorded",
    "inputs_not_recorded": "not derived: what it follows from is not recorded",
    "not_stated_upstream": "not stated by the provider of the base, or not looked up",
}
"""By code, as a regular expression, the text that said the same in records from before there were codes: of those on which
something depends (`says`)."""

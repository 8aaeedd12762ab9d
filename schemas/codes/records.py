"""The codes of modification records: how a value came about, and why there is none."""

from peft_registry.schemas.codes.meaning import Meaning

RECORD_CODES: dict[str, Meaning] = {
    # --- why a field is open until somebody or something fills it ---
    "not_answered": Meaning.of("nobody has answered it"),
    "not_measured": Meaning.of("not measured or not recorded"),
    "inputs_not_recorded": Meaning.of("not derived: what it follows from is not recorded"),
    "not_stated_upstream": Meaning.of("not stated by the provider of the base, or not looked up"),
}

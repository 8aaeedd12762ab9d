"""The value envelope: every recorded figure or statement says where it comes from.

`unknown` is a value with a reason; absence is never "no". `not_applicable` is one, too: there is no answer to give, and the reason
says why.
"""

from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from peft_registry.schemas.canonical import NEVER_COUNTS, as_doubles
from peft_registry.schemas.codes import Code, Said, because_in, code
from peft_registry.schemas.document import Document
from peft_registry.schemas.identity import Digest

Source = Literal["measured", "derived", "imported", "declared", "unknown", "not_applicable"]
RFC3339 = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$"  # not \d, which is any digit of Unicode
# UTC, whole seconds, 'Z'; the one form of a time in every document
Timestamp = Annotated[str, Field(pattern=RFC3339)]


def timestamp(moment: datetime) -> Timestamp:
    """A moment in UTC as every document writes it; fractions of a second are dropped."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


class Value(Document):
    """One recorded value.

    `source`: measured by this tool; derived by a formula (named in `method`) from recorded values; imported from somebody
    else's document; declared by a person; unknown, with a `reason`; or not applicable, with a code for why there is no answer.
    """

    value: Any = None  # any JSON value; the field that holds the envelope says which
    unit: str | None = None
    source: Source
    method: Said | None = None
    uncertainty_pct: float | None = Field(default=None, ge=0)
    evidence: tuple[Digest, ...] = ()
    asserted_by: str | None = None
    asserted_at: Timestamp | None = None
    reason: Said | None = None

    @field_validator("value")
    @classmethod
    def _counts_that_pass_2_53_are_floats(cls, value: Any) -> Any:
        return value if type(value) in NEVER_COUNTS else as_doubles(value)

    @model_validator(mode="after")
    def _no_value_has_a_reason(self) -> Self:
        if self.source in ("unknown", "not_applicable"):
            if self.value is not None or not self.reason:
                raise ValueError(f"a value that is {self.source} is null and gives a reason")
        elif self.value is None:
            raise ValueError("a null value is `unknown` or `not_applicable`, with a reason")
        if self.source == "not_applicable" and isinstance(self.reason, str):
            raise ValueError("why a value is not applicable is a code")
        return self

    @property
    def known(self) -> bool:
        return self.source not in ("unknown", "not_applicable")

    @property
    def applies(self) -> bool:
        """Whether there is an answer to give."""
        return self.source != "not_applicable"

    @property
    def settled(self) -> bool:
        """Nobody owes an answer: it is known, or there is none to give."""
        return self.source != "unknown"

    @property
    def is_stated(self) -> bool:
        """Somebody's word for what is, or for there being no answer."""
        return self.source in ("declared", "not_applicable")

    def says_otherwise(self, other: "Value") -> bool:
        """Whether it says something else than another value; where it comes from is not asked."""
        if self.applies and other.applies:
            return bool(self.value != other.value)
        return self.applies != other.applies or self.reason != other.reason

    @property
    def number(self) -> float | None:
        """The value where it is a number; None for any other, truth values among them."""
        is_number = isinstance(self.value, int | float) and not isinstance(self.value, bool)
        return float(self.value) if is_number else None

    @property
    def positive_number(self) -> float | None:
        """The value where it is a number above zero."""
        number = self.number
        return number if number is not None and number > 0 else None

    @property
    def is_from_tool(self) -> bool:
        """This tool stands behind it: what somebody declares takes the place of no such value."""
        return self.source in ("measured", "derived")

    @property
    def rests_on_statement(self) -> bool:
        """It is somebody's word, that of nobody knowing among them, and the statement that says it is named as evidence."""
        return self.source in ("declared", "unknown", "not_applicable") and bool(self.evidence)


def measured(
    value: Any, unit: str | None = None, *, method: Said | None = None, evidence: tuple[Digest, ...] = ()
) -> Value:
    """A value that this tool measured itself."""
    return Value(value=value, unit=unit, source="measured", method=method, evidence=evidence)


def derived(
    value: Any,
    unit: str | None = None,
    *,
    method: Said,
    uncertainty_pct: float | None = None,
    evidence: tuple[Digest, ...] = (),
) -> Value:
    """A value computed from recorded ones by the formula in `method`."""
    return Value(
        value=value, unit=unit, source="derived", method=method, uncertainty_pct=uncertainty_pct, evidence=evidence
    )


def imported(value: Any, unit: str | None = None, *, method: Said, evidence: tuple[Digest, ...] = ()) -> Value:
    """A value taken from a document that somebody else wrote; `method` says from which."""
    return Value(value=value, unit=unit, source="imported", method=method, evidence=evidence)


def declared(value: Any, unit: str | None = None, *, by: str, at: str, method: Said | None = None) -> Value:
    """A value that a person stated; by whom and when."""
    return Value(value=value, unit=unit, source="declared", method=method, asserted_by=by, asserted_at=at)


def unknown(reason: Said) -> Value:
    """Nobody knows yet; the reason says why."""
    return Value(source="unknown", reason=reason)


def not_applicable(reason: Code, *, by: str, at: str | None) -> Value:
    """There is no answer to give, as a person states; by whom and when."""
    return Value(source="not_applicable", reason=reason, asserted_by=by, asserted_at=at)


def not_derived(because: Said) -> Value:
    """What it would follow from is not known, or gives nothing; why not, without saying twice that it was not derived."""
    return unknown(code("not_derived", because=because_in(because)))

"""The bytes of `evidence/DECISIONS.md`: a copy that was handed out is held against them for as long as it is kept."""

from peft_registry.registry.verification.decision_text import SignedAct, decision_text, form_of, without_derived
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.statement import Statement, statement_about

SUBJECT = Digest.of(b"a manifest")
RECORD = Digest.of(b"a record")


def an_act(statement: Statement, index: int, person: str = "ada", role: str = "approver") -> SignedAct:
    digest = Digest.of(f"statement {index}".encode())
    return SignedAct(statement, digest, person, role, "ab" * 32, "2026-12-01T10:00:00Z", index)


HELD = an_act(
    statement_about(SUBJECT, "hold", {"reason": "case 7\n# Approved", "until": None, "released": False, "nonce": "0f"}),
    12,
)
OTHER = an_act(
    Statement(
        subject=HELD.statement.subject,
        predicateType="https://example.org/review/v1",
        predicate={"score": 0.5, "rows": [{"name": "a|b", "ok": True}, {"name": "\u202ecod"}], "about": "<b>"},
    ),
    14,
    "ben",
    "officer",
)
CARD = an_act(statement_about(SUBJECT, "card", {"path": "README.md", "sha256": str(RECORD)}), 11)

# form 2 never changes: other words are another form beside it
EXPECTED = f"""\
# What people signed about polite-replies, sums

Form 2 of this file. It says what the statements beside it say, in the order of the log: `registry verify FOLDER`
makes it again from them, and refuses any other. What of it counts today, the registry says. Not legal advice.

## hold, 2026-12-01T10:00:00Z, entry 12

- reason: case 7 \\# Approved
- released: false
- signed by: ada as approver, key abababababababab…
- statement: {HELD.digest}

## https://example.org/review/v1, 2026-12-01T10:00:00Z, entry 14

- about: &lt;b&gt;
- rows\\[0\\].name: a\\|b
- rows\\[0\\].ok: true
- rows\\[1\\].name: \\\\u202ecod
- score: 0.5
- signed by: ben as officer, key abababababababab…
- statement: {OTHER.digest}
"""


def test_it_is_written_as_every_copy_of_this_form_has_it() -> None:
    text = decision_text(("polite-replies", "sums"), (CARD, HELD, OTHER))
    assert text is not None
    assert text.decode() == EXPECTED
    assert form_of(text) == 2
    assert without_derived(text) == text


def test_what_commands_say_alone_gives_none() -> None:
    assert decision_text(("sums",), (CARD,)) is None


def test_a_file_that_names_no_form_is_of_the_first() -> None:
    assert form_of(b"# Decisions about sums:1, as of 2026-11-30\n") == 1

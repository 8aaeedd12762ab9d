"""What the first page says of who decided that a version is used."""

from typing import get_args

import pytest

from peft_registry.registry.reports.decisions import decision_lines
from peft_registry.registry.reports.version_facts import KeyHolders
from peft_registry.registry.reports.wording import status_reason
from peft_registry.schemas.acts import DecidedQuestion
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.statement import StatementKind, StoredStatement, statement_about
from peft_registry.schemas.version import Version
from tests.builders.records import a_version

AT = "2026-11-28T10:00:00Z"
POLICY, RECORD = Digest.of(b"a policy"), Digest.of(b"a record")
HOLDERS = KeyHolders({"1" * 64: "ada", "2" * 64: "ben"}, {"1" * 64: "approver", "2" * 64: "officer"})
ADA, BEN = "ada (approver)", "ben (officer)"  # the key stands in the list of statements, by the entry


def said(kind: StatementKind, key: str, **predicate: object) -> StoredStatement:
    statement = statement_about(Digest.of(b"a manifest"), kind, {"nonce": "0f"} | predicate)
    return StoredStatement(
        digest=statement.canonical_digest(),
        kind=kind,
        statement=statement,
        key_id=key * 64,
        envelope=b"",
        appended_at=AT,
    )


def lines(*statements: StoredStatement, aliases: tuple[str, ...] = ("champion",)) -> tuple[str, ...]:
    version: Version = a_version().revised(aliases=aliases)
    return decision_lines(version, statements, HOLDERS.who, RECORD)


def moved(alias: str = "champion", key: str = "1", **predicate: object) -> StoredStatement:
    return said("alias", key, name=a_version().name, alias=alias, **predicate)


GATE = {"policy": str(POLICY), "policy_name": "regulated", "waived": ["worse"]}


def test_nobody_is_named_where_nobody_decided():
    assert lines(aliases=()) == ()
    assert lines(aliases=("champion",)) == ()


def test_the_newest_move_of_each_alias_that_points_here_is_told_with_its_policy():
    told = lines(
        moved(reason="first"),
        moved(reason="again", gate=GATE, key="2"),
        moved("prod", reason=None),
        moved("gone"),
        aliases=("champion", "prod"),
    )
    assert told == (
        f"{AT}: released under the alias “champion” by {BEN} under the policy regulated ({POLICY.short}): the conditions of that "
        "policy were met then, with worse waived, as this entry says, reason given: “again”.",
        f"{AT}: released under the alias “prod” by {ADA} without a policy: nobody had to approve it.",
    )


def test_approvals_say_of_which_record_they_are_and_waivers_until_when_they_last():
    approval = {"policy": str(POLICY), "policy_name": "regulated", "evaluations": [], "reason": "read it"}
    waiver = {"policy": str(POLICY), "rule": "worse", "until": "2027-01-01T00:00:00Z", "reason": "mended soon"}
    told = lines(
        said("approval", "1", record=str(RECORD), **approval),
        said("approval", "3", record=str(Digest.of(b"another")), **approval),
        said("waiver", "2", **waiver),
        said("waiver", "2", record=str(RECORD), evaluations=[], **waiver),
        said("waiver", "2", record=str(Digest.of(b"another")), evaluations=[], **waiver),
        said("approval", "1", reason="of another form"),
        aliases=(),
    )
    assert told == (
        f"{AT}: approved by {ADA} under the policy regulated ({POLICY.short}), reason given: “read it”.",
        f"{AT}: approved by key 333333333333…, of an earlier record, reason given: “read it”.",
        f"{AT}: the rule worse waived by {BEN} until 2027-01-01, reason given: “mended soon”.",
        f"{AT}: the rule worse waived by ben until 2027-01-01, reason given: “mended soon”.",
        f"{AT}: the rule worse waived by ben until 2027-01-01, of an earlier record, reason given: “mended soon”.",
    )


@pytest.mark.parametrize("question", get_args(DecidedQuestion))
def test_what_persons_decided_is_told_in_words_with_who_and_why(question: DecidedQuestion) -> None:
    decision = {"question": question, "policy": str(POLICY), "policy_name": "regulated", "record": str(RECORD)}
    said_so = [
        lines(
            said("decision", "1", **decision, outcome=outcome, evaluations=[], reason="read it", nonce="00"), aliases=()
        )[0]
        for outcome in ("yes", "no")
    ]
    by = f"{AT}: decided by {ADA} under the policy regulated ({POLICY.short}): "
    because = ", reason given: “read it”."
    assert all(text.startswith(by) and text.endswith(because) for text in said_so)
    yes, no = (text.removeprefix(by).removesuffix(because) for text in said_so)
    assert yes != no and " not " not in yes and f"{question}:" not in yes
    assert status_reason(f"{question}: no, decided by ada on 2026-11-28: read it") == (
        f"{no}, as decided by ada on 2026-11-28: read it"
    )
    assert status_reason("a reason of figures: 3") == "a reason of figures: 3"

"""The checklist of `registry verify`: its ten steps as one table, which the verdict, the documentation and the tests read.

A step that raises has a result too: what is wrong or malformed is `failed`, what cannot be checked is `unchecked`.
"""

from collections.abc import Callable
from dataclasses import dataclass

from pydantic import ValidationError

from peft_registry.registry.verification.checks import (
    check_base,
    check_files,
    check_parents,
    check_policy,
    check_read,
    check_signature,
    check_tensors,
    check_trust,
)
from peft_registry.registry.verification.evidence_checks import check_log, check_statements
from peft_registry.registry.verification.findings import CheckResult, Findings, failed
from peft_registry.schemas.document import first_problem
from peft_registry.schemas.errors import InputRefused, IntegrityBroken, KnownError
from peft_registry.schemas.version import Check, CheckStatus


@dataclass(frozen=True, slots=True)
class CheckStep:
    """One step of the checklist.

    Attributes:
        number: its place, from 1; later steps build on earlier ones.
        name: the word that stands for it in outcomes.
        check: makes the check.
        holds: what is the case when it is `ok`.
        required: without it nothing was verified.
    """

    number: int
    name: str
    check: Callable[[Findings], CheckResult]
    holds: str
    required: bool = True


CHECKLIST = (
    CheckStep(1, "read", check_read, "every name is safe, regular files only, nothing that the manifest does not list"),
    CheckStep(2, "signature", check_signature, "`model.sig` is a good OMS signature over the listed files"),
    CheckStep(3, "trust", check_trust, "the user trusts its key, for this, at that time"),
    CheckStep(
        4,
        "policy",
        check_policy,
        "the signature covers the manifest and every file of it, and leaves out exactly card and evidence",
    ),
    CheckStep(5, "files", check_files, "each file has the size and SHA-256 that were signed"),
    CheckStep(6, "tensors", check_tensors, "each tensor has the bytes that the manifest names"),
    # base and parents are known by digest; their bytes may be elsewhere
    CheckStep(
        7, "base", check_base, "the base's bytes, where they are here, are those it was made from", required=False
    ),
    CheckStep(
        8,
        "statements",
        check_statements,
        "each is about this manifest, signed by a key with that role; what accompanied the registration is here; "
        "a version's row in the catalogue says the same; figures follow from the item tables that are here; "
        "the card is the one that was signed last",
    ),
    # a checkpoint comes after the registration: until then the entry is pending
    CheckStep(
        9,
        "log",
        check_log,
        "the registration is in the log of a checkpoint that a trusted log key signed",
        required=False,
    ),
    CheckStep(
        10, "parents", check_parents, "each parent is registered, and verifies itself where it is here", required=False
    ),
)


def run_step(step: CheckStep, findings: Findings) -> Check:
    """The result of one step. An error that the check raises is its result."""
    return _line(step, _result_of(step, findings))


def stopped_at(step: CheckStep, error: KnownError) -> Check:
    """The line of a step that could not go on because of `error`."""
    return _line(step, _raised(error))


def not_reached(step: CheckStep) -> Check:
    """The line of a step after one that could not go on."""
    return Check(step=step.name, text="not reached", status="unchecked")


def _result_of(step: CheckStep, findings: Findings) -> CheckResult:
    try:
        return step.check(findings)
    except ValidationError as error:
        return failed(f"malformed: {first_problem(error)}", "malformed-document", ())
    except KnownError as error:
        return _raised(error)


def _raised(error: KnownError) -> CheckResult:
    # what intake refuses as bad input (2) is wrong inside what is presented (6)
    is_wrong = isinstance(error, IntegrityBroken | InputRefused)
    status: CheckStatus = "failed" if is_wrong else "unchecked"
    return CheckResult(status, error.what, error.reference, (error.why,))


def _line(step: CheckStep, result: CheckResult) -> Check:
    return Check(step=step.name, text=result.text, status=result.status, error=result.error, detail=result.detail)

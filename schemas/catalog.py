"""Every document that leaves this program, by name, for `registry schema`."""

from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel

from schemas.base_model import BaseRecord
from schemas.config import TrainingFile
from schemas.errors import NotFound
from schemas.evaluation import EvaluationPlan, EvaluationRecord
from schemas.log import LogEvent
from schemas.manifest import Manifest
from schemas.modification import ModificationRecord
from schemas.policy import TrustPolicy
from schemas.profile import OrganisationProfile
from schemas.run import RunRecord
from schemas.statement import AliasPredicate, CardPredicate, RegistrationPredicate, Statement
from schemas.version import VerifyOutcome, Version

DOCUMENTS: dict[str, type[BaseModel]] = {
    "training-file": TrainingFile,
    "manifest": Manifest,
    "statement": Statement,
    "registration": RegistrationPredicate,
    "alias": AliasPredicate,
    "card": CardPredicate,
    "base": BaseRecord,
    "run": RunRecord,
    "evaluation-plan": EvaluationPlan,
    "evaluation": EvaluationRecord,
    "modification": ModificationRecord,
    "profile": OrganisationProfile,
    "trust": TrustPolicy,
    "log-event": LogEvent,
    "version": Version,
    "verify-outcome": VerifyOutcome,
}


class UnknownDocument(NotFound):
    reference = "unknown-document"

    def __init__(self, name: str) -> None:
        near = get_close_matches(name, DOCUMENTS, n=1)
        super().__init__(
            what=f"there is no document called {name!r}",
            why="no document that the registry reads or writes has that name",
            fix=f"did you mean {near[0]!r}?" if near else "run `registry schema` for the list",
        )


def json_schema(name: str) -> dict[str, Any]:
    """The JSON Schema of one document.

    Raises:
        UnknownDocument: nothing has that name.
    """
    if name not in DOCUMENTS:
        raise UnknownDocument(name)
    return DOCUMENTS[name].model_json_schema(mode="serialization" if name == "version" else "validation")

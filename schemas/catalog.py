"""Every document that leaves this program, by name, for `registry schema`."""

from typing import Any

from pydantic import BaseModel

from peft_registry.schemas.acts import AliasPredicate, GatePredicate, RejectionPredicate
from peft_registry.schemas.answers import AnswersPredicate
from peft_registry.schemas.attachment import AttachmentPredicate
from peft_registry.schemas.base_model import BaseRecord
from peft_registry.schemas.config import TrainingFile
from peft_registry.schemas.dataset import CounterfactualData
from peft_registry.schemas.edition import EditionPredicate
from peft_registry.schemas.errors import NotFound
from peft_registry.schemas.evaluation import EvaluationPlan, EvaluationRecord
from peft_registry.schemas.hand_over import DocumentPredicate
from peft_registry.schemas.imports import ImportRecord
from peft_registry.schemas.log import LogEvent, LogEventV2
from peft_registry.schemas.manifest import Manifest
from peft_registry.schemas.modification import ModificationPredicate, ModificationRecord, ModificationRecordV1
from peft_registry.schemas.observations import Observations
from peft_registry.schemas.policy import TrustPolicy
from peft_registry.schemas.profile import OrganisationProfile
from peft_registry.schemas.run import RunRecord
from peft_registry.schemas.statement import CardPredicate, RegistrationPredicate, Statement
from peft_registry.schemas.suggestions import closest, did_you_mean
from peft_registry.schemas.verifications import VerificationsPredicate
from peft_registry.schemas.version import LineageOutcome, VerifyOutcome, Version

DOCUMENTS: dict[str, type[BaseModel]] = {
    "training-file": TrainingFile,
    "manifest": Manifest,
    "statement": Statement,
    "registration": RegistrationPredicate,
    "alias": AliasPredicate,
    "gate": GatePredicate,
    "rejection": RejectionPredicate,
    "card": CardPredicate,
    "base": BaseRecord,
    "run": RunRecord,
    "import": ImportRecord,
    "counterfactual-data": CounterfactualData,
    "evaluation-plan": EvaluationPlan,
    "evaluation": EvaluationRecord,
    "modification": ModificationPredicate,
    "modification-v2": ModificationRecord,
    "modification-v1": ModificationRecordV1,
    "answers": AnswersPredicate,
    "observations": Observations,
    "edition": EditionPredicate,
    "document": DocumentPredicate,
    "attachment": AttachmentPredicate,
    "verifications": VerificationsPredicate,
    "profile": OrganisationProfile,
    "trust": TrustPolicy,
    "log-event": LogEvent,
    "log-event-v2": LogEventV2,
    "version": Version,
    "verify-outcome": VerifyOutcome,
    "lineage-outcome": LineageOutcome,
}


class UnknownDocument(NotFound):
    what = "there is no document called {name!q}"
    why = "no document that the registry reads or writes has that name"
    fix = "{suggestion}"

    name: str

    @property
    def suggestion(self) -> str:
        return did_you_mean(closest(self.name, DOCUMENTS), "run `registry schema` for the list")


def json_schema(name: str) -> dict[str, Any]:
    """The JSON Schema of one document.

    Raises:
        UnknownDocument: nothing has that name.
    """
    if name not in DOCUMENTS:
        raise UnknownDocument(name)
    return DOCUMENTS[name].model_json_schema(mode="serialization" if name == "version" else "validation")

"""The organisation profile: who runs this registry, as somebody answered it once, at `registry init`."""

from peft_registry.schemas.codes import code
from peft_registry.schemas.document import Frozen
from peft_registry.schemas.values import Value, unknown

NOT_ANSWERED = unknown(code("not_answered_at_init"))


class OrganisationProfile(Frozen):
    """Legal name, country (ISO 3166 alpha-2), public contact, size class (sme, smc, large) and the role that is claimed."""

    legal_name: Value = NOT_ANSWERED
    country: Value = NOT_ANSWERED
    contact: Value = NOT_ANSWERED
    size_class: Value = NOT_ANSWERED
    role: Value = NOT_ANSWERED

"""What is installed only when it is asked for."""

from peft_registry.schemas.errors import Unavailable


class ExtraMissing(Unavailable):
    what = "{needed_for} needs packages that are not installed"
    why = "the extra `{extra}` is missing"
    fix = "pip install 'peft-registry[{extra}]'"

    extra: str
    needed_for: str

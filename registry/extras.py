"""What is installed only when it is asked for."""

from peft_registry.schemas.errors import Unavailable


class ExtraMissing(Unavailable):
    reference = "extra-missing"

    def __init__(self, extra: str, needed_for: str) -> None:
        super().__init__(
            what=f"{needed_for} needs packages that are not installed",
            why=f"the extra `{extra}` is missing",
            fix=f"pip install 'peft-registry[{extra}]'",
        )

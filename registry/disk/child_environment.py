"""What a process that we start finds in its environment: everything but secrets, and of those only what it needs.

Whatever runs as the same user can read a child's environment for as long as the child runs, and MLflow and torch start children
of their own. A passphrase is never handed on this way: a child that needs it gets it through a pipe.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Literal

Need = Literal["database", "store", "hub"]
"""Whom a child has to reach with the user's credentials."""

# what the clients of each read; a proxy's address may hold a password of its own
_NEEDED: dict[Need, re.Pattern[str]] = {
    "database": re.compile(r"PG(PASSWORD|PASSFILE)"),
    "store": re.compile(r"AWS_[A-Z0-9_]+|[A-Za-z]+_(proxy|PROXY)"),
    "hub": re.compile(r"(HF|HUGGING_FACE_HUB|HUGGINGFACE_HUB)_TOKEN(_PATH)?|[A-Za-z]+_(proxy|PROXY)"),
}
# whole words only: TOKENIZERS_PARALLELISM is a setting
_SECRET_NAME = re.compile(
    r"(^|_)(TOKEN|SECRET|CREDENTIALS?|APIKEY|API_KEY|ACCESS_KEY|PRIVATE_KEY|SIGNING_KEY)(_|$)|PASSPHRASE|PASSW(OR)?D",
    re.IGNORECASE,
)
_SECRET_IN_ADDRESS = re.compile(r"://[^/\s:@]*:[^/\s@]+@")


def child_environment(environment: Mapping[str, str], *, needs: Iterable[Need] = ()) -> dict[str, str]:
    """The part of an environment that a child gets.

    Args:
        environment: that of this process.
        needs: whom the child has to reach.
    """
    needed = [_NEEDED[need] for need in needs]
    return {
        name: value
        for name, value in environment.items()
        if any(pattern.fullmatch(name) for pattern in needed) or not _is_secret(name, value)
    }


def _is_secret(name: str, value: str) -> bool:
    return bool(_SECRET_NAME.search(name) or _SECRET_IN_ADDRESS.search(value))

"""Whether a text holds a secret by the look of it. What is signed and logged stays for ever, so secrets are refused before.

A table of forms that their issuers document, each with its source. `detect-secrets` was weighed: its last release is of 2024, it
knows no token of the Hub, it guesses by entropy (a digest looks like a key), and it brings `requests` into the auditor's install.
A secret without a form of its own is found only where it is called one, as in `password=…`.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from peft_registry.schemas.errors import InputRefused

MAX_PLACE = 120  # characters of the path to a value; names of deeply nested keys say little


class SecretRefused(InputRefused):
    what = "{subject} holds what looks like {kind}"
    why = "{place}; what is recorded is signed, logged and copied, and can never be taken back"
    fix = "take it out, revoke it if anybody saw it, and run again; if it is none, write it in another way"

    subject: str
    kind: str
    place: str


@dataclass(frozen=True, slots=True)
class SecretForm:
    """How one kind of secret is written. `source` says who documents it."""

    kind: str
    pattern: re.Pattern[str]
    source: str


def _form(kind: str, pattern: str, source: str) -> SecretForm:
    return SecretForm(kind, re.compile(pattern), source)


FORMS = (
    _form(
        "a private key",
        r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----",
        "RFC 7468 section 10 and 11; OpenSSH PROTOCOL.key; RFC 9580 section 6.2.1",
    ),
    _form("a Hugging Face token", r"(?<![A-Za-z0-9])hf_[A-Za-z0-9]{30,}", "huggingface.co/docs/hub/security-tokens"),
    _form(
        "an AWS access key id",
        r"(?<![A-Za-z0-9])(?:AKIA|ASIA)[A-Z0-9]{16}(?![A-Za-z0-9])",
        "AWS IAM User Guide, unique identifiers",
    ),
    _form(
        "a GitHub token",
        r"(?<![A-Za-z0-9])(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{22,})",
        "docs.github.com, about authentication to GitHub, token formats",
    ),
    _form(
        "a GitLab token",
        r"(?<![A-Za-z0-9])gl(?:pat|dt|rt|cbt|ptt|ft|soat|oas)-[A-Za-z0-9_.-]{20,}",
        "docs.gitlab.com, token overview, token prefixes",
    ),
    _form(
        "an API key",
        # a digit in it: words joined by hyphens are none
        r"(?<![A-Za-z0-9])sk-(?=[A-Za-z0-9_-]{0,80}[0-9])[A-Za-z0-9_-]{20,}",
        "platform.openai.com and docs.anthropic.com, API keys",
    ),
    _form(
        "a Google API key", r"(?<![A-Za-z0-9])AIza[A-Za-z0-9_-]{35}(?![A-Za-z0-9_-])", "cloud.google.com/docs, API keys"
    ),
    _form("a Slack token", r"(?<![A-Za-z0-9])xox[abeoprs]-[A-Za-z0-9-]{10,}", "api.slack.com, token types"),
    _form(
        "a signed web token",
        r"(?<![A-Za-z0-9])eyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}",
        "RFC 7519, the compact form",
    ),
    _form(
        "a password in an address",
        r"(?<![A-Za-z0-9])[A-Za-z][A-Za-z0-9+.-]{1,20}://[^\s/?#:@]{0,200}:[^\s/?#@]{1,200}@",
        "RFC 3986 section 3.2.1",
    ),
    _form(
        "a password or token",
        r"(?i)(?<![a-z0-9_-])(?:password|passwd|passphrase|secret|api[_-]?key|(?:access|auth|hf|secret)[_-]?(?:key|token)|token)"
        r"\s?=\s?['\"]?(?![$<{*…])[^\s'\"&;,]{6,}",
        "an assignment that calls it one",
    ),
)
# a key of a mapping whose value is one, whatever it looks like
_NAMES = re.compile(
    r"(?i)(?:password|passwd|passphrase|secret|api[_-]?key|(?:access|auth|hf|secret)[_-]?(?:key|token))"
)
_ANY = re.compile("|".join(f"(?:{form.pattern.pattern.removeprefix('(?i)')})" for form in FORMS), re.IGNORECASE)


def secret_in(text: str, *, is_program: bool = False) -> str | None:
    """The kind of the first secret that a text seems to hold; None if none.

    Args:
        text: any.
        is_program: whether it is like a program, such as a chat template, where `token = …` assigns no secret.
    """
    if _ANY.search(text) is None:  # nearly every text; case is told apart below
        return None
    forms = FORMS[:-1] if is_program else FORMS  # the last is the assignment
    return next((form.kind for form in forms if form.pattern.search(text)), None)


def without_secrets(text: str) -> str:
    """The text with `…` for what looks like a secret."""
    for form in FORMS:
        text = form.pattern.sub("…", text)
    return text


def require_no_secrets(value: Any, *, what: str) -> None:  # any JSON value
    """Raise if a text or a name in a value looks like a secret.

    Args:
        value: what is about to be recorded.
        what: names it in the error.

    Raises:
        SecretRefused: one does; it says which kind and where, and not the secret.
    """
    for place, text in _texts(value, ""):
        kind = secret_in(text)
        if kind is None and _is_named_secret(place, text):
            kind = "a password or token"
        if kind is not None:
            shown = without_secrets(place)[:MAX_PLACE]
            raise SecretRefused(
                without_secrets(what), kind, f"it stands at {shown}" if shown else "it stands in the text"
            )


def _texts(value: Any, place: str) -> Iterator[tuple[str, str]]:  # any JSON value
    """Every text in a value, the names of keys too, with the path to it."""
    waiting = [(place, value)]
    while waiting:
        here, part = waiting.pop()
        if isinstance(part, str):
            yield here, part
        elif isinstance(part, dict):
            for key, below in part.items():
                yield here, str(key)
                waiting.append((f"{here}.{key}" if here else str(key), below))
        elif isinstance(part, list | tuple):
            waiting += [(f"{here}[{number}]", below) for number, below in enumerate(part)]


def _is_named_secret(place: str, text: str) -> bool:
    return (
        bool(text)
        and not text.startswith(("$", "<", "{", "*", "…"))
        and bool(_NAMES.fullmatch(place.rpartition(".")[2]))
    )

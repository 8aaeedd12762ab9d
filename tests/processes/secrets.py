"""What may lie in a user's environment, and which processes can read it there."""

import contextlib
from collections.abc import Iterable
from pathlib import Path

SECRETS = {
    "REGISTRY_PASSPHRASE": "correct horse battery staple",
    "AWS_ACCESS_KEY_ID": "AKIATHEIDOFTHEUSER",
    "AWS_SECRET_ACCESS_KEY": "the-secret-of-the-user",
    "AWS_SESSION_TOKEN": "the-session-of-the-user",
    "PGPASSWORD": "the-password-of-the-user",
    "HF_TOKEN": "hf_the_token_of_the_user",
    "GITHUB_TOKEN": "ghp_the_token_of_the_user",
    "HTTPS_PROXY": "http://user:the-password-of-the-proxy@127.0.0.1:9",
}


def secrets_seen_by(pids: Iterable[int]) -> dict[int, set[str]]:
    """The names of the secrets whose values stand in the environment of a process; for each that still runs."""
    seen = {}
    for pid in pids:
        with contextlib.suppress(OSError):
            block = Path(f"/proc/{pid}/environ").read_bytes()
            seen[pid] = {name for name, value in SECRETS.items() if value.encode() in block}
    return seen

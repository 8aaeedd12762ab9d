"""What a repository of a hub holds at one commit, as the hub states it and as far as it can be believed.

What is stated becomes names of folders and files here. So the commit is 40 lower-case hex digits, every name a plain
relative path, every digest of its form; an answer that is longer than a listing can be is not read to its end.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import quote

from peft_registry.registry.intake.json import read_json
from peft_registry.registry.intake.paths import UnsafeInputPath, safe_relative_path
from peft_registry.schemas.errors import InputRefused, IntegrityBroken
from peft_registry.schemas.hub_names import COMMIT
from peft_registry.trainer.hub.answers import HubRequest

Kind = Literal["model", "dataset"]
MAX_LISTING_BYTES = 32 * 1024 * 1024  # about 300 bytes a file
MAX_LISTED_FILES = 100_000
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
_DRIVE = re.compile(r"[A-Za-z]:")


class UnsafeHubName(InputRefused):
    what = "{repository} has a file with the name {name!a}"
    why = "{reason}"
    fix = "use another revision; the public hub takes no such names, so ask who runs the server that answers"

    repository: str
    name: str
    reason: str


class MalformedHubAnswer(IntegrityBroken):
    what = "what the hub says of {repository} is not acceptable"
    why = "{reason}"
    fix = "run the command again; if it fails again, do not trust the server that answers for the hub (HF_ENDPOINT)"

    repository: str
    reason: str


@dataclass(frozen=True, slots=True)
class ListedFile:
    """One file of a repository; None is what the hub does not state.

    `size` is in bytes. `sha256` is stated of large files, `blob_id` (git's SHA-1) of those that git itself holds.
    """

    name: str
    size: int | None
    sha256: str | None
    blob_id: str | None


@dataclass(frozen=True, slots=True)
class Listing:
    """The files of a repository at one commit."""

    repository: str
    kind: Kind
    commit: str
    files: Mapping[str, ListedFile]


def list_repository(
    repository: str, kind: Kind, *, revision: str | None, endpoint: str | None, token: str | None
) -> Listing:
    """What the repository holds at a revision.

    Args:
        repository: owner/name.
        kind: of a model or a data set.
        revision: branch, tag or commit; None for the default branch.
        endpoint: None for HF_ENDPOINT, else the public hub.
        token: None for HF_TOKEN, else a stored login.

    Raises:
        MalformedHubAnswer: it is not a listing, too long, states no commit, or another than the one that was asked for.
        UnsafeHubName: a name that is not a plain relative path.
        HubNotFound, HubAccessDenied, HubRateLimited, HubUnreachable: as `peft_registry.trainer.hub.answers.HubRequest.answer`.
    """
    suffix = "" if revision is None else f"/revision/{quote(revision, safe='')}"
    url = f"{endpoint_or_default(endpoint)}/api/{kind}s/{quote(repository)}{suffix}?blobs=true"
    body = HubRequest(repository, revision, url, token).body(max_bytes=MAX_LISTING_BYTES)
    if body is None:
        raise MalformedHubAnswer(repository, f"its list of files is longer than {MAX_LISTING_BYTES} bytes")
    answer = read_json(body, what="the list", error=lambda _, why: MalformedHubAnswer(repository, why))
    if not isinstance(answer, dict):
        raise MalformedHubAnswer(repository, "its list of files is JSON, but not an object")
    return Listing(repository, kind, _commit(repository, revision, answer.get("sha")), _files(repository, answer))


def endpoint_or_default(endpoint: str | None) -> str:
    """The address of the hub: what is named, else HF_ENDPOINT, else the public one."""
    from huggingface_hub import constants

    return (endpoint or constants.ENDPOINT).rstrip("/")


def _commit(repository: str, asked: str | None, stated: Any) -> str:  # any JSON value
    if not isinstance(stated, str) or not COMMIT.match(stated):
        raise MalformedHubAnswer(
            repository, f"it states {ascii(stated)[:80]} as the commit, which is not 40 hex digits"
        )
    if asked is not None and COMMIT.match(asked) and stated != asked:
        raise MalformedHubAnswer(repository, f"it states the commit {stated} where {asked} was asked for")
    return stated


def _files(repository: str, answer: Mapping[str, Any]) -> dict[str, ListedFile]:
    siblings = answer.get("siblings")
    if not isinstance(siblings, list) or len(siblings) > MAX_LISTED_FILES:
        raise MalformedHubAnswer(repository, f"it lists no files, or more than {MAX_LISTED_FILES}")
    files = [_file(repository, sibling) for sibling in siblings]
    return {file.name: file for file in files}


def _file(repository: str, sibling: Any) -> ListedFile:  # any JSON value
    if not isinstance(sibling, dict) or not isinstance(sibling.get("rfilename"), str):
        raise MalformedHubAnswer(repository, "a file in its list has no name")
    name = sibling["rfilename"]
    require_safe_name(repository, name)
    large = sibling.get("lfs") or {}
    size = sibling.get("size")
    blob_id = sibling.get("blobId")
    sha256 = large.get("sha256") if isinstance(large, dict) else large
    for word, value, form in (("SHA-256", sha256, _SHA256), ("git blob id", blob_id, COMMIT)):
        if value is not None and not (isinstance(value, str) and form.match(value)):
            raise MalformedHubAnswer(repository, f"the {word} that it states of {name[:80]!a} is malformed")
    if size is not None and (type(size) is not int or size < 0):
        raise MalformedHubAnswer(repository, f"the size that it states of {name[:80]!a} is malformed")
    return ListedFile(name, size, sha256, None if sha256 is not None else blob_id)


def require_safe_name(repository: str, name: str) -> None:
    """Raise unless a name that the hub states may become a path below a folder of ours.

    Raises:
        UnsafeHubName: absolute, with `..`, a backslash, a control character or a drive letter.
    """
    try:
        safe_relative_path(name, family="intake")
    except UnsafeInputPath as error:
        raise UnsafeHubName(repository, name[:200], error.reason) from error
    if _DRIVE.match(name):
        raise UnsafeHubName(repository, name[:200], "it starts with the letter of a drive")

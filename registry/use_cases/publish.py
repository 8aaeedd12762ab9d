"""`registry export --as hub`: a verified version in a repository of the Hub, private unless it is said otherwise.

Everything that is sent is decided and verified first; a dry run ends there. Through the Hub's own client: token, endpoint and how
large files travel are its affair.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from peft_registry.registry.disk.files import scratch_folder
from peft_registry.registry.exports.hub import HubFolder
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.records.stops import require_not_stopped
from peft_registry.registry.use_cases.cut_copy import BaseNotPublished, public_part, require_no_paths
from peft_registry.registry.use_cases.pull import pull_version
from peft_registry.schemas.errors import InputRefused, Refused, Unavailable
from peft_registry.schemas.policy import TrustPolicy
from peft_registry.schemas.version import Version

if TYPE_CHECKING:
    from huggingface_hub import HfApi

_CONFLICT = 409


class RecordsInPublic(InputRefused):
    what = "the records of {label} are not sent to where everybody reads"
    why = "they hold figures that are kept for authorities, and names of people"
    fix = "leave out --with-records, or --public"

    label: str


class RepositoryIsPublic(Refused):
    what = "{repository} exists, and everybody can read it"
    why = "without --public nothing is sent to where everybody reads"
    fix = "make it private on its page, name another repository, or add --public"

    repository: str


class HubRefused(Unavailable):
    what = "{repository} did not take the version"
    why = "{reason}"
    fix = "check the name and the token (HF_TOKEN needs the right to write), and run the command again"

    repository: str
    reason: str


@dataclass(frozen=True, slots=True)
class Publication:
    """What was sent, or in a dry run would be; `commit` is that of the repository, None in a dry run."""

    version: Version
    repository: str
    is_private: bool
    files: tuple[tuple[str, int], ...]  # path and bytes
    withheld: tuple[str, ...]
    commit: str | None

    def to_json(self) -> dict[str, Any]:
        """The object that `export --as hub --output json` gives."""
        return {
            "version": self.version.label,
            "repository": self.repository,
            "private": self.is_private,
            "files": [{"path": path, "bytes": size} for path, size in self.files],
            "withheld": list(self.withheld),
            "commit": self.commit,
        }


def publish_version(
    registry: Registry,
    version: Version,
    repository: str,
    *,
    public: bool = False,
    dry_run: bool = False,
    with_records: bool = False,
    trust: TrustPolicy | None = None,
) -> Publication:
    """Send a verified copy of a version, without its records, to a repository of the Hub.

    Args:
        registry: where it is registered.
        version: which; not a base.
        repository: owner/name; made where there is none.
        public: a repository that is made may be read by everybody; one that exists stays as it is. The scores of single rows stay.
        dry_run: say what would be sent, and send nothing.
        with_records: send its records too; not to where everybody reads.
        trust: whom the user trusts; None for the trust of the registry.

    Raises:
        BaseNotPublished, VersionStopped, PullRefused, PullUnverified: it is not given out.
        RecordsInPublic: its records would be.
        PathInFiles: everybody would read a path of somebody's machine.
        RepositoryIsPublic: it is there, and everybody reads it.
        HubRefused: the Hub does not take it.
    """
    if version.kind == "base":
        raise BaseNotPublished(version.label)
    if public and with_records:
        raise RecordsInPublic(version.label)
    require_not_stopped(registry, "export", version)
    with scratch_folder("registry-publish-") as scratch:
        folder = scratch / "pulled"
        # it names people and their reasons, as the records do
        pull_version(registry, version, folder, trust=trust, look_for_base=False, with_decisions=with_records)
        if public:
            require_no_paths(version, folder)
        part = public_part(folder, with_records=with_records)
        if public:
            part = part.for_everybody
        commit, is_private = None, not public
        if not dry_run:
            commit, is_private = _upload(version, repository, part, public=public)
        return Publication(
            version=version,
            repository=repository,
            is_private=is_private,
            files=tuple((path, part.size(path)) for path in sorted(part.files)),
            withheld=part.withheld,
            commit=commit,
        )


def _upload(version: Version, repository: str, part: HubFolder, *, public: bool) -> tuple[str, bool]:
    """The commit, and whether the repository is private."""
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

    api = HfApi()
    with _translate_hub_errors(repository):
        remote_paths, is_private = _create_or_list(api, repository, public=public)
        additions = [CommitOperationAdd(path, content) for path, content in sorted(part.files.items())]
        # what an earlier version left would lie in the folder of everybody who downloads this one
        stale = sorted(remote_paths - part.files.keys() - {".gitattributes"})
        deletions = [CommitOperationDelete(path) for path in stale]
        commit = api.create_commit(
            repository,
            operations=[*additions, *deletions],
            commit_message=f"{version.label}, manifest {version.manifest_digest.short}",
        )
    return str(commit.oid), is_private


def _create_or_list(api: "HfApi", repository: str, *, public: bool) -> tuple[set[str], bool]:
    """The files of a repository that exists, or none of one that is made; and whether it is private.

    Raises:
        RepositoryIsPublic: everybody reads it, and that was not asked for.
    """
    from huggingface_hub.errors import HfHubHTTPError

    try:
        api.create_repo(repository, private=not public, exist_ok=False)
    except HfHubHTTPError as error:
        if error.response.status_code != _CONFLICT:
            raise
        info = api.model_info(repository)
        if not public and not info.private:
            raise RepositoryIsPublic(repository) from error
        return {sibling.rfilename for sibling in info.siblings or ()}, bool(info.private)
    return set(), not public


@contextmanager
def _translate_hub_errors(repository: str) -> Iterator[None]:
    from huggingface_hub import errors as hub

    connection_failed: type[Exception] = hub.HTTPError  # type: ignore[attr-defined]  # as in `trainer/hub/answers.py`
    try:
        yield
    except hub.OfflineModeIsEnabled as error:
        raise HubRefused(repository, "HF_HUB_OFFLINE forbids the network") from error
    except hub.HFValidationError as error:
        raise HubRefused(repository, "that is not a name that the Hub takes") from error
    except hub.HfHubHTTPError as error:
        raise HubRefused(repository, f"the hub answered {error.response.status_code}") from error
    except connection_failed as error:
        raise HubRefused(repository, f"the connection failed ({type(error).__name__})") from error
    except ValueError as error:  # an answer of another form than the client expects
        raise HubRefused(repository, f"the hub's answer cannot be read ({type(error).__name__})") from error

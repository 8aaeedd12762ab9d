"""What a hub answers, read up to a bound: a length is never believed, and a redirect leads nowhere that its sender could not be.

A hub that is hostile, or a mirror that was taken over, may send without end, or send this machine to a service that only
it can reach (a metadata service, a database on localhost). It never sees the token of another origin.
"""

import ipaddress
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

from peft_registry.schemas.errors import NotFound, Unavailable

if TYPE_CHECKING:
    from httpx2 import Response

_OFFLINE = "HF_HUB_OFFLINE forbids the network"
_MAX_REDIRECTS = 5  # the public hub needs two
_TIMEOUT_SECONDS = 30.0  # for each read, not for the whole of a file
_NOT_FOUND, _TOO_MANY = 404, 429


class HubNotFound(NotFound):
    what = "the hub has no {wanted}"
    why = "no repository, or no revision of it, has that name; a private one looks the same without a token"
    fix = "check the spelling; for a private one set HF_TOKEN"

    repository: str
    revision: str | None

    @property
    def wanted(self) -> str:
        return self.repository if self.revision is None else f"{self.repository} at {self.revision}"


class HubAccessDenied(Unavailable):
    what = "the hub does not let you read {repository}"
    why = "it answered {status}: it is private or gated, or it does not exist"
    fix = "accept its terms on its page, and set HF_TOKEN to a token that may read it"

    repository: str
    status: int


class HubRateLimited(Unavailable):
    what = "the hub refuses more requests for {repository} for now"
    why = "it answered 429: too many requests from here"
    fix = "wait {duration} and run the command again; a token (HF_TOKEN) raises the limit"

    repository: str
    retry_after: str | None

    @property
    def duration(self) -> str:
        return f"{self.retry_after} seconds" if self.retry_after else "some minutes"


class HubUnreachable(Unavailable):
    what = "{repository} could not be fetched"
    why = "{reason}"
    fix = "{remedy}"

    repository: str
    reason: str

    @property
    def remedy(self) -> str:
        if self.reason == _OFFLINE:
            return "unset HF_HUB_OFFLINE where the network may be used, or bring it into the cache (HF_HOME) before"
        again = "check the network and HF_ENDPOINT, and run the command again: it continues where it stopped"
        return f"{again}; a folder of this machine is written with a leading ./"


@dataclass(frozen=True, slots=True)
class HubRequest:
    """A GET of one address of a hub, for one revision of a repository."""

    repository: str
    revision: str | None
    url: str
    token: str | None

    @contextmanager
    def answer(self, offset: int = 0) -> Iterator["Response"]:
        """The answer, from byte `offset` on if the server can do that (status 206); its body is not read yet.

        Raises:
            HubNotFound, HubAccessDenied, HubRateLimited: of its status.
            HubUnreachable: another status, no answer, or a redirect to where it may not lead.
        """
        from huggingface_hub import errors as hub
        from huggingface_hub import get_session
        from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]  # it is exported lazily

        # of httpx or of its successor: whichever the installed version speaks
        connection_failed: type[Exception] = hub.HTTPError  # type: ignore[attr-defined]
        headers = {**build_hf_headers(token=self.token), "accept-encoding": "identity"}
        if offset:
            headers["range"] = f"bytes={offset}-"
        url = self.url
        try:
            for _ in range(_MAX_REDIRECTS + 1):
                mine = headers if _origin(url) == _origin(self.url) else _without_token(headers)
                with get_session().stream(
                    "GET", url, headers=mine, follow_redirects=False, timeout=_TIMEOUT_SECONDS
                ) as response:
                    if not response.is_redirect:
                        self._check_status(response)
                        yield response
                        return
                    url = self._redirected(url, response.headers.get("location", ""))
        except hub.OfflineModeIsEnabled as error:
            raise HubUnreachable(self.repository, _OFFLINE) from error
        except connection_failed as error:
            raise HubUnreachable(self.repository, f"the connection failed ({type(error).__name__})") from error
        raise HubUnreachable(self.repository, f"it redirects more than {_MAX_REDIRECTS} times")

    def body(self, *, max_bytes: int) -> bytes | None:
        """The whole body, or None if it is longer than `max_bytes`.

        Raises:
            HubNotFound, HubAccessDenied, HubRateLimited, HubUnreachable: as `answer`.
        """
        received = bytearray()
        with self.answer() as response:
            for block in response.iter_raw():
                received += block
                if len(received) > max_bytes:
                    return None
        return bytes(received)

    def _check_status(self, response: "Response") -> None:
        status = response.status_code
        if status in (401, 403):
            raise HubAccessDenied(self.repository, status)
        if status == _NOT_FOUND:
            raise HubNotFound(self.repository, self.revision)
        if status == _TOO_MANY:
            stated = response.headers.get("retry-after", "")
            raise HubRateLimited(self.repository, stated if stated.isascii() and stated.isdigit() else None)
        if status not in (200, 206):
            raise HubUnreachable(self.repository, f"it answered {status}")

    def _redirected(self, url: str, location: str) -> str:
        try:
            target = urljoin(url, location)
            why = _redirect_objection(self.url, target)
        except ValueError:  # half an IPv6 address, a port that is not a number
            why = "nowhere: its address cannot be read"
        if why is not None:
            raise HubUnreachable(self.repository, f"it redirects to {why}")
        return target


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port


def _without_token(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.lower() != "authorization"}


def _redirect_objection(asked: str, target: str) -> str | None:
    """What is wrong with being sent from one address to the other, or None.

    The host that was asked may name itself again. Another may not be this machine or its neighbours on the link, and may be
    in a private network only if the one that was asked is. A name that cannot be resolved here is left to a proxy.
    """
    here = urlsplit(asked)
    there = urlsplit(target)
    if there.scheme != "https" and (there.scheme, here.scheme) != ("http", "http"):
        return f"{there.scheme[:20]!r}, which is not https"
    if not there.hostname:
        return "an address without a host"
    if here.hostname == there.hostname:
        return None
    addresses = _addresses(there.hostname)
    if any(_is_next_to_us(address) for address in addresses):
        return f"{there.hostname[:100]}, which is this machine or next to it"
    asked_is_public = all(address.is_global for address in _addresses(here.hostname or ""))
    if asked_is_public and not all(address.is_global for address in addresses):
        return f"{there.hostname[:100]}, which is in a private network"
    return None


def _is_next_to_us(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    return address.is_loopback or address.is_link_local or address.is_unspecified or address.is_multicast


def _addresses(host: str) -> tuple[ipaddress.IPv4Address | ipaddress.IPv6Address, ...]:
    try:
        answers = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return ()
    addresses = (ipaddress.ip_address(str(item[4][0]).split("%")[0]) for item in answers)
    return tuple(
        address.ipv4_mapped or address if isinstance(address, ipaddress.IPv6Address) else address
        for address in addresses
    )

"""Nothing reaches out: every connect of the whole story is to a socket file or to this machine itself."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.commands import registry

pytestmark = [pytest.mark.strace, pytest.mark.timeout(400)]

# what may be connected to: a socket file, this machine, or (AF_UNSPEC) nothing: it ends an association
_LOCAL = re.compile(
    r"sa_family=AF_UNIX|sa_family=AF_UNSPEC|sa_family=AF_NETLINK"
    r'|inet_addr\("127\.[0-9.]+"\)|inet_pton\(AF_INET6, "::1"|inet_pton\(AF_INET6, "::ffff:127\.'
)


def strace(trace: Path) -> tuple[str, ...]:
    """What is put before a command to write down whom it and every process that it starts talks to."""
    calls = "trace=connect,sendto,sendmsg,sendmmsg"
    return ("strace", "-f", "-qq", "--seccomp-bpf", "-e", calls, "-o", str(trace))


def destinations(trace: Path) -> set[str]:
    """Every address in the trace, as strace writes it, without those on this machine; a local name server asks others."""
    found = re.findall(r"\{sa_family=[^}]*\}", trace.read_text("utf-8", "replace"))
    return {address for address in found if not _LOCAL.search(address) or "htons(53)" in address}


def test_the_story_connects_to_nothing_outside_this_machine(tmp_path: Path) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    for number, arguments in enumerate(
        (
            ("init", "--unencrypted"),
            ("base", "add", "embedded", "--name", "tiny"),
            ("train", "example/train.yml", "training.num_train_epochs=1", "evaluation.bias=[]"),
            ("verify", "polite-replies"),
            ("pull", "polite-replies", "pulled"),
            ("report", "polite-replies"),
        )
    ):
        trace = tmp_path / f"{number}.strace"
        registry(*arguments, cwd=folder, before=strace(trace)).ok()
        assert destinations(trace) == set(), arguments


@pytest.mark.parametrize(
    ("address", "port", "is_outside"), [("192.0.2.1", 80, True), ("127.0.0.53", 53, True), ("127.0.0.1", 80, False)]
)
def test_a_connect_outside_would_be_seen(address: str, port: int, is_outside: bool, tmp_path: Path) -> None:
    """The tracing itself. 192.0.2.0/24 is set aside for documentation (RFC 5737); the socket does not wait for an answer."""
    code = f"import socket; s = socket.socket(); s.setblocking(False); s.connect_ex(({address!r}, {port}))"
    trace = tmp_path / "one.strace"
    subprocess.run([*strace(trace), sys.executable, "-S", "-c", code], check=True, timeout=60)
    assert address in trace.read_text()
    assert bool(destinations(trace)) is is_outside

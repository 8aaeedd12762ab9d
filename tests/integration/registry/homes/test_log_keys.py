"""Whose checkpoints count: keys of this log only, although one trust file lists the keys of several."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from peft_registry.registry.database import catalog
from peft_registry.registry.database.log_store import SqlLogStore
from peft_registry.registry.homes.home import Registry, open_home
from peft_registry.registry.records.snapshots import newest_snapshot
from peft_registry.registry.signing.dsse import UnknownKey
from peft_registry.registry.signing.rotation import next_draft
from peft_registry.registry.transparency import log, note
from peft_registry.registry.use_cases.check_log import check_log
from peft_registry.registry.use_cases.trust import issue, place_of_home
from tests.builders.homes import NOW, a_home, add_a_base, reopened
from tests.builders.signing import an_ed25519_key

OTHERS = an_ed25519_key(7)


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    """A registry whose root also lists the log key of another one."""
    with a_home(tmp_path / "home") as made:
        add_a_base(made, tmp_path / "base")
        place = place_of_home(made)
        draft = next_draft(place.chain.newest, now=NOW)
        own = next(key for key in draft.keys if key.role == "log")
        others = own.revised(
            key_id=OTHERS.public.key_id,
            public_key_pem=OTHERS.public.pem.decode(),
            person="lab-2",
            log_origin="peft-registry/another",
        )
        assert issue(place, draft.revised(keys=(*draft.keys, others))).state == "accepted"
    opened = reopened(tmp_path / "home")
    yield opened
    opened.close()


def signed_by_others(registry: Registry) -> str:
    """A checkpoint of this log, as it is, by the log key of the other registry."""
    with registry.database.read() as tx:
        store = SqlLogStore(tx)
        return note.sign_checkpoint(OTHERS, origin=registry.origin, size=store.size(), root=log.current_root(store))


def test_the_log_key_of_another_registry_vouches_for_no_checkpoint_of_this_one(registry: Registry) -> None:
    text = signed_by_others(registry)
    with registry.database.write() as tx:
        catalog.put_checkpoint(tx, size=note.read_unverified(text)[1], text=text)
    with registry.database.read() as tx, pytest.raises(UnknownKey):
        newest_snapshot(registry, tx)
    with pytest.raises(UnknownKey):
        reopened(registry.folder)
    assert [found.reference for found in check_log(registry).contradictions] == ["unknown-key"]


def test_nor_for_one_that_is_handed_in(registry: Registry) -> None:
    with pytest.raises(UnknownKey):
        open_home(registry.folder, clock=lambda: NOW, against=(signed_by_others(registry),))

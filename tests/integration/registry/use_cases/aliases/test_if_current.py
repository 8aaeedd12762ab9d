"""Whether an alias is where somebody says who moves it: the signed move decides, and no row."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from peft_registry.registry.records.references import version_named
from peft_registry.registry.use_cases.promote import AliasPointsElsewhere, set_alias
from peft_registry.registry.use_cases.statements import sign_statement
from peft_registry.schemas.acts import AliasPredicate
from tests.builders.bound_aliases import STRANGER, Place
from tests.builders.homes import NOW, reopened


def test_rows_of_moves_deceive_nobody_who_moves_an_alias_if_it_is_where_they_saw_it(place: Place) -> None:
    """Whoever writes the database makes it look as if the alias were still, or again, at another version."""
    place.promote("helper:1", "champion", None)
    with place.home.rows() as rows:
        rows.run("UPDATE alias_events SET number = 2 WHERE alias = 'champion'")
        rows.run("UPDATE aliases SET number = 2 WHERE alias = 'champion'")
    with pytest.raises(AliasPointsElsewhere, match=r"points at helper:1, and not at helper:2") as told:
        place.promote("helper:2", "champion", None, if_current=2)
    assert told.value.why == f"lab-1 moved it at {NOW}"
    place.promote("helper:2", "champion", None, if_current=1)


def test_removed_rows_of_moves_make_no_alias_new(place: Place) -> None:
    place.promote("helper:1", "champion", None)
    with place.home.rows() as rows:
        rows.run("DELETE FROM aliases")
        rows.run("DELETE FROM alias_events")
    with pytest.raises(AliasPointsElsewhere, match="points at helper:1, and not at nothing"):
        place.promote("helper:2", "champion", None, if_current=0)


def test_a_move_that_waits_for_its_checkpoint_is_where_the_alias_points_and_a_forged_one_is_not(place: Place) -> None:
    place.promote("helper:1", "champion", None)
    forged = sign_statement(
        version_named(place.registry, "helper:2").manifest_digest,
        "alias",
        AliasPredicate(name="helper", alias="champion", nonce="0a").to_json(),
        STRANGER,
    )
    place.record_move(replace(forged, key_id=place.registry.trainer_key.public.key_id))
    with pytest.raises(AliasPointsElsewhere, match="points at helper:1, and not at helper:2"):
        place.promote("helper:2", "champion", None, if_current=2)
    place.record_move(place.sign_move())
    with pytest.raises(AliasPointsElsewhere, match="points at helper:2, and not at helper:1"):
        place.promote("helper:2", "champion", None, if_current=1)


@pytest.mark.parametrize("writers", [8, pytest.param(50, marks=pytest.mark.full)])
def test_of_many_who_move_one_alias_at_once_one_wins_and_all_others_are_told_who(place: Place, writers: int) -> None:
    folder = f"{place.home.folder}"  # as above

    def move(number: int) -> str:
        with closing(reopened(Path(folder), now=NOW)) as registry:
            try:
                set_alias(registry, version_named(registry, f"helper:{number % 2 + 1}"), "champion", if_current=0)
            except AliasPointsElsewhere as error:
                return str(error)
        return "won"

    with ThreadPoolExecutor(writers) as pool:
        told = list(pool.map(move, range(writers)))
    assert told.count("won") == 1
    winner = version_named(place.registry, "helper@champion").label
    assert [text for text in told if text != "won"] == [
        f"helper@champion points at {winner}, and not at nothing: lab-1 moved it at {NOW}"
    ] * (writers - 1)
    place.holds()

"""How many persons loosen what one tightened."""

import pytest

from peft_registry.registry.gate.quorum import can_be_met, is_lifted, is_unbound, largest, nobody_to_spare, spoke_twice
from peft_registry.schemas.acts import Quorum

TWO, ONE = Quorum(count=2, by_others=True), Quorum(count=1, by_others=True)
OWN = Quorum(count=1, by_others=False)


@pytest.mark.parametrize(
    ("quorum", "said", "makers", "lifted"),
    [
        (None, ["ada"], ["ada"], True),
        (None, [], [], False),
        (ONE, ["ada"], ["ada"], False),
        (ONE, ["ada", "ben"], ["ada"], True),
        (OWN, ["ada"], ["ada"], True),
        (TWO, ["ada", "ADA", "ada "], [], False),
        (TWO, ["ada", "ben"], [], True),
        (TWO, ["ada", "ben", "cleo"], ["ben", "cleo"], False),
    ],
)
def test_so_many_persons_who_did_not_make_it(
    quorum: Quorum | None, said: list[str], makers: list[str], lifted: bool
) -> None:
    assert is_lifted(quorum, said, makers) is lifted


@pytest.mark.parametrize(
    ("said", "may_make", "unbound"),
    [
        (["ada", "ben"], [], True),
        (["ada", "ben"], ["ben"], False),
        (["ada", "ben", "cleo"], ["ada", "ben", "cleo"], True),
    ],
)
def test_of_a_binding_one_more_where_one_of_them_may_have_made_the_version(
    said: list[str], may_make: list[str], unbound: bool
) -> None:
    assert is_unbound(TWO, said, may_make) is unbound


@pytest.mark.parametrize(
    ("quorum", "approvers", "makers", "met", "short"),
    [
        (TWO, ["ada"], [], False, True),
        (TWO, ["ada", "ben"], ["cleo"], True, True),
        (TWO, ["ada", "ben"], ["ben"], False, True),
        (TWO, ["ada", "ben", "cleo"], ["ada", "ben", "cleo"], True, True),
        (TWO, ["ada", "ben", "cleo"], [], True, False),
        (OWN, ["ada"], ["ada"], True, True),
        (ONE, ["ada", "ben"], ["ada", "ben"], True, True),
    ],
)
def test_what_can_be_met_can_be_loosened_by_the_same_persons(
    quorum: Quorum, approvers: list[str], makers: list[str], met: bool, short: bool
) -> None:
    assert can_be_met(quorum, approvers, makers) is met
    assert is_unbound(quorum, approvers, makers) is met
    assert nobody_to_spare(quorum, approvers, makers) is short


def test_the_largest_of_several_satisfies_each() -> None:
    assert largest([None, OWN, TWO]) == TWO
    assert largest([Quorum(count=3, by_others=False), ONE]) == Quorum(count=3, by_others=True)
    assert largest([None]) is None


def names(*persons: str) -> frozenset[str]:
    return frozenset(persons)


@pytest.mark.parametrize(
    ("waived_by", "twice"),
    [
        ([names("ada")], names("ada")),
        ([names("ada", "eve")], names()),
        ([names("ada"), names("ben")], names("ada", "ben")),
        ([names("ada", "ben"), names("ben")], names("ben")),
        ([names()], names()),
    ],
)
def test_as_few_approvers_as_possible_are_taken_for_the_ones_who_waived(
    waived_by: list[frozenset[str]], twice: frozenset[str]
) -> None:
    assert spoke_twice(waived_by, names("ada", "ben")) == twice

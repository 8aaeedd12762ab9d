"""How many persons loosen what one tightened, and whether there are so many. Pure."""

from collections.abc import Iterable
from itertools import combinations

from peft_registry.schemas.acts import Quorum
from peft_registry.schemas.lookalikes import folded


def those_who_count(quorum: Quorum | None, said: Iterable[str], makers: Iterable[str]) -> frozenset[str]:
    """Of the persons who take something back those who count, folded: two keys of a person are one, and so are two spellings."""
    persons = frozenset(folded(person) for person in said)
    if quorum is None or not quorum.by_others:
        return persons
    return persons - {folded(maker) for maker in makers}


def is_lifted(quorum: Quorum | None, said: Iterable[str], makers: Iterable[str]) -> bool:
    """Whether these persons together take back what asks for a quorum; without one anybody does alone."""
    return len(those_who_count(quorum, said, makers)) >= (1 if quorum is None else quorum.count)


def is_unbound(quorum: Quorum | None, said: Iterable[str], may_make: Iterable[str]) -> bool:
    """Whether these persons together loosen a binding.

    Whose version it lets through is not known yet. So whoever may make one counts only where there is one person more: of these at
    least so many had no part in any one version. That is as many as a team needs that can give the approvals.
    """
    persons = tuple(said)
    count = 1 if quorum is None else quorum.count
    return is_lifted(quorum, persons, may_make) or len(those_who_count(None, persons, ())) > count


def is_weaker(quorum: Quorum | None, before: Quorum | None) -> bool:
    """Whether fewer persons loosen what asks for the one than what asks for the other."""
    if before is None:
        return False
    return quorum is None or quorum.count < before.count or (before.by_others and not quorum.by_others)


def within_reach(quorum: Quorum | None, persons: Iterable[str]) -> Quorum | None:
    """What a statement asks of whoever loosens it, of no more persons than could say so: whoever signs it writes any number."""
    if quorum is None:
        return None
    return quorum.revised(count=max(1, min(quorum.count, len(those_who_count(None, persons, ())))))


def largest(quorums: Iterable[Quorum | None]) -> Quorum | None:
    """What satisfies all of them."""
    known = [quorum for quorum in quorums if quorum is not None]
    if not known:
        return None
    return Quorum(count=max(quorum.count for quorum in known), by_others=any(quorum.by_others for quorum in known))


def spoke_twice(waived_by: Iterable[frozenset[str]], approvers: frozenset[str]) -> frozenset[str]:
    """The approvers who are taken for the ones who waived: as few as it takes that of each waived rule one person did no more.

    Args:
        waived_by: of each rule that was waived the persons who did, folded.
        approvers: folded.
    """
    alone = [persons for persons in waived_by if persons and persons <= approvers]
    persons = sorted(frozenset().union(*alone))
    for count in range(len(persons) + 1):
        for taken in combinations(persons, count):
            if all(not persons.isdisjoint(taken) for persons in alone):
                return frozenset(taken)
    return frozenset(persons)


def can_be_met(quorum: Quorum, approvers: Iterable[str], makers: Iterable[str]) -> bool:
    """Whether there are enough persons, whichever one of those who make versions made one."""
    persons = frozenset(folded(person) for person in approvers)
    taken = {folded(maker) for maker in makers} & persons if quorum.by_others else frozenset()
    return len(persons) - (1 if taken else 0) >= quorum.count


def nobody_to_spare(quorum: Quorum, approvers: Iterable[str], makers: Iterable[str]) -> bool:
    """Whether it could not be met any more once any one of the persons is gone."""
    persons = frozenset(folded(person) for person in approvers)
    makers = tuple(makers)
    return any(not can_be_met(quorum, persons - {person}, makers) for person in persons)

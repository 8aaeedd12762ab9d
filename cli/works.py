"""What each command does with an item of a list: values that are sent to whoever works, each with the options of its command."""

import contextlib
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from peft_registry.cli import wiring

if TYPE_CHECKING:
    from peft_registry.cli.many import Act
    from peft_registry.registry.bulk.answers import Answer
    from peft_registry.registry.bulk.lists import Item
    from peft_registry.registry.homes.home import Registry
    from peft_registry.schemas.version import VerifyOutcome

Takes = Literal["version", "versions", "source"]


@dataclass(frozen=True)
class VerifyWork:
    """`registry verify` of registered versions."""

    verb: ClassVar[str] = "verify"
    takes: ClassVar[Takes] = "version"
    signs: ClassVar[bool] = False
    at_once: ClassVar[int] = 32

    trust: Path | None = None
    root: tuple[str, ...] = ()
    base: Path | None = None
    require: tuple[str, ...] = ()
    file_digests: bool = False
    no_cache: bool = False

    def begin(self, registry: "Registry", closing: ExitStack) -> "Act":
        """Verify each item with what this process hashed for those before it."""
        from peft_registry.cli.verifying import VerifyRequest
        from peft_registry.registry.disk.hashing import RunDigests
        from peft_registry.registry.records.references import version_named
        from peft_registry.registry.records.stops import with_stops
        from peft_registry.registry.use_cases.verify import verifier

        policy, problem = wiring.chosen_trust(registry, self.trust, list(self.root))
        kept = None if self.no_cache else wiring.digests_of_earlier_runs()
        digests = closing.enter_context(contextlib.closing(RunDigests(kept)))
        asked = VerifyRequest("", require=self.require, file_digests=self.file_digests)
        verify = closing.enter_context(
            verifier(
                registry,
                trust=policy,
                trust_problem=problem,
                base=self.base,
                require=asked.requirements(),
                digests=digests,
            )
        )

        def act(item: "Item") -> "Answer":
            outcome = verify(version_named(registry, item.parts[0], trust=policy))
            return _verdict(item, outcome if outcome.verdict == "broken" else with_stops(registry, outcome))

        return act


def _verdict(item: "Item", outcome: "VerifyOutcome") -> "Answer":
    """How an item verified; grouped by the first check that decided against it."""
    from peft_registry.registry.bulk.answers import Answer

    value = outcome.model_dump(mode="json")
    if outcome.verdict == "verified":
        return Answer(item, value)
    wrong = "failed" if outcome.verdict == "broken" else "unchecked"
    check = next(check for check in outcome.checks if check.status == wrong)
    sentences = (
        f"{outcome.subject} is {outcome.verdict}",
        check.text,
        f"`registry verify {outcome.subject}` says more",
    )
    return Answer(item, value, outcome.exit_code, check.error or check.step, sentences)


def as_tuple(words: Sequence[str] | None) -> tuple[str, ...]:
    """What was typed for an option that may be repeated."""
    return tuple(words or ())

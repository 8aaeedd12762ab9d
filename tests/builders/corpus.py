"""A home with one version of each way in which a record comes about: trained, merged, continued, answered, evaluated again."""

from dataclasses import replace
from pathlib import Path

from peft_registry.registry.evaluation.aggregate import FIGURES
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.use_cases.register_product import register_product
from peft_registry.registry.use_cases.statements import append_statement
from peft_registry.registry.use_cases.supersede import supersede_with_evaluations
from tests.builders.evaluation import PLAN, a_recorded_evaluation, a_table
from tests.builders.homes import a_home, add_a_base
from tests.builders.lineage import register_made_from, register_merge
from tests.builders.products import FACTS, a_product


def make_corpus(home: Path) -> None:
    """Make the home, with everything beside it that it was made from."""
    with a_home(home) as registry:
        fill_corpus(registry, home.parent)


def fill_corpus(registry: Registry, folder: Path) -> None:
    """Register the versions."""
    base = add_a_base(registry, folder / "base", mode="copy")
    first = register_product(registry, a_product(registry, folder / "first", base, facts=FACTS)).version
    other = a_product(registry, folder / "other", base, name="other", run_id="run-2", value=1.0)
    second = register_product(registry, other).version
    register_made_from(registry, folder / "continued", base, [first], name="continued", value=2.0)
    register_merge(registry, folder / "merged", base, [first, second], name="merged", value=3.0)
    # of today's edition, with items in few clusters: nearly every figure says why something is missing
    evaluation, items = a_recorded_evaluation(a_table(clusters=8), replace(PLAN, figures=FIGURES))
    append_statement(
        registry,
        subject=second.manifest_digest,
        kind="bias-evaluation",
        predicate=evaluation.to_json(),
        signer=registry.trainer_key,
        evidence=(items,),
    )
    assert supersede_with_evaluations(registry, second) is not None

"""What `registry diff` prints of two versions."""

from peft_registry.trainer.differences.facts import Fact
from peft_registry.trainer.differences.weights import ModuleDifference
from peft_registry.trainer.use_cases.diff import VersionComparison


def module(number: int, difference: float) -> ModuleDifference:
    return ModuleDifference(
        name=f"layer.{number}",
        shape=(2, 2),
        first_norm=1.0,
        second_norm=1.0,
        difference_norm=difference,
        cosine=None,
        spectral_norm=None,
        changed_share=None,
    )


def lines_of(*, facts: tuple[Fact, ...] = (), modules: tuple[ModuleDifference, ...] = ()) -> list[str]:
    return list(
        VersionComparison(first="a:1", second="b:2", facts=facts, modules=modules, weights_note="as they are").lines()
    )


def test_the_weights_come_first_and_of_many_modules_those_that_differ_most() -> None:
    modules = tuple(module(number, difference=float(number)) for number in range(12))
    lines = lines_of(modules=modules, facts=(Fact(section="identity", name="kind", first="base", second="model"),))
    assert [line.split()[0] for line in lines[1:3]] == ["weights", "weights"]
    assert "11 of 12 differ" in lines[2]
    assert [line.split()[0] for line in lines[3:11]] == [f"layer.{number}" for number in range(4, 12)]
    assert lines[11].strip() == "and 3 modules that differ less: --output json lists all"
    assert lines[12:] == ["identity       kind: base | model"]


def test_settings_of_one_side_alone_share_a_line_and_nothing_else_does() -> None:
    facts = (
        Fact(section="configuration", name="training.seed", first=7, second=8),
        Fact(section="configuration", name="adam_beta1", second=0.9),
        Fact(section="configuration", name="bf16", second=False),
        Fact(section="evaluation", name="house loss", second=1.5),
    )
    assert lines_of(facts=facts)[2:] == [
        "configuration  training.seed: 7 | 8",
        "evaluation     house loss: not measured | 1.5",
        "configuration  only b:2: adam_beta1=0.9, bf16=False",
    ]

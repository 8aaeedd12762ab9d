"""First records by which whoever holds the home's key says otherwise than the manifest and what is signed beside them."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from peft_registry.registry.homes.home import Registry
from peft_registry.registry.use_cases.check_log import check_log
from peft_registry.registry.use_cases.register import ModificationRecordWrong
from peft_registry.registry.use_cases.register_product import Product, register_product
from peft_registry.registry.use_cases.verify import verify_folder, verify_version
from peft_registry.registry.verification.presented import present_version, write_presented
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.modification import Evaluation, ModificationRecord
from peft_registry.schemas.values import declared, derived, measured
from tests.builders.homes import NOW, a_home, add_a_base
from tests.builders.products import FACTS, a_product, registered_unasked

Change = Callable[[ModificationRecord], ModificationRecord]


def of_another_base(record: ModificationRecord) -> ModificationRecord:
    base = record.base[0].revised(
        name=measured("other"),
        tensor_digest=measured(str(Digest.of(b"x"))),
        licence_flags=declared([], by="x", at=NOW),
    )
    return record.revised(base=(base,))


def of_one_flop(record: ModificationRecord) -> ModificationRecord:
    return record.revised(compute=record.compute.revised(conservative_flop=measured(1.0, "FLOP", method="6PD")))


def with_better_bias(record: ModificationRecord) -> ModificationRecord:
    bias = record.evaluation.bias
    better = [row | {"introduced": 0, "conclusion": "improved"} for row in bias.value]
    return record.revised(evaluation=record.evaluation.revised(bias=bias.revised(value=better)))


def by_an_auditor(record: ModificationRecord) -> ModificationRecord:
    signed_by = measured([{"key": "0" * 64, "person": "an independent auditor"}], method="signs")
    return record.revised(evaluation=record.evaluation.revised(signed_by=signed_by))


def by_hand(record: ModificationRecord) -> ModificationRecord:
    return record.revised(gpai=record.gpai.revised(verdict=derived("not_gpai", method="row G6")))


FORGED: dict[str, tuple[Change, str]] = {
    "no data": (lambda record: record.revised(data=()), "data: "),
    "other data": (
        lambda record: record.revised(data=(record.data[0].revised(digest=measured(str(Digest.of(b"x")))),)),
        "data: ",
    ),
    "another base": (of_another_base, "base: "),
    "one FLOP": (of_one_flop, "compute.conservative_flop"),
    "better bias rows": (with_better_bias, "evaluation.bias"),
    "no evaluation": (lambda record: record.revised(evaluation=Evaluation()), "evaluation.bias"),
    "a verdict by hand": (by_hand, "gpai.verdict"),
    "signed by somebody else": (by_an_auditor, "evaluation.signed_by"),
    "no files": (
        lambda record: record.revised(change=record.change.revised(artifact_digests=measured([]))),
        "change.artifact_digests",
    ),
    "rules that nobody knows": (lambda record: record.revised(rule_set="9999"), "rule_set"),
}
AT_EVERY_DOOR = (
    "no data",
    "another base",
    "one FLOP",
    "better bias rows",
    "a verdict by hand",
    "signed by somebody else",
)


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with a_home(tmp_path_factory.mktemp("made") / "home") as registry:
        yield registry


@pytest.fixture(scope="module")
def product(registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> Product:
    folder = tmp_path_factory.mktemp("files")
    return a_product(registry, folder / "first", add_a_base(registry, folder / "base"), facts=FACTS)


@pytest.mark.parametrize("attack", FORGED)
def test_a_record_of_something_else_does_not_enter(registry: Registry, product: Product, attack: str) -> None:
    change, where = FORGED[attack]
    with pytest.raises(ModificationRecordWrong) as refused:
        register_product(registry, replace(product, modification=change(product.modification)))
    assert refused.value.exit_code == 2
    assert where in refused.value.reason


def test_a_record_of_something_else_is_named_by_every_check_once_it_is_logged(tmp_path: Path) -> None:
    with a_home(tmp_path / "home") as registry:
        base = add_a_base(registry, tmp_path / "base")
        for number, attack in enumerate(AT_EVERY_DOOR):
            change, where = FORGED[attack]
            made = a_product(
                registry, tmp_path / str(number), base, name=f"sums-{number}", run_id=attack, facts=FACTS, value=number
            )
            version = registered_unasked(registry, replace(made, modification=change(made.modification)))
            folder = tmp_path / f"presented-{number}"
            folder.mkdir()
            write_presented(present_version(registry, version, tmp_path), folder)
            for outcome in (
                verify_version(registry, version),
                verify_folder(folder, trust=registry.trust, now=NOW),
            ):
                assert outcome.exit_code == 6
                assert any(where in line for check in outcome.checks for line in check.detail), attack
        logged = "\n".join(wrong.text for wrong in check_log(registry).contradictions)
        assert all(FORGED[attack][1] in logged for attack in AT_EVERY_DOOR)

"""What a run records of its machine, and what it must not."""

import os
import re
from importlib.metadata import version
from typing import Any

import pytest

from peft_registry.trainer.machine import environment
from peft_registry.trainer.machine.energy import EnergyMeter, kilowatt_hours, read_counters
from peft_registry.trainer.machine.environment import (
    Hardware,
    choose_hardware,
    cut_paths,
    describe_environment,
    needed_distributions,
)
from peft_registry.trainer.machine.seeding import rank_by_hash, seed_of


def test_paths_and_secrets_do_not_enter_the_record():
    argv = ["train", "/home/ada/secret-project/run.yml", "--home=/srv/x/.registry", "facts=../f.yml", "lora.r=4"]
    assert cut_paths(argv) == ("train", "run.yml", "--home=.registry", "facts=f.yml", "lora.r=4")
    assert cut_paths(["--hub-token", "hf_abc", "--token=hf_abc", "--passphrase-fd", "3"]) == (
        "--hub-token",
        "…",
        "--token=…",
        "--passphrase-fd",
        "…",
    )


def test_the_record_names_device_dtype_and_versions():
    hardware = Hardware(device="cpu", dtype="bf16", threads=2, processor="a processor")
    record = describe_environment(hardware, argv=["train"], code_version="0.1.0")
    assert (record.device, record.dtype, record.threads) == ("cpu", "bf16", 2)
    assert re.match(r"\d+\.\d+", record.libraries["torch"])
    assert record.code_commit is None


@pytest.mark.parametrize(
    ("flags", "asked", "device", "dtype", "emulates", "why"),
    [
        ("avx2 avx512_bf16", {}, "cpu", "bf16", False, "no GPU is here, it has instructions for bf16"),
        ("avx2", {}, "cpu", "fp32", False, "it has no instructions for bf16, training.dtype=fp32 repeats it elsewhere"),
        ("avx2", {"dtype": "bf16", "device": "cpu"}, "cpu", "bf16", True, ""),
        ("emulated", {}, "cuda", "fp32", False, "a GPU is here, it has no instructions for bf16"),
        ("emulated", {"dtype": "bf16"}, "cuda", "bf16", True, "a GPU is here"),
        ("emulated", {"device": "cpu", "dtype": "fp32"}, "cpu", "fp32", False, ""),
        ("avx2 avx512_fp16", {}, "cpu", "fp32", False, "it has no instructions for bf16"),
        ("avx2 avx512_fp16", {"dtype": "fp16", "device": "cpu"}, "cpu", "fp16", False, ""),
        ("avx2 avx512_bf16", {"dtype": "fp16"}, "cpu", "fp16", True, "no GPU is here"),
        ("emulated", {"dtype": "fp16"}, "cuda", "fp16", False, "a GPU is here"),
    ],
)
def test_device_and_number_format_are_chosen_by_what_the_device_has_and_explained(
    flags: str,
    asked: dict[str, Any],
    device: str,
    dtype: str,
    emulates: bool,
    why: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A GPU of before 2020 emulates bf16, and torch counts that as support where nobody says that it is none."""
    import torch

    monkeypatch.setattr(environment, "_cpu_info", lambda: f"flags : {flags}\nmodel name : a processor\n")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: flags == "emulated")
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a GPU")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (7, 5))
    monkeypatch.setattr(environment, "ask_for_determinism", lambda: None)  # of this process, for good
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    chosen = environment.choose_hardware(**asked)
    assert (chosen.device, chosen.dtype, chosen.emulates) == (device, dtype, emulates)
    assert why in chosen.why if why else not chosen.why


def test_a_gpu_that_is_asked_for_and_is_not_here_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(environment.NoGpu):
        environment.require_device("cuda")
    environment.require_device("auto")


def test_weights_that_are_trained_are_loaded_in_fp32():
    hardware = Hardware(device="cpu", dtype="bf16", threads=2, processor="a processor")
    assert hardware.weights_dtype(trains_base_weights=True) == "fp32"
    assert hardware.weights_dtype(trains_base_weights=False) == "bf16"


def test_a_gpu_of_before_fp16_is_told_to_emulate_it(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    for capability, has_it in (((5, 2), False), ((5, 3), True), ((6, 0), True)):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda found=capability: found)
        assert environment._has_fp16("cuda", "") == has_it


def test_in_fp16_every_base_is_loaded_in_fp32():
    hardware = Hardware(device="cuda", dtype="fp16", threads=2, processor="a GPU")
    assert hardware.weights_dtype(trains_base_weights=True) == "fp32"
    assert hardware.weights_dtype(trains_base_weights=False) == "fp32"


def test_purposes_have_independent_seeds():
    assert seed_of(1, "adapter") == seed_of(1, "adapter")
    assert len({seed_of(1, "adapter"), seed_of(1, "order"), seed_of(2, "adapter")}) == 3
    assert 0 <= seed_of(2**32 - 1, "adapter") < 2**63


def test_a_rank_is_a_permutation_that_never_changes():
    assert sorted(rank_by_hash(50, seed=3, purpose="validation")) == list(range(50))
    # computed once with hashlib alone; another order would move rows between splits of registered runs
    assert rank_by_hash(6, seed=7, purpose="validation") == EXPECTED_RANK


EXPECTED_RANK = [4, 0, 5, 2, 3, 1]


@pytest.fixture
def counters(tmp_path):
    def write(name, energy, limit=1000):
        zone = tmp_path / name
        zone.mkdir(exist_ok=True)
        (zone / "energy_uj").write_text(f"{energy}\n")
        (zone / "max_energy_range_uj").write_text(f"{limit}\n")
        return tmp_path

    return write


def test_energy_is_the_sum_over_packages_with_a_wrap(counters):
    root = counters("intel-rapl:0", 100)
    counters("intel-rapl:1", 900)
    counters("intel-rapl:0:0", 5)
    before = read_counters(root)
    counters("intel-rapl:0", 400)
    counters("intel-rapl:1", 100)
    used = kilowatt_hours(before, read_counters(root))
    assert used == pytest.approx((300 + 200) / 1e6 / 3.6e6)


def test_no_counter_is_no_figure(tmp_path):
    assert read_counters(tmp_path) == {}
    assert kilowatt_hours({}, {}) is None


def test_the_distributions_are_those_that_are_needed_with_their_versions():
    found = needed_distributions()
    assert list(found) == sorted(found)
    assert found["peft-registry"] and found["torch"] == version("torch")
    assert "mypy-extensions" not in found and "pytest" not in found, "installed, and not needed to train"
    assert found["typing-extensions"] == version("typing_extensions"), "needed by what is needed"


def test_the_record_of_the_environment_keeps_them():
    hardware = Hardware(device="cpu", dtype="fp32", threads=1, processor="x")
    record = describe_environment(hardware, argv=[], code_version="0.1.0")
    assert record.distributions == needed_distributions()


def test_a_counter_that_wraps_several_times_in_a_training_loses_nothing() -> None:
    """A package of 100 W wraps every three quarters of an hour; the meter is read at each step."""
    limit = 262_143_328_850  # microjoules, of a real package
    step = 90_000_000_000
    readings = iter([{"intel-rapl:0": (number * step % limit, limit)} for number in range(11)])
    meter = EnergyMeter(lambda: next(readings))
    for _ in range(10):
        meter.note()
    assert meter.kilowatt_hours == pytest.approx(10 * step / 1e6 / 3.6e6, rel=1e-12)


@pytest.mark.parametrize(("of_the_user", "kept"), [(None, "128"), ("7", "7")])
def test_a_processor_keeps_the_code_of_few_products_unless_the_user_says_otherwise(
    of_the_user: str | None, kept: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY", of_the_user or "")
    if of_the_user is None:
        monkeypatch.delenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY")
    choose_hardware(device="cpu")
    assert os.environ["ONEDNN_PRIMITIVE_CACHE_CAPACITY"] == kept

"""What is looked for in a result before it is described: what is found is refused, and what never ran does not pass."""

import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from peft_registry.registry.identity.scans import scans_of
from peft_registry.registry.identity.weight_values import WeightsNotFinite
from peft_registry.registry.intake.model_code import CodeRefused
from peft_registry.registry.intake.pickle import PickleRefused
from peft_registry.registry.intake.secrets import SecretRefused
from tests.builders.records import a_modification_record


@pytest.fixture
def result(tmp_path):
    save_file({"a": np.ones((2, 3), dtype=np.float32)}, tmp_path / "adapter_model.safetensors")
    (tmp_path / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 4}))
    return tmp_path


def test_only_what_ran_is_said_to_have_found_nothing(result):
    found = {scan.name: scan for scan in scans_of(result)}
    assert {name for name, scan in found.items() if scan.ran} == {
        "links and unsafe names",
        "unsafe serialisation",
        "code",
        "secrets",
        "NaN and infinity",
    }
    assert {name for name, scan in found.items() if not scan.ran} == {"malware", "poisoning"}
    assert all(scan.why for scan in found.values() if not scan.ran)
    assert (found["unsafe serialisation"].files, found["secrets"].files, found["NaN and infinity"].files) == (2, 1, 1)


def test_a_scan_that_was_left_out_is_not_listed(result):
    assert "NaN and infinity" not in {scan.name for scan in scans_of(result, with_values=False)}


def test_the_record_says_of_each_scan_whether_it_ran(result):
    value = a_modification_record(scans=scans_of(result)).security.scans
    rows = {row["scan"]: row for row in value.value}
    assert rows["code"] == {
        "scan": "code",
        "what": {"code": "scan_of_code"},
        "ran": "yes",
        "files": 2,
        "found": "nothing",
    }
    assert rows["malware"]["ran"] == "no" and "found" not in rows["malware"]
    assert "peft-registry 0.1.0" in str(value.method)


def test_a_record_of_a_result_that_nobody_scanned_claims_no_scan():
    assert not a_modification_record().security.scans.known


def test_a_pickle_is_refused(result):
    (result / "optimizer.pt").write_bytes(b"\x80\x04.")
    with pytest.raises(PickleRefused):
        scans_of(result)


def test_code_is_refused(result):
    (result / "adapter_config.json").write_text(json.dumps({"auto_map": {"AutoModel": "x.Y"}}))
    with pytest.raises(CodeRefused):
        scans_of(result)


def test_a_secret_in_the_settings_is_refused(result):
    (result / "adapter_config.json").write_text(json.dumps({"note": "hf_" + "a" * 34}))
    with pytest.raises(SecretRefused):
        scans_of(result)


def test_a_value_that_is_no_number_is_refused(result):
    save_file({"a": np.array([[1.0, np.nan]], dtype=np.float32)}, result / "adapter_model.safetensors")
    with pytest.raises(WeightsNotFinite):
        scans_of(result)

"""Options that a command cannot do without."""

import pytest

from peft_registry.cli.options import OptionNeeded, reason_and_key


def test_who_has_no_approvers_key_is_told_how_one_is_made() -> None:
    with pytest.raises(OptionNeeded) as refused:
        reason_and_key("rows were withdrawn", None, why_reason="it is kept", why_key="an approver recalls")
    assert refused.value.what == "--key KEY_FILE is missing"
    assert "`registry keys create approver --person NAME --out FOLDER --trust` makes one" in refused.value.fix

"""The words of the indicative statuses."""

import pytest

from peft_registry.registry.compliance.verdicts.words import STATUSES, SYSTEM_STATUSES, status_words


@pytest.mark.parametrize("table", [STATUSES, SYSTEM_STATUSES])
def test_each_status_of_a_table_is_said_in_its_words(table):
    assert {status: status_words(status) for status in table} == dict(table)


def test_a_status_of_other_rules_stays_as_it_is():
    assert status_words("a_status_of_our_own") == "a_status_of_our_own"

"""Where a home is looked for, and what is said where none is."""

from pathlib import Path

import pytest

from peft_registry.registry.homes.home import HomeNotFound, find_home


def test_the_folder_above_a_registry_is_answered_with_the_registry_in_it(tmp_path: Path) -> None:
    """`registry init` says FOLDER/.registry, and whoever names FOLDER is not sent to make another one."""
    (tmp_path / ".registry").mkdir()
    (tmp_path / ".registry" / "registry.json").touch()
    with pytest.raises(HomeNotFound) as refused:
        find_home(tmp_path, tmp_path, state=None)
    assert refused.value.fix == f"name the registry in that folder, {tmp_path / '.registry'}"
    with pytest.raises(HomeNotFound) as refused:
        find_home(tmp_path, tmp_path / "elsewhere", state=None)
    assert refused.value.fix.startswith("run `registry init`")

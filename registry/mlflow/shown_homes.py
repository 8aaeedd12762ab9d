"""The homes that MLflow reads in this process: one `ShownRegistry` for each, whose stores and files share what was proven."""

import os
import threading

from peft_registry.registry.homes.known_homes import state_folder
from peft_registry.registry.mlflow.shown_registry import ShownRegistry

_lock = threading.Lock()
_shown: dict[str | None, ShownRegistry] = {}


def shown_home(home: str | None) -> ShownRegistry:
    """What MLflow reads of a home; None for the user's own, found upwards."""
    key = None if home is None else os.path.realpath(home)
    with _lock:
        if key not in _shown:
            _shown[key] = ShownRegistry(home, state=state_folder(os.environ))
        return _shown[key]

"""A fresh interpreter that says what a piece of code imported: an import contract cannot see when an import happens."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_REPORT = "\nimport json as _json, sys as _sys\n_sys.__stderr__.write('\\n' + _json.dumps(sorted(_sys.modules)))\n"


def modules_after(code: str, *, cwd: Path, home: Path | None = None) -> set[str]:
    """The names of every module that is loaded after `code` ran, its standard output thrown away."""
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT / "src"),
        "HOME": str(cwd),
        "REGISTRY_HOME": str(home) if home else "",
    }
    if home is None:
        del environment["REGISTRY_HOME"]
    done = subprocess.run(
        [sys.executable, "-c", code + _REPORT],
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stderr.rsplit("\n", 1)[1]))


def packages(modules: set[str]) -> set[str]:
    """The top-level names of modules."""
    return {name.partition(".")[0] for name in modules}

"""Put sweeps together as `trainer/learning_rates.json`: `python docs/measured/rates.py SWEEP.json …`."""

import json
import sys
from pathlib import Path

sweeps = [json.loads(Path(name).read_text("utf-8")) for name in sys.argv[1:]]
sys.stdout.write(json.dumps({"schema_version": "1", "sweeps": sweeps}, indent=1) + "\n")

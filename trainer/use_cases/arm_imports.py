"""What the server process of `trainer/use_cases/compare_arm.py` imports once, before it forks an arm. Nothing is computed here."""

import tqdm.std
import transformers.models.llama.modeling_llama  # noqa: F401

import peft_registry.trainer.costs.compute
import peft_registry.trainer.runs.before_after
import peft_registry.trainer.training.train_adapter  # noqa: F401
from peft_registry.trainer.bases.quantization import bitsandbytes_tamed

with bitsandbytes_tamed():  # peft imports bitsandbytes
    import peft  # noqa: F401

# a lock between processes that nobody here needs: forked with the server, it would be reported as leaked when that ends
tqdm.std.TqdmDefaultWriteLock.mp_lock = None

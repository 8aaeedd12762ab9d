"""The model of an artifact, from its files alone."""

import torch

from peft_registry.trainer.merge.bundle import load_artifact
from tests.builders.registered import a_manifest
from tests.builders.training import a_model


def test_a_model_whose_base_keeps_the_tokenizer_is_loaded_without_one(tmp_path):
    """Of a base in one GGUF file there is no tokenizer file that a trained model could take along."""
    trained = a_model(seed=1)
    trained.save_pretrained(tmp_path)
    loaded = load_artifact(a_manifest("whole", layout="model", method="full"), a_model(), tmp_path)
    for name, weight in trained.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], weight.float())

"""How large a base is, from its tensors' names and shapes and its configuration; nothing is loaded."""

from collections.abc import Iterable, Mapping
from typing import Any

from peft_registry.registry.identity.weights import Tensor

_CONTEXT_KEYS = ("max_position_embeddings", "n_positions", "max_seq_len", "n_ctx", "max_sequence_length", "seq_length")
_INPUT_EMBEDDINGS = ("embed_tokens.weight", "wte.weight", "word_embeddings.weight", "embed_in.weight")
_POSITIONS = ("wpe.weight", "embed_positions.weight", "position_embeddings.weight")
_HEADS = ("lm_head.weight", "embed_out.weight", "output.weight")
_EXPERTS = ".experts."
_EXPERT_COUNTS = ("num_local_experts", "num_experts", "n_routed_experts")
_EXPERTS_A_TOKEN = ("num_experts_per_tok", "num_experts_per_token", "moe_top_k")


def count_parameters(tensors: Iterable[Tensor], config: Mapping[str, Any]) -> tuple[int, int]:
    """(all parameters, those in the matrix products of one token).

    A tied output head counts once in the first and takes part in the second, whether the file holds its copy or not.
    The embedding lookup multiplies nothing. Of experts, the second counts as many as a token is sent to.
    """
    found = list(tensors)
    embedding = next((tensor for tensor in found if tensor.name.endswith(_INPUT_EMBEDDINGS)), None)
    head = next((tensor for tensor in found if tensor.name.endswith(_HEADS)), None)
    copied = head is not None and embedding is not None and head.digest == embedding.digest
    total = sum(tensor.parameters for tensor in found) - (head.parameters if copied and head is not None else 0)
    matrices = [
        matrix
        for matrix in found
        if len(matrix.shape) >= 2 and matrix is not embedding and not matrix.name.endswith(_POSITIONS)
    ]
    used = _used_fraction(config)
    matmul = sum(
        round(matrix.parameters * used) if _EXPERTS in matrix.name else matrix.parameters
        for matrix in matrices
        if matrix is not head
    )
    top = head or embedding
    return total, matmul + (top.parameters if top is not None else 0)


def context_length(config: Mapping[str, Any]) -> int | None:
    """The number of tokens that the base was built to read, or None when its configuration does not say."""
    for part in _parts(config):
        for key in _CONTEXT_KEYS:
            if type(part.get(key)) is int and part[key] > 0:
                return int(part[key])
    return None


def architecture(config: Mapping[str, Any]) -> str:
    """The class that the configuration names, else its model type, else `unknown`."""
    named = config.get("architectures")
    if isinstance(named, list) and named and isinstance(named[0], str):
        return named[0]
    kind = config.get("model_type")
    return kind if isinstance(kind, str) and kind else "unknown"


def _used_fraction(config: Mapping[str, Any]) -> float:
    for part in _parts(config):
        count = next((part[key] for key in _EXPERT_COUNTS if type(part.get(key)) is int and part[key] > 0), None)
        used = next((part[key] for key in _EXPERTS_A_TOKEN if type(part.get(key)) is int and part[key] > 0), None)
        if count and used:
            return min(1.0, float(used) / float(count))
    return 1.0


def _parts(config: Mapping[str, Any]) -> tuple[Mapping[str, Any], ...]:
    """The configuration, and the one of its text part when it has several."""
    inner = config.get("text_config")
    return (config, inner) if isinstance(inner, dict) else (config,)

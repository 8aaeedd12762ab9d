"""Trainable tokens: rows of the embeddings for some tokens, which peft trains alone and nothing here does."""

from peft_registry.schemas.methods.declaration import MethodDeclaration, Tensor

METHOD = MethodDeclaration(
    name="trainable_tokens",
    title="trainable tokens",
    peft_type="TRAINABLE_TOKENS",
    kind="trainable_tokens",
    module="peft_adapter",
    settings={"target_modules": "target_modules", "token_indices": "token_indices"},
    other_keys=("init_weights",),
    tensors=(
        Tensor("trainable_tokens_delta", replaces=True),
        Tensor("token_adapter.trainable_tokens_delta", replaces=True),
    ),
    folds=True,
)

"""The adapters that peft loads and nothing here trains: each is imported, verified, loaded, evaluated, gated and recalled.

What keys and tensors a type has is as peft 0.21 writes it. A type becomes trainable by a file of its own in this folder.
"""

from collections.abc import Mapping
from typing import Any

from peft_registry.schemas.codes import code
from peft_registry.schemas.methods.declaration import MethodDeclaration, Tensor

_MODULES = {"target_modules": "target_modules", "modules_to_save": "modules_to_save"}
_VIRTUAL_TOKENS = {"num_virtual_tokens": "num_virtual_tokens", "modules_to_save": "modules_to_save"}
_PROMPT_SHAPE = ("num_attention_heads", "num_layers", "num_transformer_submodules", "token_dim")
_LAYERS = ("layers_pattern", "layers_to_transform")
_LORA_KEYS = (
    *("alora_invocation_tokens", "arrow_config", "corda_config", "ensure_weight_tying", "eva_config", "fan_in_fan_out"),
    *(
        "kasa_config",
        "layer_replication",
        "loftq_config",
        "lora_bias",
        "lora_ga_config",
        "megatron_config",
        "megatron_core",
    ),
    *(
        "monteclora_config",
        "qalora_group_size",
        "runtime_config",
        "trainable_token_indices",
        "use_bdlora",
        "use_qalora",
    ),
    "velora_config",
)


def _loaded(
    peft_type: str,
    title: str,
    tensors: tuple[Tensor, ...],
    settings: Mapping[str, str],
    other_keys: tuple[str, ...] = (),
    **more: Any,  # the other parts of a declaration, as it takes them
) -> MethodDeclaration:
    name = peft_type.lower()
    return MethodDeclaration(
        name=name,
        title=title,
        peft_type=peft_type,
        kind=name,
        settings=settings,
        other_keys=other_keys,
        tensors=tensors,
        **more,
    )


METHODS = (
    _loaded(
        "ADALORA",
        "AdaLoRA",
        (
            Tensor("lora_A", axis=1, neutral=0.0),
            Tensor("lora_B", axis=0, neutral=0.0),
            Tensor("lora_E", stays=True),
            Tensor("lora_embedding_A", axis=1, neutral=0.0),
            Tensor("lora_embedding_B", axis=0, neutral=0.0),
        ),
        _MODULES
        | {
            "target_r": "r",
            "lora_alpha": "alpha",
            "lora_dropout": "dropout",
            "target_parameters": "target_parameters",
            "exclude_modules": "exclude_modules",
            "bias": "bias",
            "rank_pattern": "rank_pattern",
            "init_r": "init_r",
        },
        (
            *_LORA_KEYS,
            *_LAYERS,
            *(
                "alpha_pattern",
                "beta1",
                "beta2",
                "deltaT",
                "init_lora_weights",
                "orth_reg_weight",
                "r",
                "tfinal",
                "tinit",
            ),
            *("total_step", "use_dora", "use_rslora"),
        ),
    ),
    _loaded(
        "ADAMSS",
        "AdaMSS",
        (Tensor("adamss_A.*"), Tensor("adamss_B.*"), Tensor("adamss_newB", axis=1)),
        _MODULES | {"num_subspaces": "num_subspaces", "subspace_rank": "subspace_rank"},
        (
            *_LAYERS,
            *(
                "asa_importance_beta",
                "asa_schedule_exponent",
                "asa_target_subspaces",
                "asa_uncertainty_beta",
                "final_warmup",
            ),
            *(
                "init_warmup",
                "init_weights",
                "mask_interval",
                "r",
                "random_seed",
                "svd_threshold",
                "use_asa",
                "use_dynamic_rank",
            ),
        ),
    ),
    _loaded(
        "ADAPTION_PROMPT",
        "adaption prompt",
        (Tensor("adaption_prompt", axis=2, is_of_weight=False), Tensor("adaption_gate", is_of_weight=False)),
        {"target_modules": "target_modules", "adapter_len": "adapter_len", "adapter_layers": "adapter_layers"},
        no_weight=code("keys_and_values_in_front"),
    ),
    _loaded("BEFT", "BEFT", (Tensor("beft_bias", axis=1, neutral=0.0),), _MODULES, ("init_weights",)),
    _loaded(
        "BOFT",
        "BOFT",
        (Tensor("boft_R"), Tensor("boft_s", axis=0)),
        _MODULES
        | {"boft_dropout": "dropout", "bias": "bias", "boft_block_size": "block_size", "boft_block_num": "blocks"},
        (*_LAYERS, "boft_n_butterfly_factor", "exclude_modules", "fan_in_fan_out", "init_weights"),
    ),
    _loaded(
        "C3A",
        "C3A",
        (Tensor("c3a_kernel"),),
        _MODULES | {"bias": "bias", "block_size": "block_size"},
        (*_LAYERS, "block_size_pattern", "init_weights"),
    ),
    _loaded(
        "CARTRIDGE",
        "Cartridge",
        (Tensor("prompt_embeddings", axis=1, neutral="mean prefix", is_shared=True, sized=(0, "num_virtual_tokens")),),
        _VIRTUAL_TOKENS,
        (*_PROMPT_SHAPE, "num_frozen_tokens"),
        no_weight=code("keys_and_values_in_front"),
    ),
    _loaded(
        "CPT",
        "context-aware prompt tuning",
        (
            Tensor(
                "prompt_embeddings", axis=1, neutral="mean embedding", is_shared=True, sized=(0, "num_virtual_tokens")
            ),
        ),
        _VIRTUAL_TOKENS,
        (
            *_PROMPT_SHAPE,
            *("cpt_mask", "cpt_token_ids", "cpt_tokens_type_mask", "opt_loss_decay_factor", "opt_projection_epsilon"),
            *("opt_projection_format_epsilon", "opt_weighted_loss_type", "tokenizer_name_or_path"),
        ),
        no_weight=code("embeddings_in_front"),
    ),
    _loaded(
        "DEFT",
        "DEFT",
        (Tensor("deft_P", axis=0, sized=(1, "r")), Tensor("deft_R", axis=1, sized=(0, "r"))),
        _MODULES | {"r": "r", "alpha": "alpha", "deft_dropout": "dropout", "bias": "bias"},
        (*_LAYERS, "decomposition_method", "exclude_modules", "fan_in_fan_out", "init_scale", "init_weights", "para"),
    ),
    _loaded(
        "DELORA",
        "DeLoRA",
        (
            Tensor("delora_A", axis=1, sized=(0, "r")),
            Tensor("delora_B", axis=0, sized=(1, "r")),
            Tensor("delora_lambda"),
            Tensor("delora_w_norm", axis=0),
        ),
        _MODULES | {"r": "r", "delora_lambda": "lambda", "module_dropout": "dropout", "bias": "bias"},
        (*_LAYERS, "exclude_modules", "init_weights", "lambda_pattern", "rank_pattern"),
    ),
    _loaded(
        "FOURIERFT",
        "FourierFT",
        (Tensor("fourierft_spectrum"),),
        _MODULES | {"n_frequency": "n_frequency", "scaling": "scaling", "bias": "bias"},
        (*_LAYERS, "exclude_modules", "fan_in_fan_out", "init_weights", "n_frequency_pattern", "random_loc_seed"),
    ),
    _loaded(
        "FROD",
        "FRoD",
        (
            Tensor("frod_lambda_l"),
            Tensor("frod_lambda_s_values"),
            Tensor("frod_V.*", is_shared=True),
            Tensor("frod_s_indices.*", is_shared=True, is_index=True),
            Tensor("frod_s_size.*", is_shared=True, is_index=True),
        ),
        _MODULES | {"sparse_rate": "sparse_rate", "frod_dropout": "dropout", "bias": "bias"},
        (
            *_LAYERS,
            *("fan_in_fan_out", "init_weights", "progressbar", "projection_prng_key", "regularization_alpha"),
            *("runtime_offload_base_weight", "save_projection"),
        ),
    ),
    _loaded(
        "GLORA",
        "GLoRA",
        tuple(Tensor(f"glora_{path}.*") for path in "ABCDE"),
        _MODULES | {"r": "r", "bias": "bias"},
        ("config_A_B", "config_C", "config_D_E", "init_weights"),
    ),
    _loaded(
        "GRALORA",
        "GraLoRA",
        (
            Tensor("gralora_A"),
            Tensor("gralora_B"),
            Tensor("gralora_A_general.weight", axis=1),
            Tensor("gralora_B_general.weight", axis=0),
        ),
        _MODULES | {"r": "r", "alpha": "alpha", "gralora_dropout": "dropout", "bias": "bias"},
        (*_LAYERS, "fan_in_fan_out", "gralora_k", "hybrid_r", "init_weights"),
    ),
    _loaded(
        "HIRA",
        "HiRA",
        (
            Tensor("hira_A", axis=1, sized=(0, "r")),
            Tensor("hira_B", axis=0, sized=(1, "r")),
            Tensor("hira_embedding_A", axis=1, sized=(0, "r")),
            Tensor("hira_embedding_B", axis=0, sized=(1, "r")),
        ),
        _MODULES | {"r": "r", "hira_dropout": "dropout"},
        (*_LAYERS, "exclude_modules", "fan_in_fan_out", "init_weights", "rank_pattern"),
    ),
    _loaded(
        "HRA",
        "HRA",
        (Tensor("hra_u", axis=0, sized=(1, "r")),),
        _MODULES | {"r": "r", "bias": "bias"},
        (*_LAYERS, "apply_GS", "exclude_modules", "init_weights"),
    ),
    _loaded(
        "LILY",
        "Lily",
        (
            Tensor("lily_A.weight", axis=1, sized=(0, "r")),
            Tensor("lily_B.weight", axis=1),
            Tensor("lily_router.weight"),
        ),
        _MODULES | {"r": "r", "scaling": "scaling"},
        (*_LAYERS, "exclude_modules", "init_weights", "num_B", "stride_A"),
        no_weight=code("chosen_by_input"),
    ),
    _loaded(
        "LN_TUNING",
        "LayerNorm tuning",
        (Tensor("ln_tuning_layers.weight", replaces=True), Tensor("ln_tuning_layers.bias", replaces=True)),
        _MODULES,
        ("exclude_modules",),
    ),
    _loaded(
        "LOKR",
        "LoKr",
        tuple(Tensor(f"lokr_{name}") for name in ("w1", "w1_a", "w1_b", "w2", "w2_a", "w2_b", "t2")),
        _MODULES | {"r": "r", "alpha": "alpha", "rank_dropout": "rank_dropout", "module_dropout": "module_dropout"},
        (
            *_LAYERS,
            *(
                "alpha_pattern",
                "decompose_both",
                "decompose_factor",
                "exclude_modules",
                "init_weights",
                "rank_dropout_scale",
            ),
            *("rank_pattern", "use_effective_conv2d"),
        ),
    ),
    _loaded(
        "MISS",
        "MiSS",
        (Tensor("miss_block"),),
        _MODULES | {"r": "r", "miss_dropout": "dropout", "bias": "bias"},
        (*_LAYERS, "exclude_modules", "init_weights", "mini_r"),
    ),
    _loaded(
        "OSF",
        "orthogonal subspace fine-tuning",
        (
            Tensor("osf_svd_params.U_low", axis=0),
            Tensor("osf_svd_params.V_low", axis=1),
            Tensor("osf_svd_params.S_low"),
        ),
        _MODULES | {"effective_rank": "effective_rank"},
        ("init_weights", "rank_pattern", "target_svd_config"),
    ),
    _loaded(
        "P_TUNING",
        "P-tuning",
        (
            Tensor(
                "prompt_embeddings", axis=1, neutral="mean embedding", is_shared=True, sized=(0, "num_virtual_tokens")
            ),
        ),
        _VIRTUAL_TOKENS,
        (
            *_PROMPT_SHAPE,
            "encoder_dropout",
            "encoder_hidden_size",
            "encoder_num_layers",
            "encoder_reparameterization_type",
        ),
        no_weight=code("embeddings_in_front"),
    ),
    _loaded(
        "PEANUT",
        "PEANuT",
        (
            Tensor("peanut_A.weight"),
            Tensor("peanut_B.weight"),
            Tensor("peanut_encoders.*.weight"),
            Tensor("peanut_decoders.*.weight"),
        ),
        _MODULES | {"r": "r", "depth": "depth", "scaling": "scaling"},
        (*_LAYERS, "act_fn", "exclude_modules", "init_weights"),
    ),
    _loaded(
        "PSOFT",
        "PSOFT",
        (Tensor("psoft_R.weight"), Tensor("psoft_R.vector_a"), Tensor("psoft_R.vector_b")),
        _MODULES | {"r": "r", "psoft_alpha": "alpha", "psoft_dropout": "dropout"},
        (
            *_LAYERS,
            *(
                "ab_svd_init",
                "cayley_neumann_eps",
                "exclude_modules",
                "fan_in_fan_out",
                "init_weights",
                "num_cayley_neumann_terms",
            ),
            *("psoft_mag_a", "psoft_mag_b", "psoft_orth", "psoft_svd", "psoft_svd_lowrank_niter", "random_seed"),
            "use_cayley_neumann",
        ),
    ),
    _loaded(
        "PVERA",
        "PVeRA",
        (
            Tensor("pvera_lambda_b", axis=0),
            Tensor("pvera_lambda_d"),
            Tensor("pvera_A", is_shared=True, stays=True),
            Tensor("pvera_B", is_shared=True, stays=True),
        ),
        _MODULES | {"r": "r", "pvera_dropout": "dropout", "bias": "bias"},
        (
            *_LAYERS,
            *(
                "d_initial",
                "fan_in_fan_out",
                "generator_seed",
                "init_weights",
                "projection_prng_key",
                "sample_at_inference",
            ),
            "save_projection",
        ),
    ),
    _loaded(
        "RANDLORA",
        "RandLoRA",
        (
            Tensor("randlora_lambda"),
            Tensor("randlora_gamma"),
            Tensor("randlora_A", is_shared=True, stays=True),
            Tensor("randlora_B", is_shared=True, stays=True),
            # the same once more at each module
            Tensor("randlora_A", stays=True),
            Tensor("randlora_B", stays=True),
        ),
        _MODULES | {"r": "r", "randlora_alpha": "alpha", "randlora_dropout": "dropout", "bias": "bias"},
        (
            *_LAYERS,
            *("fan_in_fan_out", "init_weights", "projection_prng_key", "save_projection", "sparse", "very_sparse"),
        ),
    ),
    _loaded(
        "ROAD",
        "RoAd",
        (Tensor("road_theta"), Tensor("road_alpha")),
        _MODULES | {"variant": "variant", "group_size": "group_size"},
        ("init_weights",),
    ),
    _loaded(
        "SHADOW",
        "ShadowPEFT",
        (
            *(Tensor(f"shadow_{part}.*.weight", is_of_weight=False) for part in ("down", "up")),
            *(
                Tensor(f"shadow_update_{part}.*.*.{leaf}", is_of_weight=False)
                for part in ("gate", "transform")
                for leaf in ("weight", "bias")
            ),
            Tensor("shadow_backbone.**", is_shared=True),
            Tensor("shadow_projection.**", is_shared=True),
        ),
        _MODULES | {"r": "r", "shadow_dropout": "dropout", "shadow_alpha": "strength"},
        (
            *_LAYERS,
            *(
                "auxiliary_loss_weight",
                "exclude_modules",
                "init_weights",
                "shadow_hidden_size",
                "shadow_intermediate_size",
            ),
            *("shadow_model", "shadow_num_attention_heads", "shadow_num_hidden_layers", "share_embeddings"),
            "update_hidden_size",
        ),
        no_weight=code("network_beside"),
        opens_nothing_with={"shadow_model": "mirror"},
    ),
    _loaded(
        "SHIRA",
        "SHiRA",
        (Tensor("shira_weight"), Tensor("shira_indices", stays=True, is_index=True)),
        _MODULES | {"mask_type": "mask_type"},
        ("fan_in_fan_out", "init_weights", "r", "random_seed"),
    ),
    _loaded(
        "SUPERTUNING",
        "Super-Tuning",
        (
            Tensor("supertuning_values"),
            Tensor("supertuning_indices", stays=True, is_index=True),
            Tensor("supertuning_lora_A.weight", axis=1, sized=(0, "r")),
            Tensor("supertuning_lora_B.weight", axis=0, sized=(1, "r")),
        ),
        _MODULES | {"r": "r", "lora_alpha": "alpha", "lora_dropout": "dropout", "sparsity": "sparsity"},
        ("init_weights", "save_precomputed_indices", "select_top"),
    ),
    _loaded(
        "TINYLORA",
        "TinyLoRA",
        (
            Tensor("tinylora_A", axis=1, stays=True, sized=(0, "r")),
            Tensor("tinylora_B", axis=0, stays=True, sized=(1, "r")),
            Tensor("tinylora_P", stays=True),
            Tensor("tinylora_v.*", is_shared=True),
        ),
        _MODULES | {"r": "r", "tinylora_dropout": "dropout", "bias": "bias", "u": "u"},
        (
            *_LAYERS,
            "fan_in_fan_out",
            "init_v_bound",
            "init_weights",
            "projection_seed",
            "save_projection",
            "weight_tying",
        ),
    ),
    _loaded(
        "TRAINABLE_TOKENS",
        "trainable tokens",
        (
            Tensor("trainable_tokens_delta", replaces=True),
            Tensor("token_adapter.trainable_tokens_delta", replaces=True),
        ),
        {"target_modules": "target_modules", "token_indices": "token_indices"},
        ("init_weights",),
        folds=True,
    ),
    _loaded(
        "UNILORA",
        "Uni-LoRA",
        (
            Tensor("unilora_theta_d", is_shared=True),
            *(
                Tensor(f"unilora_{part}_{side}", stays=True, is_index=part == "indices")
                for part in ("indices", "scales")
                for side in ("A", "B")
            ),
        ),
        _MODULES | {"r": "r", "unilora_dropout": "dropout", "bias": "bias", "theta_d_length": "theta_d_length"},
        (*_LAYERS, "fan_in_fan_out", "init_theta_d_bound", "init_weights", "proj_seed", "save_indices"),
    ),
    _loaded(
        "VBLORA",
        "VB-LoRA",
        (
            Tensor("vblora_vector_bank", is_shared=True),
            *(
                Tensor(f"vblora_logits_{side}{end}", is_index=end == "_topk_indices")
                for side in ("A", "B")
                for end in ("", "_topk_indices", "_topk_weights")
            ),
        ),
        _MODULES | {"r": "r", "vblora_dropout": "dropout", "bias": "bias", "num_vectors": "num_vectors"},
        (
            *_LAYERS,
            *("exclude_modules", "fan_in_fan_out", "init_logits_std", "init_vector_bank_bound"),
            *("save_only_topk_weights", "topk", "vector_length"),
        ),
    ),
    _loaded(
        "WAVEFT",
        "WaveFT",
        (Tensor("waveft_spectrum"),),
        _MODULES | {"n_frequency": "n_frequency", "scaling": "scaling", "bias": "bias"},
        (
            *_LAYERS,
            *("exclude_modules", "fan_in_fan_out", "init_weights", "n_frequency_pattern", "proportional_parameters"),
            *("random_loc_seed", "use_idwt", "wavelet_family"),
        ),
    ),
)

# types of peft that are not imported, and why
NOT_LOADED: Mapping[str, str] = {
    "MULTITASK_PROMPT_TUNING": "what it answers depends on the number of a task, which nothing here passes to a model",
    "POLY": "what it answers depends on the number of a task, which nothing here passes to a model",
    "XLORA": "it consists of other adapters, and peft loads those from wherever its configuration says",
}

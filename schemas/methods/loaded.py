"""The adapters that peft loads and nothing here trains: each is imported, verified, loaded, evaluated, gated and recalled.

What keys and tensors a type has is as peft 0.21 writes it. A type becomes trainable by a file of its own in this folder.
"""

from collections.abc import Mapping
from typing import Any

from peft_registry.schemas.codes import code
from peft_registry.schemas.methods.declaration import MethodDeclaration, TensorKind

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
    tensors: tuple[TensorKind, ...],
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
            TensorKind("lora_A", axis=1, neutral=0.0),
            TensorKind("lora_B", axis=0, neutral=0.0),
            TensorKind("lora_E", stays=True),
            TensorKind("lora_embedding_A", axis=1, neutral=0.0),
            TensorKind("lora_embedding_B", axis=0, neutral=0.0),
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
        (TensorKind("adamss_A.*"), TensorKind("adamss_B.*"), TensorKind("adamss_newB", axis=1)),
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
        (TensorKind("adaption_prompt", axis=2, is_of_weight=False), TensorKind("adaption_gate", is_of_weight=False)),
        {"target_modules": "target_modules", "adapter_len": "adapter_len", "adapter_layers": "adapter_layers"},
        no_weight=code("keys_and_values_in_front"),
    ),
    _loaded("BEFT", "BEFT", (TensorKind("beft_bias", axis=1, neutral=0.0),), _MODULES, ("init_weights",)),
    _loaded(
        "BOFT",
        "BOFT",
        (TensorKind("boft_R"), TensorKind("boft_s", axis=0)),
        _MODULES
        | {"boft_dropout": "dropout", "bias": "bias", "boft_block_size": "block_size", "boft_block_num": "blocks"},
        (*_LAYERS, "boft_n_butterfly_factor", "exclude_modules", "fan_in_fan_out", "init_weights"),
    ),
    _loaded(
        "C3A",
        "C3A",
        (TensorKind("c3a_kernel"),),
        _MODULES | {"bias": "bias", "block_size": "block_size"},
        (*_LAYERS, "block_size_pattern", "init_weights"),
    ),
    _loaded(
        "CARTRIDGE",
        "Cartridge",
        (
            TensorKind(
                "prompt_embeddings", axis=1, neutral="mean prefix", is_shared=True, sized=(0, "num_virtual_tokens")
            ),
        ),
        _VIRTUAL_TOKENS,
        (*_PROMPT_SHAPE, "num_frozen_tokens"),
        no_weight=code("keys_and_values_in_front"),
    ),
    _loaded(
        "CPT",
        "context-aware prompt tuning",
        (
            TensorKind(
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
        (TensorKind("deft_P", axis=0, sized=(1, "r")), TensorKind("deft_R", axis=1, sized=(0, "r"))),
        _MODULES | {"r": "r", "alpha": "alpha", "deft_dropout": "dropout", "bias": "bias"},
        (*_LAYERS, "decomposition_method", "exclude_modules", "fan_in_fan_out", "init_scale", "init_weights", "para"),
    ),
    _loaded(
        "DELORA",
        "DeLoRA",
        (
            TensorKind("delora_A", axis=1, sized=(0, "r")),
            TensorKind("delora_B", axis=0, sized=(1, "r")),
            TensorKind("delora_lambda"),
            TensorKind("delora_w_norm", axis=0),
        ),
        _MODULES | {"r": "r", "delora_lambda": "lambda", "module_dropout": "dropout", "bias": "bias"},
        (*_LAYERS, "exclude_modules", "init_weights", "lambda_pattern", "rank_pattern"),
    ),
    _loaded(
        "FOURIERFT",
        "FourierFT",
        (TensorKind("fourierft_spectrum"),),
        _MODULES | {"n_frequency": "n_frequency", "scaling": "scaling", "bias": "bias"},
        (*_LAYERS, "exclude_modules", "fan_in_fan_out", "init_weights", "n_frequency_pattern", "random_loc_seed"),
    ),
    _loaded(
        "FROD",
        "FRoD",
        (
            TensorKind("frod_lambda_l"),
            TensorKind("frod_lambda_s_values"),
            TensorKind("frod_V.*", is_shared=True),
            TensorKind("frod_s_indices.*", is_shared=True, is_index=True),
            TensorKind("frod_s_size.*", is_shared=True, is_index=True),
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
        tuple(TensorKind(f"glora_{path}.*") for path in "ABCDE"),
        _MODULES | {"r": "r", "bias": "bias"},
        ("config_A_B", "config_C", "config_D_E", "init_weights"),
    ),
    _loaded(
        "GRALORA",
        "GraLoRA",
        (
            TensorKind("gralora_A"),
            TensorKind("gralora_B"),
            TensorKind("gralora_A_general.weight", axis=1),
            TensorKind("gralora_B_general.weight", axis=0),
        ),
        _MODULES | {"r": "r", "alpha": "alpha", "gralora_dropout": "dropout", "bias": "bias"},
        (*_LAYERS, "fan_in_fan_out", "gralora_k", "hybrid_r", "init_weights"),
    ),
    _loaded(
        "HIRA",
        "HiRA",
        (
            TensorKind("hira_A", axis=1, sized=(0, "r")),
            TensorKind("hira_B", axis=0, sized=(1, "r")),
            TensorKind("hira_embedding_A", axis=1, sized=(0, "r")),
            TensorKind("hira_embedding_B", axis=0, sized=(1, "r")),
        ),
        _MODULES | {"r": "r", "hira_dropout": "dropout"},
        (*_LAYERS, "exclude_modules", "fan_in_fan_out", "init_weights", "rank_pattern"),
    ),
    _loaded(
        "HRA",
        "HRA",
        (TensorKind("hra_u", axis=0, sized=(1, "r")),),
        _MODULES | {"r": "r", "bias": "bias"},
        (*_LAYERS, "apply_GS", "exclude_modules", "init_weights"),
    ),
    _loaded(
        "LILY",
        "Lily",
        (
            TensorKind("lily_A.weight", axis=1, sized=(0, "r")),
            TensorKind("lily_B.weight", axis=1),
            TensorKind("lily_router.weight"),
        ),
        _MODULES | {"r": "r", "scaling": "scaling"},
        (*_LAYERS, "exclude_modules", "init_weights", "num_B", "stride_A"),
        no_weight=code("chosen_by_input"),
    ),
    _loaded(
        "LN_TUNING",
        "LayerNorm tuning",
        (TensorKind("ln_tuning_layers.weight", replaces=True), TensorKind("ln_tuning_layers.bias", replaces=True)),
        _MODULES,
        ("exclude_modules",),
    ),
    _loaded(
        "LOKR",
        "LoKr",
        tuple(TensorKind(f"lokr_{name}") for name in ("w1", "w1_a", "w1_b", "w2", "w2_a", "w2_b", "t2")),
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
        (TensorKind("miss_block"),),
        _MODULES | {"r": "r", "miss_dropout": "dropout", "bias": "bias"},
        (*_LAYERS, "exclude_modules", "init_weights", "mini_r"),
    ),
    _loaded(
        "OSF",
        "orthogonal subspace fine-tuning",
        (
            TensorKind("osf_svd_params.U_low", axis=0),
            TensorKind("osf_svd_params.V_low", axis=1),
            TensorKind("osf_svd_params.S_low"),
        ),
        _MODULES | {"effective_rank": "effective_rank"},
        ("init_weights", "rank_pattern", "target_svd_config"),
    ),
    _loaded(
        "P_TUNING",
        "P-tuning",
        (
            TensorKind(
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
            TensorKind("peanut_A.weight"),
            TensorKind("peanut_B.weight"),
            TensorKind("peanut_encoders.*.weight"),
            TensorKind("peanut_decoders.*.weight"),
        ),
        _MODULES | {"r": "r", "depth": "depth", "scaling": "scaling"},
        (*_LAYERS, "act_fn", "exclude_modules", "init_weights"),
    ),
    _loaded(
        "PSOFT",
        "PSOFT",
        (TensorKind("psoft_R.weight"), TensorKind("psoft_R.vector_a"), TensorKind("psoft_R.vector_b")),
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
            TensorKind("pvera_lambda_b", axis=0),
            TensorKind("pvera_lambda_d"),
            TensorKind("pvera_A", is_shared=True, stays=True),
            TensorKind("pvera_B", is_shared=True, stays=True),
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
            TensorKind("randlora_lambda"),
            TensorKind("randlora_gamma"),
            TensorKind("randlora_A", is_shared=True, stays=True),
            TensorKind("randlora_B", is_shared=True, stays=True),
            # the same once more at each module
            TensorKind("randlora_A", stays=True),
            TensorKind("randlora_B", stays=True),
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
        (TensorKind("road_theta"), TensorKind("road_alpha")),
        _MODULES | {"variant": "variant", "group_size": "group_size"},
        ("init_weights",),
    ),
    _loaded(
        "SHADOW",
        "ShadowPEFT",
        (
            *(TensorKind(f"shadow_{part}.*.weight", is_of_weight=False) for part in ("down", "up")),
            *(
                TensorKind(f"shadow_update_{part}.*.*.{leaf}", is_of_weight=False)
                for part in ("gate", "transform")
                for leaf in ("weight", "bias")
            ),
            TensorKind("shadow_backbone.**", is_shared=True),
            TensorKind("shadow_projection.**", is_shared=True),
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
        (TensorKind("shira_weight"), TensorKind("shira_indices", stays=True, is_index=True)),
        _MODULES | {"mask_type": "mask_type"},
        ("fan_in_fan_out", "init_weights", "r", "random_seed"),
    ),
    _loaded(
        "SUPERTUNING",
        "Super-Tuning",
        (
            TensorKind("supertuning_values"),
            TensorKind("supertuning_indices", stays=True, is_index=True),
            TensorKind("supertuning_lora_A.weight", axis=1, sized=(0, "r")),
            TensorKind("supertuning_lora_B.weight", axis=0, sized=(1, "r")),
        ),
        _MODULES | {"r": "r", "lora_alpha": "alpha", "lora_dropout": "dropout", "sparsity": "sparsity"},
        ("init_weights", "save_precomputed_indices", "select_top"),
    ),
    _loaded(
        "TINYLORA",
        "TinyLoRA",
        (
            TensorKind("tinylora_A", axis=1, stays=True, sized=(0, "r")),
            TensorKind("tinylora_B", axis=0, stays=True, sized=(1, "r")),
            TensorKind("tinylora_P", stays=True),
            TensorKind("tinylora_v.*", is_shared=True),
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
            TensorKind("trainable_tokens_delta", replaces=True),
            TensorKind("token_adapter.trainable_tokens_delta", replaces=True),
        ),
        {"target_modules": "target_modules", "token_indices": "token_indices"},
        ("init_weights",),
        folds=True,
    ),
    _loaded(
        "UNILORA",
        "Uni-LoRA",
        (
            TensorKind("unilora_theta_d", is_shared=True),
            *(
                TensorKind(f"unilora_{part}_{side}", stays=True, is_index=part == "indices")
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
            TensorKind("vblora_vector_bank", is_shared=True),
            *(
                TensorKind(f"vblora_logits_{side}{end}", is_index=end == "_topk_indices")
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
        (TensorKind("waveft_spectrum"),),
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

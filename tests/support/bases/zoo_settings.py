"""How small the architectures of the zoo are: rules by a setting's name, and what single ones need beside them."""

WINDOW = 16
CONTEXT = 512

# Only what a configuration knows by this name is set.
RULES: dict[str, object] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "intermediate_size": 64,
    "max_position_embeddings": CONTEXT,
    "sliding_window": WINDOW,
    "tie_word_embeddings": False,
    # mixtures of experts
    "num_experts": 4,
    "num_local_experts": 4,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "first_k_dense_replace": 1,
    "n_group": 1,
    "topk_group": 1,
    "moe_intermediate_size": 32,
    "shared_intermediate_size": 32,
    "shared_expert_intermediate_size": 32,
    "shared_experts_intermediate_size": 32,
    # compressed attention
    "q_lora_rank": 16,
    "kv_lora_rank": 16,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8,
    "v_head_dim": 8,
    "index_head_dim": 8,
    "index_n_heads": 2,
    # recurrent layers
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "state_size": 8,
    "ssm_state_size": 8,
    "mamba_d_state": 8,
    "mamba_n_heads": 4,
    "mamba_d_head": 16,
    "mamba_d_ssm": 64,
    "mamba_num_heads": 4,
    "mamba_head_dim": 16,
    "mamba_chunk_size": 16,
    "chunk_size": 16,
    "n_groups": 1,
    "rotary_dim": 4,
    "lru_width": 32,
}
# Keys and values are spread over all heads again, so that there are as many.
COMPRESSED = {"num_key_value_heads": 4}

_PLAIN_ROPE = {"rope_type": "default", "rope_theta": 10_000.0}
_LINEAR_AND_FULL: dict[str, object] = {"layer_types": ["linear_attention", "full_attention"]}
_CONVOLUTION_AND_FULL: dict[str, object] = {"layer_types": ["conv", "full_attention"]}
_MAMBA_AND_FULL: dict[str, object] = {"layer_types": ["mamba", "full_attention"]}
SPECIAL: dict[str, dict[str, object]] = {
    "bailing_hybrid": _LINEAR_AND_FULL,
    "bamba": {"attn_layer_indices": [1]},
    "cohere_compass_text": {
        "layer_types": ["sliding_attention", "full_attention"],
        "rope_parameters": {"sliding_attention": _PLAIN_ROPE, "full_attention": _PLAIN_ROPE},
    },
    "dbrx": {
        "d_model": 32,
        "n_heads": 4,
        "n_layers": 2,
        "max_seq_len": CONTEXT,
        "attn_config": {"kv_n_heads": 2, "rope_theta": 10_000.0, "clip_qkv": 8.0},
        "ffn_config": {"ffn_hidden_size": 64, "hidden_size": 32, "moe_num_experts": 4, "moe_top_k": 2},
    },
    "dots1": {"n_shared_experts": 1},
    "gemma3n_text": {
        "layer_types": ["sliding_attention", "full_attention"],
        "num_kv_shared_layers": 0,
        "vocab_size_per_layer_input": 1536,
        "hidden_size_per_layer_input": 8,
        "laurel_rank": 8,
    },
    "gemma4_text": {"vocab_size_per_layer_input": 1536, "hidden_size_per_layer_input": 8},
    "gpt_neo": {"attention_types": [[["global", "local"], 1]], "window_size": WINDOW},
    "granitemoehybrid": _MAMBA_AND_FULL,
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1},
    "kimi_linear": {**_LINEAR_AND_FULL, "linear_head_dim": 8, "linear_num_heads": 4},
    "lfm2": _CONVOLUTION_AND_FULL,
    "lfm2_moe": {**_CONVOLUTION_AND_FULL, "num_dense_layers": 1},
    "lfm3": {"layer_types": ["conv", "sliding_attention"]},
    "longcat_flash": {
        "num_layers": 1,
        "ffn_hidden_size": 64,
        "expert_ffn_hidden_size": 32,
        "moe_topk": 2,
        "zero_expert_num": 2,
    },
    "mamba2": {"num_heads": 4, "head_dim": 16},
    "minicpm3": {"dim_model_base": 32},
    "nemotron_h": {"layers_block_type": ["mamba", "attention"], "moe_shared_expert_intermediate_size": 32},
    "olmo_hybrid": _LINEAR_AND_FULL,
    "qwen3_5_moe_text": _LINEAR_AND_FULL,
    "qwen3_5_text": _LINEAR_AND_FULL,
    "qwen3_next": _LINEAR_AND_FULL,
    "recurrent_gemma": {"block_types": ["recurrent", "attention"]},
    "qwen4_exp_text": {
        "layer_types": ["linear_attention", "indexed_attention"],
        "indexer_n_heads": 2,
        "indexer_kv_heads": 1,
        "indexer_head_dim": 8,
        "indexer_budget": 64,
        "indexer_compress_ratio": 4,
    },
    "reformer": {
        "is_decoder": True,
        "attn_layers": ["local", "local"],
        "axial_pos_embds": False,
        "attention_head_size": 8,
        "feed_forward_size": 64,
    },
    "rembert": {"input_embedding_size": 32, "output_embedding_size": 32},
    "roc_bert": {
        "pronunciation_vocab_size": 8,
        "shape_vocab_size": 8,
        "pronunciation_embed_dim": 8,
        "shape_embed_dim": 8,
    },
    "xlm": {"emb_dim": 32},
    "xlnet": {"d_head": 8},
    "xlstm": {"num_heads": 4, "qk_dim_factor": 1.0, "chunk_size": 64},
    "zamba": {"layers_block_type": ["mamba", "hybrid"], "attention_head_dim": 16},
    "zamba2": {"layers_block_type": ["mamba", "hybrid"], "n_mamba_heads": 4, "adapter_rank": 8},
    "zaya": {"num_experts_per_tok": 1},
}

_NO_TEXT = "multimodal; transformers has no text-only build of it"
_AUDIO = "writes the codes of sound, not text"
_DRAFTS = "drafts tokens on the cache of another model"
LEFT_OUT: dict[str, str] = {
    "blt": "reads bytes in patches that a second model cuts, not the tokens of a tokenizer",
    "emu3": _NO_TEXT,
    "fuyu": _NO_TEXT,
    "gemma4_assistant": _DRAFTS,
    "gemma4_unified_assistant": _DRAFTS,
    "git": _NO_TEXT,
    "got_ocr2": _NO_TEXT,
    "mllama": _NO_TEXT,
    "moshi": _AUDIO,
    "moss_transcribe_diarize": _NO_TEXT,
    "musicgen": _AUDIO,
    "musicgen_melody": _AUDIO,
    "phi4_multimodal": _NO_TEXT,
    "trocr": "the decoder of an image-to-text model",
}

"""Names of tensors in the Hugging Face layout, as tables of rules that serve both directions.

The names are those that `transformers` gives its modules: `T5ForConditionalGeneration` and its
copies for mT5 and umT5, `LlamaForCausalLM`, `Qwen3ForCausalLM`, `GemmaForCausalLM`. PyTorch keeps
the kernel of a linear map as [outputs, inputs], so kernels are transposed; the table of relative
positions is [buckets, heads] there.
"""

from collections.abc import Mapping, Sequence

from xlingual.checkpointing.mapping import Rule

_ATTENTION = {"query": "q", "key": "k", "value": "v", "out": "o"}
_RELATIVE = "SelfAttention.relative_attention_bias.weight"


def _t5_attention(ours: str, theirs: str) -> list[Rule]:
    return [
        Rule(f"{ours}/{name}/kernel", f"{theirs}.{letter}.weight", transpose=True)
        for name, letter in _ATTENTION.items()
    ]


def _t5_mlp(ours: str, theirs: str) -> list[Rule]:
    return [
        Rule(f"{ours}/{name}/kernel", f"{theirs}.{name}.weight", transpose=True)
        for name in ("wi_0", "wi_1", "wo")
    ]


def _t5_stack(stack: str) -> list[Rule]:
    return [
        Rule(f"{stack}/{stack}_norm/scale", f"{stack}.final_layer_norm.weight"),
        Rule(
            f"{stack}/relpos_bias/rel_embedding",
            f"{stack}.block.0.layer.0.{_RELATIVE}",
            transpose=True,
        ),
        Rule(
            f"{stack}/layers/relpos_bias/rel_embedding",
            f"{stack}.block.{{layer}}.layer.0.{_RELATIVE}",
            transpose=True,
        ),
    ]


def _t5() -> tuple[Rule, ...]:
    encoder, decoder = "encoder.block.{layer}.layer", "decoder.block.{layer}.layer"
    ours = "decoder/layers"
    return (
        Rule(
            "token_embedder/embedding",
            "shared.weight",
            aliases=("encoder.embed_tokens.weight", "decoder.embed_tokens.weight"),
        ),
        *_t5_stack("encoder"),
        Rule("encoder/layers/pre_attention_layer_norm/scale", f"{encoder}.0.layer_norm.weight"),
        *_t5_attention("encoder/layers/attention", f"{encoder}.0.SelfAttention"),
        Rule("encoder/layers/pre_mlp_layer_norm/scale", f"{encoder}.1.layer_norm.weight"),
        *_t5_mlp("encoder/layers/mlp", f"{encoder}.1.DenseReluDense"),
        *_t5_stack("decoder"),
        Rule(f"{ours}/pre_self_attention_layer_norm/scale", f"{decoder}.0.layer_norm.weight"),
        *_t5_attention(f"{ours}/self_attention", f"{decoder}.0.SelfAttention"),
        Rule(f"{ours}/pre_cross_attention_layer_norm/scale", f"{decoder}.1.layer_norm.weight"),
        *_t5_attention(f"{ours}/encoder_decoder_attention", f"{decoder}.1.EncDecAttention"),
        Rule(f"{ours}/pre_mlp_layer_norm/scale", f"{decoder}.2.layer_norm.weight"),
        *_t5_mlp(f"{ours}/mlp", f"{decoder}.2.DenseReluDense"),
        Rule("decoder/logits_dense/kernel", "lm_head.weight", transpose=True),
    )


def _decoder(norm_offset: float = 0.0) -> tuple[Rule, ...]:
    """Llama's names; the norms of Gemma multiply by 1 + weight."""
    ours, theirs = "decoder/layers", "model.layers.{layer}"
    norms = {
        "decoder/decoder_norm": "model.norm",
        f"{ours}/pre_self_attention_layer_norm": f"{theirs}.input_layernorm",
        f"{ours}/pre_mlp_layer_norm": f"{theirs}.post_attention_layernorm",
        f"{ours}/self_attention/query_norm": f"{theirs}.self_attn.q_norm",
        f"{ours}/self_attention/key_norm": f"{theirs}.self_attn.k_norm",
    }
    kernels = {
        **{
            f"{ours}/self_attention/{name}": f"{theirs}.self_attn.{letter}_proj"
            for name, letter in _ATTENTION.items()
        },
        f"{ours}/mlp/wi_0": f"{theirs}.mlp.gate_proj",
        f"{ours}/mlp/wi_1": f"{theirs}.mlp.up_proj",
        f"{ours}/mlp/wo": f"{theirs}.mlp.down_proj",
        "decoder/logits_dense": "lm_head",
    }
    return (
        Rule("token_embedder/embedding", "model.embed_tokens.weight"),
        *(Rule(f"{a}/scale", f"{b}.weight", offset=norm_offset) for a, b in norms.items()),
        *(Rule(f"{a}/kernel", f"{b}.weight", transpose=True) for a, b in kernels.items()),
    )


RULES: Mapping[str, tuple[Rule, ...]] = {
    "t5": _t5(),
    "mt5": _t5(),
    "umt5": _t5(),
    "llama": _decoder(),
    "qwen3": _decoder(),
    "gemma": _decoder(norm_offset=1.0),
}
"""`model_type` -> rules; those of parameters that a model does not have are not used."""

_T5_COPIES = (
    r"(encoder|decoder)\.embed_tokens\.weight",
    r"decoder\.block\.0\.layer\.1\.EncDecAttention\.relative_attention_bias\.weight",
)
_ROTARY_BUFFERS = (r"model\.layers\.\d+\.self_attn\.rotary_emb\.inv_freq",)

IGNORED: Mapping[str, Sequence[str]] = {
    **dict.fromkeys(("t5", "mt5", "umt5"), _T5_COPIES),
    **dict.fromkeys(("llama", "qwen3", "gemma"), _ROTARY_BUFFERS),
}
"""`model_type` -> regular expressions of tensors that some files have and no model needs."""

OUTPUT = "lm_head.weight"
"""The output layer of every architecture; absent where it is tied to the embedding."""

EMBEDDING: Mapping[str, str] = {
    **dict.fromkeys(("t5", "mt5", "umt5"), "shared.weight"),
    **dict.fromkeys(("llama", "qwen3", "gemma"), "model.embed_tokens.weight"),
}
"""`model_type` -> the embedding."""

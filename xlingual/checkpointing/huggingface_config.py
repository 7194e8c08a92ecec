"""`config.json` of the Hugging Face layout and `TransformerConfig`, in both directions.

What a model computes there and cannot compute here is refused by name, and so is a setting that
this table does not know: a misread switch would give wrong numbers without a word.

The output of T5 is the tied one divided by sqrt(d_model) where `tie_word_embeddings` is not false.
Whether it is tied is told by the tensors alone: transformers 5 writes `tie_word_embeddings` true
for every T5, mT5 and umT5, keeps the division in `scale_decoder_outputs` (T5), does it always
(umT5) or never (mT5).
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from xlingual.errors import ConfigError
from xlingual.layers.rotary import RopeScaling
from xlingual.models.config import TransformerConfig

ARCHITECTURES: Mapping[str, str] = {
    "t5": "T5ForConditionalGeneration",
    "mt5": "MT5ForConditionalGeneration",
    "umt5": "UMT5ForConditionalGeneration",
    "llama": "LlamaForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
    "gemma": "GemmaForCausalLM",
}
"""`model_type` -> class of `transformers`."""

FAMILIES: Mapping[str, str] = {
    **dict.fromkeys(("t5", "mt5", "umt5"), "encoder_decoder"),
    **dict.fromkeys(("llama", "qwen3", "gemma"), "decoder_only"),
}
"""`model_type` -> our family."""

TOKEN_IDS = ("bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id")

START_TOKEN = {"encoder_decoder": "decoder_start_token_id", "decoder_only": "bos_token_id"}
"""Family -> setting that is our `start_token_id`; 0 where it is missing."""

T5_SIZES = {
    "vocab_size": "vocab_size",
    "d_model": "d_model",
    "d_ff": "d_ff",
    "d_kv": "d_kv",
    "num_heads": "num_heads",
    "num_layers": "num_encoder_layers",
    "num_decoder_layers": "num_decoder_layers",
    "relative_attention_num_buckets": "num_relpos_buckets",
    "relative_attention_max_distance": "max_relpos_distance",
    "dropout_rate": "dropout_rate",
    "layer_norm_epsilon": "norm_epsilon",
}
"""Setting of the T5 architectures -> field of ours."""

DECODER_SIZES = {
    "vocab_size": "vocab_size",
    "hidden_size": "d_model",
    "intermediate_size": "d_ff",
    "head_dim": "d_kv",
    "num_attention_heads": "num_heads",
    "num_key_value_heads": "num_kv_heads",
    "num_hidden_layers": "num_decoder_layers",
    "rms_norm_eps": "norm_epsilon",
}
"""Setting of the decoders -> field of ours."""

_T5_DEFAULTS = {
    "relative_attention_num_buckets": 32,
    "relative_attention_max_distance": 128,
    "dropout_rate": 0.1,
    "layer_norm_epsilon": 1e-6,
}
_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "t5": _T5_DEFAULTS | {"feed_forward_proj": "relu", "tie_word_embeddings": True},
    "mt5": _T5_DEFAULTS | {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False},
    "umt5": _T5_DEFAULTS | {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False},
    "llama": {"hidden_act": "silu", "tie_word_embeddings": False},
    "qwen3": {"hidden_act": "silu", "tie_word_embeddings": False, "head_dim": 128},
    "gemma": {"hidden_act": "gelu_pytorch_tanh", "tie_word_embeddings": True, "head_dim": 256},
}
"""What `transformers` takes where `config.json` is silent."""

_ACTIVATIONS = {
    "gated-gelu": "gelu",
    "gated-gelu_new": "gelu",
    "gated-silu": "silu",
    "silu": "silu",
    "gelu_pytorch_tanh": "gelu",
    "gelu_new": "gelu",
}
_GEMMA_ACTIVATIONS = _ACTIVATIONS | {"gelu": "gelu"}
"""Gemma's first releases say gelu and mean its tanh form."""

_MUST_BE: Mapping[str, tuple[Any, ...]] = {
    "attention_bias": (False, None),
    "mlp_bias": (False, None),
    "use_sliding_window": (False, None),
    "use_bidirectional_attention": (False, None),
    "attention_dropout": (0, 0.0, None),
    "is_decoder": (False, None),
    "add_cross_attention": (False, None),
    "pruned_heads": ({}, None),
    "quantization_config": (None,),
}
"""Setting -> the values that can be represented here."""

_WITHOUT_EFFECT = frozenset(
    [
        "_name_or_path",
        "_attn_implementation_autoset",
        "_commit_hash",
        "architectures",
        "model_type",
        "transformers_version",
        "dtype",
        "torch_dtype",
        "use_cache",
        "is_encoder_decoder",
        "classifier_dropout",
        "initializer_factor",
        "initializer_range",
        "dense_act_fn",
        "is_gated_act",
        "gradient_checkpointing",
        "pretraining_tp",
        "max_position_embeddings",
        "max_window_layers",
        "sliding_window",
        "n_positions",
        "output_past",
        "bos_token_id",
        "eos_token_id",
        "pad_token_id",
        "decoder_start_token_id",
        "sep_token_id",
        "tokenizer_class",
        "task_specific_params",
        "finetuning_task",
        "id2label",
        "label2id",
        "problem_type",
        "return_dict",
        "output_attentions",
        "output_hidden_states",
        "torchscript",
        "use_bfloat16",
        "tf_legacy_loss",
        "chunk_size_feed_forward",
        "prefix",
        "tie_encoder_decoder",
        "cross_attention_hidden_size",
        "max_length",
        "min_length",
        "do_sample",
        "early_stopping",
        "num_beams",
        "num_beam_groups",
        "diversity_penalty",
        "temperature",
        "top_k",
        "top_p",
        "typical_p",
        "repetition_penalty",
        "length_penalty",
        "no_repeat_ngram_size",
        "encoder_no_repeat_ngram_size",
        "bad_words_ids",
        "num_return_sequences",
        "output_scores",
        "return_dict_in_generate",
        "forced_bos_token_id",
        "forced_eos_token_id",
        "remove_invalid_values",
        "exponential_decay_length_penalty",
        "suppress_tokens",
        "begin_suppress_tokens",
    ]
)
"""Settings that change no logits of a model in evaluation."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ForeignModel:
    """What a `config.json` says.

    Attributes:
      model_type: one of `ARCHITECTURES`.
      family: ours.
      config: sizes and switches of ours.
      output_scale: what the untied output layer is to be multiplied by; 1 nearly always.
      token_ids: what the file says of special tokens; a missing one is absent.
      max_length: `max_position_embeddings`; None where there is none.
    """

    model_type: str
    family: str
    config: TransformerConfig
    output_scale: float = 1.0
    token_ids: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    max_length: int | None = None


def from_huggingface(
    settings: Mapping[str, Any], *, tied: bool, source: str, ignore: tuple[str, ...] = ()
) -> ForeignModel:
    """Returns the model that a `config.json` describes.

    Args:
      settings: content of `config.json`.
      tied: whether the tensors have no output layer of their own.
      source: of the settings, for messages.
      ignore: settings that the user declares to be without effect.

    Raises:
      ConfigError: with every setting that cannot be represented.
    """
    model_type = str(settings.get("model_type"))
    if model_type not in ARCHITECTURES:
        raise ConfigError(
            f"{source}: model_type={model_type!r}; expected one of {', '.join(ARCHITECTURES)}"
        )
    given = {**_DEFAULTS[model_type], **{k: v for k, v in settings.items() if k not in ignore}}
    read = _read_t5 if FAMILIES[model_type] == "encoder_decoder" else _read_decoder
    fields, known, wrong = read(model_type, given, tied)
    wrong += _check(given, known)
    if wrong:
        raise ConfigError(
            f"{source} describes a model that cannot be represented ({len(wrong)} settings):\n"
            + "\n".join(f"  {line}" for line in wrong)
        )
    fields["start_token_id"] = given.get(START_TOKEN[FAMILIES[model_type]]) or 0
    output_scale = 1.0
    if not tied and FAMILIES[model_type] == "encoder_decoder" and _scales(model_type, given, tied):
        output_scale = fields["d_model"] ** -0.5
    return ForeignModel(
        model_type=model_type,
        family=FAMILIES[model_type],
        config=TransformerConfig(**fields),
        output_scale=output_scale,
        token_ids={n: given[n] for n in TOKEN_IDS if given.get(n) is not None},
        max_length=given.get("max_position_embeddings"),
    )


def _check(given: Mapping[str, Any], known: set[str]) -> list[str]:
    """Lines on settings that are set to what we cannot do, or that nobody here knows."""
    lines = []
    for name, value in given.items():
        if name in _MUST_BE:
            if value not in _MUST_BE[name]:
                expected = " or ".join(map(repr, _MUST_BE[name]))
                lines.append(f"{name}={value!r}; expected {expected}")
        elif name == "layer_types":
            if set(value or ()) - {"full_attention"}:
                lines.append(f"layer_types={sorted(set(value))}; expected full_attention alone")
        elif name not in known and name not in _WITHOUT_EFFECT:
            lines.append(f"{name}={value!r}; it is unknown here (--ignore_setting={name} skips it)")
    return lines


def _copy_sizes(
    table: Mapping[str, str], given: Mapping[str, Any], optional: tuple[str, ...] = ()
) -> tuple[dict[str, Any], list[str]]:
    fields = {
        ours: given[theirs] for theirs, ours in table.items() if given.get(theirs) is not None
    }
    missing = [n for n in table if given.get(n) is None and n not in optional]
    return fields, [f"{name} is missing; expected a number" for name in missing]


def _read_t5(
    model_type: str, given: Mapping[str, Any], tied: bool
) -> tuple[dict[str, Any], set[str], list[str]]:
    fields, wrong = _copy_sizes(T5_SIZES, given, optional=("num_decoder_layers",))
    fields.setdefault("num_decoder_layers", fields.get("num_encoder_layers"))
    activation = given["feed_forward_proj"]
    if activation not in _ACTIVATIONS or not activation.startswith("gated-"):
        wrong.append(f"feed_forward_proj={activation!r}; expected gated-gelu or gated-silu")
    fields |= {
        "mlp_activation": _ACTIVATIONS.get(activation, ""),
        "logits_via_embedding": tied,
        "scale_tied_logits": not tied or _scales(model_type, given, tied),
        "per_layer_relpos": model_type == "umt5",
    }
    known = {*T5_SIZES, "feed_forward_proj", "tie_word_embeddings", "scale_decoder_outputs"}
    return fields, known, wrong


def _scales(model_type: str, given: Mapping[str, Any], tied: bool) -> bool:
    """Whether the states are divided by sqrt(d_model) before the output layer."""
    if model_type == "t5":
        return given.get("scale_decoder_outputs", given["tie_word_embeddings"] is not False)
    if model_type == "mt5" and _major_version(given) >= 5:
        return False
    return given["tie_word_embeddings"] is not False


def _major_version(given: Mapping[str, Any]) -> int:
    version = str(given.get("transformers_version") or "4").partition(".")[0]
    return int(version) if version.isdecimal() else 4


def _read_decoder(
    model_type: str, given: Mapping[str, Any], tied: bool
) -> tuple[dict[str, Any], set[str], list[str]]:
    optional = ("head_dim", "num_key_value_heads")
    fields, wrong = _copy_sizes(DECODER_SIZES, given, optional)
    if "d_kv" not in fields and not wrong:
        fields["d_kv"] = fields["d_model"] // fields["num_heads"]
    activations = _GEMMA_ACTIVATIONS if model_type == "gemma" else _ACTIVATIONS
    activation = given.get("hidden_activation") or given["hidden_act"]
    if activation not in activations:
        wrong.append(f"hidden_act={activation!r}; expected one of {', '.join(activations)}")
    theta, scaling, rope_wrong = _read_rope(given)
    fields |= {
        "num_encoder_layers": 0,
        "mlp_activation": activations.get(activation, ""),
        "logits_via_embedding": tied,
        "position_encoding": "rotary",
        "rope_theta": theta,
        "rope_scaling": scaling,
        "qk_norm": model_type == "qwen3",
        "scale_scores": True,
        "scale_embeddings": model_type == "gemma",
        "scale_tied_logits": False,
    }
    known = {*DECODER_SIZES, "hidden_act", "hidden_activation", "tie_word_embeddings"}
    known |= {"rope_theta", "rope_scaling", "rope_parameters"}
    return fields, known, wrong + rope_wrong


def _read_rope(given: Mapping[str, Any]) -> tuple[float, RopeScaling | None, list[str]]:
    """Base, scaling, and lines on what is wrong; of the old form, the new one, or their mixture."""
    rope: dict[str, Any] = {"rope_theta": given.get("rope_theta")}
    rope |= dict(given.get("rope_scaling") or {}) | dict(given.get("rope_parameters") or {})
    theta = float(rope.pop("rope_theta") or 10_000.0)
    kind = rope.pop("rope_type", None) or rope.pop("type", None) or "default"
    rope.pop("type", None)
    wrong = []
    if rope.pop("partial_rotary_factor", None) not in (None, 1, 1.0):
        wrong.append("partial_rotary_factor is set; expected 1.0")
    names = {"factor": "factor"}
    if kind == "llama3":
        names |= {"low_freq_factor": "low_freq_factor", "high_freq_factor": "high_freq_factor"}
        names |= {"original_max_position_embeddings": "original_max_length"}
    if kind == "default":
        return theta, None, wrong
    if kind not in ("linear", "llama3"):
        return theta, None, [*wrong, f"rope_type={kind!r}; expected default, linear or llama3"]
    missing = [name for name in names if name not in rope]
    if missing:
        return theta, None, [*wrong, f"rope scaling {kind} lacks {', '.join(missing)}"]
    return theta, RopeScaling(kind=kind, **{ours: rope[n] for n, ours in names.items()}), wrong

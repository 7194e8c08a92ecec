"""`config.json` and `generation_config.json` of an export: what a `TransformerConfig` says there.

Tied outputs that are divided by sqrt(d_model) are a `t5` there, for the mT5 class of transformers 5
does not divide; the keys are those of transformers 4, which version 5 reads as well.
"""

import json
import pathlib
from collections.abc import Mapping
from typing import Any

from xlingual.checkpointing.huggingface_config import (
    ARCHITECTURES,
    DECODER_SIZES,
    FAMILIES,
    START_TOKEN,
    T5_SIZES,
)
from xlingual.errors import ConfigError
from xlingual.models.config import TransformerConfig

_ROPE_NAMES = {
    "low_freq_factor": "low_freq_factor",
    "high_freq_factor": "high_freq_factor",
    "original_max_length": "original_max_position_embeddings",
}

_ENCODER_DECODER = {"position_encoding": "relative", "qk_norm": False, "scale_scores": False}
_DECODER = {"position_encoding": "rotary", "prefix_attention": False, "scale_scores": True}
_SWITCHES: Mapping[str, Mapping[str, Any]] = {
    "mt5": _ENCODER_DECODER | {"per_layer_relpos": False, "scale_embeddings": False},
    "t5": _ENCODER_DECODER | {"per_layer_relpos": False, "scale_embeddings": False},
    "umt5": _ENCODER_DECODER | {"per_layer_relpos": True, "scale_embeddings": False},
    "llama": _DECODER | {"qk_norm": False, "scale_embeddings": False, "mlp_activation": "silu"},
    "qwen3": _DECODER | {"qk_norm": True, "scale_embeddings": False, "mlp_activation": "silu"},
    "gemma": _DECODER | {"qk_norm": False, "scale_embeddings": True, "mlp_activation": "gelu"},
}
"""`model_type` -> what our configuration must say; in the order of preference."""


def choose_model_type(
    family: str, config: TransformerConfig, *, wished: str | None = None, only: str | None = None
) -> str:
    """Returns the `model_type` that computes what a model computes.

    Args:
      family: of the model.
      config: of the model.
      wished: what is taken if it can be; None for any.
      only: what must be taken; None for any.

    Raises:
      ConfigError: no type can, with what each lacks.
    """
    for name in (wished, only):
        if name not in (None, *ARCHITECTURES):
            raise ConfigError(f"model_type={name!r}; expected one of {', '.join(ARCHITECTURES)}")
    names = [only] if only else list(dict.fromkeys([*([wished] if wished else []), *_SWITCHES]))
    reasons = {name: _obstacles(name, family, config) for name in names}
    for name, lines in reasons.items():
        if not lines:
            return name
    shown = {n: lines for n, lines in reasons.items() if FAMILIES[n] == family} or reasons
    raise ConfigError(
        f"no architecture of the Hugging Face layout computes what this {family} does:\n"
        + "\n".join(f"  {name}: {'; '.join(lines)}" for name, lines in shown.items())
    )


def writes_output_copy(config: TransformerConfig) -> bool:
    """Whether a tied output layer must be written beside the embedding.

    A tied encoder-decoder whose logits are not scaled is an untied one to `transformers`.
    """
    unscaled = config.logits_via_embedding and not config.scale_tied_logits
    return unscaled and config.position_encoding == "relative"


def scales_output(model_type: str, config: TransformerConfig, transformers: int) -> bool:
    """Whether an output layer must be multiplied by sqrt(d_model) for what its reader does.

    The umT5 class of transformers 5 divides the states by sqrt(d_model), tied or not; that of
    version 4, for which the public umT5 checkpoints were written, only when they are tied.
    """
    return model_type == "umt5" and not config.logits_via_embedding and transformers == 5


def _obstacles(model_type: str, family: str, config: TransformerConfig) -> list[str]:
    """What keeps a type from representing a model."""
    if FAMILIES[model_type] != family:
        return [f"family={family}; expected {FAMILIES[model_type]}"]
    expected = dict(_SWITCHES[model_type])
    if family == "encoder_decoder":
        expected["kv_heads"] = config.num_heads
    elif config.logits_via_embedding:
        expected["scale_tied_logits"] = False
    if model_type == "mt5":
        expected["logits_via_embedding"] = False
    if model_type == "umt5" and config.logits_via_embedding:
        expected["scale_tied_logits"] = True
    return [
        f"{name}={getattr(config, name)!r}; expected {value!r}"
        for name, value in expected.items()
        if getattr(config, name) != value
    ]


def to_huggingface(
    model_type: str,
    config: TransformerConfig,
    *,
    dtype: str,
    transformers: int,
    token_ids: Mapping[str, Any],
    max_length: int | None = None,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns the contents of `config.json` and `generation_config.json`.

    Args:
      model_type: from `choose_model_type`.
      config: of the model.
      dtype: of the tensors.
      transformers: major version that shall read them.
      token_ids: `bos_token_id` and its like; those that are missing take the defaults of SeqIO's
        vocabularies: padding 0 and EOS 1. What starts a sequence is told by `config`.
      max_length: `max_position_embeddings` of a decoder; None to leave it open.
    """
    encoder_decoder = FAMILIES[model_type] == "encoder_decoder"
    table = T5_SIZES if encoder_decoder else DECODER_SIZES
    start = START_TOKEN[FAMILIES[model_type]]
    ids = {"pad_token_id": 0, "eos_token_id": 1, **token_ids, start: config.start_token_id}
    settings: dict[str, Any] = {
        "architectures": [ARCHITECTURES[model_type]],
        "model_type": model_type,
        "is_encoder_decoder": encoder_decoder,
        **{theirs: getattr(config, ours) for theirs, ours in table.items()},
        **ids,
        "torch_dtype": dtype,
        "use_cache": True,
    }
    if encoder_decoder:
        settings["feed_forward_proj"] = f"gated-{config.mlp_activation}"
        tied = config.logits_via_embedding and config.scale_tied_logits
        scaled = scales_output(model_type, config, transformers)
        settings["tie_word_embeddings"] = tied or scaled
    else:
        settings |= _decoder_settings(config, max_length)
    return dict(sorted(settings.items())), dict(sorted(ids.items()))


def _decoder_settings(config: TransformerConfig, max_length: int | None) -> dict[str, Any]:
    silu = config.mlp_activation == "silu"
    settings: dict[str, Any] = {
        "hidden_act": "silu" if silu else "gelu_pytorch_tanh",
        "num_key_value_heads": config.num_kv_heads or config.num_heads,
        "tie_word_embeddings": config.logits_via_embedding,
        "rope_theta": config.rope_theta,
        "attention_bias": False,
        "attention_dropout": 0.0,
    }
    if config.rope_scaling is not None:
        scaling = config.rope_scaling
        rope: dict[str, Any] = {"rope_type": scaling.kind, "factor": scaling.factor}
        if scaling.kind == "llama3":
            rope |= {theirs: getattr(scaling, ours) for ours, theirs in _ROPE_NAMES.items()}
        settings["rope_scaling"] = rope
    if max_length is not None:
        settings["max_position_embeddings"] = max_length
    return settings


def write_json(path: pathlib.Path, content: Mapping[str, Any]) -> None:
    """Writes a JSON file whole."""
    unfinished = path.with_name(f"{path.name}.partial")
    unfinished.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", "utf-8")
    unfinished.rename(path)

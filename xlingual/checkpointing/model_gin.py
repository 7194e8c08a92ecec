"""The gin file of an imported model: its architecture, with every macro set."""

import dataclasses
from typing import Any

from xlingual.models.config import TransformerConfig

_COMMON = {
    "vocab_size": "VOCAB_SIZE",
    "d_model": "D_MODEL",
    "d_ff": "D_FF",
    "d_kv": "D_KV",
    "num_heads": "NUM_HEADS",
    "num_decoder_layers": "NUM_DECODER_LAYERS",
    "dropout_rate": "DROPOUT_RATE",
    "dtype": "ACTIVATION_DTYPE",
    "logits_via_embedding": "LOGITS_VIA_EMBEDDING",
    "per_layer_relpos": "PER_LAYER_RELPOS",
    "start_token_id": "START_TOKEN_ID",
    "scan_layers": "SCAN_LAYERS",
    "remat": "REMAT",
}
MACROS = {
    "encoder_decoder": _COMMON | {"num_encoder_layers": "NUM_ENCODER_LAYERS"},
    "decoder_only": _COMMON
    | {
        name: name.upper()
        for name in (
            "prefix_attention",
            "position_encoding",
            "rope_theta",
            "rope_scaling",
            "num_kv_heads",
            "mlp_activation",
            "qk_norm",
            "norm_epsilon",
            "scale_scores",
            "scale_embeddings",
            "scale_tied_logits",
        )
    },
}
"""Family -> field of `TransformerConfig` -> macro of its `architecture.gin`."""

_HEADER = """\
# The {family} model of the weights beside this file, imported from {source}.
#
# Gives: MODEL, FEATURE_CONVERTER. Nothing must be set. May be set: DROPOUT_RATE, ACTIVATION_DTYPE,
# REMAT, and what else gin/models/{family}/architecture.gin lists that changes no parameter.
from __gin__ import dynamic_registration

from xlingual.layers import rotary
from xlingual.models import config as model_config

include 'gin/models/{family}/architecture.gin'
"""


def model_gin(family: str, config: TransformerConfig, *, source: str) -> str:
    """Returns the text of `model.gin`.

    Args:
      family: of the model.
      config: of the model.
      source: what the header calls the origin.
    """
    lines, bindings = [], []
    macros = MACROS[family]
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        shown = "@rotary.RopeScaling()" if field.name == "rope_scaling" and value else repr(value)
        if field.name in macros:
            lines.append(f"{macros[field.name]} = {shown}")
        elif value != _in_architecture(field):
            bindings.append(f"model_config.TransformerConfig.{field.name} = {shown}")
    if config.rope_scaling is not None:
        scaling = dataclasses.asdict(config.rope_scaling)
        bindings += [f"rotary.RopeScaling.{name} = {value!r}" for name, value in scaling.items()]
    header = _HEADER.format(family=family, source=source)
    return "\n".join([header, *lines, *([""] if bindings else []), *bindings]) + "\n"


def _in_architecture(field: dataclasses.Field[Any]) -> Any:
    """What a field is that has no macro: its default, or 0 layers of an encoder."""
    return 0 if field.default is dataclasses.MISSING else field.default

"""The parameters that a configuration asks for: names, shapes and shardings, before any array."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from xlingual.errors import ConfigError
from xlingual.layers.rotary import RopeScaling
from xlingual.models.base import Model
from xlingual.models.config import TransformerConfig
from xlingual.models.decoder_only import DecoderOnly
from xlingual.models.encoder_decoder import EncoderDecoder
from xlingual.partitioning.partitioner import Partitioner
from xlingual.partitioning.specs import split_boxes
from xlingual.types import PyTree

_MODELS: dict[str, type[EncoderDecoder] | type[DecoderOnly]] = {
    model.family: model for model in (EncoderDecoder, DecoderOnly)
}


def make_model(family: str, config: TransformerConfig) -> Model:
    """Returns the model of a family.

    Raises:
      ConfigError: the family is unknown.
    """
    if family not in _MODELS:
        raise ConfigError(f"family={family!r}; expected one of {', '.join(_MODELS)}")
    return _MODELS[family](config)


def read_config(fields: Mapping[str, Any]) -> TransformerConfig:
    """Returns the configuration whose fields were written as JSON (`WeightsInfo.config`)."""
    given = dict(fields)
    if given.get("rope_scaling") is not None:
        given["rope_scaling"] = RopeScaling(**given["rope_scaling"])
    return TransformerConfig(**given)


def param_shapes(model: Model, partitioner: Partitioner, dtype: str = "float32") -> PyTree:
    """Returns the parameter tree of a model, as `jax.ShapeDtypeStruct` with shardings.

    Args:
      model: the model.
      partitioner: mesh and rules that cut the parameters.
      dtype: of the parameters.

    Raises:
      ConfigError: a dimension of a large array does not divide over the mesh.
    """
    batch = {n: jax.ShapeDtypeStruct((1, 1), jnp.int32) for n in model.requires_features}
    boxed = jax.eval_shape(lambda: model.init(jax.random.key(0), batch))
    shapes, axes = split_boxes(boxed)
    return jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(
            leaf.shape, jnp.dtype(dtype), sharding=sharding
        ),
        shapes,
        partitioner.shardings(axes, shapes),
    )

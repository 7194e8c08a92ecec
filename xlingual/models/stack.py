"""Layers on top of each other: scanned or unrolled, with or without rematerialisation.

The axis `layers` is made here and nowhere else: axis 0 of every parameter of a scanned stack.

References:
  Chen et al., 2016, "Training Deep Nets with Sublinear Memory Cost", arXiv:1604.06174 (remat).
"""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax

from xlingual.models.blocks import BlockCache, BlockContext, BlockEntries
from xlingual.models.config import TransformerConfig
from xlingual.types import Array

LAYERS_AXIS = "layers"

_POLICIES = {
    "minimal": jax.checkpoint_policies.checkpoint_dots_with_no_batch_dims,
    "full": jax.checkpoint_policies.nothing_saveable,
}


def make_layers(
    block: type[nn.Module], config: TransformerConfig, num_layers: int
) -> nn.Module | Sequence[nn.Module]:
    """Returns the layers of a stack; assign them to `self.layers` in a module's `setup`.

    Args:
      block: module class called as `block(config)(x, context, cache)`.
      config: sizes and switches, `scan_layers` and `remat` among them.
      num_layers: number of layers.

    Returns:
      One scanned module whose parameters have axis 0 `layers`, or a list of modules.
    """
    if config.remat != "none":
        block = nn.remat(block, policy=_POLICIES[config.remat], prevent_cse=not config.scan_layers)
    if not config.scan_layers:
        return [block(config) for _ in range(num_layers)]
    scanned = nn.scan(
        block,
        variable_axes={"params": 0},
        split_rngs={"params": True, "dropout": True},
        in_axes=(nn.broadcast, 0),
        length=num_layers,
        metadata_params={nn.PARTITION_NAME: LAYERS_AXIS},
    )
    return scanned(config)


def run_layers(
    layers: nn.Module | Sequence[nn.Module],
    x: Array,
    context: BlockContext,
    cache: BlockCache | None = None,
) -> tuple[Array, BlockEntries | None]:
    """Returns the output of the last layer and what every layer keeps for decoding.

    Args:
      layers: from `make_layers`.
      x: [batch, length, embed] activations.
      context: read by every layer.
      cache: None, or a cache whose arrays have the axis `layers` in front.

    Returns:
      [batch, length, embed] activations; and None, or the new entries with `layers` in front.
    """
    if isinstance(layers, nn.Module):
        return layers(x, context, cache)
    kept: list[Any] = []
    for index, layer in enumerate(layers):
        x, entry = layer(x, context, jax.tree.map(lambda leaf, i=index: leaf[i], cache))
        kept.append(entry)
    return x, jax.tree.map(lambda *entries: jax.numpy.stack(entries), *kept)

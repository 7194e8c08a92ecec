"""Layers on top of each other: scanned or unrolled, with or without rematerialisation.

The axis `layers` is made here and nowhere else: axis 0 of every parameter of a scanned stack.

References:
  Chen et al., 2016, "Training Deep Nets with Sublinear Memory Cost", arXiv:1604.06174 (remat).
"""

from collections.abc import Sequence

import flax.linen as nn
import jax

from xlingual.models.blocks import BlockContext, LayerCaches
from xlingual.models.config import TransformerConfig
from xlingual.types import Array, PyTree

LAYERS_AXIS = "layers"

_POLICIES = {
    "minimal": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
    "dots": jax.checkpoint_policies.dots_saveable,
    "full": jax.checkpoint_policies.nothing_saveable,
    "offload": jax.checkpoint_policies.offload_dot_with_no_batch_dims("device", "pinned_host"),
}
"""Name in `TransformerConfig.remat` -> what a layer saves for its gradient."""


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
    cache: LayerCaches | None = None,
) -> tuple[Array, LayerCaches | None]:
    """Returns the output of the last layer and what every layer keeps for decoding.

    Args:
      layers: from `make_layers`.
      x: [batch, length, embed] activations.
      context: read by every layer.
      cache: None, or the caches of the layers: of a scanned stack one with `layers` in front, else
        one a layer, so that each is written in place.

    Returns:
      [batch, length, embed] activations; and None, or the caches after.
    """
    if isinstance(layers, nn.Module):
        return layers(x, context, cache)
    if cache is None:
        for layer in layers:
            x, _ = layer(x, context, None)
        return x, None
    if not isinstance(cache, tuple):
        raise TypeError("a stack that is not scanned needs one cache a layer")
    kept = []
    for layer, own in zip(layers, cache, strict=True):
        x, entry = layer(x, context, own)
        kept.append(entry)
    return x, tuple(kept)


def states_of_layers(
    layers: nn.Module | Sequence[nn.Module], x: Array, context: BlockContext
) -> list[Array]:
    """Returns the input of a stack that is not scanned and the output of each of its layers.

    Args:
      layers: from `make_layers`.
      x: [batch, length, embed] activations.
      context: read by every layer.
    """
    if isinstance(layers, nn.Module):
        raise TypeError("the states between the layers of a scanned stack are not to be had")
    states = [x]
    for layer in layers:
        states.append(layer(states[-1], context, None)[0])
    return states


def unstack_layers(params: PyTree, num_layers: int) -> PyTree:
    """Returns the parameters of a scanned stack as those of the same stack without a scan.

    Args:
      params: parameters of a stack, `layers` with axis 0; one that is not scanned stays as it is.
      num_layers: size of that axis.
    """
    if LAYERS_AXIS not in params:
        return params
    rest = {name: value for name, value in params.items() if name != LAYERS_AXIS}
    layers = {
        f"{LAYERS_AXIS}_{i}": jax.tree.map(lambda leaf, i=i: leaf[i], params[LAYERS_AXIS])
        for i in range(num_layers)
    }
    return {**rest, **layers}

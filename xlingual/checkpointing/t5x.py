"""T5X checkpoints, the format in which the weights of T5 v1.1, mT5, umT5 and ByT5 were published.

A checkpoint is a folder with a msgpack file `checkpoint` (flax.serialization; `version`, and the
train state under `optimizer`, whose `target` holds the parameters) and one zarr array a large
parameter, in a folder called like `target.decoder.layers_0.mlp.wo.kernel`. In place of such an
array the msgpack file has its TensorStore spec, with a path relative to the folder and perhaps the
driver of the file system where it was written; small arrays are in the msgpack file itself.

Names are those of T5X's `examples/t5/network.py`, which ours follow: layers `layers_N`, attention
kernels [embed, heads * kv], relative positions [heads, buckets]. The scalable variants, umT5 among
them, scan: `decoder/decoder/...` or `decoder/layers/...` with the layers stacked on axis 1, and
kernels of attention may keep heads and kv apart ([embed, layers, heads, kv]; out is [heads, layers,
kv, embed]). Sizes are read off the shapes: a checkpoint has no configuration.

Sources: google-research/t5x, `t5x/checkpoints.py` (format, version 3, and the paths of arrays);
huggingface/transformers, `models/umt5/convert_umt5_checkpoint_to_pytorch.py` (axes when scanned).
"""

import dataclasses
import functools
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tensorstore
from flax import serialization

from xlingual.checkpointing.huggingface import ForeignCheckpoint
from xlingual.checkpointing.mapping import Index, Rule
from xlingual.errors import ConfigError
from xlingual.models.config import TransformerConfig

LAYER_AXIS = 1
"""Axis of the layers in a scanned variant."""

_BLOCKS = {
    "encoder": ("pre_attention_layer_norm/scale", "pre_mlp_layer_norm/scale"),
    "decoder": (
        "pre_self_attention_layer_norm/scale",
        "pre_cross_attention_layer_norm/scale",
        "pre_mlp_layer_norm/scale",
    ),
}
_ATTENTIONS = {
    "encoder": ("attention",),
    "decoder": ("self_attention", "encoder_decoder_attention"),
}


@dataclasses.dataclass(frozen=True)
class T5xFolder:
    """The parameters of a T5X checkpoint.

    Attributes:
      folder: with the file `checkpoint`.
    """

    folder: pathlib.Path

    @property
    def description(self) -> str:
        """Where the tensors are, for people."""
        return str(self.folder)

    @functools.cached_property
    def tensors(self) -> Mapping[str, jax.ShapeDtypeStruct]:
        """Path of a parameter -> shape and dtype."""
        return {
            name: jax.ShapeDtypeStruct(tuple(leaf.shape), jnp.dtype(_dtype_name(leaf)))
            for name, leaf in self._leaves.items()
        }

    def read(self, name: str, index: Index) -> np.ndarray:
        """Returns a part of a parameter."""
        leaf = self._leaves[name]
        return np.asarray(leaf[index].read().result() if _is_store(leaf) else leaf[index])

    @functools.cached_property
    def _leaves(self) -> Mapping[str, Any]:
        """Path of a parameter -> an array, or an open store of one."""
        path = self.folder / "checkpoint"
        try:
            content = serialization.msgpack_restore(path.read_bytes())
        except (OSError, ValueError) as error:
            raise ConfigError(f"{path} cannot be read as a T5X checkpoint: {error}") from error
        state = content.get("optimizer", content) if isinstance(content, Mapping) else {}
        if not isinstance(state.get("target"), Mapping):
            raise ConfigError(f"{path} has no parameters; expected them under optimizer/target")
        flat = dict(_flatten(state["target"]))
        missing = [
            _store_path(leaf)
            for leaf in flat.values()
            if isinstance(leaf, Mapping) and not (self.folder / _store_path(leaf)).is_dir()
        ]
        if missing:
            raise ConfigError(f"{self.folder} lacks the arrays {', '.join(sorted(missing))}")
        return {
            name: self._open(leaf) if isinstance(leaf, Mapping) else np.asarray(leaf)
            for name, leaf in flat.items()
        }

    def _open(self, spec: Mapping[str, Any]) -> tensorstore.TensorStore:
        """Opens an array where it is now, whatever file system it was written to."""
        path = str((self.folder / _store_path(spec)).absolute())
        local = {
            "driver": spec.get("driver", "zarr"),
            "kvstore": {"driver": "file", "path": path + "/"},
        }
        return tensorstore.open(local, open=True, read=True).result()


def open_t5x(folder: pathlib.Path) -> ForeignCheckpoint:
    """Returns the model of a T5X checkpoint.

    Args:
      folder: of one checkpoint, e.g. `checkpoint_1000000`.

    Raises:
      ConfigError: it is damaged, or no encoder-decoder of the T5 v1.1 kind.
    """
    source = T5xFolder(folder)
    prefixes = {stack: _find_prefix(source, stack) for stack in _BLOCKS}
    rules = tuple(_rules(source, prefixes))
    return ForeignCheckpoint(
        family="encoder_decoder", config=_config(source, prefixes), source=source, rules=rules
    )


def _find_prefix(source: T5xFolder, stack: str) -> str:
    """Where the layers of a stack are: `encoder/layers_{layer}` or a scanned folder."""
    kernel = "mlp/wi_0/kernel"
    if f"{stack}/layers_0/{kernel}" in source.tensors:
        return f"{stack}/layers_{{layer}}"
    for prefix in (f"{stack}/layers", f"{stack}/{stack}"):
        if f"{prefix}/{kernel}" in source.tensors:
            return prefix
    raise ConfigError(
        f"{source.description}: no layers of the {stack} with {kernel}; expected a T5 v1.1, mT5, "
        f"umT5 or ByT5 checkpoint (found, among others, {', '.join(sorted(source.tensors)[:5])})"
    )


def _rules(source: T5xFolder, prefixes: Mapping[str, str]) -> list[Rule]:
    rules = [
        Rule("token_embedder/embedding", "token_embedder/embedding"),
        Rule("decoder/logits_dense/kernel", "decoder/logits_dense/kernel"),
    ]
    for stack, prefix in prefixes.items():
        axis = None if "{layer}" in prefix else LAYER_AXIS
        layered = functools.partial(Rule, layer_axis=axis)
        relpos = "relpos_bias/rel_embedding"
        rules += [
            Rule(f"{stack}/{stack}_norm/scale", f"{stack}/{stack}_norm/scale"),
            Rule(f"{stack}/{relpos}", f"{stack}/{relpos}"),
            layered(f"{stack}/layers/{relpos}", f"{prefix}/{relpos}"),
            *(layered(f"{stack}/layers/{name}", f"{prefix}/{name}") for name in _BLOCKS[stack]),
        ]
        kernels = [f"mlp/{name}/kernel" for name in ("wi_0", "wi_1", "wo")]
        kernels += [
            f"{attention}/{name}/kernel"
            for attention in _ATTENTIONS[stack]
            for name in ("query", "key", "value", "out")
        ]
        for name in kernels:
            rank = len(_shape(source, f"{prefix}/{name}")) - (axis is not None)
            rules.append(layered(f"{stack}/layers/{name}", f"{prefix}/{name}", reshape=rank == 3))
    return rules


def _config(source: T5xFolder, prefixes: Mapping[str, str]) -> TransformerConfig:
    tensors = source.tensors
    vocab_size, d_model = _shape(source, "token_embedder/embedding")
    relpos = f"{prefixes['encoder']}/relpos_bias/rel_embedding"
    per_layer = relpos.format(layer=0) in tensors
    table = _shape(source, relpos if per_layer else "encoder/relpos_bias/rel_embedding")
    num_heads, num_buckets = table[0], table[-1]
    out = list(_shape(source, f"{prefixes['encoder']}/attention/out/kernel"))
    if "{layer}" not in prefixes["encoder"]:
        del out[LAYER_AXIS]
    return TransformerConfig(
        vocab_size=vocab_size,
        d_model=d_model,
        d_ff=_shape(source, f"{prefixes['encoder']}/mlp/wi_0/kernel")[-1],
        d_kv=int(np.prod(out[:-1])) // num_heads,
        num_heads=num_heads,
        num_encoder_layers=_num_layers(source, prefixes["encoder"]),
        num_decoder_layers=_num_layers(source, prefixes["decoder"]),
        logits_via_embedding="decoder/logits_dense/kernel" not in tensors,
        per_layer_relpos=per_layer,
        num_relpos_buckets=num_buckets,
    )


def _num_layers(source: T5xFolder, prefix: str) -> int:
    if "{layer}" not in prefix:
        return _shape(source, f"{prefix}/mlp/wi_0/kernel")[LAYER_AXIS]
    folder = prefix.partition("{layer}")[0]
    numbers = [n.removeprefix(folder).split("/")[0] for n in source.tensors if n.startswith(folder)]
    return 1 + max(int(number) for number in numbers)


def _shape(source: T5xFolder, name: str) -> tuple[int, ...]:
    name = name.format(layer=0)
    if name not in source.tensors:
        raise ConfigError(
            f"{source.description} lacks {name}; expected a model of the T5 v1.1 kind"
        )
    return source.tensors[name].shape


def _flatten(tree: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Pairs (path, leaf), where the spec of a store is a leaf."""
    flat: list[tuple[str, Any]] = []
    for name, value in tree.items():
        if isinstance(value, Mapping) and not {"driver", "kvstore"} <= value.keys():
            flat += _flatten(value, f"{prefix}{name}/")
        else:
            flat.append((f"{prefix}{name}", value))
    return flat


def _store_path(spec: Mapping[str, Any]) -> str:
    """Path of an array in the folder; before TensorStore 0.1.14 it was beside `kvstore`."""
    path = str(spec["kvstore"].get("path") or spec.get("path") or "")
    return path.strip("/").rpartition("/")[2]


def _is_store(leaf: Any) -> bool:
    return isinstance(leaf, tensorstore.TensorStore)


def _dtype_name(leaf: Any) -> str:
    return leaf.dtype.name

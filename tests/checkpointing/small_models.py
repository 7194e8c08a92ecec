"""Small models of ours with random parameters, in and out of the Hugging Face layout."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from xlingual.checkpointing import weights
from xlingual.checkpointing.huggingface import open_huggingface
from xlingual.checkpointing.huggingface_export import ExportOptions, export_huggingface
from xlingual.checkpointing.layout import make_model, param_shapes, read_config
from xlingual.checkpointing.manager import describe_arrays
from xlingual.checkpointing.mapping import flatten, read_params, unflatten
from xlingual.losses.cross_entropy import CrossEntropy
from xlingual.models.config import TransformerConfig
from xlingual.outputs import ModelOutputs
from xlingual.partitioning.partitioner import Partitioner
from xlingual.partitioning.rules import data_parallel, fsdp

V, D, LAYERS, LENGTH = 96, 32, 2, 24

CONFIG = TransformerConfig(
    vocab_size=V,
    d_model=D,
    d_ff=48,
    d_kv=8,
    num_heads=4,
    num_encoder_layers=LAYERS,
    num_decoder_layers=LAYERS,
    dtype="float32",
)
"""An mT5."""


def partitioner(num_devices=1):
    rules = data_parallel() if num_devices == 1 else fsdp()
    sizes = dict(data=1, fsdp=num_devices, tensor=1)
    return Partitioner(rules=rules, **sizes, devices=tuple(jax.devices()[:num_devices]))


def load_ours(folder, *, num_devices=1, scan_layers=True):
    """Our model (activations in float32) and its parameters, of a foreign folder."""
    checkpoint = open_huggingface(folder)
    config = dataclasses.replace(checkpoint.config, dtype="float32", scan_layers=scan_layers)
    model = make_model(checkpoint.family, config)
    shapes = param_shapes(model, partitioner(num_devices))
    return model, read_params(shapes, checkpoint.rules, checkpoint.source, checkpoint.ignored)


def export_ours(model, params, folder, *, details=None, **options):
    """Writes our model in the Hugging Face layout."""
    info = weights.WeightsInfo(
        family=model.family,
        config=dataclasses.asdict(model.config),
        source="a test",
        arrays=describe_arrays(params),
        details=details or {},
    )
    assert read_config(info.config) == model.config
    flat = flatten(params)
    export_huggingface(
        folder,
        info,
        lambda path: np.asarray(flat[path]),
        identity={},
        options=ExportOptions(**options),
        say=lambda line: None,
    )


def make_batch(family, *, packed):
    """Two rows: padded, or two examples each."""
    rng = np.random.default_rng(0)

    def row(lengths):
        tokens = np.zeros((2, LENGTH), np.int32)
        segments, positions = np.zeros_like(tokens), np.zeros_like(tokens)
        for r, sizes in enumerate(lengths):
            at = 0
            for number, size in enumerate(sizes, start=1):
                tokens[r, at : at + size] = rng.integers(2, V, size)
                segments[r, at : at + size] = number
                positions[r, at : at + size] = np.arange(size)
                at += size
        return tokens, segments, positions

    lengths = [[9, 11], [14, 6]] if packed else [[24], [15]]
    targets, target_segments, target_positions = row(lengths)
    inputs = np.pad(targets, ((0, 0), (1, 0)))[:, :-1]
    batch = {
        "decoder_target_tokens": targets,
        "decoder_input_tokens": np.where(target_positions == 0, 0, inputs),
        "decoder_segment_ids": target_segments,
        "decoder_positions": target_positions,
        "decoder_loss_weights": (target_segments > 0).astype(np.float32),
    }
    if family == "encoder_decoder":
        source = row([[7, 12], [10, 9]] if packed else [[24], [13]])
        names = ("encoder_input_tokens", "encoder_segment_ids", "encoder_positions")
        batch |= dict(zip(names, source, strict=True))
    return batch


@functools.cache
def _compiled(model):
    """The forward pass, compiled once for all tests of an equal model."""
    return jax.jit(lambda params, batch: model.apply(params, batch).logits)


def our_logits(model, params, batch):
    return np.asarray(_compiled(model)(params, batch))


def random_params(model):
    """Parameters of ours; norms near 1, the rest of the size that keeps activations near 1."""
    rng = np.random.default_rng(1)
    params = {}
    for path, leaf in flatten(param_shapes(model, partitioner())).items():
        values = rng.normal(size=leaf.shape).astype(np.float32)
        if path.endswith("scale"):
            values = 1 + 0.3 * values
        elif path.endswith("kernel"):
            values = values / np.sqrt(np.float32(leaf.shape[-2]))
        params[path] = jax.device_put(values, leaf.sharding)
    return unflatten(params)


def our_loss(logits, batch):
    """Mean cross-entropy over the tokens that are there."""
    loss = CrossEntropy(z_loss=0.0)
    batch = jax.tree.map(jnp.asarray, batch)
    total = loss(ModelOutputs(logits=jnp.asarray(logits), hidden={}), batch).total
    return float(total / loss.normalizer(batch))


def build(model, converter):
    """Returns the model that gin made; bound by a test."""
    del converter
    return model

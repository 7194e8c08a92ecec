"""A job small enough to compile in seconds."""

import jax
import jax.numpy as jnp

from xlingual.compilation.job import Job
from xlingual.losses.cross_entropy import CrossEntropy
from xlingual.models.config import TransformerConfig
from xlingual.models.decoder_only import DecoderOnly
from xlingual.models.encoder_decoder import EncoderDecoder
from xlingual.optimizers.adafactor import Adafactor
from xlingual.partitioning import rules
from xlingual.partitioning.partitioner import Partitioner

FAMILIES = {"encoder_decoder": EncoderDecoder, "decoder_only": DecoderOnly}


def make_job(
    family="decoder_only",
    *,
    rows=16,
    table="fsdp",
    layers=2,
    wide=1,
    lengths=(40, 24),
    attention="auto",
    **mesh,
):
    """A job with axes `mesh` and widths times `wide`; lengths of encoder and decoder."""
    has_encoder = family == "encoder_decoder"
    model = FAMILIES[family](
        TransformerConfig(
            vocab_size=256,
            d_model=32 * wide,
            d_ff=64 * wide,
            d_kv=8 * wide,
            num_heads=4,
            num_encoder_layers=layers if has_encoder else 0,
            num_decoder_layers=layers,
            dtype="float32",
            attention=attention,
        )
    )
    names = ["input_tokens", "target_tokens", "segment_ids", "positions", "task_ids"]
    spec = {f"decoder_{name}": _integers(rows, lengths[1]) for name in names}
    spec["decoder_loss_weights"] = jax.ShapeDtypeStruct((rows, lengths[1]), jnp.float32)
    if has_encoder:
        for name in ("input_tokens", "segment_ids", "positions"):
            spec[f"encoder_{name}"] = _integers(rows, lengths[0])
    return Job(
        model=model,
        losses={"cross_entropy": CrossEntropy()},
        optimizer=Adafactor(),
        partitioner=Partitioner(rules=getattr(rules, table)(), **mesh),
        spec=spec,
        num_tasks=2,
        decode_lengths=(16, 8),
    )


def _integers(rows, length):
    return jax.ShapeDtypeStruct((rows, length), jnp.int32)

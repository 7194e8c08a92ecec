"""A data source made of numpy noise, and tiny runs of both families."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from xlingual.data.base import TaskInfo
from xlingual.losses.cross_entropy import CrossEntropy
from xlingual.models.config import TransformerConfig
from xlingual.models.decoder_only import DecoderOnly
from xlingual.models.encoder_decoder import EncoderDecoder
from xlingual.models.flops import Flops
from xlingual.optimizers.adafactor import Adafactor
from xlingual.optimizers.schedules import constant
from xlingual.outputs import ModelOutputs, Readout
from xlingual.partitioning import rules
from xlingual.partitioning.partitioner import Partitioner

TASKS = (
    TaskInfo(name="noise_en", objective="span", tgt_lang="en", share=0.5, examples_per_epoch=10.0),
    TaskInfo(name="en_de", objective="translation", src_lang="en", tgt_lang="de", share=0.25),
    TaskInfo(name="de_en", objective="translation", src_lang="de", tgt_lang="en", share=0.25),
)
VOCAB_SIZE = 61
FAMILIES = ("encoder_decoder", "decoder_only")


class FakeIterator:
    """Batches from (seed, number of the batch); the position is that number."""

    def __init__(self, source, rows=None):
        self.source = source
        self.rows = slice(None) if rows is None else rows
        self.number = 0

    def __next__(self):
        if self.source.num_batches is not None and self.number >= self.source.num_batches:
            raise StopIteration
        self.number += 1
        batch = make_batch(self.source, self.number - 1)
        return {name: values[self.rows] for name, values in batch.items()}

    def state(self):
        return str(self.number).encode()

    def restore(self, state):
        self.number = int(state)


@dataclasses.dataclass(frozen=True, kw_only=True)
class FakeSource:
    """Two packed examples and some padding a row."""

    family: str = "encoder_decoder"
    batch_size: int = 8
    inputs_length: int = 12
    targets_length: int = 10
    seed: int = 0
    tasks: tuple[TaskInfo, ...] = TASKS
    vocab_size: int = VOCAB_SIZE
    vocabulary: str = "a" * 8
    mixture: str = "noise"
    num_batches: int | None = None

    @property
    def spec(self):
        return {
            name: jax.ShapeDtypeStruct(rows.shape, rows.dtype)
            for name, rows in make_batch(self, 0).items()
        }

    def fingerprint(self):
        return {
            "vocabulary": self.vocabulary,
            "mixture": self.mixture,
            "task_feature_lengths": {"inputs": self.inputs_length, "targets": self.targets_length},
            "batch_size": self.batch_size,
        }

    def iterator(self, rows=None):
        return FakeIterator(self, rows)

    def declared_shares(self, steps):
        del steps
        return {task.name: task.share for task in self.tasks}


def make_batch(source, number):
    """Returns the batch `number` of `source`; weights are 0, 0.5 or 1."""
    rng = np.random.default_rng([source.seed, number])
    batch = _stack(rng, source, "decoder", source.targets_length)
    shape = batch["decoder_segment_ids"].shape
    segments, positions = batch["decoder_segment_ids"], batch["decoder_positions"]
    real = segments > 0
    tasks = rng.integers(1, len(source.tasks) + 1, (shape[0], 3))
    batch["decoder_task_ids"] = np.where(
        real, np.take_along_axis(tasks, segments, axis=1), 0
    ).astype(np.int32)
    batch["decoder_target_tokens"] = _tokens(rng, source, real)
    batch["decoder_loss_weights"] = np.where(
        real, rng.choice([0.0, 0.5, 1.0], shape, p=[0.2, 0.2, 0.6]), 0.0
    ).astype(np.float32)
    if source.family != "decoder_only":
        batch |= _stack(rng, source, "encoder", source.inputs_length)
    else:
        batch["decoder_causal_attention"] = (real & (positions < 2)).astype(np.int32)
    return batch


def _stack(rng, source, stack, length):
    first = rng.integers(2, length // 2, (source.batch_size, 1))
    second = rng.integers(length // 2 + 1, length + 1, (source.batch_size, 1))
    columns = np.arange(length)[None, :]
    segments = np.where(columns < first, 1, np.where(columns < second, 2, 0)).astype(np.int32)
    positions = np.where(columns < first, columns, columns - first) * (segments > 0)
    return {
        f"{stack}_input_tokens": _tokens(rng, source, segments > 0),
        f"{stack}_segment_ids": segments,
        f"{stack}_positions": positions.astype(np.int32),
    }


def _tokens(rng, source, real):
    tokens = rng.integers(2, source.vocab_size, real.shape)
    return np.where(real, tokens, 0).astype(np.int32)


def make_model(family="encoder_decoder", **changes):
    """Returns a tiny model of a family."""
    sizes = {
        "vocab_size": 64,
        "d_model": 16,
        "d_ff": 32,
        "d_kv": 8,
        "num_heads": 2,
        "num_encoder_layers": 2 if family == "encoder_decoder" else 0,
        "num_decoder_layers": 2,
        "dtype": "float32",
        "dropout_rate": 0.1,
    }
    config = TransformerConfig(**(sizes | changes))
    return EncoderDecoder(config) if family == "encoder_decoder" else DecoderOnly(config)


@dataclasses.dataclass(frozen=True)
class FakeModel:
    """Predicts a target from the token before it: compiles in a moment, has dropout."""

    width: int = 16
    vocab_size: int = 64
    dropout_rate: float = 0.1
    family = "fake"
    requires_features = ("decoder_input_tokens",)

    def init(self, key, batch):
        del batch
        keys = jax.random.split(key)
        shapes = {"embedding": (self.vocab_size, self.width), "kernel": (self.width, 64)}
        axes = {"embedding": ("vocab", "embed"), "kernel": ("embed", "vocab")}
        return {
            name: nn.LogicallyPartitioned(jax.random.normal(one, shapes[name]), axes[name])
            for name, one in zip(shapes, keys, strict=True)
        }

    def apply(self, params, batch, *, dropout_key=None):
        states = params["embedding"][batch["decoder_input_tokens"]]
        if dropout_key is not None and self.dropout_rate:
            kept = jax.random.bernoulli(dropout_key, 1 - self.dropout_rate, states.shape)
            states = jnp.where(kept, states / (1 - self.dropout_rate), 0.0)
        return ModelOutputs(
            logits=states @ params["kernel"],
            hidden={"decoder": states},
            readout=Readout(states=states, table=params["kernel"]),
        )

    def train_flops(self, tokens):
        head = 6.0 * self.width * self.vocab_size * tokens.decoder
        return Flops(encoder=0.0, decoder_self=0.0, cross=0.0, decoder_mlp=0.0, head=head)


def make_arguments(model_dir, model=None, **changes):
    """Returns the arguments of a tiny run of `loop.train`; the fake model unless told."""
    model = model or FakeModel()
    arguments = {
        "model_dir": str(model_dir),
        "model": model,
        "source": FakeSource(family=model.family),
        "losses": {"cross_entropy": CrossEntropy()},
        "optimizer": Adafactor(learning_rate=constant(0.01), min_factored_size=16),
        "partitioner": Partitioner(rules=rules.data_parallel()),
        "train_steps": 4,
        "log_period_steps": 2,
    }
    return arguments | changes


def make_partitioner(num_devices=8, **sizes):
    """Returns a partitioner of the first devices; fully sharded where `fsdp` is given."""
    table = rules.fsdp() if "fsdp" in sizes else rules.data_parallel()
    return Partitioner(rules=table, devices=tuple(jax.devices()[:num_devices]), **sizes)

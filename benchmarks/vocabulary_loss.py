"""The loss over a large vocabulary: in blocks, beside stored logits, in one run.

Loss and gradients alone, and the whole training step of mT5-small; seconds of both alternate, so
that what else the machine does falls on both alike. Memory is the compiler's own count, of the
measured programs and of the loss at [8, 1024] x 512, which is compiled but not run. Needs neither
TensorFlow nor data. The last line of the output is one JSON object.

    python benchmarks/vocabulary_loss.py --steps 6
    python benchmarks/vocabulary_loss.py --dtype bfloat16 --batch_size 64   # on an accelerator

References:
  Xue et al., 2021, "mT5", NAACL, table 1 (sizes).
"""

import argparse
import dataclasses
import json
import os
import pathlib
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

if not __package__:  # run as a script: the folder above is not on the path yet
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from xlingual.cli.main import restart_with_huge_pages
from xlingual.errors import ConfigError
from xlingual.losses.base import Loss
from xlingual.losses.blockwise_cross_entropy import BlockwiseCrossEntropy
from xlingual.losses.cross_entropy import CrossEntropy
from xlingual.models.config import TransformerConfig
from xlingual.models.encoder_decoder import EncoderDecoder
from xlingual.optimizers.adafactor import Adafactor
from xlingual.optimizers.schedules import constant
from xlingual.outputs import ModelOutputs, Readout
from xlingual.partitioning import rules
from xlingual.partitioning.partitioner import Partitioner
from xlingual.training.programs import TrainProgram
from xlingual.training.state import make_state, plan_state

SIZES = {
    "small": {"d_model": 512, "d_ff": 1024, "d_kv": 64, "num_heads": 6, "layers": 8},
    "tiny": {"d_model": 16, "d_ff": 32, "d_kv": 8, "num_heads": 2, "layers": 1},
}
LARGE = (8, 1024, 512)
"""Rows, positions and width at which memory is compared."""


def main(argv: Sequence[str] | None = None) -> int:
    """Measures, prints a JSON line and returns the exit status: 2 for bad input."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", choices=sorted(SIZES), default="small", help="of the model")
    parser.add_argument("--vocab_size", type=int, default=250_112)
    parser.add_argument("--batch_size", type=int, default=4, help="rows")
    parser.add_argument("--inputs_length", type=int, default=512)
    parser.add_argument("--targets_length", type=int, default=114)
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--tied", action="store_true", help="tie the output to the embedding")
    parser.add_argument("--token_block", type=int, default=512)
    parser.add_argument("--vocab_block", type=int, default=4096)
    parser.add_argument("--steps", type=int, default=6, help="timed calls of each")
    parser.add_argument("--skip_step", action="store_true", help="measure the loss alone")
    if argv is None:
        restart_with_huge_pages()
    args = parser.parse_args(argv)
    try:
        result = run(args)
    except ConfigError as error:
        print(f"vocabulary_loss: error: {error}", file=sys.stderr)
        return 2
    print(json.dumps(result), flush=True)
    return 0


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Returns what was measured, as JSON types.

    Raises:
      ConfigError: a size below 1.
    """
    sizes = ("vocab_size", "batch_size", "inputs_length", "targets_length", "steps")
    for name in sizes:
        if getattr(args, name) < 1:
            raise ConfigError(f"--{name}={getattr(args, name)}; expected at least 1")
    losses: dict[str, Loss] = {
        "blockwise": BlockwiseCrossEntropy(
            token_block=args.token_block, vocab_block=args.vocab_block
        ),
        "full": CrossEntropy(),
    }
    result = {
        "benchmark": "vocabulary_loss",
        "device": jax.devices()[0].device_kind,
        "cores": len(os.sched_getaffinity(0)),
        **{name: getattr(args, name) for name in (*sizes, "dtype", "tied", "size")},
        "token_block": args.token_block,
        "vocab_block": args.vocab_block,
        "loss": compare({name: loss_call(loss, args) for name, loss in losses.items()}, args.steps),
        "memory_at_8x1024x512": large_memory(losses, args),
    }
    if not args.skip_step:
        calls = {name: step_call(loss, args) for name, loss in losses.items()}
        result["step"] = compare(calls, args.steps)
        result["ratio"] = result["step"]["ratio"]
    return result


@dataclasses.dataclass(frozen=True, kw_only=True)
class Call:
    """A compiled program, and what runs it once and waits for it."""

    program: jax.stages.Compiled
    run: Callable[[], None]


def compare(calls: Mapping[str, Call], steps: int) -> dict[str, Any]:
    """Returns medians and minima of seconds, memory, and ratios full / blockwise."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call.run()
    order = list(calls)
    for _ in range(steps):
        for name in order:
            start = time.perf_counter()
            calls[name].run()
            seconds[name].append(time.perf_counter() - start)
        order.reverse()
    found: dict[str, Any] = {
        name: {
            "seconds": statistics.median(taken),
            "seconds_min": min(taken),
            "temporary_bytes": temporary_bytes(calls[name].program),
        }
        for name, taken in seconds.items()
    }
    full, blockwise = found["full"], found["blockwise"]
    return found | {
        "ratio": full["seconds"] / blockwise["seconds"],
        "ratio_of_minima": full["seconds_min"] / blockwise["seconds_min"],
        "memory_ratio": full["temporary_bytes"] / blockwise["temporary_bytes"],
    }


def temporary_bytes(program: jax.stages.Compiled) -> int:
    """Returns the peak of temporary memory by the compiler's count."""
    analysis = program.memory_analysis()
    return int(analysis.temp_size_in_bytes) if analysis else 0


def compile_loss(
    loss: Loss, shape: tuple[int, int, int], args: argparse.Namespace
) -> jax.stages.Compiled:
    """Returns loss and gradients in states [batch, length, embed] and table, compiled."""
    *rows, width = shape
    table = (args.vocab_size, width) if args.tied else (width, args.vocab_size)

    def compute(states: jax.Array, table: jax.Array, batch: Any) -> jax.Array:
        kernel = (table.T if args.tied else table).astype(states.dtype)
        logits = jnp.einsum("blm,mv->blv", states, kernel, preferred_element_type=jnp.float32)
        readout = Readout(states=states, table=table, by_row=args.tied)
        term = loss(ModelOutputs(logits=logits, readout=readout), batch)
        return term.total / loss.normalizer(batch)

    batch = {
        "decoder_target_tokens": jax.ShapeDtypeStruct(rows, jnp.int32),
        "decoder_loss_weights": jax.ShapeDtypeStruct(rows, jnp.float32),
    }
    graded = jax.jit(jax.value_and_grad(compute, argnums=(0, 1)))
    states = jax.ShapeDtypeStruct(shape, args.dtype)
    return graded.lower(states, jax.ShapeDtypeStruct(table, jnp.float32), batch).compile()


def loss_call(loss: Loss, args: argparse.Namespace) -> Call:
    """Returns loss and gradients on random arrays."""
    shape = (args.batch_size, args.targets_length, SIZES[args.size]["d_model"])
    program = compile_loss(loss, shape, args)
    (states, table, batch), _ = program.in_avals
    keys = iter(jax.random.split(jax.random.key(0), 3))
    arrays = (
        jax.random.normal(next(keys), states.shape, states.dtype),
        jax.random.normal(next(keys), table.shape) / shape[-1] ** 0.5,
        {
            "decoder_target_tokens": jax.random.randint(
                next(keys), shape[:2], 0, args.vocab_size, jnp.int32
            ),
            "decoder_loss_weights": jnp.ones(batch["decoder_loss_weights"].shape, jnp.float32),
        },
    )
    return Call(program=program, run=lambda: jax.block_until_ready(program(*arrays)))


def large_memory(losses: Mapping[str, Loss], args: argparse.Namespace) -> dict[str, float]:
    """Returns the temporary bytes of each loss at `LARGE`, and full / blockwise."""
    found = {
        name: temporary_bytes(compile_loss(loss, LARGE, args)) for name, loss in losses.items()
    }
    return found | {"ratio": found["full"] / found["blockwise"]}


def step_call(loss: Loss, args: argparse.Namespace) -> Call:
    """Returns the training step on a random batch."""
    sizes: dict[str, Any] = dict(SIZES[args.size])
    layers = sizes.pop("layers")
    config = TransformerConfig(
        vocab_size=args.vocab_size,
        num_encoder_layers=layers,
        num_decoder_layers=layers,
        dtype=args.dtype,
        logits_via_embedding=args.tied,
        scan_layers=False,
        **sizes,
    )
    model, optimizer = EncoderDecoder(config), Adafactor(learning_rate=constant(0.01))
    partitioner = Partitioner(rules=rules.data_parallel(), devices=tuple(jax.devices()[:1]))
    batch = random_batch(args)
    spec = {name: jax.ShapeDtypeStruct(x.shape, x.dtype) for name, x in batch.items()}
    layout = plan_state(model, optimizer, partitioner, spec)
    program = TrainProgram(
        model=model,
        losses={"cross_entropy": loss},
        optimizer=optimizer,
        partitioner=partitioner,
        layout=layout,
        spec=spec,
        num_tasks=1,
    ).compile()
    held = [make_state(model, layout, partitioner, spec, seed=0)]
    features = partitioner.shard_batch(batch)

    def step() -> None:
        held[0], metrics = program(held[0], features)
        jax.block_until_ready((held[0], metrics))

    return Call(program=program, run=step)


def random_batch(args: argparse.Namespace) -> dict[str, np.ndarray]:
    """Returns full rows of one example each, random tokens, every target weighted 1."""
    random = np.random.default_rng(0)
    lengths = {"encoder": args.inputs_length, "decoder": args.targets_length}
    batch: dict[str, np.ndarray] = {}
    for stack, length in lengths.items():
        shape = (args.batch_size, length)
        batch[f"{stack}_input_tokens"] = random.integers(3, args.vocab_size, shape, np.int32)
        batch[f"{stack}_segment_ids"] = np.ones(shape, np.int32)
        batch[f"{stack}_positions"] = np.tile(np.arange(length, dtype=np.int32), (shape[0], 1))
    batch["decoder_target_tokens"] = random.integers(3, args.vocab_size, shape, np.int32)
    batch["decoder_task_ids"] = np.ones(shape, np.int32)
    batch["decoder_loss_weights"] = np.ones(shape, np.float32)
    return batch


if __name__ == "__main__":
    sys.exit(main())

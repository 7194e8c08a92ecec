"""Attention forward and backward: the plain implementation against the fused kernels.

One encoder attention and one decoder attention of T5, bias from the table and packed segments, over
the same number of tokens at every length. On a GPU or TPU both are timed there; on a CPU, where
kernels mean nothing, both are compiled for a TPU if libtpu is there, and memory alone is told. The
last line of the output is one JSON object.

    python benchmarks/attention.py
    python benchmarks/attention.py --lengths 512,2048 --heads 16 --tokens 32768

Needs jax and this project's core, neither TensorFlow nor a network.
"""

import argparse
import json
import pathlib
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import SingleDeviceSharding

if not __package__:  # run as a script: the folder above is not on the path yet
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from xlingual.compilation.topologies import describe_slice
from xlingual.errors import ConfigError
from xlingual.layers.distances import Buckets
from xlingual.layers.functional import dot_product_attention
from xlingual.layers.fused_attention.attend import KERNELS, fused_attention
from xlingual.layers.pattern import AttentionPattern, RelativeBias
from xlingual.types import Array

KINDS = ("encoder", "decoder")
IMPLEMENTATIONS = ("xla", "fused")


def main(argv: Sequence[str] | None = None) -> int:
    """Measures, prints a JSON line and returns the exit status: 2 for bad input."""
    try:
        result = run(make_parser().parse_args(argv))
    except ConfigError as error:
        print(f"attention: error: {error}", file=sys.stderr)
        return 2
    print(json.dumps(result), flush=True)
    return 0


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--lengths", default="512,1024,2048,4096", help="of a row, in tokens")
    parser.add_argument("--tokens", type=int, default=16384, help="of a batch, at every length")
    parser.add_argument("--heads", type=int, default=12)
    parser.add_argument("--d_kv", type=int, default=64)
    parser.add_argument("--segments", type=int, default=4, help="examples packed into a row")
    parser.add_argument("--dtype", default="bfloat16", choices=("bfloat16", "float32"))
    parser.add_argument("--steps", type=int, default=20, help="timed calls")
    parser.add_argument("--topology", default="v5e:2x2", help="TPU to compile for on a CPU")
    return parser


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Returns what was measured, as JSON types.

    Raises:
      ConfigError: a length that is no positive number, or an unknown topology.
    """
    words = args.lengths.split(",")
    if not all(word.isdigit() and int(word) for word in words):
        raise ConfigError(f"--lengths={args.lengths!r}; expected numbers, e.g. 512,2048")
    if min(args.tokens, args.heads, args.d_kv, args.segments, args.steps) < 1:
        raise ConfigError("--tokens, --heads, --d_kv, --segments and --steps must be at least 1")
    platform = jax.default_backend()
    timed = platform in KERNELS
    device, note = (jax.devices()[0], "") if timed else _compile_only(args.topology)
    if note:
        print(note, flush=True)
    rows = []
    if device is not None:
        for length in map(int, words):
            for kind in KINDS:
                target = platform if timed else "tpu"
                row = measure(args, kind, length, device, target, timed=timed)
                print(_line(row), flush=True)
                rows.append(row)
    return {
        "benchmark": "attention",
        "device": "none" if device is None else device.device_kind,
        "timed": timed,
        "shape": {name: getattr(args, name) for name in ("tokens", "heads", "d_kv", "segments")},
        "dtype": args.dtype,
        "jax": jax.__version__,
        "rows": rows,
    }


def measure(
    args: argparse.Namespace, kind: str, length: int, device: Any, platform: str, *, timed: bool
) -> dict[str, Any]:
    """Returns time and memory of both implementations at one length.

    Args:
      args: sizes, from the command line.
      kind: of `KINDS`.
      length: tokens of a row.
      device: what programs are compiled for.
      platform: whose kernels.
      timed: whether programs are run too.
    """
    found: dict[str, Any] = {"kind": kind, "length": length}
    for name in IMPLEMENTATIONS:
        step = make_step(kind, name, platform)
        inputs = make_inputs(args, length)
        where = SingleDeviceSharding(device)
        shapes = jax.tree.map(
            lambda x, where=where: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=where), inputs
        )
        try:
            compiled = jax.jit(step).lower(*shapes).compile()
        except jax.errors.JaxRuntimeError as error:
            found[name] = {"error": str(error).splitlines()[0][:200]}
            continue
        memory = compiled.memory_analysis()
        found[name] = {"temporary_bytes": int(memory.temp_size_in_bytes)}
        if timed:
            found[name] |= time_calls(compiled, jax.device_put(inputs, device), args.steps)
    if all("seconds" in found[name] for name in IMPLEMENTATIONS):
        found["speed_of_fused"] = found["xla"]["seconds"] / found["fused"]["seconds"]
    return found


def make_step(kind: str, name: str, platform: str) -> Callable[..., Any]:
    """Returns a function of (query, key, value, table, segments) -> gradients of the first four."""
    causal = kind == "decoder"
    buckets = Buckets(bidirectional=not causal, num_buckets=32, max_distance=128)

    def total(query: Array, key: Array, value: Array, table: Array, segments: Array) -> Array:
        pattern = AttentionPattern(segments, segments, causal=causal)
        bias = RelativeBias(table, buckets)
        if name == "fused":
            out = fused_attention(query, key, value, pattern, bias, platform=platform)
        else:
            whole = bias.whole(query.shape[1], key.shape[1])
            out = dot_product_attention(query, key, value, pattern.mask(), whole)
        return jnp.sum(out.astype(jnp.float32) ** 2)

    return jax.grad(total, argnums=(0, 1, 2, 3))


def make_inputs(args: argparse.Namespace, length: int) -> tuple[np.ndarray, ...]:
    """Returns random queries, keys, values and table, and segments that are parts of a row."""
    rng = np.random.default_rng(0)
    batch = max(1, args.tokens // length)
    shape = (batch, length, args.heads, args.d_kv)
    arrays = [
        np.asarray(rng.standard_normal(shape, np.float32) * scale, jnp.dtype(args.dtype))
        for scale in (args.d_kv**-0.5, 1.0, 1.0)
    ]
    table = rng.standard_normal((args.heads, 32), np.float32)
    segments = 1 + np.arange(length, dtype=np.int32) * args.segments // length
    return (*arrays, table, np.tile(segments[None], (batch, 1)))


def time_calls(compiled: Any, inputs: Sequence[Any], steps: int) -> dict[str, float]:
    """Returns median and smallest seconds of a call, each waited for."""
    for _ in range(3):
        jax.block_until_ready(compiled(*inputs))
    seconds = []
    for _ in range(steps):
        begin = time.perf_counter()
        jax.block_until_ready(compiled(*inputs))
        seconds.append(time.perf_counter() - begin)
    return {"seconds": statistics.median(seconds), "seconds_min": min(seconds)}


def _compile_only(topology: str) -> tuple[Any, str]:
    """A device to compile for, or None, and what to say."""
    try:
        device = describe_slice(topology).devices[0]
    except ConfigError as error:
        return None, f"Kernels need a GPU or a TPU, or libtpu to compile for one: {error}"
    return device, f"No GPU and no TPU here: compiled for {topology}, not run; memory alone."


def _line(row: dict[str, Any]) -> str:
    parts = [f"{row['kind']} {row['length']:5d}"]
    for name in IMPLEMENTATIONS:
        one = row[name]
        if "error" in one:
            parts.append(f"{name}: {one['error'][:60]}")
            continue
        text = f"{name}: {one['temporary_bytes'] / 2**20:9.1f} MiB"
        parts.append(text + (f" {one['seconds'] * 1e3:8.3f} ms" if "seconds" in one else ""))
    if "speed_of_fused" in row:
        parts.append(f"fused {row['speed_of_fused']:.2f}x")
    return "  ".join(parts)


if __name__ == "__main__":
    sys.exit(main())

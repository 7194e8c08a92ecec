"""Memory of the reader on a large cache, and what it costs a train step.

Writes a synthetic packed cache of `--gib` GiB of random tokens, reads random batches of it and
reports how much the memory of the process grew; then times steps of a tiny model whose batches
come from the cache, in turn with steps on one constant batch, block by block. The reader makes
batches ahead, so the first steps of a block on the constant batch, which run while it fills up its
buffer, are not counted: in the others it rests. The cache is deleted in the end. The last line of
the output is one JSON object.

    python benchmarks/cache_reader.py --gib 5
    python benchmarks/cache_reader.py --gib 0.1 --blocks 8    # the overlap alone
"""

import argparse
import json
import pathlib
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import psutil

if not __package__:  # run as a script: the folder above is not on the path yet
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from xlingual.cache import codec, manifest, rows, shards
from xlingual.data.cached import CacheSource

ROW_SHAPE = {"inputs": 512, "targets": 114}
VOCAB_SIZE = 250_112
_SHARD_ROWS = 1 << 12


def main(argv: Sequence[str] | None = None) -> int:
    """Measures, prints a JSON line and returns the exit status."""
    args = _parser().parse_args(argv)
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        num_bytes = write_cache(pathlib.Path(folder), int(args.gib * 2**30))
        source = CacheSource(folder=folder, batch_size=args.batch_size, checksums=False)
        result = {
            "benchmark": "cache_reader",
            "cache_gib": round(num_bytes / 2**30, 2),
            **measure_memory(source, args.batches),
            **measure_overlap(source, args.blocks, args.steps, args.d_model),
        }
    print(json.dumps(result), flush=True)
    return 0


def write_cache(folder: pathlib.Path, num_bytes: int) -> int:
    """Writes a packed cache of at least `num_bytes` and returns its size."""
    rng = np.random.default_rng(0)
    schema = rows.row_schema()
    written: list[manifest.Shard] = []
    while sum(shard.num_bytes for shard in written) < num_bytes:
        path = manifest.shard_path("train", "random", len(written), 99999)
        written.append(shards.write_shard(folder, path, _records(rng, schema)))
    total = sum(shard.num_records for shard in written)
    task = manifest.CachedTask(
        name="random",
        objective="span_corruption",
        row_shape=ROW_SHAPE,
        schema=schema,
        counts=manifest.Counts(
            examples=total,
            input_tokens=total * ROW_SHAPE["inputs"],
            target_tokens=total * ROW_SHAPE["targets"],
            weighted_targets=float(total * ROW_SHAPE["targets"]),
            room=total * sum(ROW_SHAPE.values()),
        ),
        shards=tuple(written),
    )
    made = manifest.Manifest(
        mixture="random",
        mode="packed",
        family="encoder_decoder",
        splits={"train": (task,)},
        vocabulary="none",
        vocab_size=VOCAB_SIZE,
        code_version="benchmark",
    )
    shards.write_text(folder / manifest.MANIFEST_FILE, manifest.dump_manifest(made))
    return sum(shard.num_bytes for shard in written)


def measure_memory(source: CacheSource, num_batches: int) -> dict[str, float]:
    """Returns how far this process's memory grew while it read batches at random places, in MiB."""
    process = psutil.Process()
    before = process.memory_info().rss
    iterator = source.iterator()
    most, tokens, began = before, 0, time.perf_counter()
    for _ in range(num_batches):
        batch = next(iterator)
        tokens += int(np.count_nonzero(batch["encoder_input_tokens"]))
        tokens += int(np.count_nonzero(batch["decoder_target_tokens"]))
        most = max(most, process.memory_info().rss)
    seconds = time.perf_counter() - began
    return {
        "reader_mib": round((most - before) / 2**20, 1),
        "process_mib": round(most / 2**20, 1),
        "tokens_per_second": round(tokens / seconds),
    }


def measure_overlap(
    source: CacheSource, num_blocks: int, num_steps: int, d_model: int
) -> dict[str, Any]:
    """Returns the median time of a step fed by the reader, over that of one on a constant batch.

    Args:
      source: whose batches are read, through the iterator that a run has.
      num_blocks: blocks of steps of each kind, in turn.
      num_steps: counted steps of a block; before them come as many as the reader makes ahead, and
        one.
      d_model: width of the model.
    """
    keys = jax.random.split(jax.random.key(0), 3)
    params = {
        "embed": jax.random.normal(keys[0], (VOCAB_SIZE // 8, d_model)),
        "layers": jax.random.normal(keys[1], (8, d_model, d_model)) / d_model**0.5,
    }

    @jax.jit
    def step(params: Any, batch: Any) -> Any:
        def loss(params: Any) -> jax.Array:
            hidden = params["embed"][batch["encoder_input_tokens"] % (VOCAB_SIZE // 8)]
            for layer in range(8):
                hidden = jnp.tanh(hidden @ params["layers"][layer])
            return jnp.mean(hidden**2)

        grads = jax.grad(loss)(params)
        return jax.tree.map(lambda p, g: p - 0.01 * g, params, grads)

    iterator = source.iterator()
    constant = next(iterator)
    seconds: dict[str, list[float]] = {"constant": [], "reader": []}
    feeds = {"constant": _same(constant), "reader": iterator}
    params = jax.block_until_ready(step(params, constant))
    for _ in range(num_blocks):
        for name, feed in feeds.items():
            for place in range(-source.batches_ahead - 1, num_steps):
                began = time.perf_counter()
                params = step(params, jax.device_put(dict(next(feed))))
                jax.block_until_ready(params)
                if place >= 0:
                    seconds[name].append(time.perf_counter() - began)
    medians = {name: statistics.median(found) for name, found in seconds.items()}
    return {
        "steps_of_each": num_blocks * num_steps,
        "constant_step_seconds": round(medians["constant"], 4),
        "reader_step_seconds": round(medians["reader"], 4),
        "slower": round(medians["reader"] / medians["constant"] - 1, 4),
    }


def _records(rng: np.random.Generator, schema: Sequence[codec.Feature]) -> Iterator[bytes]:
    for _ in range(_SHARD_ROWS):
        example = {
            name: rng.integers(3, VOCAB_SIZE, length).astype(np.int32)
            for name, length in ROW_SHAPE.items()
        }
        example["targets_weights"] = np.ones_like(example["targets"])
        yield codec.encode(dict(rows.make_row([example], schema)), schema)


def _same(batch: dict[str, np.ndarray]) -> Iterator[dict[str, np.ndarray]]:
    while True:
        yield batch


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--gib", type=float, default=5.0, help="size of the cache")
    parser.add_argument("--folder", default=None, help="where it is written")
    parser.add_argument("--batch_size", type=int, default=32, help="rows of a batch")
    parser.add_argument("--batches", type=int, default=300, help="read while memory is watched")
    parser.add_argument("--blocks", type=int, default=4, help="blocks of train steps of each kind")
    parser.add_argument("--steps", type=int, default=10, help="counted train steps of a block")
    parser.add_argument("--d_model", type=int, default=256, help="width of the model that trains")
    return parser


if __name__ == "__main__":
    sys.exit(main())

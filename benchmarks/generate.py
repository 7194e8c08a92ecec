"""Tokens written a second, greedily or by beam search, with transformers' `generate` beside it.

Our side is what `xlingual generate` runs on a batch of requests. `--peer` alternates runs of ours
with runs of transformers on the same weights and the same inputs, float32, in a process of its own,
and compares what the two write. No row ends early, so both write the same number of tokens. The
last line of the output is one JSON object.

    python benchmarks/generate.py --gin_file=benchmarks/mt5_small.gin --peer
    python benchmarks/generate.py --gin_file=benchmarks/mt5_small.gin --peer --beams=4 --runs=2
"""

import argparse
import dataclasses
import pathlib
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

if not __package__:  # run as a script: the folder above is not on the path yet
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from benchmarks.command import make_parser, run_command
from benchmarks.peer import Peer, PeerModel
from benchmarks.train_step import FIRST_TOKEN, bound_parts
from xlingual.checkpointing.import_weights import ImportOptions, import_weights
from xlingual.checkpointing.layout import param_shapes
from xlingual.checkpointing.weights import load_params
from xlingual.cli import gin_flags
from xlingual.errors import ConfigError
from xlingual.evaluation.decoding_batches import BatchShapes
from xlingual.evaluation.generation import GenerationOptions, Generator, Request
from xlingual.models.base import Model
from xlingual.partitioning.partitioner import Partitioner
from xlingual.types import PyTree

SCRIPT = pathlib.Path(__file__).with_name("peer_generate.py")


@dataclasses.dataclass(frozen=True, kw_only=True)
class GenerationShape(PeerModel):
    """What the peer builds and writes.

    Attributes:
      inputs: token ids of each row.
      max_length: tokens to write of each row.
      num_beams: 1 for greedy decoding.
      folder: where it saves its weights.
    """

    inputs: list[list[int]]
    max_length: int
    num_beams: int
    folder: str


def main(argv: Sequence[str] | None = None) -> int:
    """Measures, prints a JSON line and returns the exit status: 2 for bad input."""
    parser = make_parser(__doc__ or "")
    parser.add_argument("--runs", type=int, default=5, help="timed runs of each side")
    parser.add_argument("--batch_size", type=int, default=32, help="rows")
    parser.add_argument("--inputs_length", type=int, default=64, help="tokens of the longest row")
    parser.add_argument("--max_length", type=int, default=64, help="tokens that each row gets")
    parser.add_argument("--beams", type=int, default=1, help="1 for greedy decoding")
    return run_command("generate", parser, run, argv)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Returns what was measured, as JSON types.

    Raises:
      ConfigError: bad gin, bad numbers, or a peer that cannot be had.
    """
    for name in ("runs", "batch_size", "inputs_length", "max_length", "beams", "threads"):
        if getattr(args, name) < 1:
            raise ConfigError(f"--{name}={getattr(args, name)}; expected at least 1")
    gin_flags.parse_gin(args)
    parts = bound_parts()
    model, partitioner = parts["model"], parts["partitioner"]
    inputs = make_inputs(args.batch_size, args.inputs_length, model.vocab_size)
    with tempfile.TemporaryDirectory() as folder:
        if not args.peer:
            write = _writer(args, model, random_params(model, partitioner), partitioner, inputs)
            return summarize(args, model, measure(write, None, args.runs)[0])
        shape = peer_shape(args, model, inputs, f"{folder}/theirs")
        peer = Peer(shape, python=args.peer_python, script=SCRIPT)
        try:
            theirs_written = peer.run(0)  # builds, saves and writes once
            params = peer_params(model, partitioner, pathlib.Path(folder))
            write = _writer(args, model, params, partitioner, inputs)
            same = np.mean(np.asarray(write()) == np.asarray(theirs_written))
            ours, theirs = measure(write, peer, args.runs)
        finally:
            peer.close()
    median, best = statistics.median(theirs), min(theirs)
    return {
        **summarize(args, model, ours),
        "peer": {
            "name": "transformers MT5ForConditionalGeneration.generate, float32",
            "threads": args.threads,
            "seconds": median,
            "seconds_min": best,
            "tokens_per_second": args.batch_size * args.max_length / median,
        },
        "same_tokens": float(same),
        "ratio_to_peer": median / statistics.median(ours),
        "ratio_to_peer_of_minima": best / min(ours),
    }


def make_inputs(batch_size: int, longest: int, vocab_size: int) -> list[list[int]]:
    """Returns random token ids in rows of different lengths, half of `longest` and more."""
    rng = np.random.default_rng(0)
    lengths = rng.integers((longest + 1) // 2, longest + 1, batch_size)
    return [rng.integers(FIRST_TOKEN, vocab_size, length).tolist() for length in lengths]


def peer_shape(
    args: argparse.Namespace, model: Model, inputs: list[list[int]], folder: str
) -> GenerationShape:
    """Returns what the peer must build to do the same work.

    Raises:
      ConfigError: the model has no encoder, is tied or computes in bfloat16.
    """
    sizes = model.config  # type: ignore[attr-defined]
    if not sizes.num_encoder_layers or sizes.logits_via_embedding or sizes.dtype != "float32":
        raise ConfigError(
            "--peer: expected an encoder-decoder with an output layer of its own, in float32"
        )
    names = ("vocab_size", "d_model", "d_ff", "d_kv", "num_heads")
    layers = ("num_encoder_layers", "num_decoder_layers")
    return GenerationShape(
        **{name: getattr(sizes, name) for name in (*names, *layers)},
        inputs=inputs,
        max_length=args.max_length,
        num_beams=args.beams,
        threads=args.threads,
        folder=folder,
    )


def peer_params(model: Model, partitioner: Partitioner, folder: pathlib.Path) -> PyTree:
    """Returns the weights that the peer saved in `folder/theirs`, imported as our verb does."""
    options = ImportOptions(scan_layers=model.config.scan_layers)  # type: ignore[attr-defined]
    ours = folder / "ours"
    import_weights(folder / "theirs", ours, partitioner=partitioner, options=options)
    return load_params(ours, param_shapes(model, partitioner))


def random_params(model: Model, partitioner: Partitioner) -> PyTree:
    """Returns small random parameters, made without compiling an initialiser."""
    rng = np.random.default_rng(0)
    return jax.tree.map(
        lambda leaf: jax.device_put(
            0.05 * rng.standard_normal(leaf.shape, np.float32), leaf.sharding
        ),
        param_shapes(model, partitioner),
    )


def measure(write: Any, peer: Peer | None, runs: int) -> tuple[list[float], list[float]]:
    """Returns the seconds of each of our runs and of the peer's, after a warm-up of both.

    Who begins alternates, so that what else the machine does falls on both alike.
    """
    write()
    ours: list[float] = []
    theirs: list[float] = []

    def run_ours() -> None:
        start = time.perf_counter()
        write()
        ours.append(time.perf_counter() - start)

    def run_theirs() -> None:
        if peer is not None:
            theirs.extend(peer.run(1))

    order = [run_ours, run_theirs]
    for _ in range(runs):
        for run_one in order:
            run_one()
        order.reverse()
    return ours, theirs


def summarize(args: argparse.Namespace, model: Model, seconds: Sequence[float]) -> dict[str, Any]:
    """Returns our side of the result."""
    median = statistics.median(seconds)
    return {
        "benchmark": "generate",
        "gin_file": args.gin_file,
        "family": model.family,
        "device": jax.devices()[0].device_kind,
        "num_devices": jax.device_count(),
        "batch_size": args.batch_size,
        "inputs_length": args.inputs_length,
        "max_length": args.max_length,
        "num_beams": args.beams,
        "runs": len(seconds),
        "seconds": median,
        "seconds_min": min(seconds),
        "tokens_per_second": args.batch_size * args.max_length / median,
    }


def _writer(
    args: argparse.Namespace,
    model: Model,
    params: PyTree,
    partitioner: Partitioner,
    inputs: Sequence[Sequence[int]],
) -> Any:
    """Returns a function that writes all rows and returns their tokens."""
    options = GenerationOptions(
        mode="greedy" if args.beams == 1 else "beam",
        max_length=args.max_length,
        num_beams=args.beams,
        eos_id=-1,  # no row ends
    )
    shapes = BatchShapes(rows=(args.batch_size,), lengths=(args.inputs_length,))
    generate = Generator(model, params, partitioner, options, shapes)
    requests = [Request(inputs=np.asarray(ids, np.int32), number=i) for i, ids in enumerate(inputs)]
    return lambda: [outputs[0].tokens.tolist() for outputs in generate(requests)]


if __name__ == "__main__":
    sys.exit(main())

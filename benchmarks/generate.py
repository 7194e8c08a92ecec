"""Tokens written a second, greedily or by beam search, with transformers' `generate` beside it.

Our side is what `xlingual generate` runs, in the dtype of the gin file. `--peer` alternates runs of
ours with runs of transformers on the same weights and the same inputs, in a process of its own and
in the dtype of `--peer_dtype`, and compares what the two write. Two things are measured; the last
line of the output is one JSON object:

* one batch in which no row ends early, so both write the same number of tokens: the step itself;
* `texts`: texts of varied length in the order of a file, outputs that end at EOS, and the real
  tokens a second. Theirs goes batch after batch in the same order, and under `sorted` by the length
  of the inputs, its best case without knowing the outputs; ours fills slots again.

A random model does not end. Its row of EOS in the output layer is multiplied by `--eos_scale`, on
both sides alike, so that EOS wins at varied steps; `output_lengths` (quartiles) says at which. They
have nothing to do with the lengths of the inputs, as those of translations would.

    python benchmarks/generate.py --gin_file=benchmarks/mt5_small.gin --peer
    python benchmarks/generate.py --gin_file=benchmarks/mt5_small.gin --peer \
        --gin.ACTIVATION_DTYPE=bfloat16
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
from benchmarks.peer import Peer, PeerModel, peer_config
from benchmarks.peer_generate import EOS_ID
from benchmarks.train_step import FIRST_TOKEN, bound_parts
from xlingual.checkpointing.import_weights import ImportOptions, import_weights
from xlingual.checkpointing.layout import param_shapes
from xlingual.checkpointing.weights import load_params
from xlingual.cli import gin_flags
from xlingual.errors import ConfigError
from xlingual.evaluation.decoding_batches import BatchShapes, make_shapes
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
      batch_size: rows that are written together.
      max_length: tokens to write of each row at most.
      ends: whether EOS ends a row.
      eos_scale: what the row of EOS in the output layer is multiplied by.
      num_beams: 1 for greedy decoding.
      dtype: of its weights, `float32` or `bfloat16`.
      folder: where it saves its weights.
    """

    inputs: list[list[int]]
    batch_size: int
    max_length: int
    ends: bool
    eos_scale: float
    num_beams: int
    dtype: str
    folder: str


def main(argv: Sequence[str] | None = None) -> int:
    """Measures, prints a JSON line and returns the exit status: 2 for bad input."""
    parser = make_parser(__doc__ or "")
    parser.add_argument("--runs", type=int, default=5, help="timed runs of each side")
    parser.add_argument("--batch_size", type=int, default=32, help="rows")
    parser.add_argument("--inputs_length", type=int, default=64, help="tokens of the longest row")
    parser.add_argument("--max_length", type=int, default=64, help="tokens that each row gets")
    parser.add_argument("--texts", type=int, default=256, help="of the second figure; 0 for none")
    parser.add_argument("--eos_scale", type=float, default=6.0, help="makes EOS likelier")
    parser.add_argument(
        "--peer_dtype", default="float32", choices=("float32", "bfloat16"), help="of its weights"
    )
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
    one_batch = make_inputs(args.batch_size, args.inputs_length, model.vocab_size)
    texts = make_texts(args.texts, args.inputs_length, model.vocab_size)
    with tempfile.TemporaryDirectory() as folder:
        sides = _Sides(args, model, partitioner, pathlib.Path(folder))
        result = {**summarize(args, model), **sides.compare(one_batch, ends=False)}
        if args.texts:
            result["texts"] = {"num_texts": args.texts, **sides.compare(texts, ends=True)}
        if args.texts and args.peer:
            by_length = sides.compare(sorted(texts, key=len), ends=True)
            result["texts"]["sorted"] = {key: by_length[key] for key in ("peer", "ratio_to_peer")}
    return result


def make_inputs(batch_size: int, longest: int, vocab_size: int) -> list[list[int]]:
    """Returns random token ids in rows of different lengths, half of `longest` and more."""
    rng = np.random.default_rng(0)
    lengths = rng.integers((longest + 1) // 2, longest + 1, batch_size)
    return [rng.integers(FIRST_TOKEN, vocab_size, length).tolist() for length in lengths]


def make_texts(count: int, longest: int, vocab_size: int) -> list[list[int]]:
    """Returns random token ids, as long as lines of prose are: log-normal around a third."""
    rng = np.random.default_rng(1)
    lengths = np.exp(rng.normal(np.log(longest / 3), 0.6, count))
    lengths = np.clip(np.rint(lengths), 2, longest).astype(int)
    return [rng.integers(FIRST_TOKEN, vocab_size, length).tolist() for length in lengths]


def peer_shape(
    args: argparse.Namespace, model: Model, inputs: list[list[int]], folder: str, *, ends: bool
) -> GenerationShape:
    """Returns what the peer must build to do the same work.

    Raises:
      ConfigError: the model has no encoder or is tied.
    """
    sizes = model.config  # type: ignore[attr-defined]
    if not sizes.num_encoder_layers or sizes.logits_via_embedding:
        raise ConfigError("--peer: expected an encoder-decoder with an output layer of its own")
    return GenerationShape(
        config=peer_config(model),
        dtype=args.peer_dtype,
        inputs=inputs,
        batch_size=args.batch_size,
        max_length=args.max_length,
        ends=ends,
        eos_scale=args.eos_scale,
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


def summarize(args: argparse.Namespace, model: Model) -> dict[str, Any]:
    """Returns what was measured, without the results."""
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
        "dtype": str(model.config.dtype),  # type: ignore[attr-defined]
    }


class _Sides:
    """Both sides with the same weights, which the peer makes."""

    def __init__(
        self,
        args: argparse.Namespace,
        model: Model,
        partitioner: Partitioner,
        folder: pathlib.Path,
    ) -> None:
        self._args, self._model, self._partitioner = args, model, partitioner
        self._folder = folder
        self._params: PyTree = None if args.peer else random_params(model, partitioner)

    def compare(self, inputs: list[list[int]], *, ends: bool) -> dict[str, Any]:
        """Returns the seconds and tokens a second of ours and, if asked for, of the peer."""
        args = self._args
        if not args.peer:
            write = self._writer(inputs, ends=ends)
            return _rate(measure(write, None, args.runs)[0], write())
        folder = str(self._folder / "theirs")
        shape = peer_shape(args, self._model, inputs, folder, ends=ends)
        peer = Peer(shape, python=args.peer_python, script=SCRIPT)
        try:
            answer: Any = peer.run(0)  # builds, saves and writes once
            if self._params is None:
                self._params = peer_params(self._model, self._partitioner, self._folder)
            write = self._writer(inputs, ends=ends)
            ours, theirs = measure(write, peer, args.runs)
        finally:
            peer.close()
        written = write()
        result = {
            **_rate(ours, written),
            "peer": {
                "name": "transformers MT5ForConditionalGeneration.generate",
                "dtype": args.peer_dtype,
                "threads": answer["threads"],
                **_rate(theirs, answer["tokens"]),
            },
            "same_tokens": _agreement(written, answer["tokens"]),
        }
        rate = result["tokens_per_second"] / result["peer"]["tokens_per_second"]
        return {
            **result,
            "ratio_to_peer": rate,
            "ratio_to_peer_of_minima": min(theirs) / min(ours),
        }

    def _writer(self, inputs: Sequence[Sequence[int]], *, ends: bool) -> Any:
        """A function that writes all rows and returns their tokens."""
        args = self._args
        options = GenerationOptions(
            mode="greedy" if args.beams == 1 else "beam",
            max_length=args.max_length,
            num_beams=args.beams,
            eos_id=EOS_ID if ends else -1,
        )
        shapes = BatchShapes(rows=(args.batch_size,), lengths=(args.inputs_length,))
        if ends:
            num_shards = self._partitioner.num_batch_shards
            shapes = make_shapes(args.batch_size, args.inputs_length, num_shards=num_shards)
        generate = Generator(self._model, self._params, self._partitioner, options, shapes)
        requests = [
            Request(inputs=np.asarray(ids, np.int32), number=i) for i, ids in enumerate(inputs)
        ]
        return lambda: [outputs[0].tokens.tolist() for outputs in generate(requests)]


def _rate(seconds: Sequence[float], written: Sequence[Sequence[int]]) -> dict[str, Any]:
    """Seconds of the runs, and tokens a second at their median."""
    lengths = [len(tokens) for tokens in written]
    median = statistics.median(seconds)
    return {
        "runs": len(seconds),
        "seconds": median,
        "seconds_min": min(seconds),
        "tokens": sum(lengths),
        "output_lengths": np.percentile(lengths, (0, 25, 50, 75, 100)).tolist(),
        "tokens_per_second": sum(lengths) / median,
    }


def _agreement(ours: Sequence[Sequence[int]], theirs: Sequence[Sequence[int]]) -> float:
    """Share of tokens that are equal, at the same place of the same row."""
    equal = sum(
        a == b for x, y in zip(ours, theirs, strict=True) for a, b in zip(x, y, strict=False)
    )
    return equal / sum(max(len(x), len(y)) for x, y in zip(ours, theirs, strict=True))


if __name__ == "__main__":
    sys.exit(main())

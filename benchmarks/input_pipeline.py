"""Real tokens/s of the input pipelines: on the fly, from caches, and those of SeqIO and t5.

All read the same records of the toy corpus, run span corruption on each language and translation
(`translate A to B:` prompts) in each direction, mix the tasks at equal rates of examples, pack, and
batch. The peer uses t5's preprocessors, SeqIO's mixture and SeqIO's feature converter. `packed` and
`tokenised` are caches of our mixture, made first, in which span corruption has rows of its own
shape. Blocks of batches of all pipelines alternate, each with its own background threads; a real
token is one that is not padding, in the encoder or the decoder. The last line of the output is one
JSON object.

    python benchmarks/input_pipeline.py

References:
  Roberts et al., 2022, Scaling Up Models and Data with t5x and seqio, arXiv:2203.17189.
"""

import argparse
import functools
import gc
import itertools
import json
import logging
import pathlib
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import seqio
import tensorflow as tf
from t5.data import preprocessors as t5_preprocessors

if not __package__:  # run as a script: the folder above is not on the path yet
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from tasks import toy
from xlingual.cache.manifest import MODES, Mode
from xlingual.data import cache_job, feature_converters, languages, task_registry
from xlingual.data.cached import CacheSource
from xlingual.data.datasets import SeqioSource
from xlingual.errors import ConfigError
from xlingual.objectives import noise, translation
from xlingual.objectives.tokenize import tokenize

LANGUAGES = ("en", "de", "ru", "zh")
DIRECTIONS = (("de", "en"), ("en", "de"), ("ru", "en"), ("en", "zh"))
MIXTURE = "benchmark_input_pipeline"
BLOCK_OF_CACHES = 10
"""So many times more batches are timed of caches: a block of theirs would take no time else."""


def main(argv: Sequence[str] | None = None) -> int:
    """Measures, prints a JSON line and returns the exit status: 2 for bad input."""
    args = _parser().parse_args(argv)
    logging.getLogger("absl").setLevel(logging.ERROR)
    try:
        result = run(args)
    except ConfigError as error:
        print(f"input_pipeline: error: {error}", file=sys.stderr)
        return 2
    print(json.dumps(result), flush=True)
    return 0


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Returns what was measured, as JSON types.

    Raises:
      ConfigError: a number of batches or rounds is below 1, or the lengths are too short.
    """
    if min(args.batches, args.rounds) < 1:
        raise ConfigError("--batches and --rounds must be at least 1")
    lengths = {"inputs": args.inputs, "targets": args.targets}
    register_ours()
    register_peer()
    with tempfile.TemporaryDirectory() as folder:
        caches = {mode: make_cache(f"{folder}/{mode}", mode, lengths) for mode in MODES}
        read = {"threads": args.read_threads, "processes": args.read_processes}
        openers = {
            "ours": functools.partial(open_ours, lengths, args.batch_size),
            "peer": functools.partial(open_peer, lengths, args.batch_size),
            **{
                mode: functools.partial(open_cache, cache, args.batch_size, **read)
                for mode, cache in caches.items()
            },
        }
        pipelines = {name: _Pipeline(opener) for name, opener in openers.items()}
        for _ in range(args.rounds):
            for name, pipeline in pipelines.items():
                pipeline.measure(args.batches * (BLOCK_OF_CACHES if name in MODES else 1))
    measured = {name: pipeline.summary() for name, pipeline in pipelines.items()}
    rates = {name: found["tokens_per_second"] for name, found in measured.items()}
    ratios = {f"{mode}_ratio_to_peer": round(rates[mode] / rates["peer"], 2) for mode in MODES}
    return {
        "benchmark": "input_pipeline",
        **measured,
        "ratio_to_peer": round(rates["ours"] / rates["peer"], 3),
        **ratios,
        "fill_ratio_to_peer": round(measured["ours"]["fill"] / measured["peer"]["fill"], 3),
        "task_feature_lengths": lengths,
        "batch_size": args.batch_size,
        "num_tasks": len(LANGUAGES) + len(DIRECTIONS),
    }


class _Pipeline:
    """One way to make batches, and the times of its rounds."""

    def __init__(self, open_batches: Callable[[], Iterator[Mapping[str, np.ndarray]]]):
        self._open = open_batches
        self._rates: list[float] = []
        self._fills: list[float] = []
        self._starts: list[float] = []

    def measure(self, num_batches: int) -> None:
        began = time.perf_counter()
        stream = self._open()
        next(stream)
        self._starts.append(time.perf_counter() - began)
        for _ in itertools.islice(stream, num_batches // 4):
            pass
        began = time.perf_counter()
        batches = list(itertools.islice(stream, num_batches))
        seconds = time.perf_counter() - began
        names = ("encoder_input_tokens", "decoder_target_tokens")
        real = sum(int(np.count_nonzero(batch[name])) for batch in batches for name in names)
        self._rates.append(real / seconds)
        self._fills.append(real / sum(batch[name].size for batch in batches for name in names))
        del stream
        gc.collect()

    def summary(self) -> dict[str, float]:
        return {
            "tokens_per_second": round(statistics.median(self._rates)),
            "fill": round(statistics.fmean(self._fills), 4),
            "seconds_to_first_batch": round(self._starts[0], 2),
        }


def register_ours() -> None:
    """Registers our mixture: the toy corpus' span corruption, and translation with prompts."""
    names = languages.language_names(LANGUAGES)
    for source, target in DIRECTIONS:
        task_registry.register_task(
            f"{MIXTURE}_{source}_{target}",
            objective="translation",
            source=toy.pair_source(source, target),
            preprocessors=[
                tokenize,
                toy.with_toy_tokens(
                    translation.translation,
                    format="prompt",
                    direction="fwd",
                    language_names=names,
                    max_length_ratio=None,
                ),
            ],
            output_features=toy.OUTPUT_FEATURES,
        )
    leaves = [toy.task_name("span_corruption", language) for language in LANGUAGES]
    leaves += [f"{MIXTURE}_{source}_{target}" for source, target in DIRECTIONS]
    task_registry.register_mixture(MIXTURE, dict.fromkeys(leaves, 1.0), share_unit="examples")


def register_peer() -> None:
    """Registers the same tasks with stock parts of SeqIO and t5."""
    features = {
        name: seqio.Feature(vocabulary=toy.toy_vocabulary(), add_eos=True)
        for name in ("inputs", "targets")
    }
    rekey = functools.partial(
        seqio.preprocessors.rekey, key_map={"inputs": None, "targets": "text"}
    )
    append_eos = seqio.preprocessors.append_eos_after_trim
    names = []
    for language in LANGUAGES:
        names.append(f"{MIXTURE}_peer_{language}")
        seqio.TaskRegistry.add(
            names[-1],
            source=toy.text_source(language),
            preprocessors=[
                rekey,
                seqio.preprocessors.tokenize,
                t5_preprocessors.span_corruption,
                append_eos,
            ],
            output_features=features,
            metric_fns=[],
        )
    for source, target in DIRECTIONS:
        names.append(f"{MIXTURE}_peer_{source}_{target}")
        translate = functools.partial(
            t5_preprocessors.translate, source_language=source, target_language=target
        )
        seqio.TaskRegistry.add(
            names[-1],
            source=toy.pair_source(source, target),
            preprocessors=[
                functools.partial(
                    seqio.preprocessors.rekey, key_map={source: "src", target: "tgt"}
                ),
                translate,
                seqio.preprocessors.tokenize,
                append_eos,
            ],
            output_features=features,
            metric_fns=[],
        )
    seqio.MixtureRegistry.add(f"{MIXTURE}_peer", [(name, 1.0) for name in names])


def open_ours(lengths: Mapping[str, int], batch_size: int) -> Iterator[Mapping[str, np.ndarray]]:
    """Returns our batches."""
    source = SeqioSource(
        mixture_or_task_name=MIXTURE,
        task_feature_lengths=lengths,
        batch_size=batch_size,
        feature_converter=feature_converters.EncDecFeatureConverter(),
    )
    return source.iterator()


def make_cache(folder: str, mode: Mode, lengths: Mapping[str, int]) -> str:
    """Returns the folder of a new cache of our mixture."""
    span = noise.span_lengths(lengths["inputs"], 0.15, 3.0)
    cache_job.make_cache(
        cache_job.CacheJob(
            name=MIXTURE,
            output=folder,
            mode=mode,
            splits=("train",),
            num_shards=2,
            row_shapes={
                "span_corruption": {"inputs": lengths["inputs"], "targets": span.targets},
                "*": lengths,
            },
        )
    )
    return folder


def open_cache(
    folder: str, batch_size: int, *, threads: int, processes: int
) -> Iterator[Mapping[str, np.ndarray]]:
    """Returns the batches of a cache."""
    source = CacheSource(
        folder=folder,
        batch_size=batch_size,
        family="encoder_decoder",
        read_threads=threads,
        read_processes=processes,
    )
    return source.iterator()


def open_peer(lengths: Mapping[str, int], batch_size: int) -> Iterator[Mapping[str, np.ndarray]]:
    """Returns the batches that SeqIO and t5 make, as T5X asks for them."""
    dataset = seqio.get_dataset(
        f"{MIXTURE}_peer",
        task_feature_lengths=lengths,
        dataset_split="train",
        shuffle=True,
        num_epochs=None,
        feature_converter=seqio.EncDecFeatureConverter(pack=True),
        seed=0,
    )
    dataset = dataset.batch(batch_size, drop_remainder=True).prefetch(tf.data.AUTOTUNE)
    return dataset.as_numpy_iterator()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--inputs", type=int, default=256, help="length of inputs in tokens")
    parser.add_argument("--targets", type=int, default=256, help="length of targets in tokens")
    parser.add_argument("--batch_size", type=int, default=32, help="rows of a batch")
    parser.add_argument("--batches", type=int, default=80, help="batches timed in a round")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of each pipeline")
    parser.add_argument("--read_threads", type=int, default=2, help="of the caches' readers")
    parser.add_argument("--read_processes", type=int, default=0, help="in the place of threads")
    return parser


if __name__ == "__main__":
    sys.exit(main())

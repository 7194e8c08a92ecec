"""Seconds and memory of an exact search of many vectors among as many, read from files.

The vectors are random and lie in memory maps; half of the queries are a vector of the corpus with
noise, so that what has to be found is known. With `--most_mib` the program fails if the search
took more memory than that, beyond what the process had before it; pages of the files that the
system keeps in memory count. The last line of the output is one JSON object.

    python benchmarks/search.py
    python benchmarks/search.py --queries=1000000 --corpus=1000000 --most_mib=1024
"""

import argparse
import json
import pathlib
import sys
import tempfile
import time
from collections.abc import Sequence

import numpy as np

if not __package__:  # run as a script: the folder above is not on the path yet
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

_CHUNK, _NOISE, _SEED = 1 << 16, 0.05, 0


def main(argv: Sequence[str] | None = None) -> int:
    """Searches and prints a JSON line; returns 1 if it took too much memory or missed a vector."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--queries", type=int, default=200_000)
    parser.add_argument("--corpus", type=int, default=200_000)
    parser.add_argument("--dims", type=int, default=64)
    parser.add_argument("--neighbours", type=int, default=4)
    parser.add_argument("--most_mib", type=float, default=512.0)
    args = parser.parse_args(argv)
    from xlingual.evaluation.search import find_nearest
    from xlingual.reporting.results import peak_rss_bytes

    with tempfile.TemporaryDirectory() as place:
        corpus = _random(pathlib.Path(place) / "corpus", args.corpus, args.dims, _SEED)
        queries, gold = _queries(pathlib.Path(place) / "queries", args.queries, corpus)
        find_nearest(queries[:1], corpus[:1], 1)  # what the libraries take
        before, begun, cpu = peak_rss_bytes(), time.monotonic(), time.process_time()
        found = find_nearest(queries, corpus, args.neighbours)
        seconds, cpu = time.monotonic() - begun, time.process_time() - cpu
        taken = (peak_rss_bytes() - before) / 2**20
    hits = float(np.mean(found.indices[: len(gold), 0] == gold))
    print(
        json.dumps(
            {
                **{name: getattr(args, name) for name in ("queries", "corpus", "dims")},
                "neighbours": args.neighbours,
                "seconds": round(seconds, 1),
                "cpu_seconds": round(cpu, 1),
                "before_mib": round(before / 2**20, 1),
                "taken_mib": round(taken, 1),
                "all_scores_mib": round(args.queries * args.corpus * 4 / 2**20, 1),
                "found": hits,
            }
        )
    )
    return int(taken > args.most_mib or hits < 1)


def _random(path: pathlib.Path, size: int, dims: int, seed: int) -> np.ndarray:
    """Returns a memory map of random vectors of length 1, [size, dims] float32."""
    generator = np.random.default_rng(seed)
    vectors = np.memmap(path, np.float32, "w+", shape=(size, dims))
    for start in range(0, size, _CHUNK):
        vectors[start : start + _CHUNK] = _unit(
            generator.standard_normal((min(_CHUNK, size - start), dims), np.float32)
        )
    vectors.flush()
    return np.memmap(path, np.float32, "r", shape=(size, dims))


def _queries(path: pathlib.Path, size: int, corpus: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns a memory map of queries, and the nearest of the first half of them."""
    generator = np.random.default_rng(_SEED + 1)
    gold = generator.integers(len(corpus), size=size // 2)
    queries = _random(path, size, corpus.shape[1], _SEED + 2)
    writable = np.memmap(path, np.float32, "r+", shape=queries.shape)
    for start in range(0, len(gold), _CHUNK):
        near = np.asarray(corpus[gold[start : start + _CHUNK]])
        noise = _NOISE * generator.standard_normal(near.shape, np.float32)
        writable[start : start + len(near)] = _unit(near + noise)
    writable.flush()
    return queries, gold


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


if __name__ == "__main__":
    sys.exit(main())

"""Seconds and memory that each evaluator takes on many sentences with a model of random weights.

The sentences are made up of words of letters, in two languages, one a cipher of the other, so that
nothing is read from elsewhere; the model is a tiny encoder-decoder over bytes. Each evaluator
runs in a process of its own, so that its peak memory is its own; with `--together` all run in one,
as `xlingual evaluate` runs them. The last line of the output is one JSON object: evaluator ->
seconds, cpu_seconds of all cores, peak_rss_bytes, rows.

    python benchmarks/evaluation.py
    python benchmarks/evaluation.py --together
    python benchmarks/evaluation.py --sentences=1000 --only=retrieval,probes
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

if not __package__:  # run as a script: the folder above is not on the path yet
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

LANGUAGES = ("en", "de")
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_WORDS, _SEED = (4, 12), 0
_MAX_LENGTH = 96


def main(argv: Sequence[str] | None = None) -> int:
    """Measures every evaluator and prints a JSON line; returns 0."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sentences", type=int, default=10_000, help="of a language")
    parser.add_argument("--only", default=",".join(EVALUATORS), help="evaluators, by commas")
    parser.add_argument("--decode_length", type=int, default=32, help="bytes a translation has")
    parser.add_argument("--together", action="store_true", help="all in one process")
    parser.add_argument("--alone", help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.alone:
        print(json.dumps(_measure(args)), flush=True)
        return 0
    found = {}
    for name in [args.only] if args.together else args.only.split(","):
        words = [sys.executable, __file__, f"--alone={name}", f"--sentences={args.sentences}"]
        words.append(f"--decode_length={args.decode_length}")
        output = subprocess.run(words, check=True, capture_output=True, text=True).stdout
        found[name] = json.loads(output.splitlines()[-1])
        print(name, found[name], flush=True)
    print(json.dumps({"sentences": args.sentences, "evaluators": found}), flush=True)
    return 0


def _measure(args: argparse.Namespace) -> dict[str, Any]:
    """Returns what evaluators in one process took, their imports and compilations included."""
    from xlingual.data.byte_vocabulary import ByteVocabulary
    from xlingual.evaluation.suite import ModelSource
    from xlingual.reporting.results import peak_rss_bytes

    texts = _texts(args.sentences)
    with tempfile.TemporaryDirectory() as place:
        begun = time.monotonic()
        model, params, partitioner, converter = _model()
        source = ModelSource(tokenizer=ByteVocabulary(), feature_converter=converter)
        from xlingual.losses.cross_entropy import CrossEntropy

        rows = 0
        for name in args.alone.split(","):
            evaluator = EVALUATORS[name](pathlib.Path(place), texts, args)
            evaluator.prepare(model, partitioner, {"cross_entropy": CrossEntropy()}, source)
            rows += len(evaluator(params).rows)
        seconds = time.monotonic() - begun
    return {
        "seconds": round(seconds, 1),
        "cpu_seconds": round(time.process_time(), 1),
        "peak_rss_bytes": peak_rss_bytes(),
        "rows": rows,
    }


def _texts(count: int) -> dict[str, list[str]]:
    """Returns language -> sentences; those of the second language are ciphers of the first."""
    generator = np.random.default_rng(_SEED)
    words = [
        "".join(generator.choice(list(_LETTERS), generator.integers(2, 9))) for _ in range(4000)
    ]
    lengths = generator.integers(*_WORDS, count)
    first = [" ".join(words[i] for i in generator.integers(0, 4000, n)) for n in lengths]
    ciphers = [str.maketrans(_LETTERS, _LETTERS[n:] + _LETTERS[:n]) for n in (0, 3)]
    return {
        lang: [text.translate(cipher) for text in first]
        for lang, cipher in zip(LANGUAGES, ciphers, strict=True)
    }


def _model() -> tuple[Any, Any, Any, Any]:
    import jax

    from xlingual.data.feature_converters import EncDecFeatureConverter
    from xlingual.models.config import TransformerConfig
    from xlingual.models.encoder_decoder import EncoderDecoder
    from xlingual.partitioning.partitioner import Partitioner
    from xlingual.partitioning.rules import data_parallel
    from xlingual.partitioning.specs import split_boxes

    config = TransformerConfig(
        vocab_size=512,
        d_model=128,
        d_ff=256,
        d_kv=32,
        num_heads=4,
        num_encoder_layers=2,
        num_decoder_layers=2,
        dtype="float32",
    )
    model = EncoderDecoder(config)
    shape = jax.ShapeDtypeStruct((2, 4), "int32")
    features = dict.fromkeys(model.requires_features, shape)
    boxed = jax.jit(lambda key: model.init(key, features))(jax.random.key(_SEED))
    partitioner = Partitioner(rules=data_parallel(), devices=tuple(jax.devices()[:1]))
    return model, split_boxes(boxed)[0], partitioner, EncDecFeatureConverter(pack=False)


def _table(place: pathlib.Path, texts: dict[str, list[str]]) -> Any:
    from xlingual.evaluation.text_sets import TextSets

    path = place / "made_up.tsv"
    rows = ["\t".join(cells) for cells in zip(*texts.values(), strict=True)]
    path.write_text("\n".join(["\t".join(texts), *rows]) + "\n", encoding="utf-8")
    return TextSets(tables=(str(path),), num_examples=len(rows))


def _options() -> Any:
    from xlingual.evaluation.encoding import EncodingOptions

    return EncodingOptions(max_length=_MAX_LENGTH, batch_size=64)


def _retrieval(place: pathlib.Path, texts: dict[str, list[str]], args: Any) -> Any:
    del args
    from xlingual.evaluation.retrieval import RetrievalEvaluator

    return RetrievalEvaluator(sets=_table(place, texts), encoding=_options())


def _probes(place: pathlib.Path, texts: dict[str, list[str]], args: Any) -> Any:
    del args
    from xlingual.evaluation.probes import RepresentationProbes

    return RepresentationProbes(sets=_table(place, texts), encoding=_options())


def _word_alignment(place: pathlib.Path, texts: dict[str, list[str]], args: Any) -> Any:
    from xlingual.evaluation.word_alignment import WordAlignmentEvaluator

    links = [" ".join(f"{i}-{i}" for i in range(len(text.split()))) for text in texts["en"]]
    columns = (texts["en"], texts["de"], links, links)
    lines = ["\t".join(cells) for cells in zip(*columns, strict=True)]
    path = place / "links.tsv"
    path.write_text("\n".join(["en\tde\tsure\tpossible", *lines]) + "\n", encoding="utf-8")
    return WordAlignmentEvaluator(
        tables=(str(path),), encoding=_options(), num_examples=args.sentences
    )


def _register(texts: dict[str, list[str]]) -> str:
    """Registers a task that translates the second language into the first; returns its name."""
    import seqio
    import tensorflow as tf

    from xlingual.data import task_registry
    from xlingual.data.byte_vocabulary import ByteVocabulary

    if "made_up" in seqio.TaskRegistry.names():
        return "made_up"
    vocabulary = ByteVocabulary()

    def make(split: str, shuffle_files: bool, seed: int | None = None) -> tf.data.Dataset:
        del split, shuffle_files, seed
        return tf.data.Dataset.from_tensor_slices({"inputs": texts["de"], "targets": texts["en"]})

    def encode(dataset: tf.data.Dataset) -> tf.data.Dataset:
        return dataset.map(
            lambda record: {
                name: tf.concat([vocabulary.encode_tf(text), [vocabulary.eos_id]], axis=0)
                for name, text in record.items()
            }
        )

    task_registry.register_task(
        "made_up",
        objective="translation",
        source=seqio.FunctionDataSource(make, splits=("test",)),
        preprocessors=[encode],
        output_features={
            name: seqio.Feature(vocabulary, add_eos=False) for name in ("inputs", "targets")
        },
        src_lang="de",
        tgt_lang="en",
    )
    return "made_up"


def _translation(place: pathlib.Path, texts: dict[str, list[str]], args: Any) -> Any:
    del place
    from xlingual.evaluation.translation import TranslationEvaluator

    return TranslationEvaluator(
        tasks=(_register(texts),),
        task_feature_lengths={"inputs": _MAX_LENGTH, "targets": _MAX_LENGTH},
        num_examples=args.sentences,
        max_decode_length=args.decode_length,
    )


def _heldout(place: pathlib.Path, texts: dict[str, list[str]], args: Any) -> Any:
    del place
    from xlingual.evaluation.heldout import HeldoutLoss

    return HeldoutLoss(
        tasks=(_register(texts),),
        task_feature_lengths={"inputs": _MAX_LENGTH, "targets": _MAX_LENGTH},
        split="test",
        num_batches=-(-args.sentences // 64),
        batch_size=64,
    )


EVALUATORS: dict[str, Callable[[pathlib.Path, dict[str, list[str]], Any], Any]] = {
    "heldout": _heldout,
    "translation": _translation,
    "retrieval": _retrieval,
    "probes": _probes,
    "word_alignment": _word_alignment,
}

if __name__ == "__main__":
    sys.exit(main())

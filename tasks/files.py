"""Tasks over a folder of plain files: parallel tables, text and code, English as the pivot.

`register_folder` reads the layout

    parallel/NAME.train.tsv.gz   NAME.valid.tsv.gz    a header of language codes, a row a sentence
    mono/LANG.txt.gz             LANG.valid.txt.gz    a sentence or paragraph a line
    code/NAME.train.jsonl.gz     NAME.valid.jsonl.gz  objects with nl, lang, code, pl

and registers span corruption, denoising and language modelling per language, translation
`xx <-> en` and pivot translation (PTLM) `xx <-> en` and `en <-> code`, each one direction a task,
and `xx -> yy` for zero-shot evaluation. The vocabulary is trained from the train files on first
use.
"""

import dataclasses
import functools
import itertools
import pathlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import seqio
import tensorflow as tf

from tasks import sources
from tasks.trained_vocabulary import TrainedVocabulary
from xlingual.data import languages, task_registry, vocabularies
from xlingual.errors import ConfigError
from xlingual.objectives import (
    code_whitespace,
    denoising,
    language_model,
    pivot_translation,
    span_corruption,
    translation,
)
from xlingual.objectives.tokenize import tokenize

PIVOT = "en"
SPLITS = {"train": "train", "validation": "valid"}
"""Split -> the word for it in file names."""
COLUMNS = {"en": "eng_Latn", "de": "deu_Latn", "fr": "fra_Latn", "cs": "ces_Latn", "ha": "hau_Latn"}
"""Language code -> its name in headers and file names."""
PAIRS = {
    "de": ("multi30k",),
    "fr": ("multi30k",),
    "cs": ("multi30k",),
    "ha": ("mafand.hau_Latn-eng_Latn",),
}
"""Language -> parallel files that pair it with English."""
CODE = {"python": ("mbxp", "conala"), "javascript": ("mbxp",)}
"""Programming language -> files that describe its functions in English."""
MULTIWAY = "multi30k"
"""Parallel files that several languages share: their validation split gives zero-shot pairs."""
MAX_VOCABULARY_TEXTS = 20_000


@dataclasses.dataclass(frozen=True, kw_only=True)
class Folder:
    """A data folder and the vocabulary of its tasks."""

    root: pathlib.Path
    vocabulary: TrainedVocabulary

    @functools.cached_property
    def output_features(self) -> dict[str, seqio.Feature]:
        """Features of every task: `inputs` and `targets`, EOS appended by the objectives."""
        return {
            name: seqio.Feature(vocabulary=self.vocabulary, add_eos=False, dtype=tf.int32)
            for name in ("inputs", "targets")
        }

    def paths(self, kind: str, names: Sequence[str], ending: str) -> dict[str, list[str]]:
        """Returns split -> files; every file must exist.

        Raises:
          ConfigError: a file is missing.
        """
        found = {
            split: [str(self.root / kind / f"{name}.{word}.{ending}") for name in names]
            for split, word in SPLITS.items()
        }
        if kind == "mono":
            found["train"] = [str(self.root / kind / f"{name}.{ending}") for name in names]
        missing = [path for path in itertools.chain(*found.values()) if not _is_file(path)]
        if missing:
            raise ConfigError(f"DATA_DIR={self.root} lacks the files {missing}")
        return found


def register_folder(data_dir: str, vocab_size: int = 8192) -> str:
    """Registers all tasks and mixtures of a folder, names beginning with `files_`.

    Mixtures: `files_pretrain`, `files_decoder_pretrain`, `files_evaluation` (trained directions and
    a sample of zero-shot ones).

    Args:
      data_dir: the folder; one folder a process.
      vocab_size: pieces of the vocabulary, control tokens and 100 sentinels included.

    Returns:
      The folder.

    Raises:
      ConfigError: the folder or one of its files is missing.
    """
    root = pathlib.Path(str(data_dir)).expanduser()
    if not root.is_dir():
        raise ConfigError(f"DATA_DIR={data_dir!r} is no folder; expected parallel/, mono/, code/")
    folder = Folder(root=root, vocabulary=_vocabulary(root, vocab_size))
    for language in COLUMNS:
        _register_texts(folder, language, _mono_source(folder, language))
    for pl in CODE:
        _register_code(folder, pl)
    for language in PAIRS:
        for source, target in ((language, PIVOT), (PIVOT, language)):
            _register_direction(folder, "translation", source, target)
            _register_direction(folder, "ptlm", source, target)
    for source, target in _zero_shot():
        _register_direction(folder, "translation", source, target)
    _register_mixtures()
    return str(root)


def task_name(objective: str, *codes: str) -> str:
    """Returns the name of a task over files, e.g. `files_translation_de_en`."""
    return "_".join(("files", objective, *codes))


def _is_file(path: str) -> bool:
    return bool(tf.io.gfile.exists(path))


def _zero_shot() -> list[tuple[str, str]]:
    shared = [language for language, names in PAIRS.items() if MULTIWAY in names]
    return list(itertools.permutations(shared, 2))


@functools.cache
def _vocabulary(root: pathlib.Path, vocab_size: int) -> TrainedVocabulary:
    settings = {
        "vocab_size": vocab_size,
        "num_sentinels": 100,
        "control_tokens": vocabularies.control_tokens([*COLUMNS, *CODE]),
        "character_coverage": 0.9999,
        "model_type": "unigram",
    }
    make_texts = functools.partial(_vocabulary_texts, root)
    return TrainedVocabulary(f"files_{vocab_size}", make_texts, settings)


def _vocabulary_texts(root: pathlib.Path) -> Iterable[str]:
    """Yields train texts, at most equally many of every language, and the words of prompts."""
    folder = Folder(root=root, vocabulary=_vocabulary(root, 8192))
    for language in COLUMNS:
        texts = sources.texts_of(_mono_source(folder, language), "train", "text")
        yield from texts[:MAX_VOCABULARY_TEXTS]
    for language in PAIRS:
        pairs = _pair_source(folder, language, PIVOT)
        yield from sources.texts_of(pairs, "train", "src")[:MAX_VOCABULARY_TEXTS]
    for pl in CODE:
        for text in sources.texts_of(_code_texts(folder, pl), "train", "text"):
            yield code_whitespace.encode_whitespace(text)
    names = languages.language_names([*COLUMNS, *CODE]).values()
    yield from [f"translate {a} to {b}:" for a, b in itertools.permutations(names, 2)] * 10


def _mono_source(folder: Folder, language: str) -> seqio.DataSource:
    return sources.mono_source(folder.paths("mono", [COLUMNS[language]], "txt.gz"), language)


def _pair_source(folder: Folder, source: str, target: str) -> seqio.DataSource:
    foreign = source if source != PIVOT else target
    names = (MULTIWAY,) if PIVOT not in (source, target) else PAIRS[foreign]
    paths = folder.paths("parallel", names, "tsv.gz")
    if PIVOT not in (source, target):
        paths = {"validation": paths["validation"]}
    return sources.pair_source(paths, (COLUMNS[source], COLUMNS[target]), (source, target))


def _code_pairs(folder: Folder, source: str, target: str) -> seqio.DataSource:
    """Returns records `{src, tgt, src_lang, tgt_lang}` of descriptions and their code."""

    def convert(records: tf.data.Dataset) -> tf.data.Dataset:
        pairs = pivot_translation.code_pairs(records)
        return pairs.map(_turned) if source in CODE else pairs

    return _converted(_code_source(folder, source if source in CODE else target), convert)


def _code_texts(folder: Folder, pl: str) -> seqio.DataSource:
    """Returns records `{text, lang}` of code alone."""
    as_text = functools.partial(_as_text, lang=pl)
    return _converted(_code_source(folder, pl), lambda records: records.map(as_text))


def _code_source(folder: Folder, pl: str) -> seqio.DataSource:
    paths = folder.paths("code", CODE[pl], "jsonl.gz")
    return sources.code_source(paths, pl, PIVOT, COLUMNS[PIVOT])


def _converted(
    source: seqio.DataSource, convert: Callable[[tf.data.Dataset], tf.data.Dataset]
) -> seqio.FunctionDataSource:
    """Returns a source whose records are made from those of another."""

    def make_dataset(split: str, shuffle_files: bool, seed: int | None = None) -> tf.data.Dataset:
        del shuffle_files, seed
        return convert(source.get_dataset(split=split, shuffle=False))

    return seqio.FunctionDataSource(make_dataset, splits=tuple(SPLITS))


def _turned(pair: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """Returns a pair with source and target exchanged."""
    return {
        "src": pair["tgt"],
        "tgt": pair["src"],
        "src_lang": pair["tgt_lang"],
        "tgt_lang": pair["src_lang"],
    }


def _as_text(record: Mapping[str, tf.Tensor], *, lang: str) -> dict[str, tf.Tensor]:
    return {"text": record["code"], "lang": tf.constant(lang)}


def _register(folder: Folder, name: str, fields: Mapping[str, str], **task: Any) -> None:
    objective = task.pop("preprocess")
    code = tuple(field for field, language in fields.items() if language in CODE)
    task_registry.register_task(
        name,
        preprocessors=[functools.partial(tokenize, code_fields=code), objective],
        output_features=folder.output_features,
        **task,
    )


def _with_tokens(folder: Folder, objective: Any, **options: Any) -> Any:
    """Returns an objective as a preprocessor that looks up the vocabulary when it runs."""
    vocabulary = folder.vocabulary

    def preprocess(dataset: Any, sequence_length: Any, output_features: Any) -> tf.data.Dataset:
        return objective(
            dataset,
            sequence_length,
            output_features,
            special_tokens=vocabulary.special_tokens,
            **options,
        )

    return preprocess


def _register_texts(folder: Folder, language: str, source: seqio.DataSource) -> None:
    objectives = {
        "span_corruption": _with_tokens(folder, span_corruption.span_corruption),
        "prefix_lm": _with_tokens(folder, language_model.prefix_lm),
        "causal_lm": _with_tokens(folder, language_model.causal_lm, form="packed"),
        "dot_denoise": _with_tokens(folder, denoising.dot_denoise, **denoising.STRONG_NOISE),
    }
    for objective, preprocess in objectives.items():
        _register(
            folder,
            task_name(objective, language),
            {"text": language},
            preprocess=preprocess,
            objective=objective,
            source=source,
            src_lang=language,
            tgt_lang=language,
        )


def _register_code(folder: Folder, pl: str) -> None:
    _register_texts(folder, pl, _code_texts(folder, pl))
    for source, target in ((PIVOT, pl), (pl, PIVOT)):
        _register_direction(folder, "ptlm", source, target)


def _register_direction(folder: Folder, objective: str, source: str, target: str) -> None:
    trained = PIVOT in (source, target)
    if objective == "translation":
        preprocess = _with_tokens(folder, translation.translation, direction="fwd")
    else:
        preprocess = _with_tokens(
            folder,
            pivot_translation.ptlm,
            language_names=languages.language_names([*COLUMNS, *CODE]),
            pivot_lang=PIVOT,
            direction="fwd",
            max_length_ratio=None,
        )
    is_code = source in CODE or target in CODE
    make_source = _code_pairs if is_code else _pair_source
    _register(
        folder,
        task_name(objective, source, target),
        {"src": source, "tgt": target},
        preprocess=preprocess,
        objective=objective,
        source=make_source(folder, source, target),
        src_lang=source,
        tgt_lang=target,
        trained=trained,
    )


def _register_mixtures() -> None:
    directions = [d for language in PAIRS for d in ((language, PIVOT), (PIVOT, language))]
    code = [d for pl in CODE for d in ((PIVOT, pl), (pl, PIVOT))]
    texts = [*COLUMNS, *CODE]
    groups = {
        "translation": [task_name("translation", *d) for d in directions],
        "ptlm": [task_name("ptlm", *d) for d in [*directions, *code]],
        **{
            objective: [task_name(objective, language) for language in texts]
            for objective in ("span_corruption", "causal_lm", "prefix_lm")
        },
        "dot_denoise": [task_name("dot_denoise", language) for language in COLUMNS],
    }
    shares = {
        "files_pretrain": {
            "span_corruption": 0.3,
            "dot_denoise": 0.1,
            "translation": 0.4,
            "ptlm": 0.2,
        },
        "files_decoder_pretrain": {
            "causal_lm": 0.3,
            "dot_denoise": 0.1,
            "translation": 0.4,
            "ptlm": 0.2,
        },
    }
    for name, by_objective in shares.items():
        leaves = {
            task: share / len(groups[objective])
            for objective, share in by_objective.items()
            for task in groups[objective]
        }
        task_registry.register_mixture(name, leaves, share_unit="tokens")
    evaluated = groups["translation"] + [task_name("translation", *d) for d in _zero_shot()]
    task_registry.register_mixture(
        "files_evaluation", dict.fromkeys(evaluated, 1.0), share_unit="examples"
    )

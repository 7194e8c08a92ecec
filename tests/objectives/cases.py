"""Records in three scripts for every registered objective, and what each needs beside them."""

import functools
import pathlib
import types
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from xlingual.arrays.ragged import RaggedTensor
from xlingual.arrays.text import text_array
from xlingual.data import plain_vocabularies
from xlingual.objectives import registry, twins
from xlingual.objectives.recorded_vocabulary import RecordedVocabulary
from xlingual.objectives.tokenize import tokenize

SENTENCES = {
    "en": "The library number {} is behind the green park, next to the river.",
    "hi": "पुस्तकालय {} हरे उद्यान के पीछे, नदी के पास है।",
    "zh": "图书馆{}在绿色公园后面，靠近河边。",
}
NAMES = {"en": "English", "hi": "Hindi", "zh": "Chinese", "python": "Python"}
CODE = "def f{0}(a, b):\n  total = a + {0}\n  return total * b"
WORDS = {"library": "पुस्तकालय", "park": "उद्यान", "river": "नदी"}
VARIANTS = {
    "ptlm_half": ("ptlm", {"layout": "concat", "rho": 0.5}),
    "tsc_pnat": ("tsc", {"pnat": True}),
    "tpsc_pnat": ("tpsc", {"pnat": True}),
    "translation_random": ("translation", {"direction": "random"}),
    "causal_lm_packed": ("causal_lm", {"form": "packed"}),
}
"""Name -> (objective, options): settings whose examples differ in kind."""
NUM_RECORDS = 20
CASES = (*registry.objectives(), *VARIANTS)
LONG = ("causal_lm", "interleaved_docs", "cs_input_only")
"""Objectives that predict the first token of a text from nothing: their texts are longer."""


def some_slow(values: Iterable[Any]) -> list[Any]:
    """Returns parameters of a costly test: one in twelve runs always, the others are `slow`."""
    marks = ([], *([pytest.mark.slow] for _ in range(11)))
    return [
        pytest.param(*(value if isinstance(value, tuple) else (value,)), marks=marks[i % 12])
        for i, value in enumerate(values)
    ]


def objective_of(case: str) -> registry.Objective:
    """Returns the objective behind a case."""
    return registry.get_objective(VARIANTS[case][0] if case in VARIANTS else case)


def families_of(case: str) -> tuple[str, ...]:
    """Returns the families of models that train on a case."""
    return objective_of(case).families


def records_of(case: str, count: int = NUM_RECORDS) -> tf.data.Dataset:
    """Returns `count` text records of the first kind that the objective of a case takes."""
    objective = objective_of(case)
    copies = 2 if objective.name in LONG else 1
    texts = {
        lang: [" ".join([sentence] * copies).format(i, i) for i in range(count)]
        for lang, sentence in SENTENCES.items()
    }
    langs = [("en", "hi", "zh")[i % 3] for i in range(count)]
    foreign = [("hi", "zh")[i % 2] for i in range(count)]
    if objective.name in ("cs_restore", "cs_input_only", "ras"):
        langs, foreign = ["en"] * count, ["en"] * count
    kind = objective.records[0]
    if kind == "mono":
        columns = {"text": [texts[lang][i] for i, lang in enumerate(langs)], "lang": langs}
    elif kind == "entity":
        columns = _entities(texts["en"])
    elif kind == "code":
        code = [CODE.format(i) for i in range(count)]
        columns = {"code": code, "pl": ["python"] * count, "doc": texts["en"], "doc_lang": langs}
        columns |= {"doc_lang": ["en"] * count}
    else:
        other = "zh" if objective.name == "ras" else "en"
        columns = {
            "src": [texts[lang][i] for i, lang in enumerate(foreign)],
            "src_lang": foreign,
            "tgt": texts[other],
            "tgt_lang": [other] * count,
        }
        if kind == "multi":
            last = ["zh" if lang == "hi" else "hi" for lang in foreign]
            columns |= {"pivot": texts["en"], "pivot_lang": ["en"] * count}
            columns |= {"tgt": [texts[lang][i] for i, lang in enumerate(last)], "tgt_lang": last}
    return tf.data.Dataset.from_tensor_slices(columns)


def _entities(texts):
    spans = [[(text.index(word), text.index(word) + len(word)) for word in WORDS] for text in texts]
    return {
        "text": texts,
        "lang": ["en"] * len(texts),
        "starts": tf.ragged.constant([[start for start, _ in row] for row in spans]),
        "ends": tf.ragged.constant([[end for _, end in row] for row in spans]),
        "types": tf.ragged.constant([["NOUN"] * len(WORDS)] * len(texts)),
        "qids": tf.ragged.constant([list(WORDS)] * len(texts)),
    }


def options_of(case: str, folder: pathlib.Path) -> dict:
    """Returns the options of a case; files that it needs are written to `folder`."""
    objective = objective_of(case)
    options = dict(VARIANTS[case][1]) if case in VARIANTS else {}
    if "language_names" in objective.required:
        options["language_names"] = NAMES
    if "lexicons" in objective.required:
        path = folder / "en-hi.tsv"
        path.write_text("".join(f"{en}\t{hi}\n" for en, hi in WORDS.items()), encoding="utf-8")
        options |= {"lexicons": {("en", "hi"): str(path)}, "rate": 0.6}
    if "labels" in objective.required:
        path = folder / "labels.tsv"
        lines = [f"{en}\ten\t{en}\n{en}\thi\t{hi}\n" for en, hi in WORDS.items()]
        path.write_text("".join(lines), encoding="utf-8")
        options["labels"] = str(path)
    if objective.name == "ul2":
        options["drop_unaffordable"] = True
    return options


def bind(case: str, *, lengths, output_features, special_tokens, folder):
    """Returns (records, preprocessor): text records go in where the objective wants them."""
    objective = objective_of(case)
    records = records_of(case)
    if objective.tokenized:
        records = tokenize(records, output_features)
    return records, functools.partial(
        objective.preprocess,
        sequence_length=lengths,
        output_features=output_features,
        special_tokens=special_tokens,
        **options_of(case, folder),
    )


def as_numpy(batch: dict[str, Any]) -> dict[str, Any]:
    """Returns a batch of records for a twin."""
    return {
        name: RaggedTensor(_plain(value.values.numpy()), value.row_splits.numpy())
        if isinstance(value, tf.RaggedTensor)
        else text_array(value.numpy().astype("S"))
        for name, value in batch.items()
    }


def _plain(values: np.ndarray) -> np.ndarray:
    return text_array(values.astype("S")) if values.dtype == object else values


def make_twin(case: str, objective: functools.partial, batch: dict, vocabulary: Any) -> twins.Twin:
    """Returns the objective of a case without TensorFlow, tried on a batch."""
    plain = plain_vocabularies.load(*plain_vocabularies.dump(vocabulary))
    recorded = RecordedVocabulary({}, plain)
    feature = types.SimpleNamespace(vocabulary=recorded)
    options = {**objective.keywords, "output_features": {"inputs": feature, "targets": feature}}
    twin = twins.make_twin(case, objective.func, fields=batch, **options)
    twins.check_twin(case, twin, as_numpy(batch))
    return twin


def split_rows(features: dict[str, RaggedTensor]) -> list[dict[str, list[int]]]:
    """Returns the examples of a twin, one by one."""
    rows = {
        name: np.split(value.values, value.row_splits[1:])[:-1] for name, value in features.items()
    }
    return [
        {name: row.tolist() for name, row in zip(rows, values, strict=True)}
        for values in zip(*rows.values(), strict=True)
    ]

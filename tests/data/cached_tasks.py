"""Tasks over made-up sentences, for caches: monolingual text and pairs, of realistic lengths."""

import functools

import numpy as np
import seqio
import tensorflow as tf

from xlingual.data import task_registry, vocabularies
from xlingual.data.byte_vocabulary import ByteVocabulary
from xlingual.objectives.language_model import causal_lm
from xlingual.objectives.span_corruption import span_corruption
from xlingual.objectives.tokenize import tokenize
from xlingual.objectives.translation import translation

VOCABULARY = ByteVocabulary(vocabularies.control_tokens(["de", "en"]))
TASKS = ("cached_de", "cached_de_en")
MIXTURE = "cached_mixture"
LANGUAGE_MODEL = "cached_causal_de"
ROW_SHAPES = {
    "span_corruption": {"inputs": 512, "targets": 114},
    "translation": {"inputs": 256, "targets": 256},
}
COUNTS = {"train": 3_000, "validation": 120}


@functools.cache
def columns(split, kind):
    """Returns field -> texts of letters, which are tokens, one each."""
    count = COUNTS[split]
    random = np.random.default_rng(count)
    sizes = random.lognormal(np.log(37) - 0.125, 0.5, count)
    other = sizes * np.exp(random.normal(0, 0.2, count))
    sides = [np.clip(np.round(side), 3, 250).astype(int) for side in (sizes, other)]
    letters = random.integers(ord("a"), ord("z") + 1, [2, count, 250], np.uint8)
    src, tgt = (
        [bytes(text[:n]).decode() for text, n in zip(texts, side, strict=True)]
        for texts, side in zip(letters, sides, strict=True)
    )
    if kind == "mono":
        return {"text": src, "lang": ["de"] * count}
    return {"src": src, "tgt": tgt, "src_lang": ["de"] * count, "tgt_lang": ["en"] * count}


def _records(split, shuffle_files=False, seed=None, *, kind):
    del shuffle_files, seed
    return tf.data.Dataset.from_tensor_slices(columns(split, kind))


def _source(kind):
    return seqio.FunctionDataSource(
        functools.partial(_records, kind=kind), splits=tuple(COUNTS), num_input_examples=COUNTS
    )


def register(vocabulary=VOCABULARY):
    """Registers the tasks and their mixture, half and half; returns its name."""
    special = vocabulary.special_tokens
    features = {
        name: seqio.Feature(vocabulary, add_eos=False, dtype=tf.int32)
        for name in ("inputs", "targets")
    }
    objectives = {
        "mono": functools.partial(span_corruption, special_tokens=special),
        "pair": functools.partial(translation, special_tokens=special, direction="fwd"),
    }
    for name, (kind, objective) in zip(TASKS, objectives.items(), strict=True):
        task_registry.register_task(
            name,
            objective="span_corruption" if kind == "mono" else "translation",
            source=_source(kind),
            preprocessors=[functools.partial(tokenize), objective],
            output_features=features,
            src_lang="de",
            tgt_lang="de" if kind == "mono" else "en",
        )
    task_registry.register_task(
        LANGUAGE_MODEL,
        objective="causal_lm",
        source=_source("mono"),
        preprocessors=[
            functools.partial(tokenize),
            functools.partial(causal_lm, special_tokens=special, form="packed"),
        ],
        output_features=features,
        src_lang="de",
        tgt_lang="de",
    )
    task_registry.register_mixture(MIXTURE, dict.fromkeys(TASKS, 0.5), row_shapes=ROW_SHAPES)
    return MIXTURE


def unregister():
    """Forgets them."""
    for name in (*TASKS, LANGUAGE_MODEL, MIXTURE):
        task_registry.unregister(name)

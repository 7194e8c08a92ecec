"""Tasks and mixtures of the toy corpus; importing this module registers them.

Nine natural languages (en de fr ru tr hi ja ar zh), two programming languages (python javascript)
and English as the pivot: `xx <-> en` and `en <-> code` are trained, `xx -> yy` and `xx -> code` are
registered for zero-shot evaluation only. Each task is one language or one direction:

    toy_span_corruption_de   toy_prefix_lm_de        toy_causal_lm_de        toy_dot_denoise_de
    toy_translation_de_en    toy_ptlm_en_python      (trained)
    toy_translation_de_fr    toy_ptlm_de_python      (zero-shot)

Both model families use the same tasks: the feature converter of a decoder-only model joins inputs
and targets. Nothing is rendered and no vocabulary is trained before the first record is read.

References:
    Chai et al., 2023, ERNIE-Code, arXiv:2212.06742 (English as the pivot to code).
    Johnson et al., 2017, GNMT zero-shot, arXiv:1611.04558 (target tags).
"""

import functools
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import seqio
import tensorflow as tf

from tasks import toy_corpus, toy_meaning
from tasks.toy_corpus import NATURAL_LANGUAGES, PROGRAMMING_LANGUAGES
from tasks.toy_grammar import PIVOT
from tasks.toy_vocabulary import toy_special_tokens, toy_vocabulary
from xlingual.data import languages, task_registry
from xlingual.objectives import (
    denoising,
    language_model,
    pivot_translation,
    span_corruption,
    translation,
)
from xlingual.objectives.tokenize import tokenize

LANGUAGES = (*NATURAL_LANGUAGES, *PROGRAMMING_LANGUAGES)
FOREIGN = tuple(language for language in NATURAL_LANGUAGES if language != PIVOT)

Direction = tuple[str, str]
TRANSLATION_TRAINED: tuple[Direction, ...] = (
    *((language, PIVOT) for language in FOREIGN),
    *((PIVOT, language) for language in FOREIGN),
)
TRANSLATION_ZERO_SHOT: tuple[Direction, ...] = tuple(itertools.permutations(FOREIGN, 2))
CODE_TRAINED: tuple[Direction, ...] = (
    *((PIVOT, language) for language in PROGRAMMING_LANGUAGES),
    *((language, PIVOT) for language in PROGRAMMING_LANGUAGES),
)
CODE_ZERO_SHOT: tuple[Direction, ...] = (
    *itertools.product(FOREIGN, PROGRAMMING_LANGUAGES),
    *itertools.permutations(PROGRAMMING_LANGUAGES, 2),
)
# A cheap sample for evaluation while training: every foreign language is once a source and once
# a target, across scripts and word orders.
TRANSLATION_ZERO_SHOT_SAMPLE: tuple[Direction, ...] = tuple(
    zip(FOREIGN, (*FOREIGN[1:], FOREIGN[0]), strict=True)
)
CODE_ZERO_SHOT_SAMPLE: tuple[Direction, ...] = tuple(
    zip(FOREIGN, itertools.cycle(PROGRAMMING_LANGUAGES), strict=False)
)

OUTPUT_FEATURES = {
    name: seqio.Feature(vocabulary=toy_vocabulary(), add_eos=False, dtype=tf.int32)
    for name in ("inputs", "targets")
}
# No length limit: a description is a quarter of its code.
_PAIR_OPTIONS = {"direction": "fwd", "max_length_ratio": None}
_LANGUAGE_NAMES = languages.language_names(LANGUAGES)


def task_name(objective: str, *codes: str) -> str:
    """Returns the name of a toy task, e.g. `toy_translation_de_en`."""
    return "_".join(("toy", objective, *codes))


def task_names(objective: str, directions: Iterable[Direction]) -> list[str]:
    """Returns the names of the tasks of an objective in these directions."""
    return [task_name(objective, *direction) for direction in directions]


def shares(**groups: tuple[float, Sequence[str]]) -> dict[str, float]:
    """Returns task name -> share: each group's share is split evenly over its tasks.

    Args:
        **groups: objective -> (share of the mixture, task names).
    """
    return {name: share / len(names) for share, names in groups.values() for name in names}


def make_records(columns: Mapping[str, Any]) -> tf.data.Dataset:
    """Returns the records of columns: field -> a value for each record.

    Lists become tensors first: as they are, `tf.data` looks at every value of them by itself.
    """
    tensors = {
        name: tf.constant(column) if isinstance(column, list) else column
        for name, column in columns.items()
    }
    return tf.data.Dataset.from_tensor_slices(tensors)


@functools.cache
def text_source(language: str) -> seqio.FunctionDataSource:
    """Returns the records `{text, lang}` of a language, made when a split is first read."""

    def make_dataset(split: str, shuffle_files: bool, seed: int | None = None) -> tf.data.Dataset:
        del shuffle_files, seed
        texts = toy_corpus.texts(language, split)
        return make_records({"text": texts, "lang": [language] * len(texts)})

    counts = {split: toy_corpus.num_texts(language, split) for split in toy_meaning.SPLITS}
    return seqio.FunctionDataSource(make_dataset, toy_meaning.SPLITS, counts)


@functools.cache
def pair_source(source: str, target: str) -> seqio.FunctionDataSource:
    """Returns the records `{src, tgt, src_lang, tgt_lang, id}` of one direction.

    Directions without English have no train split.
    """

    def make_dataset(split: str, shuffle_files: bool, seed: int | None = None) -> tf.data.Dataset:
        del shuffle_files, seed
        sources, targets = toy_corpus.pairs(source, target, split)
        size = len(sources)
        return make_records(
            {
                "src": sources,
                "tgt": targets,
                "src_lang": [source] * size,
                "tgt_lang": [target] * size,
                "id": [f"toy-{split}-{index}" for index in range(size)],
            }
        )

    splits = toy_meaning.SPLITS if PIVOT in (source, target) else toy_meaning.SPLITS[1:]
    counts = {split: toy_corpus.num_pairs(source, target, split) for split in splits}
    return seqio.FunctionDataSource(make_dataset, splits, counts)


def with_toy_tokens(
    objective: Callable[..., tf.data.Dataset], **options: Any
) -> Callable[..., Any]:
    """Returns an objective as a preprocessor that looks up the toy vocabulary when it runs."""

    def preprocess(dataset: Any, sequence_length: Any, output_features: Any) -> tf.data.Dataset:
        return objective(
            dataset,
            sequence_length,
            output_features,
            special_tokens=toy_special_tokens(),
            **options,
        )

    return preprocess


def _tokenizer(**fields: str) -> Callable[..., Any]:
    """Returns the tokenising preprocessor; arguments: field -> its language."""
    code = tuple(field for field, language in fields.items() if language in PROGRAMMING_LANGUAGES)
    return functools.partial(tokenize, code_fields=code)


def register_texts(language: str) -> None:
    """Registers span corruption, language modelling and denoising on one language."""
    objectives = {
        "span_corruption": with_toy_tokens(span_corruption.span_corruption),
        "prefix_lm": with_toy_tokens(language_model.prefix_lm),
        "causal_lm": with_toy_tokens(language_model.causal_lm, form="packed"),
        "dot_denoise": with_toy_tokens(denoising.dot_denoise, **denoising.STRONG_NOISE),
    }
    for objective, preprocess in objectives.items():
        task_registry.register_task(
            task_name(objective, language),
            objective=objective,
            source=text_source(language),
            preprocessors=[_tokenizer(text=language), preprocess],
            output_features=OUTPUT_FEATURES,
            src_lang=language,
            tgt_lang=language,
            description=f"Toy corpus: {objective} on {_LANGUAGE_NAMES[language]}.",
        )


def register_direction(objective: str, source: str, target: str) -> None:
    """Registers `translation` or `ptlm` in one direction; it is trained if one side is English."""
    trained = PIVOT in (source, target)
    if objective == "translation":
        preprocess = with_toy_tokens(translation.translation, **_PAIR_OPTIONS)
    else:
        preprocess = with_toy_tokens(
            pivot_translation.ptlm,
            language_names=_LANGUAGE_NAMES,
            pivot_lang=PIVOT if trained else None,
            **_PAIR_OPTIONS,
        )
    names = f"{_LANGUAGE_NAMES[source]} to {_LANGUAGE_NAMES[target]}"
    task_registry.register_task(
        task_name(objective, source, target),
        objective=objective,
        source=pair_source(source, target),
        preprocessors=[_tokenizer(src=source, tgt=target), preprocess],
        output_features=OUTPUT_FEATURES,
        src_lang=source,
        tgt_lang=target,
        trained=trained,
        description=f"Toy corpus: {objective}, {names}{'' if trained else ', zero-shot'}.",
    )


def register_tasks() -> None:
    """Registers every task of the toy corpus; a second call does nothing."""
    for language in LANGUAGES:
        register_texts(language)
    for source, target in TRANSLATION_TRAINED + TRANSLATION_ZERO_SHOT:
        register_direction("translation", source, target)
    for source, target in TRANSLATION_TRAINED + CODE_TRAINED + CODE_ZERO_SHOT:
        register_direction("ptlm", source, target)


def register_mixtures() -> None:
    """Registers the mixtures of the toy corpus; a second call does nothing."""
    translations = task_names("translation", TRANSLATION_TRAINED)
    code = task_names("ptlm", CODE_TRAINED)
    denoising_tasks = [task_name("dot_denoise", language) for language in NATURAL_LANGUAGES]
    by_objective = {
        objective: [task_name(objective, language) for language in LANGUAGES]
        for objective in ("span_corruption", "prefix_lm", "causal_lm")
    }
    trained = {
        "toy_span_corruption": shares(all=(1.0, by_objective["span_corruption"])),
        "toy_causal_lm": shares(all=(1.0, by_objective["causal_lm"])),
        "toy_translation_trained": shares(all=(1.0, translations)),
        "toy_code_trained": shares(all=(1.0, code)),
        "toy_pretrain": shares(
            span_corruption=(0.10, by_objective["span_corruption"]),
            dot_denoise=(0.20, denoising_tasks),
            translation=(0.55, translations),
            code=(0.15, code),
        ),
        "toy_decoder_pretrain": shares(
            causal_lm=(0.10, by_objective["causal_lm"]),
            prefix_lm=(0.05, by_objective["prefix_lm"]),
            dot_denoise=(0.15, denoising_tasks),
            translation=(0.55, translations),
            code=(0.15, code),
        ),
    }
    evaluated = {
        "toy_translation_zero_shot": task_names("translation", TRANSLATION_ZERO_SHOT),
        "toy_code_zero_shot": task_names("ptlm", CODE_ZERO_SHOT),
        "toy_evaluation": [
            *translations,
            *code,
            *task_names("translation", TRANSLATION_ZERO_SHOT_SAMPLE),
            *task_names("ptlm", CODE_ZERO_SHOT_SAMPLE),
        ],
    }
    for name, leaves in trained.items():
        task_registry.register_mixture(name, leaves, share_unit="tokens")
    for name, names in evaluated.items():
        leaves = dict.fromkeys(names, 1.0)
        task_registry.register_mixture(
            name, leaves, share_unit="examples", description="Toy corpus: for evaluation only."
        )


register_tasks()
register_mixtures()

"""Every objective on the toy corpus, as tasks; importing this module registers them.

`tasks.toy` has the few that its own mixtures train on. Here are all others of the index of
objectives, each on the records that it takes:

    toy_ul2_de           a language            toy_tsc_de_en           a pair with English
    toy_lem_de           nouns and verbs       toy_tsc_pnat_de_en      with targets in groups
    toy_deobfuscation_python    code           toy_pivot_chain_de_fr   a triple through English

Triples join directions that the other tasks never train on: a mixture with them has no zero-shot
directions left between their languages.
"""

import functools
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import seqio
import tensorflow as tf

from tasks import toy, toy_corpus, toy_lexicon, toy_meaning
from tasks.toy_corpus import NATURAL_LANGUAGES, PROGRAMMING_LANGUAGES
from tasks.toy_grammar import PIVOT
from xlingual.data import languages, task_registry
from xlingual.objectives import registry, token_noise
from xlingual.objectives.tokenize import tokenize

SENTENCES_PER_DOCUMENT = 4
SPACELESS = ("ja", "zh")
"""Languages written without spaces between words."""

_MONO = ("ul2", "glm", "denoise", "paired_prefix_lm")
_DOCUMENTS = ("mbart",)
_SWITCHED = ("cs_restore", "cs_input_only")
_ENTITIES = ("lem", "entity_cs")
_DIRECTED = (
    "denoised_nmt",
    "denoised_nmt_lm",
    "translation_prompt",
    "camlm",
    "ras",
    "translation_lm",
)
"""Objectives on pairs with a source and a target: two tasks a pair of languages."""
_UNDIRECTED = ("nmt5_tlm", "tpsc", "tsc", "btmlm", "bit")
"""Objectives that treat both sides alike, or choose among them: one task a pair of languages."""
_TRIPLES = ("pivot_pairs", "pivot_chain", "pivot_multi_source", "pivot_triangle")
_NAMES = languages.language_names(toy.LANGUAGES)


def options_of(objective: str, language: str, variant: str = "") -> dict[str, Any]:
    """Returns the options of an objective whose texts, or sources, are in a language."""
    spaceless = language in SPACELESS
    options: dict[str, Any] = {}
    if objective == "ul2":
        options["drop_unaffordable"] = True
    elif objective == "mbart":
        options["whole_words"] = not spaceless
    elif objective == "denoise" and spaceless:
        options["noise"] = (token_noise.MaskTokens(rate=0.35),)
    elif objective in ("ras", *_SWITCHED):
        options["lexicons"] = toy_lexicon.lexicon_files(language)
        options["rate"] = 0.3
    elif objective == "entity_cs":
        options["labels"] = toy_lexicon.labels_file()
    if variant == "pnat":
        options["pnat"] = True
    if objective in (*_DIRECTED, *_UNDIRECTED, *_TRIPLES):
        options["max_length_ratio"] = None
    if objective in _DIRECTED:
        options["direction"] = "fwd"
    return options


def _from_lists(make: Callable[[str], Mapping[str, Sequence[Any]]]) -> seqio.FunctionDataSource:
    """Returns a source of the records that `make` returns for a split, by columns."""

    def make_dataset(split: str, shuffle_files: bool, seed: int | None = None) -> tf.data.Dataset:
        del shuffle_files, seed
        return toy.make_records(make(split))

    return seqio.FunctionDataSource(make_dataset, toy_meaning.SPLITS)


def _documents(texts: Sequence[str], separator: str = " ") -> list[str]:
    """Returns every few texts as one document."""
    size = SENTENCES_PER_DOCUMENT
    return [separator.join(texts[i : i + size]) for i in range(0, len(texts), size)]


@functools.cache
def document_source(language: str) -> seqio.FunctionDataSource:
    """Returns records `{text, lang}` of several sentences each."""

    def make(split: str) -> Mapping[str, Sequence[Any]]:
        texts = _documents(toy_corpus.texts(language, split))
        return {"text": texts, "lang": [language] * len(texts)}

    return _from_lists(make)


@functools.cache
def document_pair_source(source: str, target: str) -> seqio.FunctionDataSource:
    """Returns records `{src, tgt, src_lang, tgt_lang}` of documents, a sentence a line."""

    def make(split: str) -> Mapping[str, Sequence[Any]]:
        sides = [_documents(side, "\n") for side in toy_corpus.pairs(source, target, split)]
        langs = ([source] * len(sides[0]), [target] * len(sides[0]))
        return dict(zip(("src", "tgt", "src_lang", "tgt_lang"), (*sides, *langs), strict=True))

    return _from_lists(make)


@functools.cache
def triple_source(source: str, target: str) -> seqio.FunctionDataSource:
    """Returns records `{src, pivot, tgt, src_lang, pivot_lang, tgt_lang}`."""

    def make(split: str) -> Mapping[str, Sequence[Any]]:
        texts = toy_corpus.triples(source, target, split)
        langs = ([language] * len(texts[0]) for language in (source, PIVOT, target))
        fields = ("src", "pivot", "tgt", "src_lang", "pivot_lang", "tgt_lang")
        return dict(zip(fields, (*texts, *langs), strict=True))

    return _from_lists(make)


@functools.cache
def entity_source(language: str) -> seqio.FunctionDataSource:
    """Returns records `{text, lang, starts, ends, types, qids}` of nouns and verbs."""

    def make(split: str) -> Mapping[str, Any]:
        texts = toy_corpus.texts(language, split)
        spans = [toy_lexicon.entities(text, language) for text in texts]
        columns = zip(*itertools.chain.from_iterable(spans), strict=True)
        lengths = [len(row) for row in spans]
        dtypes = {"starts": tf.int32, "ends": tf.int32, "types": tf.string, "qids": tf.string}
        ragged = {
            name: tf.RaggedTensor.from_row_lengths(tf.constant(column, dtype), lengths)
            for (name, dtype), column in zip(dtypes.items(), columns, strict=True)
        }
        return {"text": texts, "lang": [language] * len(texts), **ragged}

    return _from_lists(make)


@functools.cache
def code_source(language: str) -> seqio.FunctionDataSource:
    """Returns records `{code, pl, doc, doc_lang}` of functions and their English descriptions."""

    def make(split: str) -> Mapping[str, Sequence[Any]]:
        docs, code = toy_corpus.pairs(PIVOT, language, split)
        size = len(code)
        return {"code": code, "pl": [language] * size, "doc": docs, "doc_lang": [PIVOT] * size}

    return _from_lists(make)


def register_objective(
    objective: str,
    *codes: str,
    source: seqio.DataSource,
    code_fields: Sequence[str] = (),
    variant: str = "",
) -> None:
    """Registers one objective on one source.

    Args:
        objective: in the index of objectives.
        *codes: the language, or source and target.
        source: of records that the objective takes.
        code_fields: fields whose line breaks are kept.
        variant: `pnat` for targets in groups.
    """
    found = registry.get_objective(objective)

    def preprocess(dataset: Any, sequence_length: Any, output_features: Any) -> tf.data.Dataset:
        return toy.with_toy_tokens(found.preprocess, **options_of(objective, codes[0], variant))(
            dataset, sequence_length, output_features
        )

    tokenizer = [functools.partial(tokenize, code_fields=tuple(code_fields))]
    names = " to ".join(_NAMES[code] for code in codes)
    task_registry.register_task(
        toy.task_name("_".join(filter(None, (objective, variant))), *codes),
        objective=objective,
        source=source,
        preprocessors=[*(tokenizer if found.tokenized else []), preprocess],
        output_features=toy.OUTPUT_FEATURES,
        src_lang=codes[0],
        tgt_lang=codes[-1],
        description=f"Toy corpus: {objective}, {names}.",
    )


def register_tasks() -> None:
    """Registers every task of this module; a second call does nothing."""
    for language in NATURAL_LANGUAGES:
        for objective in (*_MONO, *(() if language in SPACELESS else _SWITCHED)):
            register_objective(objective, language, source=toy.text_source(language))
        for objective in _DOCUMENTS:
            register_objective(objective, language, source=document_source(language))
        for objective in _ENTITIES:
            register_objective(objective, language, source=entity_source(language))
    for language in PROGRAMMING_LANGUAGES:
        register_objective("deobfuscation", language, source=code_source(language))
    for language in toy.FOREIGN:
        pair = toy.pair_source(language, PIVOT)
        for objective in (*_UNDIRECTED, *_DIRECTED):
            if objective != "ras" or language not in SPACELESS:
                register_objective(objective, language, PIVOT, source=pair)
        for objective in ("tpsc", "tsc"):
            register_objective(objective, language, PIVOT, source=pair, variant="pnat")
        for objective in _DIRECTED:
            register_objective(objective, PIVOT, language, source=toy.pair_source(PIVOT, language))
        register_objective(
            "interleaved_docs",
            language,
            PIVOT,
            source=document_pair_source(language, PIVOT),
            code_fields=("src", "tgt"),
        )
    for source, target in toy.TRANSLATION_ZERO_SHOT_SAMPLE:
        for objective in _TRIPLES:
            register_objective(objective, source, target, source=triple_source(source, target))


register_tasks()

"""Pivot-based translation language modelling (PTLM), ERNIE-Code: Chai et al., 2023, ACL Findings.

The whole target side is hidden and generated from the whole source side; every pair has the pivot
language on one side, and one model learns `xx -> en` and `en -> yy` together, so that at test time
`xx -> yy` composes two trained behaviours. Default form, and with layout `concat` and rho = 1:

    inputs: translate English to Python: <nl> source $          targets: target $
    inputs: translate English to Python: <nl> source $ S0 $     targets: S0 target $
"""

from collections.abc import Mapping

from xlingual.errors import ConfigError
from xlingual.objectives import pair_corruption, rows, translation
from xlingual.objectives.backend import seqio, tf
from xlingual.objectives.registry import Objective
from xlingual.objectives.special_tokens import SpecialTokens

_PROMPT_ENDING = ": <nl>"
_ASCII_PUNCTUATION = r"([!-/:-@\[-`{-~])"


def ptlm(
    dataset: tf.data.Dataset,
    sequence_length: Mapping[str, int] | None,
    output_features: Mapping[str, seqio.Feature],
    *,
    special_tokens: SpecialTokens,
    language_names: Mapping[str, str],
    layout: str = "seq2seq",
    rho: float = 1.0,
    mean_noise_span_length: float = 3.0,
    direction: str = "both",
    pivot_lang: str | None = "en",
    source_end: str | None = None,
    max_length_ratio: float | None = 3.0,
) -> tf.data.Dataset:
    """Returns examples `{inputs, targets}` that rebuild a hidden side from the other one.

    Args:
      dataset: tokenised pairs `{src, tgt [length] int32, src_lang, tgt_lang}`, no EOS.
      sequence_length: task feature lengths of `inputs` and `targets`, in tokens; pairs that do
        not fit are dropped.
      output_features: the vocabulary of `targets` encodes prompts.
      special_tokens: ids of EOS, `<nl>` and sentinels.
      language_names: code -> English name of natural and programming languages.
      layout: `seq2seq` (targets are the target side) or `concat` (spans behind sentinels).
      rho: share of the target side that is hidden, in (0, 1]; below 1 needs `concat`.
      mean_noise_span_length: tokens, at least 1; used if rho is below 1.
      direction: which side is hidden: `both` in turn, `fwd` (tgt) or `random`.
      pivot_lang: a pair without it is refused; None, for zero-shot evaluation, takes all.
      source_end: control token that ends the inputs instead of EOS, e.g. `<sep>` for decoder-only
        models; needs `seq2seq`.
      max_length_ratio: pairs with a larger ratio of token counts are dropped, unless a side has
        fewer than 6 tokens; None keeps them.

    Raises:
      ConfigError: settings that exclude each other, names missing, or lengths too short.
    """
    _check_settings(layout, rho, source_end, language_names)
    special_tokens.control_id("<nl>")
    corruption = pair_corruption.Corruption(
        y_density=rho,
        mean_noise_span_length=mean_noise_span_length,
        layout=layout,
        x_end=None if source_end is None else special_tokens.control_id(source_end),
    )
    vocabulary = output_features["targets"].vocabulary
    prefix_length = translation.longest_prompt(language_names, vocabulary, _PROMPT_ENDING)
    needed = prefix_length + (4 if layout == "concat" else 2)
    translation.check_lengths(sequence_length, needed, f"ptlm with layout={layout!r}")
    if rho < 1.0:
        pair_corruption.check_sentinels(
            sequence_length, corruption, special_tokens, f"ptlm with rho={rho}"
        )

    def prefix(source_lang: tf.Tensor, target_lang: tf.Tensor) -> tf.RaggedTensor:
        source_lang = _checked_pivot(source_lang, target_lang, pivot_lang)
        return translation.prompts(
            source_lang, target_lang, language_names, vocabulary, _PROMPT_ENDING
        )

    return pair_corruption.map_pairs(
        dataset,
        sequence_length,
        prefix,
        corruption,
        special_tokens=special_tokens,
        direction=direction,
        max_length_ratio=max_length_ratio,
    )


def code_pairs(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Returns text records `{src, tgt, src_lang, tgt_lang}`: description to code.

    A comment or docstring in the code that repeats the description is removed, for otherwise the
    task is a copy. Records whose description or remaining code is blank are dropped.

    Args:
      dataset: records `{code, pl, doc, doc_lang}` of scalar strings.
    """

    def convert(batch: rows.Features) -> rows.Features:
        doc = tf.strings.unicode_transcode(batch["doc"], "UTF-8", "UTF-8")
        code = tf.strings.unicode_transcode(batch["code"], "UTF-8", "UTF-8")
        code = tf.map_fn(lambda pair: _without_comment(*pair), (code, doc), tf.string)
        full = (tf.strings.strip(doc) != "") & (tf.strings.strip(code) != "")
        pairs = {"src": doc, "tgt": code, "src_lang": batch["doc_lang"], "tgt_lang": batch["pl"]}
        return rows.keep_rows(pairs, full)

    batches = dataset.batch(rows.PAIRS_PER_BATCH)
    pairs = batches.map(convert, num_parallel_calls=tf.data.AUTOTUNE)
    return pairs.unbatch()


def _without_comment(code: tf.Tensor, doc: tf.Tensor) -> tf.Tensor:
    """Removes each comment of `code` whose whole text is `doc`, whatever its line breaks."""
    words = tf.strings.regex_replace(tf.strings.strip(doc), _ASCII_PUNCTUATION, r"\\\1")
    words = tf.strings.regex_replace(words, r"\s+", r"[\\s*#/]+")
    block = tf.strings.join([r'(?:"""|\'\'\'|/\*+)\s*', words, r'\.?\s*(?:"""|\'\'\'|\*+/)[ \t]*'])
    line = tf.strings.join([r"(?:#+|//+|--)[ \t]*", words, r"\.?[ \t]*(\n|$)"])
    empty = tf.strings.strip(doc) == ""
    for pattern, replacement in ((block, ""), (line, r"\1")):
        pattern = tf.where(empty, "$", pattern)
        code = tf.strings.regex_replace(code, pattern, tf.where(empty, "", replacement))
    return code


def _check_settings(
    layout: str, rho: float, source_end: str | None, language_names: Mapping[str, str]
) -> None:
    if not 0.0 < rho <= 1.0:
        raise ConfigError(f"rho is {rho}; expected a number in (0, 1]")
    if layout == "seq2seq" and rho != 1.0:
        raise ConfigError(f"rho={rho} needs layout='concat'; layout='seq2seq' expects rho=1.0")
    if layout == "concat" and source_end is not None:
        raise ConfigError(f"source_end={source_end!r} needs layout='seq2seq'; found 'concat'")
    if not language_names:
        raise ConfigError("language_names is empty; ptlm expects code -> English name")


def _checked_pivot(
    source_lang: tf.Tensor, target_lang: tf.Tensor, pivot_lang: str | None
) -> tf.Tensor:
    if pivot_lang is None:
        return source_lang
    pivot = tf.constant(pivot_lang)
    has_pivot = (source_lang == pivot) | (target_lang == pivot)
    pairs = tf.strings.join([source_lang, target_lang], "-")
    message = f"ptlm pair without the pivot language {pivot_lang} on either side; found "
    found = tf.gather(pairs, tf.where(~has_pivot)[:, 0])
    return rows.checked(source_lang, tf.reduce_all(has_pivot), message, found)


OBJECTIVES = (
    Objective(name="ptlm", preprocess=ptlm, records=("pair", "code"), required=("language_names",)),
)

"""Code-switching: words of two languages in one context, so that their representations meet.

Words found in a bilingual lexicon are replaced in the text itself, before tokenisation
(`word_switching.py`). Three objectives, for `cat` -> `Katze` in "the cat sat":

    ras (RAS, mRASP: Lin et al., 2020, EMNLP):      <2fr> the Katze sat -> le chat ...
    cs_restore (CSR: Zan et al., 2022):             <2en> the Katze sat -> the cat sat
    cs_input_only (PreAlign: Li et al., 2024):      reads the Katze sat, predicts the cat sat

In the last one a switched word of pieces 40 41 42, originally 20 21, counts once: the model learns
to understand mixed text, and not to write it.

    targets_read:    10 40 41 42 30 $
    targets:         10 20 41 42 30 $
    targets_weights:  1  1  0  0  1 1
"""

from collections.abc import Mapping
from typing import Any

from xlingual.errors import ConfigError
from xlingual.objectives import lexicon, pair_corruption, pieces, rows, translation, word_switching
from xlingual.objectives.backend import seqio, tf
from xlingual.objectives.registry import DECODER_ONLY, Objective
from xlingual.objectives.special_tokens import SpecialTokens
from xlingual.objectives.tokenize import tokenize

_PAIR_FIELDS = ("src", "tgt", "src_lang", "tgt_lang")
_TEXT_FIELDS = ("text", "lang")


def ras(
    dataset: tf.data.Dataset,
    sequence_length: Mapping[str, int] | None,
    output_features: Mapping[str, seqio.Feature],
    *,
    special_tokens: SpecialTokens,
    lexicons: lexicon.Lexicons,
    rate: float = 0.3,
    max_pairs: int | None = 2000,
    direction: str = "both",
    num_copies: int = 1,
    max_length_ratio: float | None = 3.0,
    **options: Any,
) -> tf.data.Dataset:
    """Returns translation examples whose source has some words in another language.

    Each copy of a pair draws its language from the lexicons of the source language; a copy in which
    no word was replaced is dropped.

    Args:
      dataset: text pairs `{src, tgt, src_lang, tgt_lang}` of scalar strings.
      sequence_length: task feature lengths of `inputs` and `targets`, in tokens; examples that do
        not fit are dropped.
      output_features: the vocabulary of `targets` encodes every text.
      special_tokens: ids of EOS, tags and sentinels.
      lexicons: (language, other language) -> lexicon file; used in this direction only.
      rate: of replacement of a word that has a translation, in (0, 1].
      max_pairs: so many pairs of each lexicon, the first ones; None takes all.
      direction: `both` (examples of either direction), `fwd` (src to tgt) or `random`.
      num_copies: copies of each pair and direction.
      max_length_ratio: as `translation`.
      **options: of `translation`, e.g. another format.

    Raises:
      ConfigError: a setting is out of range, or files, fields or tags are missing.
    """
    pair_corruption.check_choice("direction", direction, pair_corruption.DIRECTIONS)
    if num_copies < 1:
        raise ConfigError(f"num_copies is {num_copies}; expected at least 1")
    _check_fields(dataset, (_PAIR_FIELDS,), "ras")
    switch = word_switching.make_switcher(lexicons, rate=rate, max_pairs=max_pairs)

    def make(batch: rows.Features, seeds: tf.Tensor) -> rows.Features:
        src, tgt, src_lang, tgt_lang = (batch[name] for name in _PAIR_FIELDS)
        if direction == "both":
            src, tgt = rows.interleave(src, tgt), rows.interleave(tgt, src)
            src_lang, tgt_lang = (
                rows.interleave(src_lang, tgt_lang),
                rows.interleave(tgt_lang, src_lang),
            )
        elif direction == "random":
            heads = tf.random.stateless_uniform(tf.shape(src), seeds[3]) < 0.5
            src, tgt = tf.where(heads, src, tgt), tf.where(heads, tgt, src)
            src_lang, tgt_lang = (
                tf.where(heads, src_lang, tgt_lang),
                tf.where(heads, tgt_lang, src_lang),
            )
        sides = {"src": src, "tgt": tgt, "src_lang": src_lang, "tgt_lang": tgt_lang}
        sides = {name: tf.repeat(value, num_copies) for name, value in sides.items()}
        return _with_switched_source(sides, switch(sides["src"], sides["src_lang"], seeds[:3]))

    pairs = rows.map_batches(
        dataset, make, batch_size=rows.PAIRS_PER_BATCH, num_seeds=4, fields=_PAIR_FIELDS
    )
    return translation.translation(
        tokenize(pairs, output_features),
        sequence_length,
        output_features,
        special_tokens=special_tokens,
        direction="fwd",
        max_length_ratio=max_length_ratio,
        **options,
    )


def cs_restore(
    dataset: tf.data.Dataset,
    sequence_length: Mapping[str, int] | None,
    output_features: Mapping[str, seqio.Feature],
    *,
    special_tokens: SpecialTokens,
    lexicons: lexicon.Lexicons,
    rate: float = 0.3,
    max_pairs: int | None = 2000,
    **options: Any,
) -> tf.data.Dataset:
    """Returns examples whose inputs are code-switched text and whose targets are the original.

    Texts in which no word was replaced are dropped.

    Args:
      dataset: texts `{text, lang}`, or text pairs `{src, tgt, src_lang, tgt_lang}`, each of which
        gives an example of either side; scalar strings.
      sequence_length: as `ras`.
      output_features: as `ras`.
      special_tokens: as `ras`.
      lexicons: as `ras`.
      rate: as `ras`.
      max_pairs: as `ras`.
      **options: of `translation`, e.g. another format; both languages are the text's.

    Raises:
      ConfigError: as `ras`.
    """
    is_pair = _check_fields(dataset, (_PAIR_FIELDS, _TEXT_FIELDS), "cs_restore") == _PAIR_FIELDS
    switch = word_switching.make_switcher(lexicons, rate=rate, max_pairs=max_pairs)

    def make(batch: rows.Features, seeds: tf.Tensor) -> rows.Features:
        if is_pair:
            text = rows.interleave(batch["src"], batch["tgt"])
            lang = rows.interleave(batch["src_lang"], batch["tgt_lang"])
        else:
            text, lang = batch["text"], batch["lang"]
        sides = {"src": text, "tgt": text, "src_lang": lang, "tgt_lang": lang}
        return _with_switched_source(sides, switch(text, lang, seeds))

    pairs = rows.map_batches(
        dataset, make, batch_size=rows.PAIRS_PER_BATCH, num_seeds=3, fields=_PAIR_FIELDS
    )
    return translation.translation(
        tokenize(pairs, output_features),
        sequence_length,
        output_features,
        special_tokens=special_tokens,
        direction="fwd",
        max_length_ratio=None,
        **options,
    )


def cs_input_only(
    dataset: tf.data.Dataset,
    sequence_length: Mapping[str, int] | None,
    output_features: Mapping[str, seqio.Feature],
    *,
    special_tokens: SpecialTokens,
    lexicons: lexicon.Lexicons,
    rate: float = 0.05,
    max_pairs: int | None = None,
) -> tf.data.Dataset:
    """Returns causal LM examples that read some words translated and still predict the original.

    Of a switched word only the first piece of the original is predicted, at the place of the first
    piece that is read; the others have weight 0. Texts longer than the limit are cut into several
    examples, and each text ends with EOS.

    Args:
      dataset: texts `{text, lang}` of scalar strings.
      sequence_length: task feature length of `targets`, in tokens.
      output_features: the vocabulary of `targets` encodes every text; it has `<sep>`.
      special_tokens: ids of EOS, `<sep>` and sentinels.
      lexicons: as `ras`.
      rate: of replacement of a word that has a translation, in (0, 1].
      max_pairs: as `ras`.

    Returns:
      `inputs` (empty), `targets`, `targets_read` and `targets_weights` (0 or 1), each [length]
      int32; the last three are equally long.

    Raises:
      ConfigError: a setting is out of range, or files, fields or `<sep>` are missing.
    """
    _check_fields(dataset, (_TEXT_FIELDS,), "cs_input_only")
    length = rows.feature_length(sequence_length, "targets")
    if length < 2:
        raise ConfigError(
            f"task_feature_lengths['targets']={length} is too short for cs_input_only; expected "
            "at least 2"
        )
    switch = word_switching.make_switcher(lexicons, rate=rate, max_pairs=max_pairs)
    encode = pieces.part_encoder(output_features["targets"].vocabulary, special_tokens)

    def make(batch: rows.Features, seeds: tf.Tensor) -> rows.Features:
        original, read, hit = word_switching.merge_kept(switch(batch["text"], batch["lang"], seeds))
        begins = pieces.begins_text(read)
        words = tf.where(hit)[:, 0]
        firsts = encode(tf.gather(original.values, words), tf.gather(begins, words))
        tokens = encode(read.values, begins)
        found = supervise_first_pieces(tokens, firsts, hit, read.row_splits)
        for name in ("targets", "targets_read"):
            found[name] = rows.without_sentinels(found[name], special_tokens)
        found = rows.keep_rows(found, found["targets"].row_lengths() > 0)
        ends = {"targets": special_tokens.eos_id, "targets_read": special_tokens.eos_id}
        features = {
            name: rows.cut_each_row(rows.append_id(values, ends.get(name, 1)), length)
            for name, values in found.items()
        }
        return {**features, "inputs": rows.empty_rows(features["targets"].nrows())}

    return rows.map_batches(dataset, make, batch_size=rows.DOCUMENTS_PER_BATCH, num_seeds=3)


def supervise_first_pieces(
    read: tf.RaggedTensor, original: tf.RaggedTensor, hit: tf.Tensor, part_splits: tf.Tensor
) -> rows.Features:
    """Returns `targets`, `targets_read` and `targets_weights` of texts in parts.

    Args:
      read: [parts, (length)] int32, the tokens that are read.
      original: [switched parts, (length)] int32, the tokens that stood there before.
      hit: [parts] bool, which parts are switched.
      part_splits: [batch + 1] int64, where the parts of each text begin.

    Returns:
      Three features, [batch, (length)] int32 each.
    """
    words = tf.where(hit)[:, 0]
    usable = (tf.gather(read.row_lengths(), words) > 0) & (original.row_lengths() > 0)
    usable = tf.where(usable)[:, 0]
    places = tf.gather(read.row_splits[:-1], tf.gather(words, usable))[:, tf.newaxis]
    firsts = tf.gather(original.values, tf.gather(original.row_splits[:-1], usable))
    targets = tf.tensor_scatter_nd_update(read.values, places, firsts)
    weights = tf.where(tf.gather(hit, rows.row_ids(read)), 0, 1)
    weights = tf.tensor_scatter_nd_update(weights, places, tf.ones_like(firsts))
    found = {"targets": targets, "targets_read": read.values, "targets_weights": weights}
    return {
        name: pieces.join_parts(read.with_values(values), part_splits)
        for name, values in found.items()
    }


def _with_switched_source(sides: rows.Features, switched: word_switching.Switched) -> rows.Features:
    """Returns the pairs in which a word was switched, with the switched text as source."""
    hits = tf.cast(switched.hit, tf.int32)
    parts = switched.read
    counts = tf.math.unsorted_segment_sum(hits, rows.row_ids(parts), parts.nrows())
    return rows.keep_rows({**sides, "src": word_switching.join_words(parts)}, counts > 0)


def _check_fields(
    dataset: tf.data.Dataset, expected: tuple[tuple[str, ...], ...], name: str
) -> tuple[str, ...]:
    """Returns the first of `expected` sets of fields that the records have."""
    found = set(dataset.element_spec)
    for fields in expected:
        if found >= set(fields):
            return fields
    wanted = ", or ".join(", ".join(fields) for fields in expected)
    raise ConfigError(f"records have the fields {sorted(found)}; {name} expects {wanted}")


OBJECTIVES = (
    Objective(
        name="ras",
        preprocess=ras,
        records=("pair",),
        tokenized=False,
        required=("lexicons",),
        files=("lexicons",),
    ),
    Objective(
        name="cs_restore",
        preprocess=cs_restore,
        records=("pair", "mono"),
        tokenized=False,
        required=("lexicons",),
        files=("lexicons",),
    ),
    Objective(
        name="cs_input_only",
        preprocess=cs_input_only,
        records=("mono",),
        families=(DECODER_ONLY,),
        tokenized=False,
        required=("lexicons",),
        files=("lexicons",),
    ),
)

"""Parallel text for decoder-only models: a text and its translation in one row.

`translation_lm` and `translation_prompt` (XLSUP: Schioppa, Garcia & Firat, 2023, arXiv:2305.11778)
are cases of `pair_corruption`; `interleaved_docs` follows CrossIC-PT ("Enhancing LLM Language
Adaption through Cross-lingual In-Context Pre-training", 2025), and what concatenation buys is
measured in "Scaling Laws for Code: Every Programming Language Matters" (2025). Sides 41 42 (German)
and 51 (English), documents A and B in chunks:

    translation_lm:      41 42 <sep> 51 $             weights 1 1 1 1 1
    translation_prompt:  <lg:de> 41 42 <2en> 51 $     weights 0 0 0 0 1 1
    interleaved_docs:    A1 $ B1 $ A2 $ B2 $          weights all 1
"""

import functools
from collections.abc import Callable, Mapping

from xlingual.errors import ConfigError
from xlingual.objectives import pair_corruption, rows, translation
from xlingual.objectives.backend import seqio, tf
from xlingual.objectives.registry import DECODER_ONLY, Objective
from xlingual.objectives.special_tokens import SpecialTokens


def translation_lm(
    dataset: tf.data.Dataset,
    sequence_length: Mapping[str, int] | None,
    output_features: Mapping[str, seqio.Feature],
    *,
    special_tokens: SpecialTokens,
    direction: str = "random",
    max_length_ratio: float | None = 3.0,
) -> tf.data.Dataset:
    """Returns examples whose `targets` are both sides of a pair, `<sep>` between; empty `inputs`.

    Args:
      dataset: tokenised pairs `{src, tgt [length] int32, src_lang, tgt_lang}`, no EOS.
      sequence_length: task feature length of `targets`, in tokens; pairs that do not fit are
        dropped.
      output_features: unused; SeqIO passes it.
      special_tokens: ids of EOS, `<sep>` and sentinels.
      direction: which side comes first: `random`, `fwd` (src), or `both` (two examples a pair).
      max_length_ratio: pairs with a larger ratio of token counts are dropped, unless a side has
        fewer than 6 tokens; None keeps them.

    Raises:
      ConfigError: a setting is out of range, `<sep>` is missing or the length too short.
    """
    del output_features
    _check_targets(sequence_length, 4, "translation_lm")
    corruption = pair_corruption.Corruption(x_end=special_tokens.control_id("<sep>"))
    return pair_corruption.map_pairs(
        dataset,
        sequence_length,
        None,
        corruption,
        special_tokens=special_tokens,
        direction=direction,
        max_length_ratio=max_length_ratio,
        finish=as_documents,
        limited=("targets",),
    )


def translation_prompt(
    dataset: tf.data.Dataset,
    sequence_length: Mapping[str, int] | None,
    output_features: Mapping[str, seqio.Feature],
    *,
    special_tokens: SpecialTokens,
    loss_on_source: bool = False,
    direction: str = "both",
    max_length_ratio: float | None = 3.0,
) -> tf.data.Dataset:
    """Returns examples that continue `<lg:xx> x <2yy>` with the translation.

    The prompt in English words is `translation` with `format='prompt'`.

    Args:
      dataset: tokenised pairs `{src, tgt [length] int32, src_lang, tgt_lang}`, no EOS.
      sequence_length: task feature lengths of `inputs` and `targets`, in tokens; pairs that do
        not fit are dropped. With `loss_on_source` all of it must fit `targets`.
      output_features: unused; SeqIO passes it.
      special_tokens: ids of EOS, both kinds of tags and sentinels.
      loss_on_source: learn the prompt too: it begins the `targets` and `inputs` are empty.
      direction: `both` (two examples a pair), `fwd` (src to tgt) or `random` (one of the two).
      max_length_ratio: pairs with a larger ratio of token counts are dropped, unless a side has
        fewer than 6 tokens; None keeps them.

    Raises:
      ConfigError: a setting is out of range, tags are missing or lengths too short.
    """
    del output_features
    if loss_on_source:
        _check_targets(sequence_length, 5, "translation_prompt")
    else:
        translation.check_lengths(sequence_length, 3, "translation_prompt")
    tags = translation.language_tags("<2", special_tokens)
    return pair_corruption.map_pairs(
        dataset,
        sequence_length,
        translation.tag_prefix(("<lg:",), special_tokens),
        pair_corruption.Corruption(),
        special_tokens=special_tokens,
        direction=direction,
        max_length_ratio=max_length_ratio,
        source_end=lambda source_lang, target_lang: translation.target_tags(target_lang, tags),
        finish=as_documents if loss_on_source else None,
        limited=("targets",) if loss_on_source else ("inputs", "targets"),
    )


def interleaved_docs(
    dataset: tf.data.Dataset,
    sequence_length: Mapping[str, int] | None,
    output_features: Mapping[str, seqio.Feature],
    *,
    special_tokens: SpecialTokens,
    chunks_per_window: int = 4,
    paragraph_end: str = "<nl>",
    random_order: bool = True,
    max_length_ratio: float | None = None,
) -> tf.data.Dataset:
    """Returns windows of `targets` in which the chunks of two linked documents take turns.

    A chunk is as many paragraphs as fit, or a piece of one that is too long; EOS ends it. Long
    documents give several windows; what one has beyond the other's last chunk is left out, so that
    every window shows both languages.

    Args:
      dataset: tokenised pairs of documents `{src, tgt [length] int32, src_lang, tgt_lang}`.
      sequence_length: task feature length of `targets`, in tokens: a window.
      output_features: unused; SeqIO passes it.
      special_tokens: ids of EOS, paragraph ends and sentinels.
      chunks_per_window: even, at least 2; with its EOS a chunk has at most this part of a window.
      paragraph_end: control token that ends paragraphs; `tokenize` writes `<nl>` for a line break
        in fields that are named in `code_fields`.
      random_order: begin with tgt in half of the pairs, else always with src.
      max_length_ratio: pairs with a larger ratio of token counts are dropped; None keeps them.

    Raises:
      ConfigError: a setting is out of range, or the length leaves a chunk no token.
    """
    del output_features
    pair_corruption.check_ratio(max_length_ratio)
    pair_corruption.check_fields(dataset, ("src", "tgt"))
    if chunks_per_window < 2 or chunks_per_window % 2:
        raise ConfigError(
            f"chunks_per_window is {chunks_per_window}; expected an even number of at least 2"
        )
    _check_targets(sequence_length, 2 * chunks_per_window, "interleaved_docs")
    length = rows.feature_length(sequence_length, "targets")
    interleave = _interleaver(
        length // chunks_per_window - 1,
        chunks_per_window // 2,
        special_tokens.control_id(paragraph_end),
        special_tokens.eos_id,
        random_order,
        max_length_ratio,
    )
    return rows.map_batches(
        dataset,
        lambda batch, seeds: interleave(
            rows.without_sentinels(batch["src"], special_tokens),
            rows.without_sentinels(batch["tgt"], special_tokens),
            seeds,
        ),
        batch_size=rows.PAIRS_PER_BATCH,
        num_seeds=1,
    )


def as_documents(examples: rows.Features) -> rows.Features:
    """Returns examples with empty `inputs`, and `targets` that begin with what they were."""
    inputs, targets = examples["inputs"], examples["targets"]
    return {"inputs": rows.empty_rows(inputs.nrows()), "targets": rows.join_rows(inputs, targets)}


def chunk_starts(documents: tf.RaggedTensor, most: int, paragraph_end: int) -> tf.Tensor:
    """Returns where chunks begin: greedily after the last paragraph end that fits, else when full.

    Args:
      documents: [batch, (length)] int32, none empty.
      most: tokens of a chunk, at least 1.
      paragraph_end: id of the last token of a paragraph.

    Returns:
      [total] bool over the values of `documents`.
    """
    tokens, row_ends = documents.values, documents.row_splits[1:]
    paragraph_ends = tf.concat([[0], tf.where(tokens == paragraph_end)[:, 0] + 1], axis=0)
    total = tf.size(tokens, tf.int64)

    def step(place: tf.Tensor, starts: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        # Documents that are done mark a place behind all tokens.
        marked = tf.where(place < row_ends, place, total)
        starts = tf.tensor_scatter_nd_update(
            starts, marked[:, tf.newaxis], tf.fill(tf.shape(marked), True)
        )
        full = tf.minimum(place + most, row_ends)
        last = tf.searchsorted(paragraph_ends, full, side="right") - 1
        whole = tf.gather(paragraph_ends, last)
        return tf.where((full < row_ends) & (whole > place), whole, full), starts

    _, starts = tf.while_loop(
        lambda place, starts: tf.reduce_any(place < row_ends),
        step,
        (documents.row_splits[:-1], tf.fill([total + 1], False)),
        parallel_iterations=1,
    )
    return starts[:-1]


@functools.cache
def _interleaver(
    most: int,
    rounds_per_window: int,
    paragraph_end: int,
    eos_id: int,
    random_order: bool,
    max_length_ratio: float | None,
) -> Callable[..., rows.Features]:
    """Returns the graph of one setting, which all tasks with that setting share."""

    def interleave(src: tf.RaggedTensor, tgt: tf.RaggedTensor, seeds: tf.Tensor) -> rows.Features:
        usable = pair_corruption.usable_pairs(src, tgt, max_length_ratio)
        pair = rows.keep_rows({"src": src, "tgt": tgt}, usable)
        sides = (pair["src"], pair["tgt"])
        if random_order:
            turned = tf.random.stateless_uniform([sides[0].nrows()], seeds[0]) < 0.5
            sides = rows.exchange_rows(*sides, turned)
        chunks, owner, number, count = zip(
            *(_chunks(side, most, paragraph_end) for side in sides), strict=True
        )
        side = tf.repeat([0, 1], [tf.size(ids) for ids in owner])
        owner, number = tf.concat(owner, axis=0), tf.concat(number, axis=0)
        place = 2 * number + tf.cast(side, tf.int64)
        kept = tf.where(number < tf.gather(tf.minimum(*count), owner))[:, 0]
        span = 2 * tf.reduce_max(tf.concat([number, [0]], axis=0)) + 2
        order = tf.gather(kept, tf.argsort(tf.gather(owner * span + place, kept)))
        taken = rows.append_id(tf.gather(tf.concat(chunks, axis=0), order), eos_id)
        opens = tf.where(tf.gather(place, order) % (2 * rounds_per_window) == 0)[:, 0]
        splits = tf.gather(taken.row_splits, tf.concat([opens, [taken.nrows()]], axis=0))
        windows = tf.RaggedTensor.from_row_splits(taken.values, splits, validate=False)
        return {"inputs": rows.empty_rows(windows.nrows()), "targets": windows}

    return tf.function(interleave, autograph=False)


def _chunks(
    documents: tf.RaggedTensor, most: int, paragraph_end: int
) -> tuple[tf.RaggedTensor, tf.Tensor, tf.Tensor, tf.Tensor]:
    """Returns chunks, of each its document and its number there, and how many documents have."""
    starts = chunk_starts(documents, most, paragraph_end)
    owner = tf.gather(rows.row_ids(documents), tf.where(starts)[:, 0])
    count = tf.math.bincount(
        tf.cast(owner, tf.int32), minlength=tf.cast(documents.nrows(), tf.int32)
    )
    count = tf.cast(count, tf.int64)
    before = tf.cumsum(count, exclusive=True)
    number = tf.range(tf.size(owner, tf.int64)) - tf.gather(before, owner)
    return rows.rows_from_starts(documents.values, starts), owner, number, count


def _check_targets(sequence_length: Mapping[str, int] | None, needed: int, name: str) -> None:
    found = rows.feature_length(sequence_length, "targets")
    if found < needed:
        raise ConfigError(
            f"task_feature_lengths['targets']={found} is too short for {name}; expected at least "
            f"{needed}"
        )


OBJECTIVES = (
    Objective(
        name="translation_lm",
        preprocess=translation_lm,
        records=("pair",),
        families=(DECODER_ONLY,),
    ),
    Objective(
        name="translation_prompt",
        preprocess=translation_prompt,
        records=("pair",),
        families=(DECODER_ONLY,),
    ),
    Objective(
        name="interleaved_docs",
        preprocess=interleaved_docs,
        records=("pair",),
        families=(DECODER_ONLY,),
    ),
)

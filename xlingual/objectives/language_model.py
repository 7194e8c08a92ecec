"""Language modelling: continue a text read so far, or predict every next token.

Prefix LM and its paired packing follow T5 (Raffel et al., 2020, JMLR 21(140)); `causal_lm` follows
T5's `full_lm` and, by default, keeps attention inside documents. Documents 11 12 and 21 in a row of
seven, EOS `$`, padding `_`:

    target:  11 12 $  21 $  _ _
    input:   0  11 12 0  21 _ _
    segment: 1  1  1  2  2  0 0
"""

import functools
from collections.abc import Callable, Mapping

import seqio
import tensorflow as tf

from xlingual.errors import ConfigError
from xlingual.objectives import noise, rows
from xlingual.objectives.special_tokens import SpecialTokens

FORMS = ("concat", "packed")


def prefix_lm(
    dataset: tf.data.Dataset,
    sequence_length: Mapping[str, int] | None,
    output_features: Mapping[str, seqio.Feature],
    *,
    special_tokens: SpecialTokens,
    noise_density: float = 0.5,
) -> tf.data.Dataset:
    """Returns examples `{inputs, targets}`: the beginning of a text and its continuation.

    Documents are cut into segments of at most `inputs` - 1 tokens; each is split at a uniformly
    random place, and EOS ends both parts. A segment of one token has no beginning.

    Args:
      dataset: examples with `targets` [length] int32, no EOS; other features are dropped.
      sequence_length: task feature lengths of `inputs` and `targets`, in tokens.
      output_features: unused; SeqIO passes it.
      special_tokens: ids of EOS and sentinels.
      noise_density: mean share of the continuation, in (0, 0.5]; 0.5 draws from all places.

    Raises:
      ConfigError: noise_density out of range, or lengths too short.
    """
    del output_features
    if not 0.0 < noise_density <= 0.5:
        raise ConfigError(f"noise_density is {noise_density}; expected a number in (0, 0.5]")
    segment_length = rows.feature_length(sequence_length, "inputs") - 1
    if segment_length < 2:
        raise ConfigError(
            f"task_feature_lengths['inputs']={segment_length + 1} is too short for prefix_lm; "
            "expected at least 3"
        )
    with tf.init_scope():  # a value is needed even while a pipeline is traced
        lengths = tf.range(1, segment_length + 1)
        longest = lengths - noise.shortest_prefix(lengths, noise_density) + 1
        needed = int(tf.reduce_max(longest))
    targets_length = rows.feature_length(sequence_length, "targets")
    if targets_length < needed:
        raise ConfigError(
            f"task_feature_lengths['targets']={targets_length} is too short for prefix_lm with "
            f"task_feature_lengths['inputs']={segment_length + 1} and "
            f"noise_density={noise_density}; expected at least {needed}"
        )

    split = _splitter(segment_length, special_tokens, noise_density)
    return rows.map_batches(
        dataset,
        lambda batch, seeds: split(
            rows.without_sentinels(batch["targets"], special_tokens), seeds[0]
        ),
        batch_size=rows.DOCUMENTS_PER_BATCH,
        num_seeds=1,
    )


def causal_lm(
    dataset: tf.data.Dataset,
    sequence_length: Mapping[str, int] | None,
    output_features: Mapping[str, seqio.Feature],
    *,
    special_tokens: SpecialTokens,
    form: str = "concat",
    reset_at_eos: bool = True,
) -> tf.data.Dataset:
    """Returns examples with `targets` and empty `inputs`; each document ends with one EOS.

    Form `concat` joins 128 documents and cuts the stream into chunks of exactly the `targets`
    length. With `reset_at_eos` a chunk is handed out as its documents, in order, so that a packing
    converter fills the same row and gives every document its own segment and positions; without,
    the chunk is one example. Form `packed` cuts only documents that are too long, for packing.

    Args:
      dataset: examples with `targets` [length] int32, no EOS; other features are dropped.
      sequence_length: task feature length of `targets`, in tokens.
      output_features: unused; SeqIO passes it.
      special_tokens: ids of EOS and sentinels.
      form: `concat` or `packed`.
      reset_at_eos: keep attention inside documents; of form `concat` only.

    Raises:
      ConfigError: unknown form, or length too short.
    """
    del output_features
    if form not in FORMS:
        raise ConfigError(f"form is {form!r}; expected one of {', '.join(FORMS)}")
    length = rows.feature_length(sequence_length, "targets")
    if length < 2:
        raise ConfigError(
            f"task_feature_lengths['targets']={length} is too short for causal_lm; expected at "
            "least 2"
        )

    cut = _cutter(length, special_tokens, form, reset_at_eos)
    return rows.map_batches(
        dataset,
        lambda batch, seeds: cut(rows.without_sentinels(batch["targets"], special_tokens)),
        batch_size=rows.DOCUMENTS_PER_BATCH,
        num_seeds=1,
    )


def paired_prefix_lm(
    dataset: tf.data.Dataset,
    sequence_length: Mapping[str, int] | None,
    output_features: Mapping[str, seqio.Feature],
    *,
    special_tokens: SpecialTokens,
) -> tf.data.Dataset:
    """Returns prefix LM rows without padding, as model features: two texts share each row.

    Documents, each with EOS, are joined and cut into texts of P tokens. Two texts A and B are split
    at s and P - s, so that encoder and decoder rows both hold exactly P tokens (P = 6, s = 2):

        inputs:  A1 A2 B1 B2 B3 B4      targets:       A3 A4 A5 A6 B5 B6
        segment: 1  1  2  2  2  2       segment:       1  1  1  1  2  2
                                        decoder input: 0  A3 A4 A5 0  B5

    Args:
      dataset: examples with `targets` [length] int32, no EOS; other features are dropped.
      sequence_length: task feature lengths of `inputs` and `targets`, equal and even.
      output_features: unused; SeqIO passes it.
      special_tokens: ids of EOS and sentinels.

    Returns:
      Encoder-decoder model features, each [P] int32, weights float32; no feature converter needed.

    Raises:
      ConfigError: lengths that differ, are odd or below 4.
    """
    del output_features
    length = rows.feature_length(sequence_length, "inputs")
    targets_length = rows.feature_length(sequence_length, "targets")
    if length != targets_length or length % 2 or length < 4:
        raise ConfigError(
            f"task_feature_lengths have inputs={length} and targets={targets_length}; "
            "paired_prefix_lm expects one even length of at least 4"
        )

    def pack(batch: rows.Features, seeds: tf.Tensor) -> rows.Features:
        documents = rows.without_sentinels(batch["targets"], special_tokens)
        tokens = _documents_with_eos(documents, special_tokens).values
        num_pairs = tf.size(tokens) // (2 * length)
        texts = tf.reshape(tokens[: num_pairs * 2 * length], [num_pairs, 2, length])
        split = tf.random.stateless_uniform(
            [num_pairs], seeds[0], minval=1, maxval=length, dtype=tf.int32
        )
        return _pack_pair(texts[:, 0], texts[:, 1], split, length)

    return rows.map_batches(dataset, pack, batch_size=rows.DOCUMENTS_PER_BATCH, num_seeds=1)


@functools.cache
def _splitter(
    segment_length: int, special_tokens: SpecialTokens, noise_density: float
) -> Callable[..., rows.Features]:
    """Returns the graph of one setting of `prefix_lm`, which all tasks with that setting share."""

    def split(documents: tf.RaggedTensor, seed: tf.Tensor) -> rows.Features:
        segments = rows.cut_each_row(documents, segment_length)
        lengths = tf.cast(segments.row_lengths(), tf.int32)
        prefix = noise.random_prefix_lengths(lengths, noise_density, seed=seed)
        prefix_ends = segments.row_splits[:-1] + tf.cast(prefix, tf.int64)
        place = tf.range(tf.size(segments.values, tf.int64))
        read = place < tf.gather(prefix_ends, rows.row_ids(segments))
        inputs = rows.keep_values(segments, segments.values, read)
        targets = rows.keep_values(segments, segments.values, ~read)
        eos = special_tokens.eos_id
        return {"inputs": rows.append_id(inputs, eos), "targets": rows.append_id(targets, eos)}

    return tf.function(split, autograph=False)


@functools.cache
def _cutter(
    length: int, special_tokens: SpecialTokens, form: str, reset_at_eos: bool
) -> Callable[..., rows.Features]:
    """Returns the graph of one setting of `causal_lm`, which all tasks with that setting share."""

    def cut(documents: tf.RaggedTensor) -> rows.Features:
        documents = _documents_with_eos(documents, special_tokens)
        tokens = documents.values
        if form == "packed":
            targets = rows.cut_each_row(documents, length)
        elif reset_at_eos:
            after_eos = tf.concat([[False], tokens == special_tokens.eos_id], axis=0)[:-1]
            chunk_starts = tf.range(tf.size(tokens)) % length == 0
            targets = rows.rows_from_starts(tokens, chunk_starts | after_eos)
        else:
            targets = rows.cut_rows(tokens, length)
        empty = tf.zeros([targets.nrows() + 1], tf.int64)
        inputs = tf.RaggedTensor.from_row_splits(tf.zeros([0], tf.int32), empty, validate=False)
        return {"inputs": inputs, "targets": targets}

    return tf.function(cut, autograph=False)


def _documents_with_eos(
    documents: tf.RaggedTensor, special_tokens: SpecialTokens
) -> tf.RaggedTensor:
    full = rows.keep_rows({"targets": documents}, documents.row_lengths() > 0)
    return rows.append_id(full["targets"], special_tokens.eos_id)


def _pack_pair(first: tf.Tensor, second: tf.Tensor, split: tf.Tensor, length: int) -> rows.Features:
    """Packs texts [batch, length] pairwise; `split` [batch] is the prefix length of `first`."""
    both = tf.concat([first, second], axis=1)
    place = tf.range(length)
    split = split[:, tf.newaxis]

    def features(boundary: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        in_second = place >= boundary
        positions = tf.where(in_second, place - boundary, place)
        return tf.cast(in_second, tf.int32) + 1, positions

    encoder_segments, encoder_positions = features(split)
    decoder_segments, decoder_positions = features(length - split)
    in_second = encoder_segments - 1
    inputs = tf.gather(both, in_second * length + encoder_positions, batch_dims=1)
    # The decoder continues `first` at `split` and `second` at `length - split`.
    starts = tf.where(decoder_segments == 1, split, 2 * length - split)
    targets = tf.gather(both, starts + decoder_positions, batch_dims=1)
    shifted = tf.pad(targets[:, :-1], [[0, 0], [1, 0]])
    return {
        "encoder_input_tokens": inputs,
        "encoder_segment_ids": encoder_segments,
        "encoder_positions": encoder_positions,
        "decoder_input_tokens": tf.where(decoder_positions == 0, 0, shifted),
        "decoder_target_tokens": targets,
        "decoder_loss_weights": tf.ones_like(targets, tf.float32),
        "decoder_segment_ids": decoder_segments,
        "decoder_positions": decoder_positions,
    }

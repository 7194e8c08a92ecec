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

from xlingual.errors import ConfigError
from xlingual.objectives import noise, rows
from xlingual.objectives.backend import seqio, tf
from xlingual.objectives.registry import Objective
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
    check_density(noise_density)
    segment_length = rows.feature_length(sequence_length, "inputs") - 1
    if segment_length < 2:
        raise ConfigError(
            f"task_feature_lengths['inputs']={segment_length + 1} is too short for prefix_lm; "
            "expected at least 3"
        )
    needed = longest_continuation(segment_length, noise_density)
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


def split_rows(
    segments: tf.RaggedTensor,
    noise_density: float | tf.Tensor,
    *,
    special_tokens: SpecialTokens,
    seed: tf.Tensor,
) -> rows.Features:
    """Returns `inputs` and `targets` of segments split at random places, EOS on both.

    Args:
      segments: [batch, (length)] int32, no EOS, no empty row.
      noise_density: mean share of the continuation, in (0, 0.5]; one number, or [batch] float64.
      special_tokens: id of EOS.
      seed: [2] int32.
    """
    lengths = tf.cast(segments.row_lengths(), tf.int32)
    prefix = noise.random_prefix_lengths(lengths, noise_density, seed=seed)
    eos = special_tokens.eos_id
    parts = _split_at(segments, prefix)
    return {name: rows.append_id(part, eos) for name, part in parts.items()}


def check_density(noise_density: float) -> None:
    """Raises ConfigError unless 0 < `noise_density` <= 0.5."""
    if not 0.0 < noise_density <= 0.5:
        raise ConfigError(f"noise_density is {noise_density}; expected a number in (0, 0.5]")


def longest_continuation(segment_length: int, noise_density: float) -> int:
    """Returns the longest targets of segments of at most `segment_length` tokens, EOS included."""
    with tf.init_scope():  # a value is needed even while a pipeline is traced
        lengths = tf.range(1, segment_length + 1)
        longest = lengths - noise.shortest_prefix(lengths, noise_density) + 1
        return int(tf.reduce_max(longest))


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
    """Returns prefix LM examples that fill packed rows without padding, two texts a row.

    Documents, each with EOS, are joined and cut into texts of P tokens; of each batch of documents
    an odd text and a shorter rest are left out. Two texts A and B are split at s and P - s, so that
    the packing converter finds room for both in rows of exactly P tokens (P = 6, s = 2):

        inputs:  A1 A2 B1 B2 B3 B4      targets:       A3 A4 A5 A6 B5 B6
        segment: 1  1  2  2  2  2       segment:       1  1  1  1  2  2
                                        decoder input: 0  A3 A4 A5 0  B5

    No EOS is added to the parts. Rows are full as long as a task is alone; in a mixture the packer
    may also fill them with examples of other tasks.

    Args:
      dataset: examples with `targets` [length] int32, no EOS; other features are dropped.
      sequence_length: task feature lengths of `inputs` and `targets`, equal and even.
      output_features: unused; SeqIO passes it.
      special_tokens: ids of EOS and sentinels.

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
    split = _pair_splitter(length, special_tokens)
    return rows.map_batches(
        dataset,
        lambda batch, seeds: split(
            rows.without_sentinels(batch["targets"], special_tokens), seeds[0]
        ),
        batch_size=rows.DOCUMENTS_PER_BATCH,
        num_seeds=1,
    )


@functools.cache
def _splitter(
    segment_length: int, special_tokens: SpecialTokens, noise_density: float
) -> Callable[..., rows.Features]:
    """Returns the graph of one setting of `prefix_lm`, which all tasks with that setting share."""

    def split(documents: tf.RaggedTensor, seed: tf.Tensor) -> rows.Features:
        segments = rows.cut_each_row(documents, segment_length)
        return split_rows(segments, noise_density, special_tokens=special_tokens, seed=seed)

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
        return {"inputs": rows.empty_rows(targets.nrows()), "targets": targets}

    return tf.function(cut, autograph=False)


@functools.cache
def _pair_splitter(length: int, special_tokens: SpecialTokens) -> Callable[..., rows.Features]:
    """Returns the graph of one setting of `paired_prefix_lm`, which all its tasks share."""

    def split(documents: tf.RaggedTensor, seed: tf.Tensor) -> rows.Features:
        tokens = _documents_with_eos(documents, special_tokens).values
        num_pairs = tf.size(tokens) // (2 * length)
        first = tf.random.stateless_uniform(
            num_pairs[tf.newaxis], seed, minval=1, maxval=length, dtype=tf.int32
        )
        prefixes = tf.reshape(tf.stack([first, length - first], axis=1), [-1])
        texts = rows.cut_rows(tokens[: num_pairs * 2 * length], length)
        return _split_at(texts, prefixes)

    return tf.function(split, autograph=False)


def _split_at(texts: tf.RaggedTensor, prefixes: tf.Tensor) -> rows.Features:
    """Returns the first `prefixes` [batch] int32 tokens of each text and the others."""
    ends = tf.cast(tf.gather(prefixes, rows.row_ids(texts)), tf.int64)
    read = rows.positions(texts) < ends
    return {
        "inputs": rows.keep_values(texts, texts.values, read),
        "targets": rows.keep_values(texts, texts.values, ~read),
    }


def _documents_with_eos(
    documents: tf.RaggedTensor, special_tokens: SpecialTokens
) -> tf.RaggedTensor:
    full = rows.keep_rows({"targets": documents}, documents.row_lengths() > 0)
    return rows.append_id(full["targets"], special_tokens.eos_id)


OBJECTIVES = (
    Objective(name="causal_lm", preprocess=causal_lm, records=("mono",)),
    Objective(name="paired_prefix_lm", preprocess=paired_prefix_lm, records=("mono",)),
    Objective(name="prefix_lm", preprocess=prefix_lm, records=("mono",)),
)

"""Span corruption: generate the spans that were dropped from a text.

The objective of T5 (Raffel et al., 2020, JMLR 21(140)) and mT5 (Xue et al., 2021, NAACL), equal to
the public code on equal masks, except where `noise.py` says so. Example, noise on `105` and
`111 112`, sentinels `S0 S1`, EOS `$`:

    tokens:  101 102 103 104 105 106 107 108 109 110 111 112
    inputs:  101 102 103 104 S0  106 107 108 109 110 S1  $
    targets: S0  105 S1  111 112 $
"""

import functools
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from xlingual.errors import ConfigError
from xlingual.objectives import noise, rows
from xlingual.objectives.backend import seqio, tf
from xlingual.objectives.registry import Objective
from xlingual.objectives.special_tokens import SpecialTokens

MAX_DOCUMENT_TOKENS = 65_536


def span_corruption(
    dataset: tf.data.Dataset,
    sequence_length: Mapping[str, int] | None,
    output_features: Mapping[str, seqio.Feature],
    *,
    special_tokens: SpecialTokens,
    noise_density: float = 0.15,
    mean_noise_span_length: float = 3.0,
    random_roll: bool = False,
) -> tf.data.Dataset:
    """Returns examples `{inputs, targets}` that fill `inputs` exactly, EOS on both.

    128 documents are concatenated without separator and cut into segments; a document of more than
    65,536 tokens gives one of its aligned blocks, drawn uniformly. Run it on one language at a
    time: documents that are concatenated share segments.

    Args:
      dataset: examples with `targets` [length] int32, no EOS; other features are dropped.
      sequence_length: task feature lengths of `inputs` and `targets`, in tokens.
      output_features: unused; SeqIO passes it.
      special_tokens: ids of EOS and sentinels.
      noise_density: share of tokens dropped, in (0, 1).
      mean_noise_span_length: tokens, at least 1.
      random_roll: rotate masks, so that texts may begin with noise; targets then follow the
        aligned rule, and one place is kept free for the span that the rotation cuts in two.

    Raises:
      ConfigError: lengths too short, or more spans than sentinels.
    """
    del output_features
    lengths = _checked_lengths(
        sequence_length, special_tokens, noise_density, mean_noise_span_length, random_roll
    )

    corrupt = _corruptor(
        lengths.tokens, special_tokens, noise_density, mean_noise_span_length, random_roll
    )
    return rows.map_batches(
        dataset,
        lambda batch, seeds: corrupt(
            rows.without_sentinels(batch["targets"], special_tokens), seeds
        ),
        batch_size=rows.DOCUMENTS_PER_BATCH,
        num_seeds=3,
    )


def corrupt_rows(
    segments: tf.RaggedTensor,
    noise_density: float | tf.Tensor,
    mean_noise_span_length: float | tf.Tensor,
    *,
    special_tokens: SpecialTokens,
    seeds: tf.Tensor,
    random_roll: bool = False,
) -> rows.Features:
    """Returns `inputs` and `targets` of segments, EOS on both.

    Args:
      segments: [batch, (length)] int32, no EOS.
      noise_density: share of tokens dropped, in (0, 1); one number, or [batch] float64.
      mean_noise_span_length: tokens, at least 1; one number, or [batch] float64.
      special_tokens: ids of EOS and sentinels.
      seeds: [2, 2] int32.
      random_roll: rotate masks; targets then follow the aligned rule.
    """
    mask = noise.random_spans_noise_mask(
        tf.cast(segments.row_lengths(), tf.int32),
        noise_density,
        mean_noise_span_length,
        seeds=seeds,
        random_roll=random_roll,
        num_kept_after=1,
    )
    segments = rows.append_id(segments, special_tokens.eos_id)
    if random_roll:
        targets = list_runs(segments, mask, special_tokens)
        targets = rows.append_id(targets, special_tokens.eos_id)
    else:
        targets = replace_runs(segments, ~(mask | rows.is_last(segments)), special_tokens)
    return {"inputs": replace_runs(segments, mask, special_tokens), "targets": targets}


def replace_runs(
    tokens: tf.RaggedTensor,
    mask: tf.Tensor,
    special_tokens: SpecialTokens,
    starts: tf.Tensor | None = None,
) -> tf.RaggedTensor:
    """Returns the rows with each maximal masked run replaced by one sentinel, S0, S1, ...

    With the noise mask this builds inputs; with its complement, targets.

    Args:
      tokens: [batch, (length)] int32.
      mask: [total] bool over the values of `tokens`, True = replaced.
      special_tokens: ids of the sentinels.
      starts: [total] bool, masked places where a run begins even if the place before is masked.
    """
    first, sentinels = _runs(tokens, mask, special_tokens, starts)
    values = tf.where(first, sentinels, tokens.values)
    return rows.keep_values(tokens, values, first | ~mask)


def list_runs(
    tokens: tf.RaggedTensor,
    mask: tf.Tensor,
    special_tokens: SpecialTokens,
    starts: tf.Tensor | None = None,
) -> tf.RaggedTensor:
    """Returns, row by row, each masked run after its sentinel: the aligned rule for targets.

    It agrees with `replace_runs` of the complement when a mask begins kept and ends with noise,
    and numbers the runs as in the inputs for every other mask.

    Args:
      tokens: [batch, (length)] int32.
      mask: [total] bool over the values of `tokens`, True = noise.
      special_tokens: ids of the sentinels.
      starts: [total] bool, masked places where a run begins even if the place before is masked.
    """
    first, sentinels = _runs(tokens, mask, special_tokens, starts)
    values = tf.reshape(tf.stack([sentinels, tokens.values], axis=1), [-1])
    keep = tf.reshape(tf.stack([first, mask], axis=1), [-1])
    return rows.keep_values(tokens, values, keep)


def take_random_blocks(documents: tf.RaggedTensor, seed: tf.Tensor) -> tf.Tensor:
    """Returns the documents end to end, each long one cut to one of its aligned blocks.

    Args:
      documents: [batch, (length)] int32; padding ids 0 are dropped.
      seed: [2] int32.

    Returns:
      [total] int32.
    """
    num_blocks = -(-documents.row_lengths() // MAX_DOCUMENT_TOKENS)
    draws = tf.random.stateless_uniform(tf.shape(num_blocks), seed, dtype=tf.float64)
    drawn = tf.cast(draws * tf.cast(num_blocks, tf.float64), tf.int64)
    tokens = documents.values
    # Places are counted from the drawn block, so that its own are 0 to 65,535.
    starts = documents.row_splits[:-1] + drawn * MAX_DOCUMENT_TOKENS
    place = tf.range(tf.size(tokens, tf.int64)) - tf.gather(starts, rows.row_ids(documents))
    keep = (place >= 0) & (place < MAX_DOCUMENT_TOKENS) & (tokens != 0)
    return tf.gather(tokens, tf.where(keep)[:, 0])


def merge_spans(
    inputs: Sequence[int] | np.ndarray,
    targets: Sequence[int] | np.ndarray,
    special_tokens: SpecialTokens,
) -> np.ndarray:
    """Returns the text behind one example: each sentinel of `inputs` replaced by its span.

    Args:
      inputs: [length] int32, unpadded.
      targets: [length] int32, unpadded.
      special_tokens: ids of EOS and sentinels.

    Returns:
      [length] int32, without the final EOS of `inputs`; other EOS stay.
    """
    spans: dict[int, list[int]] = {}
    current: list[int] = []
    for token in _without_end(targets, special_tokens):
        if special_tokens.sentinel_end <= token <= special_tokens.sentinel_start:
            current = spans.setdefault(token, [])
        else:
            current.append(token)
    merged: list[int] = []
    for token in _without_end(inputs, special_tokens):
        merged.extend(spans.get(token, [token]))
    return np.asarray(merged, np.int32)


def check_spans(num_spans: int, special_tokens: SpecialTokens, name: str) -> None:
    """Raises ConfigError if `num_spans` exceeds the number of sentinels; `name` says for what."""
    if num_spans > special_tokens.num_sentinels:
        raise ConfigError(
            f"{name} needs {num_spans} sentinels, but the vocabulary has "
            f"{special_tokens.num_sentinels}; expected shorter inputs, a lower noise_density, a "
            "larger mean_noise_span_length or a vocabulary with more sentinels"
        )


@functools.cache
def _corruptor(
    segment_length: int,
    special_tokens: SpecialTokens,
    noise_density: float,
    mean_noise_span_length: float,
    random_roll: bool,
) -> Callable[..., rows.Features]:
    """Returns the graph of one setting, which all tasks with that setting share."""

    def corrupt(documents: tf.RaggedTensor, seeds: tf.Tensor) -> rows.Features:
        tokens = take_random_blocks(documents, seeds[0])
        segments = rows.cut_rows(tokens, segment_length)
        return corrupt_rows(
            segments,
            noise_density,
            mean_noise_span_length,
            special_tokens=special_tokens,
            seeds=seeds[1:],
            random_roll=random_roll,
        )

    return tf.function(corrupt, autograph=False)


def _checked_lengths(
    sequence_length: Mapping[str, int] | None,
    special_tokens: SpecialTokens,
    noise_density: float,
    mean_noise_span_length: float,
    random_roll: bool,
) -> noise.SpanLengths:
    inputs_length = rows.feature_length(sequence_length, "inputs")
    targets_length = rows.feature_length(sequence_length, "targets")
    extra = 1 if random_roll else 0
    needed = 3 + extra
    if inputs_length < needed:
        raise ConfigError(
            f"task_feature_lengths['inputs']={inputs_length} is too short for span_corruption; "
            f"expected at least {needed}"
        )
    lengths = noise.span_lengths(inputs_length - extra, noise_density, mean_noise_span_length)
    if targets_length < lengths.targets + extra:
        raise ConfigError(
            f"task_feature_lengths['targets']={targets_length} is too short for span_corruption "
            f"with task_feature_lengths['inputs']={inputs_length}, noise_density={noise_density} "
            f"and mean_noise_span_length={mean_noise_span_length}; expected at least "
            f"{lengths.targets + extra}"
        )
    check_spans(lengths.num_spans + extra, special_tokens, "span_corruption")
    return lengths


def _runs(
    tokens: tf.RaggedTensor,
    mask: tf.Tensor,
    special_tokens: SpecialTokens,
    starts: tf.Tensor | None,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns where masked runs begin, [total] bool, and each value's sentinel, [total] int32."""
    row = rows.row_ids(tokens)
    # A run continues where the value before is masked too and lies in the same row.
    before = tf.concat([[-1], tf.where(mask, row, -1)], axis=0)[:-1]
    first = mask & (before != row)
    if starts is not None:
        first |= mask & starts
    count = tf.cumsum(tf.cast(first, tf.int32))
    before_row = tf.gather(tf.concat([[0], count], axis=0), tokens.row_splits)
    index = count - 1 - tf.gather(before_row, row)
    return first, special_tokens.sentinel_start - index


def _without_end(tokens: Sequence[int] | np.ndarray, special_tokens: SpecialTokens) -> list[int]:
    found = [int(token) for token in tokens]
    if found and found[-1] == special_tokens.eos_id:
        found.pop()
    return found


OBJECTIVES = (Objective(name="span_corruption", preprocess=span_corruption, records=("mono",)),)

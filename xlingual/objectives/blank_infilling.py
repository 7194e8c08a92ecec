"""Blank infilling for decoder-only models: spans, in random order, are written after the text.

The objective of GLM (Du et al., 2022, ACL, arXiv:2103.10360), section 2.1, in the variant without
two-dimensional positions. GLM puts the same `[MASK]` for each span and tells by a second position
which one is being filled; here each span has its own sentinel, which stands in the text and, as the
start token `[S]` of GLM, before the span. EOS is GLM's `[E]`. Start tokens are given, not learned:
their weight is 0, so that every learned token is text or the end of a span. Spans `13` and `15 16`
in the order 1, 0:

    text:    11 12 13 14 15 16
    inputs:  11 12 S0 14 S1 $
    targets: S1 15 16 $  S0 13 $
    weights: 0  1  1  1  0  1  1

Attention over the inputs may be bidirectional (`prefix_attention` of the model), as in GLM.
"""

import functools
from collections.abc import Callable, Mapping

from xlingual.errors import ConfigError
from xlingual.objectives import noise, rows, span_corruption
from xlingual.objectives.backend import seqio, tf
from xlingual.objectives.registry import DECODER_ONLY, Objective
from xlingual.objectives.special_tokens import SpecialTokens


def glm(
    dataset: tf.data.Dataset,
    sequence_length: Mapping[str, int] | None,
    output_features: Mapping[str, seqio.Feature],
    *,
    special_tokens: SpecialTokens,
    noise_density: float = 0.15,
    mean_noise_span_length: float = 3.0,
    shuffle_spans: bool = True,
) -> tf.data.Dataset:
    """Returns examples whose targets are the spans of a text in random order, each with EOS.

    Documents are joined and cut as in `span_corruption`, and spans are drawn as there: by a random
    composition with the same mean, where GLM draws lengths from a Poisson distribution. A text of
    one token is left out.

    Args:
      dataset: examples with `targets` [length] int32, no EOS; other features are dropped.
      sequence_length: task feature lengths of `inputs` and `targets`, in tokens.
      output_features: unused; SeqIO passes it.
      special_tokens: ids of EOS and sentinels.
      noise_density: share of tokens in spans, in (0, 1).
      mean_noise_span_length: tokens, at least 1.
      shuffle_spans: False writes spans in the order of the text.

    Returns:
      Examples `{inputs, targets, targets_weights}`; weight class 0 at start tokens, else 1.

    Raises:
      ConfigError: lengths too short, or more spans than sentinels.
    """
    del output_features
    inputs_length = rows.feature_length(sequence_length, "inputs")
    targets_length = rows.feature_length(sequence_length, "targets")
    lengths = noise.span_lengths(inputs_length, noise_density, mean_noise_span_length)
    needed = lengths.num_noise + 2 * lengths.num_spans
    if targets_length < needed:
        raise ConfigError(
            f"task_feature_lengths['targets']={targets_length} is too short for glm with "
            f"task_feature_lengths['inputs']={inputs_length}, noise_density={noise_density} "
            f"and mean_noise_span_length={mean_noise_span_length}; expected at least {needed}"
        )
    span_corruption.check_spans(lengths.num_spans, special_tokens, "glm")
    corrupt = _corruptor(
        lengths.tokens, special_tokens, noise_density, mean_noise_span_length, shuffle_spans
    )
    return rows.map_batches(
        dataset,
        lambda batch, seeds: corrupt(
            rows.without_sentinels(batch["targets"], special_tokens), seeds
        ),
        batch_size=rows.DOCUMENTS_PER_BATCH,
        num_seeds=4,
    )


@functools.cache
def _corruptor(
    segment_length: int,
    special_tokens: SpecialTokens,
    noise_density: float,
    mean_noise_span_length: float,
    shuffle_spans: bool,
) -> Callable[..., rows.Features]:
    """Returns the graph of one setting, which all tasks with that setting share."""

    def corrupt(documents: tf.RaggedTensor, seeds: tf.Tensor) -> rows.Features:
        tokens = span_corruption.take_random_blocks(documents, seeds[0])
        segments = rows.cut_rows(tokens, segment_length)
        mask = noise.random_spans_noise_mask(
            tf.cast(segments.row_lengths(), tf.int32),
            noise_density,
            mean_noise_span_length,
            seeds=seeds[1:3],
            num_kept_after=1,
        )
        segments = rows.append_id(segments, special_tokens.eos_id)
        inputs = span_corruption.replace_runs(segments, mask, special_tokens)
        listed = span_corruption.list_runs(segments, mask, special_tokens)
        targets = _as_blocks(listed, special_tokens, seeds[3] if shuffle_spans else None)
        weights = targets.with_values(tf.cast(~_is_start(targets, special_tokens), tf.int32))
        found = {"inputs": inputs, "targets": targets, "targets_weights": weights}
        return rows.keep_rows(found, targets.row_lengths() > 0)

    return tf.function(corrupt, autograph=False)


def _as_blocks(
    listed: tf.RaggedTensor, special_tokens: SpecialTokens, seed: tf.Tensor | None
) -> tf.RaggedTensor:
    """Returns listed spans, each with EOS; shuffled within their row if there is a seed."""
    starts = _is_start(listed, special_tokens)
    blocks = rows.append_id(rows.rows_from_starts(listed.values, starts), special_tokens.eos_id)
    in_rows = rows.keep_values(listed, listed.values, starts)
    if seed is not None:
        blocks = tf.gather(blocks, rows.random_order(in_rows, seed=seed))
    splits = listed.row_splits + in_rows.row_splits
    return tf.RaggedTensor.from_row_splits(blocks.values, splits, validate=False)


def _is_start(tokens: tf.RaggedTensor, special_tokens: SpecialTokens) -> tf.Tensor:
    low, high = special_tokens.sentinel_end, special_tokens.sentinel_start
    return (tokens.values >= low) & (tokens.values <= high)


OBJECTIVES = (Objective(name="glm", preprocess=glm, records=("mono",), families=(DECODER_ONLY,)),)

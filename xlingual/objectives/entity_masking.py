"""Linguistic entity masking (LEM): hide one token of a noun, verb or named entity, keep the rest.

The rest of the span stays as context for its hidden token ("Linguistic Entity Masking to Improve
Cross-Lingual Representation of Multilingual Language Models for Low-Resource Languages", 2025). In
text-to-text form each hidden token is a run of its own, even next to another one:

    text:    The [river]N [flows]V to [Lake Victoria]NE
    inputs:  The S0 S1 to Lake S2 $
    targets: S0 river S1 flows S2 Victoria $
"""

import functools
from collections.abc import Callable, Mapping, Sequence

from xlingual.errors import ConfigError
from xlingual.objectives import entities, pieces, rows
from xlingual.objectives.backend import seqio, tf
from xlingual.objectives.registry import Objective
from xlingual.objectives.special_tokens import SpecialTokens

TYPES = ("NOUN", "VERB", "NE")


def lem(
    dataset: tf.data.Dataset,
    sequence_length: Mapping[str, int] | None,
    output_features: Mapping[str, seqio.Feature],
    *,
    special_tokens: SpecialTokens,
    noise_density: float = 0.15,
    types: Sequence[str] = TYPES,
) -> tf.data.Dataset:
    """Returns examples `{inputs, targets}` that hide one token of each chosen span.

    Spans are drawn uniformly until `max(1, round(noise_density * tokens))` tokens are hidden, or
    spans or sentinels run out, and one token of each uniformly. Texts without a usable span are
    dropped.

    Args:
      dataset: entity records `{text, lang, starts, ends, types, qids}` (`entities.py`).
      sequence_length: task feature lengths of `inputs` and `targets`, in tokens; texts that do not
        fit are dropped.
      output_features: the vocabulary of `targets` encodes every text; it has `<sep>`.
      special_tokens: ids of EOS, `<sep>` and sentinels.
      noise_density: largest share of hidden tokens, in (0, 1].
      types: kinds of spans to choose from.

    Raises:
      ConfigError: a setting is out of range, fields or `<sep>` are missing, or lengths too short.
    """
    if not 0.0 < noise_density <= 1.0:
        raise ConfigError(f"noise_density is {noise_density}; expected a number in (0, 1]")
    if not types:
        raise ConfigError(f"types is empty; expected kinds of spans, e.g. {', '.join(TYPES)}")
    entities.check_fields(dataset, "lem")
    limits = entities.checked_lengths(sequence_length, "lem")
    encode = pieces.part_encoder(output_features["targets"].vocabulary, special_tokens)
    hide = _hider(special_tokens, noise_density, limits)

    def make(batch: rows.Features, seeds: tf.Tensor) -> rows.Features:
        batch = entities.ragged_spans(batch)
        parts = entities.cut_at_spans(batch["text"], batch["starts"], batch["ends"])
        found = entities.encode_spans(parts, encode)
        wanted = batch["types"].values[:, tf.newaxis] == tf.constant(list(types))
        tokens = rows.without_sentinels(found.tokens, special_tokens)
        return hide(tokens, found.spans, found.lengths, tf.reduce_any(wanted, axis=1), seeds)

    return rows.map_batches(dataset, make, batch_size=rows.DOCUMENTS_PER_BATCH, num_seeds=2)


@functools.cache
def _hider(
    special_tokens: SpecialTokens, noise_density: float, limits: tuple[int, int]
) -> Callable[..., rows.Features]:
    """Returns the graph of one setting, which all tasks with that setting share."""

    def hide(
        tokens: tf.RaggedTensor,
        spans: tf.RaggedTensor,
        lengths: tf.Tensor,
        wanted: tf.Tensor,
        seeds: tf.Tensor,
    ) -> rows.Features:
        size = tf.cast(tokens.row_lengths(), tf.float64)
        budget = tf.maximum(tf.round(size * tf.constant(noise_density, tf.float64)), 1.0)
        budget = tf.minimum(tf.cast(budget, tf.int64), special_tokens.num_sentinels)
        usable = spans.with_values(wanted & (lengths > 0))
        chosen = tf.where(entities.draw_up_to(usable, budget, seed=seeds[0]))[:, 0]
        draws = tf.random.stateless_uniform(tf.shape(chosen), seeds[1], dtype=tf.float64)
        inside = tf.cast(draws * tf.cast(tf.gather(lengths, chosen), tf.float64), tf.int64)
        places = tf.gather(spans.values, chosen) + inside
        mask = tf.zeros_like(tokens.values, tf.bool)
        mask = tf.tensor_scatter_nd_update(
            mask, places[:, tf.newaxis], tf.ones_like(places, tf.bool)
        )
        return entities.hidden_runs(tokens, mask, mask, special_tokens, limits)

    return tf.function(hide, autograph=False)


OBJECTIVES = (Objective(name="lem", preprocess=lem, records=("entity",), tokenized=False),)

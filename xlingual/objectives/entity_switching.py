"""EntityCS: entities of a sentence switched into other languages, then hidden and generated.

Whitehouse et al., 2022, Findings of EMNLP, in text-to-text form. A sentence is switched into
languages in which every linked entity has a label, all its entities into one language a copy; the
sentence itself is kept too. Then entities, or single tokens of them, become noise runs, and random
spans outside fill up to 15% noise:

    text:    an <de>Korallenriff</de> glows        (switched from "a coral reef")
    inputs:  an S0 glows $
    targets: S0 Koral len riff $

Of the candidates of a variant, the masked are hidden and the kept stay visible. A text-to-text
model is not asked for tokens that it sees: kept ones have no loss (so PEP-MS and PEP-M are the same
here), and the random ones of PEP-MRS are hidden.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from xlingual.errors import ConfigError
from xlingual.objectives import entities, lexicon, noise, pair_corruption, pieces, rows
from xlingual.objectives.backend import seqio, tf
from xlingual.objectives.registry import Objective
from xlingual.objectives.special_tokens import SpecialTokens


@dataclasses.dataclass(frozen=True, kw_only=True)
class Variant:
    """Which parts of entities become noise.

    Attributes:
      whole: entities are hidden as a whole; else token by token.
      candidates: probability that an entity, or token, is a candidate.
      hidden: share of the candidates that is hidden.
    """

    whole: bool
    candidates: float
    hidden: float


VARIANTS: Mapping[str, Variant] = MappingProxyType(
    {
        "WEP": Variant(whole=True, candidates=1.0, hidden=0.8),
        "PEP-MRS": Variant(whole=False, candidates=1.0, hidden=0.9),
        "PEP-MS": Variant(whole=False, candidates=1.0, hidden=0.8),
        "PEP-M": Variant(whole=False, candidates=1.0, hidden=0.8),
        "WEP+MLM": Variant(whole=True, candidates=0.5, hidden=0.8),
        "PEP-MS+MLM": Variant(whole=False, candidates=0.5, hidden=0.8),
    }
)


def entity_cs(
    dataset: tf.data.Dataset,
    sequence_length: Mapping[str, int] | None,
    output_features: Mapping[str, seqio.Feature],
    *,
    special_tokens: SpecialTokens,
    labels: str,
    variant: str = "WEP",
    noise_density: float = 0.15,
    mean_noise_span_length: float = 3.0,
    num_languages: int = 5,
    languages: Sequence[str] | None = None,
) -> tf.data.Dataset:
    """Returns examples `{inputs, targets}` that hide entities in the text's and other languages.

    Texts without a linked entity are dropped, and so are examples without noise.

    Args:
      dataset: entity records `{text, lang, starts, ends, types, qids}` (`entities.py`).
      sequence_length: task feature lengths of `inputs` and `targets`, in tokens; examples that do
        not fit are dropped.
      output_features: the vocabulary of `targets` encodes every text; it has `<sep>`.
      special_tokens: ids of EOS, `<sep>` and sentinels.
      labels: file of `item<TAB>language<TAB>label` lines.
      variant: one of `VARIANTS`.
      noise_density: random spans outside the entities fill up to this share, in [0, 1).
      mean_noise_span_length: of the spans outside, in tokens, at least 1.
      num_languages: a text is switched into so many languages at most.
      languages: codes to switch into; None takes all of the file.

    Raises:
      ConfigError: a setting is out of range, files, fields or `<sep>` are missing, or lengths too
        short.
    """
    pair_corruption.check_choice("variant", variant, tuple(VARIANTS))
    if noise_density != 0.0:
        noise.check_noise(noise_density, mean_noise_span_length)
    if num_languages < 0:
        raise ConfigError(f"num_languages is {num_languages}; expected 0 or more")
    entities.check_fields(dataset, "entity_cs")
    limits = entities.checked_lengths(sequence_length, "entity_cs")
    table, known = lexicon.load_labels(labels)
    unknown = sorted(set(languages or ()) - set(known))
    if unknown:
        raise ConfigError(f"languages names {unknown}; {labels} has labels in {', '.join(known)}")
    switch = _switcher(table, tuple(languages or known), num_languages)
    encode = pieces.part_encoder(output_features["targets"].vocabulary, special_tokens)
    hide = _hider(special_tokens, VARIANTS[variant], noise_density, mean_noise_span_length, limits)

    def make(batch: rows.Features, seeds: tf.Tensor) -> rows.Features:
        batch = entities.ragged_spans(batch)
        parts = entities.cut_at_spans(batch["text"], batch["starts"], batch["ends"])
        parts, linked = switch(parts, batch["lang"], batch["qids"], seeds[:2])
        found = entities.encode_spans(parts, encode)
        tokens = rows.without_sentinels(found.tokens, special_tokens)
        lengths = tf.where(linked, found.lengths, 0)
        return hide(tokens, found.spans, lengths, seeds[2:])

    return rows.map_batches(dataset, make, batch_size=rows.PAIRS_PER_BATCH, num_seeds=5)


@functools.cache
def _switcher(
    table: lexicon.Table, languages: tuple[str, ...], num_languages: int
) -> Callable[..., tuple[tf.RaggedTensor, tf.Tensor]]:
    """Returns the graph that makes copies of texts: (parts of copies, whether spans are linked)."""

    def switch(
        parts: tf.RaggedTensor, lang: tf.Tensor, qids: tf.RaggedTensor, seeds: tf.Tensor
    ) -> tuple[tf.RaggedTensor, tf.Tensor]:
        langs = tf.constant(languages)
        is_linked = qids.values != ""
        keys = qids.values[:, tf.newaxis] + ("\t" + langs)
        label = tf.reshape(table.find(tf.reshape(keys, [-1])), [-1, len(languages)])
        row, count = rows.row_ids(qids), qids.nrows()
        lacking = tf.cast((label < 0) & is_linked[:, tf.newaxis], tf.int64)
        num_linked = tf.math.unsorted_segment_sum(tf.cast(is_linked, tf.int64), row, count)
        usable = (tf.math.unsorted_segment_sum(lacking, row, count) == 0) & (
            lang[:, tf.newaxis] != langs
        )
        usable &= num_linked[:, tf.newaxis] > 0
        chosen = entities.draw_up_to(
            tf.RaggedTensor.from_row_splits(
                tf.reshape(usable, [-1]), tf.range(count + 1) * len(languages), validate=False
            ),
            tf.fill([count], num_languages),
            seed=seeds[0],
        )
        # Column 0 is the text itself, column 1 + i its copy in language i.
        itself = num_linked[:, tf.newaxis] > 0
        copies = tf.concat([itself, tf.reshape(chosen, tf.shape(usable))], axis=1)
        copies = tf.where(copies)
        source, column = copies[:, 0], copies[:, 1]
        spans = tf.gather(qids.with_values(tf.range(tf.size(qids.values))), source)
        language = tf.gather(column, rows.row_ids(spans)) - 1
        linked = tf.gather(is_linked, spans.values)
        parts = tf.gather(parts, source)
        places = tf.where(rows.positions(parts) % 2 == 1)[:, 0]
        switched = tf.where(linked & (language >= 0))[:, 0]
        index = tf.stack(
            [
                tf.cast(tf.gather(spans.values, switched), tf.int64),
                tf.gather(language, switched),
            ],
            axis=1,
        )
        places = tf.gather(places, switched)
        has_space = tf.strings.regex_full_match(tf.gather(parts.values, places), "(?s) .*")
        text = table.draw(tf.gather_nd(label, index), seeds[1])
        text = tf.strings.join([tf.where(has_space, " ", ""), text])
        values = tf.tensor_scatter_nd_update(parts.values, places[:, tf.newaxis], text)
        return parts.with_values(values), linked

    return tf.function(switch, autograph=False)


@functools.cache
def _hider(
    special_tokens: SpecialTokens,
    variant: Variant,
    noise_density: float,
    mean_noise_span_length: float,
    limits: tuple[int, int],
) -> Callable[..., rows.Features]:
    """Returns the graph of one setting, which all tasks with that setting share."""

    def hide(
        tokens: tf.RaggedTensor, spans: tf.RaggedTensor, lengths: tf.Tensor, seeds: tf.Tensor
    ) -> rows.Features:
        span = entities.SpannedTokens(tokens, spans, lengths).span_of_token
        inside = span >= 0
        units = tf.size(lengths) if variant.whole else tf.size(span)
        draws = tf.random.stateless_uniform([units], seeds[0], dtype=tf.float64)
        hidden = draws < variant.candidates * variant.hidden
        if variant.whole:
            hidden = tf.gather(tf.concat([hidden, [False]], axis=0), tf.maximum(span, 0))
        mask = hidden & inside
        if noise_density:
            mask |= _outside_noise(
                tokens, mask, inside, noise_density, mean_noise_span_length, seeds[1:]
            )
        starts = span != tf.concat([[-2], span], axis=0)[:-1]
        return entities.hidden_runs(tokens, mask, starts, special_tokens, limits)

    return tf.function(hide, autograph=False)


def _outside_noise(
    tokens: tf.RaggedTensor,
    mask: tf.Tensor,
    inside: tf.Tensor,
    noise_density: float,
    mean_noise_span_length: float,
    seeds: tf.Tensor,
) -> tf.Tensor:
    """Returns random spans among the places not `inside` that bring each text to its noise.

    Args:
      tokens: [batch, (length)].
      mask: [total] bool, the noise so far.
      inside: [total] bool, places that stay as they are.
      noise_density: share of noise of the whole text.
      mean_noise_span_length: tokens.
      seeds: [2, 2] int32.

    Returns:
      [total] bool.
    """
    row, count = rows.row_ids(tokens), tokens.nrows()

    def per_row(places: tf.Tensor) -> tf.Tensor:
        return tf.math.unsorted_segment_sum(tf.cast(places, tf.int32), row, count)

    num_outside = per_row(~inside)
    wanted = tf.cast(tokens.row_lengths(), tf.float64) * noise_density
    wanted = tf.cast(tf.round(wanted), tf.int32) - per_row(mask)
    most = tf.maximum(num_outside, 2)
    num_noise = tf.clip_by_value(wanted, 1, most - 1)
    num_spans = tf.round(tf.cast(num_noise, tf.float64) / mean_noise_span_length)
    num_spans = tf.clip_by_value(
        tf.cast(num_spans, tf.int32), 1, tf.minimum(num_noise, most - num_noise)
    )
    found = noise.counted_spans_noise_mask(
        num_outside, num_noise, num_spans, seeds=seeds, random_roll=True
    )
    places = tf.where(~inside)
    noisy = tf.scatter_nd(places, found, tf.shape(inside, tf.int64))
    return noisy & tf.gather((wanted > 0) & (num_outside >= 2), row)


OBJECTIVES = (
    Objective(
        name="entity_cs",
        preprocess=entity_cs,
        records=("entity",),
        tokenized=False,
        required=("labels",),
        files=("labels",),
    ),
)

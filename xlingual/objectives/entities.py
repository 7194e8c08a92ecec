"""Texts with marked spans (entities, nouns, verbs) as tokens that know their span.

A record has `text`, `lang` and, for each span in order, `starts` and `ends` (offsets in characters,
the end exclusive), `types` and `qids` (its Wikidata item; empty if it is not linked). The text is
cut at the spans and the parts are tokenised on their own (`pieces.py`); the space before a span
goes with it, because a tokenizer puts the word boundary there:

    text:  an [Korallenriff] glows       starts 3, ends 15
    parts: an| Korallenriff| glows       spans: part 1
"""

import dataclasses
from collections.abc import Mapping

from xlingual.errors import ConfigError
from xlingual.objectives import pieces, rows
from xlingual.objectives.backend import tf
from xlingual.objectives.span_corruption import list_runs, replace_runs
from xlingual.objectives.special_tokens import SpecialTokens

FIELDS = ("text", "lang", "starts", "ends", "types", "qids")


@dataclasses.dataclass(frozen=True)
class SpannedTokens:
    """A batch of texts as tokens.

    Attributes:
      tokens: [batch, (length)] int32.
      spans: [batch, (spans)] int64: for each span its first token, as a place in `tokens.values`.
      lengths: [spans] int64, the number of tokens of each span; 0 where it left none.
    """

    tokens: tf.RaggedTensor
    spans: tf.RaggedTensor
    lengths: tf.Tensor

    @property
    def span_of_token(self) -> tf.Tensor:
        """Returns the index of each token's span in `lengths`, [total] int64; -1 outside."""
        total = tf.size(self.tokens.values, tf.int64)
        changes = tf.zeros([total + 1], tf.int64)
        index = tf.range(tf.size(self.lengths, tf.int64)) + 1
        index = tf.where(self.lengths > 0, index, 0)
        starts = self.spans.values[:, tf.newaxis]
        changes = tf.tensor_scatter_nd_add(changes, starts, index)
        changes = tf.tensor_scatter_nd_sub(changes, starts + self.lengths[:, tf.newaxis], index)
        return tf.cumsum(changes)[:-1] - 1


def check_fields(dataset: tf.data.Dataset, name: str) -> None:
    """Raises ConfigError unless records have the fields of entity records; `name` says for whom."""
    missing = sorted(set(FIELDS) - set(dataset.element_spec))
    if missing:
        raise ConfigError(
            f"records have the fields {sorted(dataset.element_spec)}; {name} expects "
            f"{', '.join(FIELDS)}"
        )


def checked_lengths(sequence_length: Mapping[str, int] | None, name: str) -> tuple[int, int]:
    """Returns the task feature lengths of inputs and targets.

    Raises:
      ConfigError: one is missing or below 3.
    """
    found = [rows.feature_length(sequence_length, feature) for feature in ("inputs", "targets")]
    for feature, length in zip(("inputs", "targets"), found, strict=True):
        if length < 3:
            raise ConfigError(
                f"task_feature_lengths[{feature!r}]={length} is too short for {name}; expected at "
                "least 3"
            )
    return found[0], found[1]


def ragged_spans(batch: rows.Features) -> rows.Features:
    """Returns the batch with its span fields ragged, also if all texts have equally many spans."""
    ragged = dict(batch)
    for name in ("starts", "ends", "types", "qids"):
        if isinstance(batch[name], tf.Tensor):
            ragged[name] = tf.RaggedTensor.from_tensor(batch[name], row_splits_dtype=tf.int64)
    return ragged


def cut_at_spans(
    text: tf.Tensor, starts: tf.RaggedTensor, ends: tf.RaggedTensor
) -> tf.RaggedTensor:
    """Returns texts as parts, [batch, (2 * spans + 1)] string: every second part is a span.

    Args:
      text: [batch] string.
      starts: [batch, (spans)] int32, ascending offsets in characters.
      ends: [batch, (spans)] int32, exclusive; spans do not overlap.

    Raises:
      tf.errors.InvalidArgumentError: when run on offsets that descend, overlap or lie outside.
    """
    text = tf.strings.unicode_transcode(text, "UTF-8", "UTF-8")
    size = tf.strings.length(text, unit="UTF8_CHAR")
    row = rows.row_ids(starts)
    first, last = tf.cast(starts.values, tf.int32), tf.cast(ends.values, tf.int32)
    before = tf.where(rows.positions(starts) == 0, 0, tf.concat([[0], last], axis=0)[:-1])
    valid = (before <= first) & (first < last) & (last <= tf.gather(size, row))
    message = (
        "spans of an entity record are not in order, overlap, are empty or lie outside its text; "
        "expected starts < ends <= next start; found start "
    )
    wrong = tf.gather(first, tf.where(~valid)[:, 0])
    first = rows.checked(first, tf.reduce_all(valid), message, wrong)
    # One space before a span goes with it, if no other span has it.
    place = tf.maximum(first - 1, 0)
    char = tf.strings.substr(tf.gather(text, row), place, tf.ones_like(place), unit="UTF8_CHAR")
    first -= tf.cast((char == " ") & (first > before), tf.int32)
    bounds = tf.reshape(tf.stack([first, last], axis=1), [-1])
    bounds = tf.RaggedTensor.from_row_splits(bounds, starts.row_splits * 2, validate=False)
    begins = rows.join_rows(_column(tf.zeros_like(size)), bounds)
    stops = rows.join_rows(bounds, _column(size))
    owner = tf.gather(text, rows.row_ids(begins))
    parts = tf.strings.substr(owner, begins.values, stops.values - begins.values, unit="UTF8_CHAR")
    return begins.with_values(parts)


def encode_spans(parts: tf.RaggedTensor, encode: pieces.Encoder) -> SpannedTokens:
    """Returns the tokens of texts that `cut_at_spans` cut.

    Args:
      parts: [batch, (2 * spans + 1)] string.
      encode: tokenises parts.
    """
    tokens = encode(parts.values, pieces.begins_text(parts))
    is_span = tf.where(rows.positions(parts) % 2 == 1)[:, 0]
    splits = (parts.row_splits - tf.range(tf.size(parts.row_splits, tf.int64))) // 2
    starts = tf.gather(tokens.row_splits[:-1], is_span)
    return SpannedTokens(
        tokens=pieces.join_parts(tokens, parts.row_splits),
        spans=tf.RaggedTensor.from_row_splits(starts, splits, validate=False),
        lengths=tf.gather(tokens.row_lengths(), is_span),
    )


def draw_up_to(candidates: tf.RaggedTensor, limits: tf.Tensor, *, seed: tf.Tensor) -> tf.Tensor:
    """Returns a uniformly random choice of at most `limits` candidates of each row, [total] bool.

    Args:
      candidates: [batch, (places)] bool; only True places are chosen.
      limits: [batch] integers.
      seed: [2] int32.
    """
    row = rows.row_ids(candidates)
    draws = tf.random.stateless_uniform([tf.size(row)], seed, dtype=tf.float64)
    # Candidates of a row come first, in random order; then its other places.
    keys = 2.0 * tf.cast(row, tf.float64) + tf.where(candidates.values, draws, 1.0)
    order = tf.argsort(keys, stable=True)
    rank = tf.scatter_nd(order[:, tf.newaxis], rows.positions(candidates), [tf.size(row)])
    return candidates.values & (rank < tf.gather(tf.cast(limits, tf.int64), row))


def hidden_runs(
    tokens: tf.RaggedTensor,
    mask: tf.Tensor,
    starts: tf.Tensor,
    special_tokens: SpecialTokens,
    limits: tuple[int, int],
) -> rows.Features:
    """Returns `{inputs, targets}`: texts with hidden runs, and the runs behind their sentinels.

    Rows without a run, with more runs than sentinels, or longer than the limits are dropped.

    Args:
      tokens: [batch, (length)] int32, no EOS.
      mask: [total] bool, hidden tokens.
      starts: [total] bool, hidden tokens where a run begins even if the one before is hidden.
      special_tokens: ids of EOS and sentinels.
      limits: of inputs and targets, in tokens.
    """
    inputs = replace_runs(tokens, mask, special_tokens, starts)
    targets = list_runs(tokens, mask, special_tokens, starts)
    hidden = tf.cast(mask, tf.int64)
    hidden = tf.math.unsorted_segment_sum(hidden, rows.row_ids(tokens), tokens.nrows())
    num_runs = targets.row_lengths() - hidden
    features = {
        "inputs": rows.append_id(inputs, special_tokens.eos_id),
        "targets": rows.append_id(targets, special_tokens.eos_id),
    }
    keep = (num_runs > 0) & (num_runs <= special_tokens.num_sentinels)
    for values, limit in zip(features.values(), limits, strict=True):
        keep &= values.row_lengths() <= limit
    return rows.keep_rows(features, keep)


def _column(values: tf.Tensor) -> tf.RaggedTensor:
    splits = tf.range(tf.size(values, tf.int64) + 1)
    return tf.RaggedTensor.from_row_splits(values, splits, validate=False)

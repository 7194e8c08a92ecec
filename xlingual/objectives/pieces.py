"""Texts tokenised in parts, so that each token belongs to one part.

Where a word or an entity is replaced or masked, the objective must know its tokens. The text is cut
there and the parts are tokenised on their own. A tokenizer treats the beginning of a part like the
beginning of a text and would put a word boundary there; a part that continues a text is therefore
encoded behind `<sep>`, whose ids are then dropped:

    text: unlock      parts: un|lock      parts alone: ▁un ▁lock      here: ▁un lock
"""

from collections.abc import Callable

from xlingual.errors import ConfigError
from xlingual.objectives import code_whitespace, rows
from xlingual.objectives.backend import seqio, tf
from xlingual.objectives.special_tokens import SpecialTokens

_MARKER = "<sep>"

Encoder = Callable[[tf.Tensor, tf.Tensor], tf.RaggedTensor]
"""(parts [n] string, whether each begins a text [n] bool) -> ids [n, (length)] int32."""


def part_encoder(vocabulary: seqio.Vocabulary, special_tokens: SpecialTokens) -> Encoder:
    """Returns what tokenises parts of texts; control tokens spelled in them are escaped.

    Args:
      vocabulary: has `<sep>` as one piece.
      special_tokens: of the same vocabulary.

    Raises:
      ConfigError: the vocabulary has no `<sep>`, or does not keep it whole.
    """
    marker = special_tokens.control_id(_MARKER)
    prefix = list(vocabulary.encode(_MARKER))
    if prefix.count(marker) != 1 or prefix[-1] != marker:
        raise ConfigError(
            f"the vocabulary encodes {_MARKER} as {prefix}; expected its id {marker} at the end"
        )

    def encode(parts: tf.Tensor, begins: tf.Tensor) -> tf.RaggedTensor:
        parts = code_whitespace.escape_control_tf(parts)
        marked = tf.strings.join([tf.where(begins, "", _MARKER), parts])
        tokens = tf.cast(vocabulary.encode_tf(marked), tf.int32)
        num_dropped = tf.where(begins, 0, len(prefix))
        keep = rows.positions(tokens) >= tf.cast(
            tf.gather(num_dropped, rows.row_ids(tokens)), tf.int64
        )
        return rows.keep_values(tokens, tokens.values, keep)

    return encode


def begins_text(parts: tf.RaggedTensor) -> tf.Tensor:
    """Returns which of `parts` [batch, (parts)] string hold the first character of their text."""
    lengths = tf.cast(tf.strings.length(parts.values), tf.int64)
    before = tf.cumsum(lengths, exclusive=True)
    starts = tf.gather(tf.concat([before, [0]], axis=0), parts.row_splits[:-1])
    return (before == tf.gather(starts, rows.row_ids(parts))) & (lengths > 0)


def join_parts(tokens: tf.RaggedTensor, part_splits: tf.Tensor) -> tf.RaggedTensor:
    """Returns the tokens of whole texts.

    Args:
      tokens: [parts, (length)] of any type.
      part_splits: [batch + 1] int64, where the parts of each text begin.
    """
    splits = tf.gather(tokens.row_splits, part_splits)
    return tf.RaggedTensor.from_row_splits(tokens.values, splits, validate=False)

"""Sentences of text: where they end, and how consecutive ones fill an instance.

Text is split before it is tokenised, because pieces do not show where sentences end: at line
breaks, and, if wanted, behind sentence-final punctuation. Every sentence is encoded by itself, so
that each can stand at the beginning.
"""

from xlingual.objectives import code_whitespace, rows
from xlingual.objectives.backend import seqio, tf

SPLITS = ("punctuation", "lines")

_CLOSING = "[\"'”’»)\\]」』）]*"
_RULES = (
    (rf"([.!?…؟۔।॥]{_CLOSING})\s+", "\\1\n"),
    (rf"([。！？]{_CLOSING})\s*", "\\1\n"),
)
"""Latin-like marks end a sentence only before space; those of Chinese and Japanese always."""


def split_sentences(text: tf.Tensor, split: str) -> tf.RaggedTensor:
    """Returns the sentences of texts, [batch, (sentences)] string, stripped, none empty.

    Args:
      text: [batch] string.
      split: `lines`, or `punctuation` for both. Abbreviations split too: no list of them is kept.
    """
    if split == "punctuation":
        for pattern, replacement in _RULES:
            text = tf.strings.regex_replace(text, pattern, replacement)
    found = tf.strings.split(text, "\n")
    found = found.with_values(tf.strings.strip(found.values))
    return rows.keep_values(found, found.values, found.values != "")


def encode_sentences(
    sentences: tf.RaggedTensor, vocabulary: seqio.Vocabulary, delimiter_id: int
) -> tf.RaggedTensor:
    """Returns ids of sentences, each with its delimiter: [batch, (sentences), (length)] int32.

    Text that spells a control token is escaped.
    """
    text = code_whitespace.escape_control_tf(sentences.values)
    return sentences.with_values(rows.append_id(vocabulary.encode_tf(text), delimiter_id))


def fill_instances(sentences: tf.RaggedTensor, length: int) -> tuple[tf.RaggedTensor, tf.Tensor]:
    """Returns instances of consecutive sentences of one document, each as many as fit.

    A sentence that is longer than an instance is cut; its first parts are instances alone.

    Args:
      sentences: [batch, (sentences), (length)] int32, no sentence empty.
      length: tokens of an instance at most.

    Returns:
      [instances, (length)] int32, and the document of each, [instances] int64.
    """
    tokens = sentences.values
    bounds = rows.cut_each_row(tokens, length).row_splits
    documents = tf.gather(tokens.row_splits, sentences.row_splits)
    ends = documents[1:]

    def step(place: tf.Tensor, starts: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Marks where an instance of each document begins, and goes on to the next."""
        starts = tf.tensor_scatter_nd_update(
            starts, place[:, tf.newaxis], tf.ones_like(place, tf.bool)
        )
        last = tf.searchsorted(bounds, place + length, side="right", out_type=tf.int64) - 1
        return tf.minimum(tf.gather(bounds, last), ends), starts

    starts = tf.fill(tf.shape(tokens.values) + 1, False)
    _, starts = tf.while_loop(
        lambda place, starts: tf.reduce_any(place < ends), step, (documents[:-1], starts)
    )
    instances = rows.rows_from_starts(tokens.values, starts[:-1])
    first = instances.row_splits[:-1]
    document = tf.searchsorted(documents, first, side="right", out_type=tf.int64) - 1
    return instances, document

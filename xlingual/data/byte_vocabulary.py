"""A vocabulary of bytes that takes the place of a SentencePiece one in every objective.

The ids of ByT5 (Xue et al., 2022, TACL 10, arXiv:2105.13626), with control tokens and sentinels
where the other vocabularies of this project have them:

    pad 0, eos 1, unk 2 | bytes 3 to 258 | control tokens | sentinels, <extra_id_0> the highest

Text costs several ids a word, hence ByT5 corrupts spans of 20 on average instead of 3.
"""

import functools
import hashlib
from collections.abc import Iterable, Sequence

import numpy as np
import seqio
import tensorflow as tf

from xlingual.data.byte_ids import FIRST_BYTE, NUM_BYTES, ByteIds
from xlingual.data.token_names import BYTE, SPECIAL, TokenName
from xlingual.errors import ConfigError
from xlingual.objectives import rows
from xlingual.objectives.special_tokens import SpecialTokens

_NAMES_OF_LOWEST = ("<pad>", "</s>", "<unk>")
_MARK = b"\xff\xff"
"""Goes around control tokens before text is cut; UTF-8 never has the byte 0xFF."""


class ByteVocabulary(seqio.Vocabulary):
    """Bytes, control tokens and sentinels; each control token or sentinel in text is one id.

    Attributes:
      plain: the same ids without TensorFlow.
    """

    def __init__(self, control_tokens: Sequence[str] = (), *, num_sentinels: int = 100) -> None:
        """Makes the vocabulary.

        Args:
          control_tokens: in the order of their ids, e.g. from `vocabularies.control_tokens`.
          num_sentinels: `<extra_id_0>` (the highest id) downwards.

        Raises:
          ConfigError: a control token is empty or occurs twice.
        """
        super().__init__()
        if len(set(control_tokens)) != len(control_tokens) or "" in control_tokens:
            raise ConfigError(f"control_tokens holds duplicates or none: {sorted(control_tokens)}")
        self.control_tokens = tuple(control_tokens)
        self.num_sentinels = num_sentinels
        sentinels = [f"<extra_id_{k}>" for k in reversed(range(num_sentinels))]
        self.plain = ByteIds([*self.control_tokens, *sentinels])
        self._names = self.plain.names

    @property
    def eos_id(self) -> int:
        """Returns 1."""
        return 1

    @property
    def unk_id(self) -> int:
        """Returns 2; no text needs it."""
        return 2

    @property
    def _base_vocab_size(self) -> int:
        return FIRST_BYTE + NUM_BYTES + len(self._names)

    @functools.cached_property
    def special_tokens(self) -> SpecialTokens:
        """The ids that are not text."""
        first = FIRST_BYTE + NUM_BYTES
        return SpecialTokens(
            vocab_size=self.vocab_size,
            sentinel_start=self.vocab_size - 1,
            num_sentinels=self.num_sentinels,
            control={name: first + i for i, name in enumerate(self.control_tokens)},
        )

    def id_to_piece(self, index: int) -> str:
        """Returns the name of an id: a printable ASCII character, `<0xE2>`, or a token's name.

        Raises:
          ConfigError: the id is not in the vocabulary.
        """
        if not 0 <= index < self.vocab_size:
            raise ConfigError(f"id {index} is not in the vocabulary of {self.vocab_size} ids")
        if index < FIRST_BYTE:
            return _NAMES_OF_LOWEST[index]
        byte = index - FIRST_BYTE
        if byte >= NUM_BYTES:
            return self._names[byte - NUM_BYTES]
        return chr(byte) if 32 <= byte < 127 else f"<0x{byte:02X}>"

    def token_names(self) -> list[TokenName]:
        """Returns what every id stands for; see `token_names.token_names`."""
        special = (TokenName(SPECIAL, name.encode()) for name in (*_NAMES_OF_LOWEST, *self._names))
        lowest = [next(special) for _ in range(FIRST_BYTE)]
        return [*lowest, *(TokenName(BYTE, bytes([value])) for value in range(NUM_BYTES)), *special]

    def split_token(self, token: TokenName) -> list[int]:
        """Returns the bytes of a token of another vocabulary; none for a special one."""
        return [] if token.kind == SPECIAL else [value + FIRST_BYTE for value in token.name]

    def digest(self) -> str:
        """Returns the SHA-256 of the names of all tokens that are not bytes, in hex."""
        return hashlib.sha256("\n".join(self._names).encode("utf-8")).hexdigest()

    def _encode(self, s: str) -> list[int]:
        return self.plain.encode(s)

    def _decode(self, ids: Iterable[int]) -> str:
        return b"".join(self.plain.texts[int(i)] for i in ids).decode("utf-8", errors="ignore")

    def _encode_tf(self, s: tf.Tensor | tf.RaggedTensor) -> tf.Tensor | tf.RaggedTensor:
        """Returns ids [..., (length)] of strings [...]; text must be UTF-8."""
        if isinstance(s, tf.RaggedTensor):
            return s.with_flat_values(self._encode_vector(s.flat_values))
        if s.shape.rank == 0:
            return self._encode_vector(s[tf.newaxis]).values
        if s.shape.rank == 1:
            return self._encode_vector(s)
        raise ValueError(f"encode_tf expects strings of rank 0 or 1, or ragged; found {s.shape}")

    def _encode_vector(self, text: tf.Tensor) -> tf.RaggedTensor:
        """Returns ids [batch, (length)] int32 of strings [batch]."""
        if self._names:
            # RE2 takes the marks as bytes only in the replacement.
            text = tf.strings.regex_replace(
                text, self.plain.pattern.pattern, _MARK + rb"\1" + _MARK
            )
        parts = tf.strings.split(text, _MARK)
        index = self._name_index(parts.values)
        plain = tf.where(index < 0, parts.values, "")
        lengths = tf.strings.length(plain, unit="BYTE")
        values = tf.io.decode_raw(tf.strings.reduce_join(plain), tf.uint8)
        encoded = tf.RaggedTensor.from_row_lengths(
            tf.cast(values, tf.int32) + FIRST_BYTE, tf.cast(lengths, tf.int64), validate=False
        )
        is_name = tf.cast(index >= 0, tf.int64)
        names = tf.RaggedTensor.from_row_lengths(
            tf.gather(index, tf.where(index >= 0)[:, 0]) + FIRST_BYTE + NUM_BYTES,
            is_name,
            validate=False,
        )
        joined = rows.join_rows(encoded, names)
        splits = tf.gather(joined.row_splits, parts.row_splits)
        return tf.RaggedTensor.from_row_splits(joined.values, splits, validate=False)

    def _name_index(self, parts: tf.Tensor) -> tf.Tensor:
        """Returns the place of each part among the names, [parts] int32; -1 for other text."""
        if not self._names:
            return tf.fill(tf.shape(parts), -1)
        num_buckets, table = self._buckets
        index = tf.gather(table, tf.strings.to_hash_bucket_fast(parts, num_buckets))
        same = tf.gather(tf.constant(self._names), tf.maximum(index, 0)) == parts
        return tf.where(same, index, -1)

    def _decode_tf(self, ids: tf.Tensor | tf.RaggedTensor) -> tf.Tensor:
        texts = tf.gather(tf.constant(self.plain.texts), ids)
        joined = tf.strings.reduce_join(texts, axis=-1)
        return tf.strings.unicode_transcode(joined, "UTF-8", "UTF-8", errors="ignore")

    def decode_tf(self, ids: tf.Tensor | tf.RaggedTensor) -> tf.Tensor:
        """Returns the texts of ids [..., (length)] up to the first EOS; ragged or padded."""
        if not isinstance(ids, tf.RaggedTensor):
            return super().decode_tf(ids)
        if ids.ragged_rank > 1:
            return ids.with_values(self.decode_tf(ids.values))
        ends_before = tf.cumsum(tf.cast(ids.values == self.eos_id, tf.int32), exclusive=True)
        at_start = tf.gather(tf.concat([ends_before, [0]], axis=0), ids.row_splits[:-1])
        keep = ends_before == tf.gather(at_start, rows.row_ids(ids))
        return self._decode_tf(rows.keep_values(ids, ids.values, keep))

    @functools.cached_property
    def _buckets(self) -> tuple[int, np.ndarray]:
        """A number of hash buckets in which no two names meet, and the name in each, int32."""
        names = list(self._names)
        count = len(names) ** 2
        while True:
            with tf.init_scope():  # a value is needed even while a pipeline is traced
                found = tf.strings.to_hash_bucket_fast(names, count).numpy()
            if len(set(found.tolist())) == len(names):
                table = np.zeros([count], np.int32)
                table[found] = np.arange(len(names))
                return count, table
            count += 1

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, ByteVocabulary)
            and self._names == other._names
            and self.num_sentinels == other.num_sentinels
        )

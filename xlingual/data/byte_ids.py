"""The ids of the byte vocabulary (`byte_vocabulary.py`), without TensorFlow.

pad 0, eos 1, unk 2 | bytes 3 to 258 | control tokens | sentinels, <extra_id_0> the highest
"""

import functools
import re
from collections.abc import Sequence

NUM_BYTES = 256
FIRST_BYTE = 3


class ByteIds:
    """Bytes and names: text that spells a name is its one id.

    Attributes:
      names: behind the bytes, in the order of their ids.
    """

    def __init__(self, names: Sequence[str]):
        """Takes the names of control tokens and sentinels, none twice."""
        self.names = tuple(names)

    def encode(self, text: str) -> list[int]:
        """Returns the ids of a text."""
        ids: list[int] = []
        for part in self.pattern.split(text) if self.names else [text]:
            if part in self.id_of_name:
                ids.append(self.id_of_name[part])
            else:
                ids.extend(byte + FIRST_BYTE for byte in part.encode("utf-8"))
        return ids

    @property
    def pieces(self) -> Sequence[str]:
        """The text of each id; of a byte that is none by itself, nothing."""
        return [text.decode("utf-8", errors="ignore") for text in self.texts]

    @functools.cached_property
    def texts(self) -> list[bytes]:
        """The bytes that each id stands for in text."""
        values = [bytes([value]) for value in range(NUM_BYTES)]
        return [b"", b"", b"", *values, *(name.encode("utf-8") for name in self.names)]

    @functools.cached_property
    def id_of_name(self) -> dict[str, int]:
        """Name -> id."""
        first = FIRST_BYTE + NUM_BYTES
        return {name: first + i for i, name in enumerate(self.names)}

    @functools.cached_property
    def pattern(self) -> re.Pattern[str]:
        """Finds names in text, the longest first, as its one group."""
        longest_first = sorted(self.names, key=len, reverse=True)
        return re.compile(f"({'|'.join(re.escape(name) for name in longest_first)})")

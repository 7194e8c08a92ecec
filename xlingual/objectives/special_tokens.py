"""The ids that are not text: padding, end, unknown, control tokens and sentinels.

Sentinels count down from `sentinel_start` (T5: Raffel et al., 2020, JMLR 21(140)). The start is an
explicit field, because control tokens added to a vocabulary must not move the sentinels.
"""

import dataclasses
from collections.abc import Mapping

from xlingual.errors import ConfigError, nearest


@dataclasses.dataclass(frozen=True, kw_only=True)
class SpecialTokens:
    """Special ids of one vocabulary.

    Attributes:
      vocab_size: number of pieces, sentinels and control tokens included; ids are below it.
      sentinel_start: id of sentinel 0; sentinel k is `sentinel_start - k`.
      num_sentinels: how many sentinels there are.
      pad_id: padding and decoder start symbol.
      eos_id: end of a sequence, and separator of the two sides of a pair.
      unk_id: unknown piece.
      control: piece such as `<2de>` or `<nl>` -> its id.

    Raises:
      ConfigError: an id lies outside the vocabulary, or two special tokens share an id.
    """

    vocab_size: int
    sentinel_start: int
    num_sentinels: int = 100
    pad_id: int = 0
    eos_id: int = 1
    unk_id: int = 2
    control: Mapping[str, int] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.num_sentinels < 0:
            raise ConfigError(f"num_sentinels is {self.num_sentinels}; expected 0 or more")
        named = {"pad_id": self.pad_id, "eos_id": self.eos_id, "unk_id": self.unk_id}
        named.update(self.control)
        if self.num_sentinels:
            named["sentinel 0"] = self.sentinel_start
            named[f"sentinel {self.num_sentinels - 1}"] = self.sentinel_end
        for name, index in named.items():
            if not 0 <= index < self.vocab_size:
                raise ConfigError(
                    f"{name} has id {index}; expected an id in [0, vocab_size={self.vocab_size})"
                )
        owner: dict[int, str] = {}
        for name, index in named.items():
            is_sentinel = name.startswith("sentinel ")
            if self.sentinel_end <= index <= self.sentinel_start and not is_sentinel:
                raise ConfigError(
                    f"{name} has id {index}, inside the sentinel range "
                    f"[{self.sentinel_end}, {self.sentinel_start}]"
                )
            if index in owner and not is_sentinel:
                raise ConfigError(f"{name} and {owner[index]} share the id {index}")
            owner[index] = name

    def __hash__(self) -> int:
        return hash((self.vocab_size, self.sentinel_start, tuple(sorted(self.control.items()))))

    @property
    def sentinel_end(self) -> int:
        """Returns the id of the last sentinel, the lowest one."""
        return self.sentinel_start - self.num_sentinels + 1

    def sentinel_id(self, index: int) -> int:
        """Returns the id of sentinel `index`.

        Raises:
          ConfigError: the vocabulary has no such sentinel.
        """
        if not 0 <= index < self.num_sentinels:
            raise ConfigError(
                f"sentinel {index} does not exist; the vocabulary has {self.num_sentinels}"
            )
        return self.sentinel_start - index

    def control_id(self, name: str) -> int:
        """Returns the id of a control token.

        Raises:
          ConfigError: the vocabulary has no such piece.
        """
        if name not in self.control:
            raise ConfigError(
                f"control token {name} is not in the vocabulary; expected one of its "
                f"{len(self.control)} control tokens; {nearest(name, self.control, 3)}"
            )
        return self.control[name]

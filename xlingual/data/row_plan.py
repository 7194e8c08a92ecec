"""Which rows of an old embedding table each token of a new vocabulary is made of."""

import dataclasses
from typing import Any

import numpy as np

from xlingual.data.token_names import BYTE, SPECIAL, TEXT, TokenName, make_splitter, token_names
from xlingual.errors import ConfigError

METHODS = ("mean", "overlap")


@dataclasses.dataclass(frozen=True, kw_only=True)
class RowPlan:
    """New rows from old ones; `plan_rows` makes it.

    Attributes:
      num_old: tokens of the old vocabulary; rows of a table behind them are padding.
      sources: [entries] int32, ids of the old vocabulary, row after row.
      row_splits: [num_new + 1] int64, where the entries of each new row begin; a row without
        entries has no signal.
      copied: [num_new] bool, whether the token is in the old vocabulary and keeps its row.
    """

    num_old: int
    sources: np.ndarray
    row_splits: np.ndarray
    copied: np.ndarray

    @property
    def num_new(self) -> int:
        """Tokens of the new vocabulary."""
        return len(self.row_splits) - 1

    @property
    def num_sources(self) -> np.ndarray:
        """[num_new] int64, old rows of which each new one is the mean."""
        return np.diff(self.row_splits)

    def new_id(self, old_id: int) -> int | None:
        """Returns the id that a token of the old vocabulary has now; None if it is gone."""
        kept = np.flatnonzero(self.copied)
        found = kept[self.sources[self.row_splits[kept]] == old_id]
        return int(found[0]) if len(found) else None

    def describe(self) -> str:
        """Returns how many tokens were copied, averaged and drawn, for people."""
        copied = int(self.copied.sum())
        averaged = int((self.num_sources > 0).sum()) - copied
        drawn = self.num_new - copied - averaged
        return f"{copied} rows copied, {averaged} averaged, {drawn} drawn at random"


def plan_rows(old_vocabulary: Any, new_vocabulary: Any, *, method: str = "mean") -> RowPlan:
    """Returns how the rows of a new vocabulary come from those of an old one.

    A token of both vocabularies keeps its row; special tokens (pad, EOS, UNK, sentinels, control
    tokens) are the same if their names are. Other tokens become the mean of the rows of the tokens
    that the old vocabulary splits their text into (`mean`), or have no signal (`overlap`).

    Args:
      old_vocabulary: of the table at hand.
      new_vocabulary: of the table to make.
      method: `mean` or `overlap`.

    Raises:
      ConfigError: an unknown method, or a vocabulary without names (`token_names`).
    """
    if method not in METHODS:
        raise ConfigError(f"new_rows={method!r}; expected one of {', '.join(METHODS)}")
    old_ids: dict[TokenName, int] = {}
    old_names = token_names(old_vocabulary)
    for index, name in enumerate(old_names):
        old_ids.setdefault(name, index)
    split = make_splitter(old_vocabulary)
    rows, copied = [], []
    for name in token_names(new_vocabulary):
        same = _same_token(name, old_ids)
        copied.append(same is not None)
        if same is not None:
            rows.append([same])
        else:
            rows.append(list(split(name)) if method == "mean" else [])
    return RowPlan(
        num_old=len(old_names),
        sources=np.array([index for row in rows for index in row], np.int32),
        row_splits=np.cumsum([0, *map(len, rows)], dtype=np.int64),
        copied=np.array(copied, bool),
    )


def _same_token(name: TokenName, old_ids: dict[TokenName, int]) -> int | None:
    """Returns the old id of a token; a byte is as good as the text of that byte."""
    other = {TEXT: BYTE, BYTE: TEXT, SPECIAL: SPECIAL}[name.kind]
    return old_ids.get(name, old_ids.get(TokenName(other, name.name)))

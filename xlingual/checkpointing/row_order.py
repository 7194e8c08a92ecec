"""Whether the rows of an imported table are in the order of the ids that data have."""

import json
import pathlib

from xlingual.checkpointing.weights import INFO
from xlingual.errors import ConfigError

_TOKENIZER = "tokenizer.json"
_OTHERS = ("spiece.model", "byte_vocabulary.json")
"""Vocabularies that go before `tokenizer.json`; their id 0 is padding."""


def check_row_order(folder: str | pathlib.Path) -> None:
    """Checks that id 0 of an imported tokenizer is padding, as it is in every batch.

    Args:
      folder: of weights; a run or a folder without `tokenizer.json` is in order.

    Raises:
      ConfigError: there is text at id 0.
    """
    folder = pathlib.Path(folder)
    if not (folder / INFO).is_file() or any((folder / name).is_file() for name in _OTHERS):
        return
    if not (folder / _TOKENIZER).is_file():
        return
    content = json.loads((folder / _TOKENIZER).read_text(encoding="utf-8"))
    vocab = content["model"]["vocab"]
    names = vocab.items() if isinstance(vocab, dict) else ((v[0], i) for i, v in enumerate(vocab))
    special = {token["content"] for token in content["added_tokens"]}
    text = [name for name, index in names if index == 0 and name not in special]
    if text:
        raise ConfigError(
            f"{folder} has the rows of a tokenizer with text ({text[0]!r}) at id 0, which is "
            "padding here; import it with --append_languages=CODES, which moves that row"
        )

r"""A vocabulary over a `tokenizer.json`, as Llama, Qwen3 and Gemma bring one.

The ids are the file's, with two additions. Control tokens and sentinels get the ids behind it,
`<extra_id_0>` the highest. And id 0 becomes padding, because packing takes a zero for padding: a
file that has text there (`!` in Llama 3 and Qwen) gets that one token moved to the first new id:

    file:  0 `!`    1 `"`    ...  151,668 </think>
    here:  0 <pad>  1 `"`    ...  151,668 </think>  151,669 `!`  151,670 <2de>  ...  <extra_id_0>

`resize_vocabulary` moves the row of that token too, since it goes by names; the exported file has
the ids of this vocabulary. Special tokens of the file (`<|endoftext|>`) that are spelled in text
are text, as `</s>` is for SentencePiece; control tokens and sentinels are one id.

References:
  The `tokenizers` library, https://github.com/huggingface/tokenizers (file format).
"""

import copy
import functools
import hashlib
import json
import os
import pathlib
import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import seqio
import tensorflow as tf
import tokenizers

from xlingual.data.token_names import BOS, BYTE, EOS, PAD, SPECIAL, TEXT, UNK, TokenName
from xlingual.errors import ConfigError
from xlingual.objectives.special_tokens import SpecialTokens

PAD_NAME, UNK_NAME = "<pad>", "<unk>"
_SPARE = {PAD_NAME: "<padding>", UNK_NAME: "<unknown>"}
"""Names for pad and UNK in files that have these names somewhere else."""

_ROLE_NAMES = {"pad_token": PAD, "eos_token": EOS, "unk_token": UNK, "bos_token": BOS}
_BYTE_NAME = re.compile(r"<0x([0-9A-F]{2})>")


class TokenizerVocabulary(seqio.Vocabulary):
    """Ids of a `tokenizer.json`, padding at 0, control tokens and sentinels behind.

    `encode_tf` calls Python once a batch, as an operation without state, so that the position in
    the data can be saved; it cannot be part of a saved graph.

    Attributes:
      json: content of the file, with the additions.
      token_of_role: `eos_token`, `pad_token`, `unk_token`, maybe `bos_token` -> name.
      moved_token: the text that the file has at id 0, if it was moved; None if it was not. A table
        in the order of the file does not fit then: `xlingual import --append_languages` moves rows.
      control_tokens: names of the appended tokens.
      num_sentinels: number of the appended sentinels.
    """

    def __init__(
        self,
        file: str | os.PathLike[str],
        *,
        eos_token: str,
        bos_token: str | None = None,
        unk_token: str | None = None,
        control_tokens: Sequence[str] = (),
        num_sentinels: int = 100,
        as_is: bool = False,
    ) -> None:
        """Reads the file.

        Args:
          file: a `tokenizer.json`.
          eos_token: name of the token that ends a sequence, e.g. `<|endoftext|>`.
          bos_token: name of the token that begins one; None for none.
          unk_token: name of the unknown token; None for none: bytes stand in for everything.
          control_tokens: appended in this order, e.g. from `vocabularies.control_tokens`; one that
            is there keeps its id.
          num_sentinels: `<extra_id_0>` (the highest id) downwards.
          as_is: whether id 0 keeps its text and no UNK is added: for the rows of a table that the
            file came with; data need a vocabulary without it.

        Raises:
          ConfigError: the file is missing or no tokenizer, or a token is not in it.
        """
        super().__init__()
        content = _read(pathlib.Path(file))
        given = {"eos_token": eos_token, "bos_token": bos_token, "unk_token": unk_token}
        names = {role: name for role, name in given.items() if name is not None}
        known = _ids(content)
        for role, name in names.items():
            if name not in known:
                raise ConfigError(f"{role}={name!r} is not a token of {file}")
        (at_zero,) = [name for name, index in known.items() if index == 0]
        if not as_is:
            names["pad_token"] = _clear_zero(content, known, names)
        self.moved_token = at_zero if known[at_zero] else None
        sentinels = [f"<extra_id_{k}>" for k in reversed(range(num_sentinels))]
        appended = [*control_tokens, *sentinels]
        if not as_is and names.get("unk_token", names["pad_token"]) == names["pad_token"]:
            names["unk_token"] = _free(UNK_NAME, known)
            appended.insert(0, names["unk_token"])
        for name in appended:
            _append(content, known, name)
        if isinstance(content["model"]["vocab"], dict):
            # The library numbers added tokens anew unless the model has them.
            content["model"]["vocab"] = known
        self.json = json.dumps(content, ensure_ascii=False)
        self.token_of_role = names
        self.control_tokens, self.num_sentinels = tuple(control_tokens), num_sentinels
        self._known = known

    @property
    def eos_id(self) -> int:
        """Returns the id of EOS."""
        return self._known[self.token_of_role["eos_token"]]

    @property
    def unk_id(self) -> int:
        """Returns the id of UNK, which texts do not have if bytes stand in."""
        return self._known[self.token_of_role["unk_token"]]

    @property
    def bos_id(self) -> int | None:
        """Returns the id of BOS; None if there is none. `encode` adds none."""
        name = self.token_of_role.get("bos_token")
        return None if name is None else self._known[name]

    @functools.cached_property
    def special_tokens(self) -> SpecialTokens:
        """The ids that are not text."""
        return SpecialTokens(
            vocab_size=self.vocab_size,
            sentinel_start=self._known.get("<extra_id_0>", self.vocab_size - 1),
            num_sentinels=self.num_sentinels,
            eos_id=self.eos_id,
            unk_id=self.unk_id,
            control={name: self._known[name] for name in self.control_tokens},
        )

    @functools.cached_property
    def backend(self) -> tokenizers.Tokenizer:
        """The tokenizer; special tokens of the file are not looked for in text."""
        backend = tokenizers.Tokenizer.from_str(self.json)
        backend.no_truncation()
        backend.no_padding()
        backend.encode_special_tokens = True
        return backend

    def id_to_piece(self, index: int) -> str:
        """Returns the name of an id.

        Raises:
          ConfigError: the id is not in the vocabulary.
        """
        name = self.backend.id_to_token(index)
        if name is None:
            raise ConfigError(f"id {index} is not in the vocabulary of {self.vocab_size} ids")
        return name

    def digest(self) -> str:
        """Returns the SHA-256 of the tokenizer with what was appended, in hex."""
        return hashlib.sha256(self.json.encode("utf-8")).hexdigest()

    def token_names(self) -> list[TokenName]:
        """Returns what every id stands for; see `token_names.token_names`."""
        added = (token["content"] for token in json.loads(self.json)["added_tokens"])
        special = {name: name.encode("utf-8") for name in added}
        special |= {name: _ROLE_NAMES[role] for role, name in self.token_of_role.items()}
        by_id = {index: name for name, index in self._known.items()}
        return [self._name(by_id.get(i, ""), special) for i in range(self.vocab_size)]

    def split_token(self, token: TokenName) -> list[int]:
        """Returns the ids of the text of a token of another vocabulary; none for a special one."""
        if token.kind == SPECIAL:
            return []
        try:
            text = token.name.decode("utf-8")
        except UnicodeDecodeError:
            letters = ([_byte_letters()[value], f"<0x{value:02X}>"] for value in token.name)
            found = [self._known[n] for names in letters for n in names if n in self._known]
            return found
        ids = self._without_prefix.encode(text, add_special_tokens=False).ids
        unknown = self._known.get(self.token_of_role.get("unk_token", ""))
        return [index for index in ids if index != unknown]

    @functools.cached_property
    def _is_byte_level(self) -> bool:
        return '"ByteLevel"' in json.dumps(json.loads(self.json)["decoder"])

    def _name(self, name: str, special: dict[str, bytes]) -> TokenName:
        if name in special:
            return TokenName(SPECIAL, special[name])
        if self._is_byte_level:
            values = _byte_values()
            if all(letter in values for letter in name):
                return TokenName(TEXT, bytes(values[letter] for letter in name))
        byte = _BYTE_NAME.fullmatch(name)
        if byte:
            return TokenName(BYTE, bytes([int(byte.group(1), 16)]))
        return TokenName(TEXT, name.replace("▁", " ").encode("utf-8"))

    @functools.cached_property
    def _without_prefix(self) -> tokenizers.Tokenizer:
        """The tokenizer without the space that it puts in front of a text."""
        content = json.loads(self.json)
        content["normalizer"] = _without_prepend(content["normalizer"])
        content["pre_tokenizer"] = _without_prepend(content["pre_tokenizer"])
        content["truncation"] = content["padding"] = None
        backend = tokenizers.Tokenizer.from_str(json.dumps(content))
        backend.encode_special_tokens = True
        return backend

    @property
    def _base_vocab_size(self) -> int:
        return max(self._known.values()) + 1

    def _encode(self, s: str) -> list[int]:
        return self.backend.encode(s, add_special_tokens=False).ids

    def _decode(self, ids: Iterable[int]) -> str:
        kept = [int(index) for index in ids]
        return self.backend.decode(kept, skip_special_tokens=False)

    def _encode_tf(self, s: tf.Tensor | tf.RaggedTensor) -> tf.Tensor | tf.RaggedTensor:
        """Returns ids [..., (length)] of strings [...]; text must be UTF-8."""
        if isinstance(s, tf.RaggedTensor):
            return s.with_flat_values(self._encode_vector(s.flat_values))
        if s.shape.rank == 0:
            return self._encode_vector(s[tf.newaxis]).values
        if s.shape.rank == 1:
            return self._encode_vector(s)
        raise ValueError(f"encode_tf expects strings of rank 0 or 1, or ragged; found {s.shape}")

    def _encode_vector(self, texts: tf.Tensor) -> tf.RaggedTensor:
        """Returns ids [batch, (length)] int32 of strings [batch]."""

        def encode(texts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            decoded = [text.decode("utf-8") for text in texts]
            found = self.backend.encode_batch(decoded, add_special_tokens=False)
            lengths = np.array([len(one.ids) for one in found], np.int64)
            return np.array([i for one in found for i in one.ids], np.int32), lengths

        values, lengths = tf.numpy_function(encode, [texts], (tf.int32, tf.int64), stateful=False)
        values.set_shape([None])
        lengths.set_shape(texts.shape)
        return tf.RaggedTensor.from_row_lengths(values, lengths, validate=False)

    def _decode_tf(self, ids: tf.Tensor) -> tf.Tensor:
        def decode(rows: np.ndarray) -> np.ndarray:
            flat = rows.reshape(-1, rows.shape[-1]) if rows.size else np.zeros((0, 1), np.int32)
            texts = [self._decode(row).encode("utf-8") for row in flat]
            return np.array(texts, object).reshape(rows.shape[:-1])

        text = tf.numpy_function(decode, [ids], tf.string, stateful=False)
        text.set_shape(ids.shape[:-1])
        return text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TokenizerVocabulary) and self.json == other.json

    def __hash__(self) -> int:
        return hash(self.digest())


def _read(file: pathlib.Path) -> dict[str, Any]:
    if not file.is_file():
        raise ConfigError(f"vocabulary file {file} does not exist; expected a tokenizer.json")
    text = file.read_text(encoding="utf-8")
    try:
        tokenizers.Tokenizer.from_str(text)
    except Exception as error:  # the library raises no type of its own
        raise ConfigError(f"vocabulary file {file} is not a tokenizer.json: {error}") from error
    return json.loads(text)


def _ids(content: dict[str, Any]) -> dict[str, int]:
    """Returns name -> id of every token, those of the model and those added."""
    vocab = content["model"]["vocab"]
    if isinstance(vocab, list):  # a unigram model: pairs of name and score
        vocab = {name: index for index, (name, _) in enumerate(vocab)}
    return dict(vocab) | {token["content"]: token["id"] for token in content["added_tokens"]}


def _clear_zero(content: dict[str, Any], known: dict[str, int], names: dict[str, str]) -> str:
    """Makes id 0 padding, in place; returns its name."""
    (at_zero,) = [name for name, index in known.items() if index == 0]
    added = {token["content"] for token in content["added_tokens"]}
    if at_zero in added and at_zero not in (names["eos_token"], names.get("bos_token")):
        return at_zero
    if isinstance(content["model"]["vocab"], list) or at_zero in added:
        raise ConfigError(
            f"token {at_zero!r} has id 0, which is padding here, and cannot be moved; expected a "
            "padding or unknown token there"
        )
    pad = _free(PAD_NAME, known)
    moved = max(known.values()) + 1
    vocab = content["model"]["vocab"]
    vocab[at_zero] = known[at_zero] = moved
    vocab[pad] = known[pad] = 0
    content["added_tokens"].insert(0, _added_token(0, pad, special=True))
    return pad


def _append(content: dict[str, Any], known: dict[str, int], name: str) -> None:
    """Adds a token behind all others, in place, unless it is there."""
    if name not in known:
        known[name] = max(known.values()) + 1
        content["added_tokens"].append(_added_token(known[name], name, special=False))


def _free(name: str, known: dict[str, int]) -> str:
    return _SPARE[name] if name in known else name


def _added_token(index: int, name: str, *, special: bool) -> dict[str, Any]:
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"id": index, "content": name, **flags, "special": special}


def _without_prepend(step: dict[str, Any] | None) -> dict[str, Any] | None:
    """Returns a normalizer or pre-tokenizer that puts no space in front of a text."""
    if step is None:
        return None
    step = copy.deepcopy(step)
    for kind in ("normalizers", "pretokenizers"):
        if kind in step:
            kept = (_without_prepend(inner) for inner in step[kind] if inner["type"] != "Prepend")
            return {**step, kind: list(kept)}
    if step["type"] == "Prepend":
        return None
    if step["type"] == "Metaspace":
        return {**step, "prepend_scheme": "never"}
    return {**step, "add_prefix_space": False} if "add_prefix_space" in step else step


@functools.cache
def _byte_values() -> dict[str, int]:
    """Returns letter -> byte of a byte-level BPE (GPT-2), whose letters are all printable."""
    return {letter: value for value, letter in enumerate(_byte_letters())}


@functools.cache
def _byte_letters() -> list[str]:
    """Returns the letter of each byte: itself if it is printable in Latin-1, else from U+0100."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = [value for value in range(256) if value not in printable]
    return [chr(v) if v in printable else chr(0x100 + others.index(v)) for v in range(256)]

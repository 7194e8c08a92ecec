"""What the tokens of a vocabulary stand for, in a form that does not depend on its kind.

`▁the` of SentencePiece, `Ġthe` of a byte-level BPE and the text ` the` are the same token; so are
`▁<extra_id_0>` and `<extra_id_0>`, or pad, EOS and UNK whatever they are called. Two vocabularies
are compared, and one's tokens are split by the other, by these names alone.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import sentencepiece
from sentencepiece import sentencepiece_model_pb2

from xlingual.errors import ConfigError

TEXT, BYTE, SPECIAL = "text", "byte", "special"
PAD, EOS, UNK, BOS = b"<pad>", b"</s>", b"<unk>", b"<s>"

_SPACE = "▁"
_SENTINEL = re.compile(r"▁?<extra_id_\d+>")
_Model: Any = sentencepiece_model_pb2.ModelProto  # type: ignore[attr-defined]


class TokenName(NamedTuple):
    """A token without the marks of its vocabulary.

    Attributes:
      kind: `text` (a word, with the space in front of it, or a part of one), `byte` (what a
        character falls back to), or `special`.
      name: the bytes of the text, one byte, or the name of a special token.
    """

    kind: str
    name: bytes


Splitter = Callable[[TokenName], Sequence[int]]
"""A token of another vocabulary -> the ids of its text in this one; none if it has no text."""


def token_names(vocabulary: Any) -> list[TokenName]:
    """Returns the name of every id of a vocabulary, in order.

    Args:
      vocabulary: a `seqio.SentencePieceVocabulary`, or one with a method `token_names`.

    Raises:
      ConfigError: a vocabulary of another kind.
    """
    if hasattr(vocabulary, "token_names"):
        return vocabulary.token_names()
    proto = _proto(vocabulary)
    spec = proto.trainer_spec
    roles = {spec.pad_id: PAD, spec.eos_id: EOS, spec.unk_id: UNK, spec.bos_id: BOS}
    return [_piece_name(index, piece, roles) for index, piece in enumerate(proto.pieces)]


def make_splitter(vocabulary: Any) -> Splitter:
    """Returns what splits tokens of other vocabularies by this one; UNK is left out.

    Args:
      vocabulary: as for `token_names`; one of its own kind has a method `split_token`.
    """
    if hasattr(vocabulary, "split_token"):
        return vocabulary.split_token
    proto = _proto(vocabulary)
    proto.normalizer_spec.add_dummy_prefix = False  # the name has its space
    proto.normalizer_spec.remove_extra_whitespaces = False
    processor = sentencepiece.SentencePieceProcessor(model_proto=proto.SerializeToString())
    unknown = processor.unk_id()

    def split(token: TokenName) -> list[int]:
        if token.kind == SPECIAL:
            return []
        try:
            ids = processor.EncodeAsIds(token.name.decode("utf-8"))
        except UnicodeDecodeError:
            ids = [processor.PieceToId(f"<0x{value:02X}>") for value in token.name]
        return [index for index in ids if index != unknown]

    return split


def _proto(vocabulary: Any) -> Any:
    if not hasattr(vocabulary, "sp_model"):
        raise ConfigError(
            f"vocabulary is a {type(vocabulary).__name__}; expected a SentencePieceVocabulary, "
            "ByteVocabulary or TokenizerVocabulary"
        )
    return _Model.FromString(vocabulary.sp_model)


def _piece_name(index: int, piece: Any, roles: dict[int, bytes]) -> TokenName:
    if index in roles and piece.type in (piece.CONTROL, piece.UNKNOWN):
        return TokenName(SPECIAL, roles[index])
    if piece.type == piece.BYTE:
        return TokenName(BYTE, bytes([int(piece.piece[3:5], 16)]))
    if piece.type == piece.NORMAL and not _SENTINEL.fullmatch(piece.piece):
        return TokenName(TEXT, piece.piece.replace(_SPACE, " ").encode("utf-8"))
    return TokenName(SPECIAL, piece.piece.removeprefix(_SPACE).encode("utf-8"))

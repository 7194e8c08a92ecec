"""The pieces of one SentencePiece vocabulary behind those of another, whose ids stay.

A model that knows thirty languages gets the pieces of three more; its embedding table keeps its
rows, and the new rows come from `row_plan`. Texts may be split differently afterwards, wherever a
new piece scores better than what was there; ids never change their meaning.
"""

import dataclasses
import os
import pathlib
from typing import Any

import sentencepiece
import seqio
from sentencepiece import sentencepiece_model_pb2

from xlingual.data import vocabularies
from xlingual.errors import ConfigError

_SPACE = "▁"
_Model: Any = sentencepiece_model_pb2.ModelProto  # type: ignore[attr-defined]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Merged:
    """What a merge did.

    Attributes:
      vocabulary: the merged one, read from its file.
      added: pieces of the other vocabulary that got ids behind the old ones.
      shared: pieces that both have; they keep the score of the first vocabulary.
      unreachable: pieces that the first vocabulary's normalisation would rewrite, left out.
    """

    vocabulary: seqio.SentencePieceVocabulary
    added: int
    shared: int
    unreachable: int


def merge_pieces(
    vocabulary: seqio.SentencePieceVocabulary,
    other: seqio.SentencePieceVocabulary,
    path: str | os.PathLike[str],
    *,
    max_pieces: int | None = None,
) -> Merged:
    """Writes a model with the pieces of two, and returns what it holds.

    Every id of the first vocabulary keeps its piece, score and type; new pieces follow in the order
    of the other's ids: text first, then its control tokens and the sentinels that the first lacks.
    A unigram piece brings its log probability; BPE pieces rank behind all old ones, in their own
    order. If only the other falls back to bytes, the merged vocabulary does so too.

    Args:
      vocabulary: whose ids stay; sentinels that it adds on load are kept as pieces.
      other: what to add, of the same type (unigram or BPE).
      path: the `.model` file to write.
      max_pieces: most pieces of text to add, best scores first; None for all.

    Raises:
      ConfigError: another type of model, or sentinels that would have to be the lower ones.
    """
    first, second = _Model.FromString(vocabulary.sp_model), _Model.FromString(other.sp_model)
    types = [proto.trainer_spec.model_type for proto in (first, second)]
    if types[0] != types[1]:
        names = [_Model.FromString(b"").trainer_spec.ModelType.Name(one).lower() for one in types]
        raise ConfigError(f"the vocabularies are of the types {names}; expected the same type")
    _check_sentinels(vocabulary, other)
    known = {piece.piece for piece in first.pieces}
    text = [piece for piece in second.pieces if piece.type == piece.NORMAL]
    shared = sum(piece.piece in known for piece in text)
    new = [piece for piece in text if piece.piece not in known]
    reachable = _reachable(first, [piece.piece for piece in new])
    kept = [piece for piece in new if piece.piece in reachable]
    if max_pieces is not None:
        best = sorted(kept, key=lambda piece: -piece.score)[:max_pieces]
        chosen = {piece.piece for piece in best}
        kept = [piece for piece in kept if piece.piece in chosen]
    added = len(kept)
    shift = 0.0
    if types[0] == first.trainer_spec.BPE and kept:
        lowest = min(piece.score for piece in first.pieces if piece.type == piece.NORMAL)
        shift = lowest - 1.0 - max(piece.score for piece in kept)
    for piece in kept:
        _append(first, piece.piece, piece.score + shift, piece.type)
    if second.trainer_spec.byte_fallback and not first.trainer_spec.byte_fallback:
        first.trainer_spec.byte_fallback = True
        kept += [piece for piece in second.pieces if piece.type == piece.BYTE]
        for piece in kept[added:]:
            _append(first, piece.piece, piece.score, piece.type)
    for piece in second.pieces:
        if piece.type == piece.USER_DEFINED and piece.piece not in known:
            _append(first, piece.piece, 0.0, piece.type)
    first.trainer_spec.vocab_size = len(first.pieces)
    vocabularies.write_atomically(pathlib.Path(path), first.SerializeToString(deterministic=True))
    return Merged(
        vocabulary=vocabularies.load_vocabulary(path),
        added=added,
        shared=shared,
        unreachable=len(new) - len(reachable),
    )


def _check_sentinels(
    vocabulary: seqio.SentencePieceVocabulary, other: seqio.SentencePieceVocabulary
) -> None:
    here = vocabularies.special_tokens(vocabulary).num_sentinels
    there = vocabularies.special_tokens(other).num_sentinels
    if here and there > here:
        raise ConfigError(
            f"the vocabulary has {here} sentinels and the other {there}; more of them would need "
            "ids that are taken: train the other with as many or none"
        )


def _reachable(proto: Any, pieces: list[str]) -> set[str]:
    """Returns the pieces that stand in text after this vocabulary's normalisation."""
    plain = _Model.FromString(proto.SerializeToString())
    plain.normalizer_spec.add_dummy_prefix = False
    plain.normalizer_spec.remove_extra_whitespaces = False
    processor = sentencepiece.SentencePieceProcessor(model_proto=plain.SerializeToString())
    texts = [piece.replace(_SPACE, " ") for piece in pieces]
    normal = processor.Normalize(texts)
    return {
        piece
        for piece, text, found in zip(pieces, texts, normal, strict=True)
        if found.replace(_SPACE, " ") == text
    }


def _append(proto: Any, name: str, score: float, kind: int) -> None:
    piece = proto.pieces.add()
    piece.piece, piece.score, piece.type = name, score, kind

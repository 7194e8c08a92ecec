"""Control tokens and sentinels behind the pieces of a public vocabulary, whose ids stay.

A public model knows nothing of `<2de>`. New pieces go behind the old ones, so that every text
without them has the ids it had, and an embedding table keeps its rows.
"""

import os
import pathlib
from collections.abc import Sequence
from typing import Any

import seqio
from sentencepiece import sentencepiece_model_pb2

from xlingual.data import vocabularies
from xlingual.errors import ConfigError

DEFAULT_SENTINELS = 100
_Model: Any = sentencepiece_model_pb2.ModelProto  # type: ignore[attr-defined]


def append_pieces(
    vocabulary: seqio.SentencePieceVocabulary,
    path: str | os.PathLike[str],
    *,
    control_tokens: Sequence[str],
    num_sentinels: int | None = None,
) -> seqio.SentencePieceVocabulary:
    """Writes a SentencePiece model with more pieces, and returns its vocabulary.

    A vocabulary without sentinels gets them at the end, `<extra_id_0>` the highest id, behind the
    control tokens. Sentinels that are there stay where they are, although they are then no longer
    the highest ids: `SpecialTokens.sentinel_start` says where they begin, and every objective asks
    it. Control tokens that are there are left alone.

    Args:
      vocabulary: what to extend; sentinels that it adds on load (`extra_ids`) are kept as pieces.
      path: the `.model` file to write.
      control_tokens: pieces that are one id wherever they stand, in the order of their ids, e.g.
        from `vocabularies.control_tokens`.
      num_sentinels: how many there shall be; None keeps those there are, or makes 100.

    Raises:
      ConfigError: duplicate control tokens, one that is an ordinary piece, or more sentinels than
        there are: the ids below the old ones are taken.
    """
    if len(set(control_tokens)) != len(control_tokens):
        raise ConfigError(f"control_tokens holds duplicates: {sorted(control_tokens)}")
    found = vocabularies.special_tokens(vocabulary)
    if found.num_sentinels and (num_sentinels or 0) > found.num_sentinels:
        raise ConfigError(
            f"num_sentinels={num_sentinels}; the vocabulary has {found.num_sentinels} sentinels, "
            f"and more would need the ids below {found.sentinel_end}, which are taken"
        )
    if num_sentinels is None:
        num_sentinels = DEFAULT_SENTINELS
    proto = _Model.FromString(vocabulary.sp_model)
    ordinary = {piece.piece for piece in proto.pieces if piece.type != piece.USER_DEFINED}
    taken = sorted(ordinary.intersection(control_tokens))
    if taken:
        raise ConfigError(
            f"control_tokens {taken} are ordinary pieces of the vocabulary; expected other names"
        )
    names = [name for name in control_tokens if name not in found.control]
    if not found.num_sentinels:
        names += [f"<extra_id_{k}>" for k in reversed(range(num_sentinels))]
    for name in names:
        piece = proto.pieces.add()
        piece.piece, piece.score, piece.type = name, 0.0, piece.USER_DEFINED
    proto.trainer_spec.vocab_size = len(proto.pieces)
    vocabularies.write_atomically(pathlib.Path(path), proto.SerializeToString(deterministic=True))
    return vocabularies.load_vocabulary(path)

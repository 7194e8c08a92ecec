r"""A vocabulary as a tokenizer of the `tokenizers` library, with the same ids for every text.

What SentencePiece does to a whole text becomes, step by step:

    SentencePiece                        here
    rules of its own                     `Replace`, or `Precompiled` for a public model's NFKC
    spaces removed (if the model says)   `Replace` of runs, `Strip`
    dummy space in front                 `Prepend`, on the text as a whole: no pre-tokenizer would
                                         do it in front of a control token
    unigram, user-defined pieces         `Unigram`; a user-defined piece has the score that
                                         SentencePiece gives it, so it needs no added token
    BPE, user-defined pieces             `Split` around them, then `BPE`
    byte fallback                        the models' own
    pieces that no text may spell        (`</s>`, `<0x41>`) a score that never wins; for BPE they
                                         are cut before the merges

Only pad, EOS and UNK are added tokens; the reader of the file must not look for them in text (in
`transformers`: `split_special_tokens`), because SentencePiece does not.

References:
  Kudo & Richardson, 2018, SentencePiece, arXiv:1808.06226; its `unigram_model.cc` and
  `bpe_model.cc` for scores and the order of merges.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tokenizers
from sentencepiece import sentencepiece_model_pb2
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors

from xlingual.errors import ConfigError

SPACE = "▁"
_NEVER = -1e6
"""Score of a piece that no text may spell: any other way through the text is better."""

_MALUS = 0.125
"""SentencePiece takes 0.1 off a user-defined piece; a binary fraction keeps sums exact."""

_OWN_RULES = b"_\0"
_Model: Any = sentencepiece_model_pb2.ModelProto  # type: ignore[attr-defined]


def make_tokenizer(vocabulary: Any, *, add_eos: bool = True) -> tokenizers.Tokenizer:
    """Returns the tokenizer whose ids are those of a vocabulary.

    Args:
      vocabulary: a `seqio.SentencePieceVocabulary` (unigram or BPE), or a `ByteVocabulary`.
      add_eos: whether EOS ends every text, as encoder-decoders want; decoders' prompts go on.

    Raises:
      ConfigError: a model that the library cannot express.
    """
    if hasattr(vocabulary, "sp_model"):
        proto = _Model.FromString(vocabulary.sp_model)
        tokenizer = _of_sentencepiece(proto)
        lowest = [proto.pieces[index].piece for index in _lowest_ids(proto)]
    else:
        tokenizer = _of_bytes(vocabulary)
        lowest = [vocabulary.id_to_piece(index) for index in range(3)]
    tokenizer.add_special_tokens(
        [tokenizers.AddedToken(name, special=True, normalized=False) for name in lowest]
    )
    if add_eos:
        eos = vocabulary.eos_id
        name = tokenizer.id_to_token(eos)
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"$A {name}", pair=f"$A {name} $B {name}", special_tokens=[(name, eos)]
        )
    return tokenizer


def _lowest_ids(proto: Any) -> list[int]:
    """Returns the ids of pad, EOS and UNK, as far as the model has them."""
    spec = proto.trainer_spec
    return [index for index in (spec.pad_id, spec.eos_id, spec.unk_id) if index >= 0]


def _of_sentencepiece(proto: Any) -> tokenizers.Tokenizer:
    spec = proto.trainer_spec
    if not proto.normalizer_spec.escape_whitespaces or spec.treat_whitespace_as_suffix:
        raise ConfigError(
            "vocabulary: the SentencePiece model puts spaces behind words or does not mark them; "
            "expected the default, a mark in front"
        )
    if spec.model_type == spec.UNIGRAM:
        tokenizer = tokenizers.Tokenizer(_unigram(proto))
        cuts = _unigram_cuts(proto)
        if cuts is not None:
            tokenizer.pre_tokenizer = cuts
    elif spec.model_type == spec.BPE:
        tokenizer = tokenizers.Tokenizer(_bpe(proto, whole=True))
        kept = [piece.piece for piece in proto.pieces if piece.type == piece.USER_DEFINED]
        others = [p.piece for p in proto.pieces if p.type not in (p.NORMAL, p.USER_DEFINED)]
        merged = tokenizers.Tokenizer(_bpe(proto, whole=False))
        first = {name: len(merged.encode(name).tokens[0]) for name in others}
        tokenizer.pre_tokenizer = _cuts(kept=kept, never=first)
    else:
        raise ConfigError(
            "vocabulary: a SentencePiece model of words or of characters; expected unigram or bpe"
        )
    tokenizer.normalizer = _normalizer(proto.normalizer_spec)
    steps = [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    if proto.normalizer_spec.add_dummy_prefix:
        steps.append(decoders.Strip(" ", 1, 0))
    tokenizer.decoder = decoders.Sequence(steps)
    return tokenizer


def _normalizer(spec: Any) -> normalizers.Normalizer:
    steps: list[normalizers.Normalizer] = []
    charsmap = spec.precompiled_charsmap
    if charsmap.endswith(_OWN_RULES) and spec.name == "user_defined":
        # `Precompiled` works on graphemes and would drop an accent behind the mark.
        steps.append(normalizers.Replace(SPACE, "_"))
    elif charsmap:
        steps.append(normalizers.Precompiled(charsmap))
    if spec.remove_extra_whitespaces:
        steps += [
            normalizers.Replace(tokenizers.Regex(" {2,}"), " "),
            normalizers.Replace(tokenizers.Regex(r"\A +| +\z"), ""),
        ]
    if spec.add_dummy_prefix:
        steps.append(normalizers.Prepend(SPACE))
    return normalizers.Sequence([*steps, normalizers.Replace(" ", SPACE)])


def _unigram(proto: Any) -> models.Unigram:
    normal = [piece.score for piece in proto.pieces if piece.type == piece.NORMAL]
    best = np.float32(max(normal, default=0.0))

    def score(piece: Any) -> float:
        if piece.type == piece.NORMAL:
            return piece.score
        if piece.type == piece.USER_DEFINED:
            return float(np.float32(len(piece.piece.encode("utf-8"))) * best) - _MALUS
        return _NEVER

    pieces = [(piece.piece, score(piece)) for piece in proto.pieces]
    return models.Unigram(pieces, proto.trainer_spec.unk_id, proto.trainer_spec.byte_fallback)


def _unigram_cuts(proto: Any) -> pre_tokenizers.PreTokenizer | None:
    """Returns what sets characters apart that the model does not know, inside `</s>` or `<0x41>`.

    An unknown character costs more than a piece that never wins otherwise. It has a token of its
    own in any case, so a cut around it changes nothing else. Models of much text know all of ASCII
    and need no cut.
    """
    known = {piece.piece for piece in proto.pieces if piece.type == piece.NORMAL}
    patterns = []
    for piece in proto.pieces:
        if piece.type not in (piece.NORMAL, piece.USER_DEFINED):
            name = piece.piece
            unknown = [index for index, letter in enumerate(name) if letter not in known]
            if unknown:
                before, letter, after = name[: unknown[0]], name[unknown[0]], name[unknown[0] + 1 :]
                before, letter, after = (re.escape(part) for part in (before, letter, after))
                patterns.append(f"(?<={before}){letter}(?={after})")
    if not patterns:
        return None
    return pre_tokenizers.Split(tokenizers.Regex("|".join(patterns)), "isolated")


def _bpe(proto: Any, *, whole: bool) -> models.BPE:
    normal = {piece.piece: piece.score for piece in proto.pieces if piece.type == piece.NORMAL}
    merges = [
        (-normal[name], -cut, name[:cut], name[cut:])
        for name in normal
        for cut in range(1, len(name))
        if name[:cut] in normal and name[cut:] in normal
    ]
    return models.BPE(
        vocab={piece.piece: index for index, piece in enumerate(proto.pieces)},
        merges=[(left, right) for _, _, left, right in sorted(merges)],
        unk_token=proto.pieces[proto.trainer_spec.unk_id].piece,
        fuse_unk=True,
        byte_fallback=proto.trainer_spec.byte_fallback,
        ignore_merges=whole,
    )


def _cuts(*, kept: Sequence[str], never: Mapping[str, int]) -> pre_tokenizers.PreTokenizer:
    """Returns what sets pieces apart, and never leaves others alone, such as `</s>` or `<0x41>`.

    BPE takes text that is a piece as a whole for that piece (`ignore_merges`). That is meant for
    `kept`; text between two of them may spell one of `never`, and is cut behind its first piece.

    Args:
      kept: pieces that are one id wherever they stand.
      never: piece -> number of characters in front of the cut.
    """
    steps = []
    if kept:
        steps.append(pre_tokenizers.Split(tokenizers.Regex(_any_of(kept)), "isolated"))
    for length in sorted(set(never.values())):
        names = [name for name, cut in never.items() if cut == length < len(name)]
        if not names:
            continue
        whole = rf"\A(?=(?:{_any_of(names)})\z).{{{length}}}"
        steps.append(pre_tokenizers.Split(tokenizers.Regex(whole), "isolated"))
    return pre_tokenizers.Sequence(steps)


def _any_of(names: Sequence[str]) -> str:
    """Returns a pattern of the names, of which the longest that fits is found."""
    return "|".join(re.escape(name) for name in sorted(names, key=lambda n: (-len(n), n)))


def _of_bytes(vocabulary: Any) -> tokenizers.Tokenizer:
    """Returns bytes as BPE that knows no character and no merge, and so falls back to bytes."""
    lowest = [vocabulary.id_to_piece(index) for index in range(3)]
    bytes_ = [f"<0x{value:02X}>" for value in range(256)]
    names = [vocabulary.id_to_piece(index) for index in range(3 + 256, vocabulary.vocab_size)]
    ids = {name: index for index, name in enumerate([*lowest, *bytes_, *names])}
    model = models.BPE(
        ids, [], unk_token=lowest[-1], fuse_unk=True, byte_fallback=True, ignore_merges=True
    )
    tokenizer = tokenizers.Tokenizer(model)
    tokenizer.pre_tokenizer = _cuts(kept=names, never=dict.fromkeys([*lowest, *bytes_], 1))
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    return tokenizer

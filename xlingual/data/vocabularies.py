"""SentencePiece vocabularies whose last ids are control tokens and sentinels.

The layout is `pad, eos, unk | bytes and learned pieces | control tokens | sentinels`, so that
sentinel k has id `vocab_size - 1 - k` (T5: Raffel et al., 2020, JMLR 21(140)). Text is not
normalised: NFKC would rewrite full-width forms, superscripts and ligatures, and its `nmt` variant
also drops joiners that Indic and Persian spelling needs and turns tabs and line breaks into spaces,
which destroys code. The one rule maps U+2581, which SentencePiece uses for the space, to an
underscore. With byte fallback every other text has an exact round trip.
"""

import hashlib
import io
import os
import pathlib
import re
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import sentencepiece
import seqio
from sentencepiece import sentencepiece_model_pb2

from xlingual.data.byte_vocabulary import ByteVocabulary
from xlingual.data.tokenizer_vocabulary import TokenizerVocabulary
from xlingual.errors import ConfigError
from xlingual.objectives.code_whitespace import WHITESPACE_PIECES
from xlingual.objectives.special_tokens import SpecialTokens

MODES = ("[NLU]", "[NLG]", "[S2S]")
MARKERS = ("<mask>", "<blank>", "<sep>", "<cls>")
LEAST_COVERAGE = 0.98
"""The smallest character coverage that SentencePiece takes."""
LEAST_LIMIT_OF_LINES = 101
"""The smallest `max_lines` that SentencePiece takes, however many lines there are."""
_SENTINEL = re.compile(r"^▁?<extra_id_(\d+)>$")
_MAX_SENTENCE_BYTES = 1 << 20
_UNLIMITED = 1 << 24
_NORMALIZATION_RULES = "2581\t5F\n"
_ModelProto: Any = sentencepiece_model_pb2.ModelProto  # type: ignore[attr-defined]


def control_tokens(languages: Sequence[str]) -> list[str]:
    """Returns every control token of a vocabulary for these languages, in id order.

    Args:
      languages: codes of natural and programming languages, e.g. `["en", "de", "python"]`.
    """
    codes = sorted(set(languages))
    tags = [f"<2{code}>" for code in codes] + [f"<lg:{code}>" for code in codes]
    return [*tags, *MODES, *MARKERS, *WHITESPACE_PIECES]


def train_vocabulary(
    texts: Iterable[str],
    path: str | os.PathLike[str],
    *,
    vocab_size: int | None,
    control_tokens: Sequence[str],
    num_sentinels: int = 100,
    character_coverage: float = 0.9999,
    model_type: str = "unigram",
    max_lines: int = 2_000_000,
    seed: int = 0,
    required_characters: str = "",
    pieces: Sequence[str] = (),
) -> None:
    """Trains a SentencePiece model and writes it to `path` in one atomic step.

    The same texts and arguments give the same bytes.

    Args:
      texts: documents; each line of a document is one training sentence. Code should have passed
        `code_whitespace.encode_whitespace`. An occurrence of a control token is kept whole.
      path: the `.model` file to write; its folder is made if missing.
      vocab_size: total number of pieces, control tokens and sentinels included; None, with
        `pieces`, for as many as there are.
      control_tokens: user-defined pieces, placed below the sentinels in this order.
      num_sentinels: pieces `<extra_id_0>` (the highest id) downwards.
      character_coverage: share of characters that get their own piece; the rest become bytes.
      model_type: `unigram` or `bpe`.
      max_lines: at most this many lines are used, sampled with `seed`.
      seed: of the sampling of lines.
      required_characters: characters that get their own piece whatever `character_coverage` says,
        e.g. from `scripts.covering_characters`.
      pieces: the only pieces of two characters or more that a unigram vocabulary may have, `▁` for
        a space; all of them are in it, as far as `vocab_size` allows. Empty for any pieces.

    Raises:
      ConfigError: no text, duplicate control tokens, `pieces` for BPE, or a `vocab_size` that does
        not fit the text.
    """
    if pieces and model_type != "unigram":
        raise ConfigError(f"model_type is {model_type!r}; a list of pieces needs 'unigram'")
    if vocab_size is None and not pieces:
        raise ConfigError("vocab_size is None; expected a number, or a list of pieces")
    if len(set(control_tokens)) != len(control_tokens):
        raise ConfigError(f"control_tokens holds duplicates: {sorted(control_tokens)}")
    sentinels = [f"<extra_id_{k}>" for k in reversed(range(num_sentinels))]
    sentencepiece.set_random_generator_seed(seed)
    try:
        proto = _train(
            sentence_iterator=_lines(texts),
            model_type=model_type,
            vocab_size=vocab_size or _UNLIMITED,
            character_coverage=character_coverage,
            user_defined_symbols=[*control_tokens, *sentinels],
            input_sentence_size=max_lines,
            required_chars=required_characters,
            seeds=pieces,
        )
    except (RuntimeError, OSError, ValueError) as error:
        raise ConfigError(_training_problem(str(error), vocab_size)) from error
    if pieces:
        _add_missing(proto, pieces, vocab_size or _UNLIMITED)
    if len(proto.pieces) != (vocab_size or len(proto.pieces)):
        raise ConfigError(
            f"vocab_size={vocab_size} does not fit the text: it yields {len(proto.pieces)} pieces"
        )
    _round_scores(proto)
    _move_to_end(proto, [*control_tokens, *sentinels])
    write_atomically(pathlib.Path(path), proto.SerializeToString(deterministic=True))


def load_vocabulary(
    path: str | os.PathLike[str], *, extra_ids: int = 0
) -> seqio.SentencePieceVocabulary:
    """Returns the vocabulary in a SentencePiece model file.

    Args:
      path: a `.model` file.
      extra_ids: sentinels to add above the pieces of the file, for models such as T5's that hold
        none (T5: 100).

    Raises:
      ConfigError: the file is missing or is not a SentencePiece model.
    """
    file = _existing_file(path)
    vocabulary = seqio.SentencePieceVocabulary(str(file), extra_ids=extra_ids)
    try:
        vocabulary.load_model()
    except Exception as error:  # the C++ reader raises several types
        raise ConfigError(f"vocabulary file {file} is not a SentencePiece model") from error
    return vocabulary


def special_tokens(
    vocabulary: seqio.SentencePieceVocabulary | ByteVocabulary | TokenizerVocabulary,
) -> SpecialTokens:
    """Returns the special ids found in a vocabulary.

    Every user-defined piece that is not a sentinel counts as a control token.

    Raises:
      ConfigError: pad, EOS and UNK are not 0, 1 and 2, or the sentinels do not count down.
    """
    if isinstance(vocabulary, ByteVocabulary | TokenizerVocabulary):
        return vocabulary.special_tokens
    proto = _ModelProto.FromString(vocabulary.sp_model)
    pieces = proto.pieces
    tokenizer = vocabulary.tokenizer
    found = (tokenizer.pad_id(), tokenizer.eos_id(), tokenizer.unk_id())
    if found != (0, 1, 2):
        raise ConfigError(f"vocabulary has pad, eos, unk ids {found}; expected (0, 1, 2)")
    sentinels: dict[int, int] = {}
    control: dict[str, int] = {}
    for index, piece in enumerate(pieces):
        match = _SENTINEL.match(piece.piece)
        if match:
            sentinels[int(match.group(1))] = index
        elif piece.type == piece.USER_DEFINED:
            control[piece.piece] = index
    start = sentinels.get(0, len(pieces) - 1)
    if sentinels != {k: start - k for k in range(len(sentinels))}:
        raise ConfigError("sentinels <extra_id_k> of the vocabulary do not count down from k=0")
    return SpecialTokens(
        vocab_size=len(pieces),
        sentinel_start=start,
        num_sentinels=len(sentinels),
        control=control,
    )


def vocabulary_hash(path: str | os.PathLike[str]) -> str:
    """Returns the SHA-256 of a vocabulary file, in hex.

    Raises:
      ConfigError: the file is missing.
    """
    return hashlib.sha256(_existing_file(path).read_bytes()).hexdigest()


def _train(seeds: Sequence[str] = (), **arguments: Any) -> Any:
    """Runs the SentencePiece trainer with the settings that all our vocabularies share.

    With `seeds`, longer pieces come from them alone, and there may be fewer than `vocab_size`.
    """
    model = io.BytesIO()
    with tempfile.TemporaryDirectory() as folder:
        rules = pathlib.Path(folder, "rules.tsv")
        rules.write_text(_NORMALIZATION_RULES)
        if seeds:
            file = pathlib.Path(folder, "seeds.tsv")
            file.write_text("".join(f"{piece}\t1\n" for piece in seeds), encoding="utf-8")
            arguments |= {"seed_sentencepieces_file": str(file), "hard_vocab_limit": False}
        sentencepiece.SentencePieceTrainer.train(
            model_writer=model,
            normalization_rule_tsv=str(rules),
            remove_extra_whitespaces=False,
            byte_fallback=True,
            max_sentence_length=_MAX_SENTENCE_BYTES,
            pad_id=0,
            eos_id=1,
            unk_id=2,
            bos_id=-1,
            pad_piece="<pad>",
            eos_piece="</s>",
            unk_piece="<unk>",
            num_threads=1,
            minloglevel=3,
            **arguments,
        )
    proto = _ModelProto.FromString(model.getvalue())
    proto.normalizer_spec.normalization_rule_tsv = ""  # the path of a temporary file
    proto.trainer_spec.seed_sentencepieces_file = ""
    return proto


def _add_missing(proto: Any, pieces: Sequence[str], vocab_size: int) -> None:
    """Adds those of `pieces` that training left out, below all others, up to the wanted size."""
    known = {piece.piece for piece in proto.pieces}
    lowest = min((p.score for p in proto.pieces if p.type == p.NORMAL), default=0.0)
    missing = [name for name in dict.fromkeys(pieces) if name not in known]
    for place, name in enumerate(missing[: max(vocab_size - len(proto.pieces), 0)], start=1):
        piece = proto.pieces.add()
        piece.piece, piece.score, piece.type = name, lowest - place / 256, piece.NORMAL


def _lines(texts: Iterable[str]) -> Iterator[str]:
    for text in texts:
        for line in text.split("\n"):
            if line and "\0" not in line:
                yield line


def _training_problem(message: str, vocab_size: int | None) -> str:
    limit = re.search(r"Please set it to a value <= (\d+)", message)
    if limit:
        return f"vocab_size={vocab_size} is too large for the text; expected <= {limit.group(1)}"
    limit = re.search(r"smaller than required_chars\. \d+ vs (\d+)", message)
    if limit:
        return f"vocab_size={vocab_size} is too small for the text; expected > {limit.group(1)}"
    if "empty" in message.lower():
        return "texts: nothing to train a vocabulary from; expected at least one line of text"
    return f"SentencePiece cannot train with vocab_size={vocab_size}: {message}"


def _move_to_end(proto: Any, last: Sequence[str]) -> None:
    """Reorders the pieces so that `last` come last; the scores, and so the splits, stay."""
    by_name = {piece.piece: piece for piece in proto.pieces}
    moved = set(last)
    ordered = [piece for piece in proto.pieces if piece.piece not in moved]
    ordered.extend(by_name[name] for name in last)
    copies = [type(piece).FromString(piece.SerializeToString()) for piece in ordered]
    del proto.pieces[:]
    proto.pieces.extend(copies)


def _round_scores(proto: Any) -> None:
    """Rounds scores to multiples of 1/256, so that sums of them are exact in float32.

    Runs such as `-----` have several best splits. SentencePiece adds in float32, other readers of
    the model in float64: with exact sums they see the same ties and take the same split.
    """
    for piece in proto.pieces:
        piece.score = round(piece.score * 256) / 256


def write_atomically(path: pathlib.Path, data: bytes) -> None:
    """Writes a file whole or not at all; its folder is made if missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def _existing_file(path: str | os.PathLike[str]) -> pathlib.Path:
    file = pathlib.Path(path)
    if not file.is_file():
        raise ConfigError(f"vocabulary file {file} does not exist; expected a SentencePiece model")
    return file

"""The tokenizer files beside a model's weights: written for others, read from others, copied.

`transformers.AutoTokenizer.from_pretrained` loads what `export_tokenizer` writes, and gives the ids
of our vocabulary for every text; `load_tokenizer_vocabulary` reads folders, ours and public ones.
"""

import json
import os
import pathlib
import shutil
from collections.abc import Sequence
from typing import Any

import seqio

from xlingual.data import tokenizer_json, vocabularies
from xlingual.data.byte_vocabulary import ByteVocabulary
from xlingual.data.tokenizer_vocabulary import TokenizerVocabulary
from xlingual.errors import ConfigError
from xlingual.objectives.code_whitespace import WHITESPACE_PIECES

SENTENCEPIECE_FILE = "spiece.model"
BYTE_FILE = "byte_vocabulary.json"
TOKENIZER_FILE = "tokenizer.json"
CONFIG_FILE = "tokenizer_config.json"
TOKENIZER_FILES = (
    SENTENCEPIECE_FILE,
    BYTE_FILE,
    TOKENIZER_FILE,
    CONFIG_FILE,
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
)
"""Every file that a tokenizer may consist of, ours and those of public checkpoints."""

_UNLIMITED = int(1e30)
_T5_SENTINELS = 100
_BYT5_SENTINELS = 125


def export_tokenizer(
    vocabulary: seqio.Vocabulary,
    folder: str | os.PathLike[str],
    *,
    model_max_length: int | None = None,
    add_eos: bool = True,
) -> list[str]:
    """Writes tokenizer files and returns their names.

    `tokenizer.json` and `tokenizer_config.json` are for `transformers` and whatever else reads
    them; `spiece.model` or `byte_vocabulary.json` is the vocabulary itself. Sentinels and control
    tokens other than those of whitespace are special: `skip_special_tokens=True` drops them from
    decoded text. In text they are one id each, as in training; `</s>` in text is text, so the
    configuration asks for `split_special_tokens`.

    Args:
      vocabulary: a SentencePiece or byte vocabulary whose pad, EOS and UNK are 0, 1 and 2, or a
        `TokenizerVocabulary`, whose files are written as they are.
      folder: made if it is missing; files of the same names are replaced.
      model_max_length: longest sequence that readers should make, in tokens; None for no limit.
      add_eos: whether EOS ends every text (encoder-decoders), or not (prompts of decoders).

    Raises:
      ConfigError: a vocabulary that cannot be written so.
    """
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if isinstance(vocabulary, TokenizerVocabulary):
        return _export_backend(vocabulary, folder, model_max_length)
    if isinstance(vocabulary, ByteVocabulary):
        written = [BYTE_FILE]
        content = {
            "control_tokens": list(vocabulary.control_tokens),
            "num_sentinels": vocabulary.num_sentinels,
        }
        _write_json(folder / BYTE_FILE, content)
    elif isinstance(vocabulary, seqio.SentencePieceVocabulary):
        written = [SENTENCEPIECE_FILE]
        (folder / SENTENCEPIECE_FILE).write_bytes(vocabulary.sp_model)
    else:
        raise ConfigError(
            f"vocabulary is a {type(vocabulary).__name__}; expected a SentencePieceVocabulary or "
            "a ByteVocabulary"
        )
    tokenizer = tokenizer_json.make_tokenizer(vocabulary, add_eos=add_eos)
    tokenizer.save(str(folder / TOKENIZER_FILE), pretty=False)
    special = vocabularies.special_tokens(vocabulary)
    names = [tokenizer.id_to_token(special.sentinel_id(k)) for k in range(special.num_sentinels)]
    names += [name for name in special.control if name not in WHITESPACE_PIECES]
    fields = {
        "pad_token": tokenizer.id_to_token(special.pad_id),
        "eos_token": tokenizer.id_to_token(special.eos_id),
        "unk_token": tokenizer.id_to_token(special.unk_id),
        "additional_special_tokens": names,
    }
    _write_config(folder, fields, model_max_length)
    return [*written, TOKENIZER_FILE, CONFIG_FILE]


def _export_backend(
    vocabulary: TokenizerVocabulary, folder: pathlib.Path, model_max_length: int | None
) -> list[str]:
    """Writes a vocabulary that is a `tokenizer.json` itself.

    Its control tokens are found in text as added tokens that are not special, so that
    `skip_special_tokens=True` does not drop them.
    """
    (folder / TOKENIZER_FILE).write_text(vocabulary.json, encoding="utf-8")
    appended = {
        "control_tokens": list(vocabulary.control_tokens),
        "num_sentinels": vocabulary.num_sentinels,
    }
    _write_config(folder, vocabulary.token_of_role | appended, model_max_length)
    return [TOKENIZER_FILE, CONFIG_FILE]


def _write_config(
    folder: pathlib.Path, fields: dict[str, Any], model_max_length: int | None
) -> None:
    """Writes what `transformers` asks beside `tokenizer.json`."""
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        **fields,
        "split_special_tokens": True,
        "clean_up_tokenization_spaces": False,
        "model_input_names": ["input_ids", "attention_mask"],
        "model_max_length": model_max_length or _UNLIMITED,
    }
    _write_json(folder / CONFIG_FILE, config)


def copy_tokenizer_files(
    source: str | os.PathLike[str], destination: str | os.PathLike[str]
) -> list[str]:
    """Copies the tokenizer files of a folder as they are, and returns their names.

    Raises:
      ConfigError: the folder has none.
    """
    source, destination = pathlib.Path(source), pathlib.Path(destination)
    found = [name for name in TOKENIZER_FILES if (source / name).is_file()]
    if not found:
        raise ConfigError(_no_tokenizer(source))
    destination.mkdir(parents=True, exist_ok=True)
    for name in found:
        shutil.copyfile(source / name, destination / name)
    return found


def load_tokenizer_vocabulary(
    folder: str | os.PathLike[str],
    *,
    control_tokens: Sequence[str] | None = None,
    num_sentinels: int | None = None,
    as_is: bool = False,
) -> seqio.Vocabulary:
    """Returns the vocabulary of a folder with tokenizer files.

    `byte_vocabulary.json` and `spiece.model` go before `tokenizer.json`. A `spiece.model` without
    sentinels (T5's) gets as many as the other files name, or 100, at the highest ids.

    Args:
      folder: of ours or of a public checkpoint.
      control_tokens: appended to a `tokenizer.json`, which has none of its own; None for those
        that an export of ours names, else none.
      num_sentinels: likewise.
      as_is: for a table that the folder came with; see `TokenizerVocabulary`.

    Raises:
      ConfigError: the folder has no tokenizer, or one that cannot be read.
    """
    folder = pathlib.Path(folder)
    config = _read_json(folder / CONFIG_FILE)
    if (folder / BYTE_FILE).is_file():
        content = _read_json(folder / BYTE_FILE)
        try:
            return ByteVocabulary(content["control_tokens"], num_sentinels=content["num_sentinels"])
        except (KeyError, TypeError) as error:
            raise ConfigError(
                f"{folder / BYTE_FILE} has the keys {sorted(content)}; expected control_tokens "
                "and num_sentinels"
            ) from error
    if (folder / SENTENCEPIECE_FILE).is_file():
        vocabulary = vocabularies.load_vocabulary(folder / SENTENCEPIECE_FILE)
        if vocabularies.special_tokens(vocabulary).num_sentinels:
            return vocabulary
        count = _count_sentinels(folder, config)
        return vocabularies.load_vocabulary(folder / SENTENCEPIECE_FILE, extra_ids=count)
    if str(config.get("tokenizer_class", "")).startswith("ByT5Tokenizer"):
        return ByteVocabulary(num_sentinels=config.get("extra_ids") or _BYT5_SENTINELS)
    if (folder / TOKENIZER_FILE).is_file():
        return _load_backend(folder, config, control_tokens, num_sentinels, as_is)
    raise ConfigError(_no_tokenizer(folder))


def _load_backend(
    folder: pathlib.Path,
    config: dict[str, Any],
    control_tokens: Sequence[str] | None,
    num_sentinels: int | None,
    as_is: bool,
) -> TokenizerVocabulary:
    known = _read_json(folder / "special_tokens_map.json") | config
    roles: dict[str, Any] = {}
    for role in ("eos_token", "bos_token", "unk_token"):
        token = known.get(role)
        roles[role] = token["content"] if isinstance(token, dict) else token
    if roles["eos_token"] is None:
        raise ConfigError(f"{folder / CONFIG_FILE} names no eos_token; expected one")
    if control_tokens is None:
        control_tokens = config.get("control_tokens", ())
    if num_sentinels is None:
        num_sentinels = config.get("num_sentinels", 0)
    return TokenizerVocabulary(
        folder / TOKENIZER_FILE,
        **roles,
        control_tokens=control_tokens,
        num_sentinels=num_sentinels,
        as_is=as_is,
    )


def _count_sentinels(folder: pathlib.Path, config: dict[str, Any]) -> int:
    """Returns how many sentinels the files beside a `spiece.model` name, or T5's number."""
    named = [str(token) for token in config.get("additional_special_tokens") or []]
    added = config.get("added_tokens_decoder", {}).values()
    named += [token["content"] for token in added]
    if not named:
        tokens = _read_json(folder / TOKENIZER_FILE).get("added_tokens", [])
        named = [token["content"] for token in tokens]
    found = {name for name in named if "<extra_id_" in name}
    return len(found) or config.get("extra_ids", _T5_SENTINELS)


def _no_tokenizer(folder: pathlib.Path) -> str:
    return (
        f"{folder} holds no tokenizer; expected one of {SENTENCEPIECE_FILE}, {BYTE_FILE} and "
        f"{TOKENIZER_FILE}"
    )


def _read_json(path: pathlib.Path) -> dict[str, Any]:
    """Returns the content of a file; nothing if it is missing."""
    if not path.is_file():
        return {}
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError(f"{path} is not JSON: {error}") from error


def _write_json(path: pathlib.Path, content: Any) -> None:
    text = json.dumps(content, indent=2, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")

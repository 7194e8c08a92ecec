"""Which tokenizer files go with weights: those beside them, those of a run, or what a flag names.

`seqio`, and TensorFlow with it, is imported only when there is a tokenizer to read.
"""

import argparse
import pathlib
from collections.abc import Callable
from typing import Any

import gin

from xlingual import config
from xlingual.checkpointing.weights import find_checkpoint
from xlingual.errors import ConfigError
from xlingual.reporting.native_logs import hide_native_logs
from xlingual.training import loop

NONE = "none"

_SIGNS = ("tokenizer.json", "tokenizer_config.json", "spiece.model", "byte_vocabulary.json")
"""A folder with one of these has a tokenizer."""

WriteTokenizer = Callable[[pathlib.Path], list[str]]
"""Writes tokenizer files to a folder and returns their names."""


def add_tokenizer_argument(parser: argparse.ArgumentParser, default: str) -> None:
    """Declares `--tokenizer`.

    Args:
      parser: of the verb.
      default: what is taken without it, for the help.
    """
    parser.add_argument(
        "--tokenizer",
        metavar="PATH",
        help=f"folder with tokenizer files, or a SentencePiece .model; '{NONE}' for no tokenizer "
        f"(default: {default})",
    )


def copied_tokenizer(source: pathlib.Path, wished: str | None) -> WriteTokenizer | None:
    """Returns what brings the tokenizer of a foreign folder in; None where there is none.

    Args:
      source: the foreign folder.
      wished: value of `--tokenizer`.

    Raises:
      ConfigError: `wished` is no tokenizer.
    """
    if wished == NONE:
        return None
    folder = pathlib.Path(wished) if wished else source
    if wished and folder.is_file():
        return _sentencepiece(folder)
    if not any((folder / name).is_file() for name in _SIGNS):
        if wished:
            raise ConfigError(f"--tokenizer={wished}: expected a folder with one of {_SIGNS}")
        return None
    from xlingual.data import tokenizer_files

    return lambda target: tokenizer_files.copy_tokenizer_files(folder, target)


def exported_tokenizer(
    source: pathlib.Path, wished: str | None, *, add_eos: bool
) -> WriteTokenizer | None:
    """Returns what writes a tokenizer for `transformers`; None where there is none.

    Files that others wrote are copied; a vocabulary of ours is written in their form.

    Args:
      source: a weights folder, a run or a checkpoint of one.
      wished: value of `--tokenizer`.
      add_eos: whether EOS ends every text.

    Raises:
      ConfigError: `wished` is no tokenizer, or the run's configuration does not give one.
    """
    if wished == NONE:
        return None
    path = pathlib.Path(wished) if wished else source
    if (path / "tokenizer_config.json").is_file():
        return copied_tokenizer(path, None)
    if wished and path.is_file():
        vocabulary = _load_file(path)
    elif any((path / name).is_file() for name in _SIGNS):
        from xlingual.data import tokenizer_files

        vocabulary = tokenizer_files.load_tokenizer_vocabulary(path)
    elif wished:
        raise ConfigError(f"--tokenizer={wished}: expected a folder with one of {_SIGNS}")
    else:
        checkpoint = find_checkpoint(source)
        if checkpoint is None:
            return None
        vocabulary = _load_of_run(checkpoint)
    return _exporter(vocabulary, add_eos)


def _exporter(vocabulary: Any, add_eos: bool) -> WriteTokenizer:
    from xlingual.data import tokenizer_files

    return lambda target: tokenizer_files.export_tokenizer(vocabulary, target, add_eos=add_eos)


def _sentencepiece(path: pathlib.Path) -> WriteTokenizer:
    """Brings a SentencePiece file in under the name by which it is found."""
    from xlingual.data import tokenizer_files

    _load_file(path)  # so that nothing else is brought in as one

    def write(target: pathlib.Path) -> list[str]:
        (target / tokenizer_files.SENTENCEPIECE_FILE).write_bytes(path.read_bytes())
        return [tokenizer_files.SENTENCEPIECE_FILE]

    return write


def _load_file(path: pathlib.Path) -> Any:
    from xlingual.data import vocabularies

    return vocabularies.load_vocabulary(path)


def _load_of_run(checkpoint: pathlib.Path) -> Any:
    """The vocabulary of the tasks that a run was trained on."""
    text = checkpoint / "config" / "operative_config.gin"
    try:
        with hide_native_logs():
            config.parse([str(text)], [])
            source = gin.get_bindings(loop.train, resolve_references=True)["source"]
            from xlingual.cli import trained_model

            return trained_model.vocabulary_of(getattr(source, "base", source))
    except (ConfigError, KeyError, ValueError, ImportError) as error:
        raise ConfigError(
            f"{text} does not lead to the run's vocabulary ({error}); name it: --tokenizer=FILE, "
            f"or go without: --tokenizer={NONE}"
        ) from error

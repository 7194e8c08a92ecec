"""Another vocabulary for an imported model: a given one, or its own with tokens behind.

`seqio`, and TensorFlow with it, is imported only when a vocabulary is changed.
"""

import argparse
import dataclasses
import pathlib
import tempfile
from typing import Any

from xlingual.cli.tokenizer_choice import WriteTokenizer
from xlingual.data.row_plan import METHODS, RowPlan, plan_rows
from xlingual.errors import ConfigError


@dataclasses.dataclass(frozen=True, kw_only=True)
class VocabularyChange:
    """What an import does to the vocabulary.

    Attributes:
      rows: how the new tables come from the old ones.
      write_tokenizer: writes the files of the new vocabulary.
    """

    rows: RowPlan
    write_tokenizer: WriteTokenizer


def add_vocabulary_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares `--vocabulary`, `--append_languages`, `--num_sentinels` and `--new_rows`."""
    parser.add_argument(
        "--vocabulary",
        metavar="PATH",
        help="another vocabulary: a SentencePiece .model or a folder with tokenizer files",
    )
    parser.add_argument(
        "--append_languages",
        metavar="CODES",
        help="e.g. en,de,python: keep the vocabulary and put control tokens of these languages, "
        "and sentinels if there are none, behind its ids",
    )
    parser.add_argument(
        "--num_sentinels",
        type=int,
        metavar="N",
        help="with --append_languages: how many <extra_id_k> there shall be (default: those there "
        "are, or 100)",
    )
    parser.add_argument(
        "--new_rows",
        default="mean",
        metavar="METHOD",
        help=f"rows of tokens that the old vocabulary lacks, {' or '.join(METHODS)}: mean of the "
        "rows of their sub-tokens (default), or random ones; common tokens keep theirs",
    )


def vocabulary_change(
    args: argparse.Namespace, source: pathlib.Path, *, add_eos: bool
) -> VocabularyChange | None:
    """Returns the change that the flags ask for; None where they ask for none.

    Args:
      args: values of `--tokenizer` (of the model as it is) and of the flags of this module.
      source: the foreign folder, with the tokenizer if `--tokenizer` names none.
      add_eos: whether EOS ends every text in the tokenizer files.

    Raises:
      ConfigError: contradicting flags, an unknown method, or a vocabulary that cannot be read.
    """
    if not check_vocabulary_arguments(args):
        return None
    old_path = pathlib.Path(args.tokenizer or source)
    old = load_vocabulary_at(old_path, as_is=True)
    if args.vocabulary is not None:
        new = load_vocabulary_at(pathlib.Path(args.vocabulary))
    else:
        new = _extended(old_path, args.append_languages.split(","), args.num_sentinels)
    from xlingual.data import tokenizer_files

    return VocabularyChange(
        rows=plan_rows(old, new, method=args.new_rows),
        write_tokenizer=lambda target: tokenizer_files.export_tokenizer(
            new, target, add_eos=add_eos
        ),
    )


def check_vocabulary_arguments(args: argparse.Namespace) -> bool:
    """Returns whether the flags ask for a change.

    Raises:
      ConfigError: contradicting flags, or an unknown method.
    """
    if args.vocabulary is None and args.append_languages is None:
        if args.num_sentinels is not None:
            raise ConfigError("--num_sentinels goes with --append_languages, which is not given")
        return False
    if args.vocabulary is not None and args.append_languages is not None:
        raise ConfigError("--vocabulary and --append_languages exclude each other")
    if args.new_rows not in METHODS:
        raise ConfigError(f"--new_rows={args.new_rows}; expected one of {', '.join(METHODS)}")
    return True


def load_vocabulary_at(path: pathlib.Path, **settings: Any) -> Any:
    """Returns the vocabulary of a SentencePiece file or of a folder with tokenizer files.

    Args:
      path: of the file or folder.
      **settings: of `tokenizer_files.load_tokenizer_vocabulary`, for a folder.

    Raises:
      ConfigError: there is none.
    """
    from xlingual.data import tokenizer_files, vocabularies

    if path.is_dir():
        return tokenizer_files.load_tokenizer_vocabulary(path, **settings)
    return vocabularies.load_vocabulary(path)


def _extended(path: pathlib.Path, languages: list[str], num_sentinels: int | None) -> Any:
    """Returns the vocabulary at `path` with control tokens and sentinels behind its ids."""
    from xlingual.data import tokenizer_files, vocabularies, vocabulary_extension
    from xlingual.data.byte_vocabulary import ByteVocabulary
    from xlingual.data.languages import language_names

    language_names(languages)  # refuses unknown codes
    control = vocabularies.control_tokens(languages)
    count = vocabulary_extension.DEFAULT_SENTINELS if num_sentinels is None else num_sentinels
    vocabulary = load_vocabulary_at(path, as_is=True)
    if hasattr(vocabulary, "sp_model"):
        with tempfile.TemporaryDirectory() as folder:
            file = pathlib.Path(folder, "extended.model")
            extended = vocabulary_extension.append_pieces(
                vocabulary, file, control_tokens=control, num_sentinels=num_sentinels
            )
            extended.load_model()
        return extended
    if isinstance(vocabulary, ByteVocabulary):
        raise ConfigError(
            "--append_languages: sentinels of bytes are the highest ids and would move; give the "
            "new vocabulary as a folder with byte_vocabulary.json: --vocabulary=FOLDER"
        )
    return tokenizer_files.load_tokenizer_vocabulary(
        path, control_tokens=control, num_sentinels=count
    )

"""`xlingual vocab merge`: the pieces of one vocabulary behind those of another."""

import argparse
import pathlib
from typing import Any

from xlingual.cli.vocabulary_choice import load_vocabulary_at
from xlingual.data.vocabulary_merging import merge_pieces
from xlingual.errors import ConfigError

HELP = "put the pieces of a SentencePiece vocabulary behind those of another, whose ids stay"
EXAMPLE = "xlingual vocab merge mt5/spiece.model african.model --to=both.model"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument("vocabulary", help="whose ids stay: a .model, or a folder with one")
    parser.add_argument("other", help="whose pieces are added")
    parser.add_argument("--to", required=True, metavar="FILE", help="the .model file to write")
    parser.add_argument("--max_pieces", type=int, help="most pieces of text to add, the best first")


def main(args: argparse.Namespace) -> int:
    """Merges and prints what was added; returns 0.

    Raises:
      ConfigError: a vocabulary that cannot be read, or two that do not go together.
    """
    if args.max_pieces is not None and args.max_pieces < 0:
        raise ConfigError(f"--max_pieces={args.max_pieces}; expected 0 or more")
    first, second = (sentencepiece_at(path) for path in (args.vocabulary, args.other))
    found = merge_pieces(first, second, args.to, max_pieces=args.max_pieces)
    print(
        f"{args.to}: {found.vocabulary.vocab_size} pieces; the first {first.vocab_size} are those "
        f"of {args.vocabulary}; {found.added} of text added, {found.shared} shared, "
        f"{found.unreachable} left out that its normalisation rewrites"
    )
    return 0


def sentencepiece_at(path: str) -> Any:
    """Returns the SentencePiece vocabulary at a path.

    Raises:
      ConfigError: there is none, or one of another kind.
    """
    vocabulary = load_vocabulary_at(pathlib.Path(path))
    if not hasattr(vocabulary, "sp_model"):
        raise ConfigError(
            f"{path} holds a {type(vocabulary).__name__}; expected a SentencePiece model"
        )
    return vocabulary

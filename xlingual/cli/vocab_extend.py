"""`xlingual vocab extend`: control tokens and sentinels behind the ids of a vocabulary."""

import argparse

from xlingual.cli.vocab_merge import sentencepiece_at
from xlingual.data import languages, vocabularies, vocabulary_extension

HELP = "put control tokens and sentinels behind the pieces of a SentencePiece vocabulary"
EXAMPLE = "xlingual vocab extend mt5/spiece.model --languages=en,de,python --to=mt5_tags.model"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument("vocabulary", help="whose ids stay: a .model, or a folder with one")
    parser.add_argument("--to", required=True, metavar="FILE", help="the .model file to write")
    parser.add_argument("--languages", required=True, metavar="CODES", help="e.g. en,de,python")
    parser.add_argument(
        "--num_sentinels", type=int, help="default: those there are, or 100 where there are none"
    )


def main(args: argparse.Namespace) -> int:
    """Extends and prints what was added; returns 0.

    Raises:
      ConfigError: an unknown language, or a vocabulary that cannot be read or extended.
    """
    codes = args.languages.split(",")
    languages.language_names(codes)  # refuses unknown codes
    old = sentencepiece_at(args.vocabulary)
    new = vocabulary_extension.append_pieces(
        old,
        args.to,
        control_tokens=vocabularies.control_tokens(codes),
        num_sentinels=args.num_sentinels,
    )
    special = vocabularies.special_tokens(new)
    print(
        f"{args.to}: {new.vocab_size} pieces; the first {old.vocab_size} are those of "
        f"{args.vocabulary}; {special.num_sentinels} sentinels, the first {special.sentinel_start}"
    )
    return 0

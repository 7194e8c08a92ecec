"""`xlingual vocab ...`: train, allocate, measure, merge and extend vocabularies.

A subcommand is a module `vocab_NAME.py` beside this one, made like a verb.
"""

import argparse

from xlingual.cli import vocab_allocate, vocab_extend, vocab_merge, vocab_report, vocab_train

HELP = "train, allocate, measure, merge and extend vocabularies"
EXAMPLE = "xlingual vocab train --data_dir=corpora --vocab_size=32000 --to=shared.model"
SUBCOMMANDS = {
    "train": vocab_train,
    "allocate": vocab_allocate,
    "report": vocab_report,
    "merge": vocab_merge,
    "extend": vocab_extend,
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the subcommands with their options."""
    subparsers = parser.add_subparsers(dest="subcommand", required=True, metavar="SUBCOMMAND")
    for name, module in SUBCOMMANDS.items():
        one = subparsers.add_parser(
            name,
            help=module.HELP,
            description=module.HELP,
            epilog=f"example:\n  {module.EXAMPLE}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        module.add_arguments(one)


def main(args: argparse.Namespace) -> int:
    """Runs one subcommand; returns its exit status.

    Raises:
      ConfigError: bad input.
    """
    return SUBCOMMANDS[args.subcommand].main(args)

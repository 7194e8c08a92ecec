"""Which text a verb reads: registered tasks and mixtures, or a folder of plain files.

Folders are read by a module of the tasks package, which is named, not imported: nothing in
`xlingual` imports `tasks`.
"""

import argparse
import importlib
from collections.abc import Mapping, Sequence

from xlingual.data import languages
from xlingual.data.corpora import Corpus, only_languages, task_corpora
from xlingual.data.task_checks import import_task_modules
from xlingual.errors import ConfigError

FOLDER_MODULE = "tasks.corpus_folder"


def add_corpus_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares `NAME ...`, `--data_dir`, `--module`, `--split`, `--only` and `--sources`."""
    parser.add_argument("names", nargs="*", metavar="NAME", help="registered tasks or mixtures")
    parser.add_argument(
        "--data_dir",
        metavar="DIR",
        help="instead: a folder with mono/LANG.txt.gz, parallel/NAME.train.tsv.gz and "
        "code/NAME.train.jsonl.gz",
    )
    parser.add_argument("--module", action="append", help="task module (default: tasks.toy)")
    parser.add_argument("--split", default="train", help="default: train")
    parser.add_argument("--only", metavar="LANGUAGES", help="e.g. en,de: texts of these alone")
    parser.add_argument(
        "--sources",
        metavar="TEXTS",
        help="e.g. mono/,multi30k: sources whose name has one of these",
    )


def chosen_corpora(args: argparse.Namespace) -> list[Corpus]:
    """Returns the corpora that the flags name.

    Raises:
      ConfigError: neither or both of names and a folder are given, or there is no text.
    """
    if bool(args.names) == bool(args.data_dir):
        raise ConfigError(
            f"tasks {args.names} and --data_dir={args.data_dir}; expected one of them"
        )
    if args.data_dir:
        corpora = importlib.import_module(FOLDER_MODULE).folder_corpora(args.data_dir, args.split)
    else:
        import_task_modules(args.module or ["tasks.toy"])
        corpora = task_corpora(args.names, args.split)
    if args.sources:
        wanted = args.sources.split(",")
        known = [corpus.name for corpus in corpora]
        corpora = [c for c in corpora if any(text in c.name for text in wanted)]
        if not corpora:
            raise ConfigError(f"--sources={args.sources}: no source has such a name; {known}")
    return only_languages(corpora, args.only.split(",")) if args.only else corpora


def control_codes(args: argparse.Namespace, found: Sequence[str]) -> list[str]:
    """Returns the codes of the control tokens for the languages of the corpora, sorted.

    Args:
      args: values of the flags; a folder may have a table of codes.
      found: languages of the corpora; those whose code is unknown get no control token.
    """
    table: Mapping[str, str] = {}
    if args.data_dir:
        table = importlib.import_module(FOLDER_MODULE).language_codes(args.data_dir)
    codes = {table.get(language, language) for language in found}
    known = {*languages.NATURAL_LANGUAGES, *languages.PROGRAMMING_LANGUAGES}
    return sorted(codes & known)

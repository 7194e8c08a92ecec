"""`xlingual VERB ...`: finds the verb's module in this folder and calls it.

A verb is a module `xlingual/cli/VERB.py` with `HELP` (one line), `EXAMPLE` (a command),
`add_arguments(parser)` and `main(args) -> int`. A new verb is a new file.
"""

import argparse
import importlib
import os
import pkgutil
import sys
from collections.abc import Sequence
from types import ModuleType

import xlingual.cli
from xlingual.errors import ConfigError


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one verb; returns its exit status, 2 for bad input."""
    if argv is None:
        restart_with_huge_pages()
    argv = list(sys.argv[1:] if argv is None else argv)
    names = verbs()
    if not argv or argv[0] in ("-h", "--help"):
        print(_overview(names))
        return 0 if argv else 2
    if argv[0] not in names:
        print(f"xlingual: unknown verb {argv[0]!r}; expected one of {names}", file=sys.stderr)
        return 2
    verb = _load(argv[0])
    parser = argparse.ArgumentParser(
        prog=f"xlingual {argv[0]}",
        description=verb.HELP,
        epilog=f"example:\n  {verb.EXAMPLE}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    verb.add_arguments(parser)
    args = _parse(parser, argv[1:])
    try:
        return verb.main(args)
    except ConfigError as error:
        print(f"xlingual {argv[0]}: error: {_message(error)}", file=sys.stderr)
        return 2


def restart_with_huge_pages() -> None:
    """Starts this process anew with huge pages for large allocations; on Linux, once.

    XLA allocates the temporaries of a step anew at every step: on a CPU their page faults are a
    tenth of the time of a small model's step. glibc reads the setting only as a process starts. A
    `GLIBC_TUNABLES` of the user's own is left alone.
    """
    if sys.platform != "linux" or "GLIBC_TUNABLES" in os.environ:
        return
    os.environ["GLIBC_TUNABLES"] = "glibc.malloc.hugetlb=1"
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, sys.orig_argv)


def verbs() -> list[str]:
    """Returns the names of all verbs, sorted."""
    modules = pkgutil.iter_modules(xlingual.cli.__path__)
    return sorted(m.name for m in modules if m.name not in ("main", "gin_flags"))


def _load(name: str) -> ModuleType:
    return importlib.import_module(f"xlingual.cli.{name}")


def _overview(names: Sequence[str]) -> str:
    lines = ["usage: xlingual VERB [options]   (xlingual VERB --help shows an example)", ""]
    lines += [f"  {name:<12}{_load(name).HELP}" for name in names]
    return "\n".join(lines)


def _parse(parser: argparse.ArgumentParser, argv: Sequence[str]) -> argparse.Namespace:
    """Parses `argv`, taking `--gin.NAME=value` for verbs that declared `gin_overrides`."""
    args, rest = parser.parse_known_args(argv)
    overrides = [word for word in rest if word.startswith("--gin.") and "=" in word]
    unknown = [word for word in rest if word not in overrides]
    if unknown or (overrides and not hasattr(args, "gin_overrides")):
        parser.error(f"unrecognised arguments: {' '.join(unknown or overrides)}")
    if overrides:
        pairs = [word.removeprefix("--gin.").split("=", 1) for word in overrides]
        args.gin_overrides = [(name, value) for name, value in pairs]
    return args


def _message(error: ConfigError) -> str:
    """Returns the message without the call trail that gin appends to it."""
    lines = str(error).splitlines()
    return "\n".join(line for line in lines if not line.lstrip().startswith("In call to config"))


if __name__ == "__main__":
    sys.exit(main())

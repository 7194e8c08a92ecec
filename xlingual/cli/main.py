"""`xlingual VERB ...`: finds the verb's module in this folder and calls it.

A verb is a module `xlingual/cli/VERB.py` with `HELP` (one line), `EXAMPLE` (a command),
`add_arguments(parser)` and `main(args) -> int`. A new verb is a new file; an underscore of its name
is a hyphen on the command line, and one at its end, which keeps a name from being a keyword of
Python (`import_`), is dropped.
"""

import argparse
import hashlib
import importlib
import os
import pkgutil
import platform
import sys
from collections.abc import Sequence
from types import ModuleType

import xlingual.cli
from xlingual.errors import ConfigError

NOT_VERBS = (
    "corpus_choice",
    "filter_report",
    "gin_flags",
    "gin_job",
    "inspection",
    "line_files",
    "main",
    "processes",
    "progress",
    "reports",
    "tokenizer_choice",
    "trained_model",
    "vocab_allocate",
    "vocab_extend",
    "vocab_merge",
    "vocab_report",
    "vocab_train",
    "vocabulary_choice",
)
OVERRIDES = ("gin", "beam")
"""Families of flags that are passed on by name."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one verb; returns its exit status, 2 for bad input."""
    if argv is None:
        keep_compiled_programs()
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


def keep_compiled_programs() -> None:
    """Lets JAX keep compiled programs on disk, so that a second start need not compile them.

    They go to `xlingual/programs` in the user's folder for caches, apart for each kind of
    processor, since programs for a CPU use what that one has. JAX's own variables win:
    `JAX_COMPILATION_CACHE_DIR` names another folder (on a pod one that all hosts share), and
    `JAX_ENABLE_COMPILATION_CACHE=false` turns it off.
    """
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        caches = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
        folder = os.path.join(caches, "xlingual", "programs", _processor())
        os.environ["JAX_COMPILATION_CACHE_DIR"] = folder
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")


def _processor() -> str:
    """Returns a short name of this machine's kind of processor."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            flags = next((line for line in file if line.startswith(("flags", "Features"))), "")
    except OSError:
        flags = platform.processor()
    return f"{platform.machine()}-{hashlib.sha256(flags.encode()).hexdigest()[:8]}"


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
    return sorted(_modules())


def _modules() -> dict[str, str]:
    """Verb -> name of its module in this folder."""
    names = [module.name for module in pkgutil.iter_modules(xlingual.cli.__path__)]
    return {n.rstrip("_").replace("_", "-"): n for n in names if n not in NOT_VERBS}


def _load(name: str) -> ModuleType:
    return importlib.import_module(f"xlingual.cli.{_modules()[name]}")


def _overview(names: Sequence[str]) -> str:
    lines = ["usage: xlingual VERB [options]   (xlingual VERB --help shows an example)", ""]
    lines += [f"  {name:<12}{_load(name).HELP}" for name in names]
    return "\n".join(lines)


def _parse(parser: argparse.ArgumentParser, argv: Sequence[str]) -> argparse.Namespace:
    """Parses `argv`, collecting `--gin.NAME=value` and `--beam.NAME[=value]` for who wants them.

    A verb that declared `gin_overrides` or `beam_overrides` gets pairs (name, value) there.
    """
    rest, overrides = list(argv), {}
    for family in OVERRIDES:
        prefix, name = f"--{family}.", f"{family}_overrides"
        if parser.get_default(name) is None:
            continue
        # Taken out first: argparse takes a word with a space in it for a positional argument.
        words = [w for w in rest if w.startswith(prefix) and (family != "gin" or "=" in w)]
        rest = [word for word in rest if word not in words]
        parts = [word.removeprefix(prefix).partition("=") for word in words]
        overrides[name] = [(key, value) for key, _, value in parts]
    args, unknown = parser.parse_known_args(rest)
    vars(args).update(overrides)
    if unknown:
        parser.error(f"unrecognised arguments: {' '.join(unknown)}")
    return args


def _message(error: ConfigError) -> str:
    """Returns the message without the call trail that gin appends to it."""
    lines = str(error).splitlines()
    return "\n".join(line for line in lines if not line.lstrip().startswith("In call to config"))


if __name__ == "__main__":
    sys.exit(main())

"""The command line that the benchmarks of a gin file share."""

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

from xlingual.cli import gin_flags
from xlingual.cli.main import restart_with_huge_pages
from xlingual.errors import ConfigError


def make_parser(description: str, *, peer: bool = True) -> argparse.ArgumentParser:
    """Returns a parser of the gin flags and, with `peer`, of those that tell of the peer."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    gin_flags.add_gin_arguments(parser)
    if not peer:
        return parser
    parser.add_argument("--peer", action="store_true", help="time transformers/PyTorch as well")
    parser.add_argument(
        "--peer_python", default=sys.executable, help="interpreter with torch and transformers"
    )
    parser.add_argument(
        "--threads", type=int, default=len(os.sched_getaffinity(0)), help="threads of the peer"
    )
    return parser


def run_command(
    name: str,
    parser: argparse.ArgumentParser,
    run: Callable[[argparse.Namespace], dict[str, Any]],
    argv: Sequence[str] | None,
) -> int:
    """Measures, prints a JSON line and returns the exit status: 2 for bad input.

    Args:
      name: of the benchmark, for messages.
      parser: from `make_parser`, with the benchmark's own flags.
      run: (parsed flags, `gin_overrides` among them) -> what was measured, JSON types.
      argv: the words of the command line; None for those of this process, which is then started
        anew with huge pages that a peer inherits.
    """
    if argv is None:
        restart_with_huge_pages()
    args, rest = parser.parse_known_args(argv)
    unknown = [word for word in rest if not (word.startswith("--gin.") and "=" in word)]
    if unknown:
        parser.error(f"unrecognised arguments: {' '.join(unknown)}")
    args.gin_overrides = [word.removeprefix("--gin.").split("=", 1) for word in rest]
    try:
        if not args.gin_file:
            raise ConfigError("--gin_file: none given; expected e.g. benchmarks/mt5_small.gin")
        result = run(args)
    except ConfigError as error:
        print(f"{name}: error: {error}", file=sys.stderr)
        return 2
    print(json.dumps(result), flush=True)
    return 0

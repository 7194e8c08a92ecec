"""The gin options that verbs share: `--gin_file`, `--gin.NAME=value`, `--gin_search_paths`."""

import argparse
import sys
from collections.abc import Sequence

from xlingual import config
from xlingual.reporting.native_logs import hide_native_logs


def add_gin_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the gin options; `--gin.NAME=value` is collected by `xlingual.cli.main`."""
    parser.add_argument(
        "--gin_file",
        action="append",
        default=[],
        metavar="FILE",
        help="gin file, e.g. gin/experiments/toy.gin; may be repeated, later files win",
    )
    parser.add_argument(
        "--gin_search_paths",
        action="append",
        default=[],
        metavar="FOLDER",
        help="further folder under which gin files are looked up; may be repeated",
    )
    parser.set_defaults(gin_overrides=[])


def parse_gin(args: argparse.Namespace, *, may_miss: Sequence[str] = ()) -> None:
    """Parses the gin files and overrides of `args`.

    If their modules use TensorFlow, it is kept off the accelerators: it would take their memory.

    Args:
      args: with the gin options.
      may_miss: macros that may stay unset (`config.parse`).

    Raises:
      ConfigError: as `config.parse`.
    """
    with hide_native_logs():
        config.parse(args.gin_file, args.gin_overrides, args.gin_search_paths, may_miss=may_miss)
        tensorflow = sys.modules.get("tensorflow")
        if tensorflow is not None:
            tensorflow.get_logger().setLevel("ERROR")
            for kind in ("GPU", "TPU"):
                tensorflow.config.set_visible_devices([], kind)

"""`xlingual train`: reads gin files and runs the train loop they describe."""

import argparse
import contextlib
import logging
import os
import sys
from collections.abc import Callable
from typing import Any

import gin
import psutil

from xlingual import config
from xlingual.cli import gin_flags, processes
from xlingual.errors import ConfigError
from xlingual.training import loop

HELP = "pre-train the model that gin files describe; the same command again resumes"
EXAMPLE = "xlingual train --gin_file=gin/experiments/toy.gin --gin.MODEL_DIR=runs/toy"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options of the verb."""
    gin_flags.add_gin_arguments(parser)
    processes.add_process_arguments(parser)
    parser.add_argument(
        "--profile_steps",
        metavar="FIRST:LAST",
        help="write a trace of these steps for XProf and Perfetto to MODEL_DIR/profile",
    )
    parser.add_argument(
        "--dry_run", action="store_true", help="parse and print the configuration, then stop"
    )


def main(args: argparse.Namespace) -> int:
    """Trains; returns 0 when the run ended or was stopped cleanly.

    Raises:
      ConfigError: for anything wrong with the input, before any step is taken, and for a loss
        that is not finite.
    """
    if not args.gin_file:
        raise ConfigError("--gin_file: none given; expected at least one, e.g. " + EXAMPLE)
    _quiet_libraries()
    if args.dry_run:
        gin_flags.parse_gin(args)
        print(config.full_config())
        return 0
    profile = {} if args.profile_steps is None else {"profile_steps": args.profile_steps}
    wanted = processes.wanted_processes(args)
    with contextlib.nullcontext() if wanted is None else processes.joined(wanted):
        gin_flags.parse_gin(args)
        _bound_train()(
            config_text=config.operative_config,
            begun_unix_seconds=psutil.Process().create_time(),
            **profile,
        )
    return 0


def _bound_train() -> Callable[..., Any]:
    try:
        return gin.get_configurable(loop.train)
    except (ValueError, KeyError) as error:
        raise ConfigError(
            "the gin files do not bind xlingual.training.loop.train; include gin/runs/pretrain.gin"
        ) from error


def _quiet_libraries() -> None:
    """Keeps TensorFlow and absl from writing over the progress bar."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    logging.getLogger("absl").setLevel(logging.WARNING)
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    # Once a run: which kernels were chosen.
    logging.getLogger("xlingual").setLevel(logging.INFO)

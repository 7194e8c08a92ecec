"""`xlingual train`: reads gin files and runs the train loop they describe."""

import argparse
import logging
import os
import sys
from collections.abc import Callable
from typing import Any

import gin
import jax

from xlingual import config
from xlingual.cli import gin_flags
from xlingual.errors import ConfigError
from xlingual.training import loop

HELP = "pre-train the model that gin files describe; the same command again resumes"
EXAMPLE = "xlingual train --gin_file=gin/experiments/toy.gin --gin.MODEL_DIR=runs/toy"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options of the verb."""
    gin_flags.add_gin_arguments(parser)
    parser.add_argument(
        "--multiprocess",
        action="store_true",
        help="one process of several (TPU pods, GPU clusters): calls jax.distributed.initialize",
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
    if args.multiprocess:
        jax.distributed.initialize()
    gin_flags.parse_gin(args)
    if args.dry_run:
        print(config.full_config())
        return 0
    train = _bound_train()
    train(config_text=config.operative_config)
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

"""`xlingual import`: a public checkpoint becomes a weights folder that training starts from."""

import argparse
import pathlib

import jax

from xlingual.checkpointing.import_weights import (
    ImportOptions,
    import_weights,
    open_checkpoint,
)
from xlingual.cli import tokenizer_choice, vocabulary_choice
from xlingual.cli.progress import byte_progress
from xlingual.errors import ConfigError
from xlingual.partitioning import rules
from xlingual.partitioning.partitioner import Partitioner

HELP = "bring a checkpoint of the Hugging Face or T5X layout in"
EXAMPLE = "xlingual import --from=downloads/mt5-small --to=weights/mt5-small"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options of the verb."""
    parser.add_argument(
        "--from",
        dest="source",
        required=True,
        metavar="DIR",
        help="folder with config.json and safetensors files, or a T5X checkpoint",
    )
    parser.add_argument("--to", required=True, metavar="DIR", help="new folder for the weights")
    parser.add_argument(
        "--dtype", default="float32", help="of the parameters: float32 (default) or bfloat16"
    )
    parser.add_argument(
        "--unrolled",
        action="store_true",
        help="for SCAN_LAYERS = False: every layer has parameters of its own",
    )
    parser.add_argument(
        "--fsdp",
        action="store_true",
        help="cut the parameters over all devices while they are copied, not in host memory",
    )
    tokenizer_choice.add_tokenizer_argument(parser, "the files of the folder")
    vocabulary_choice.add_vocabulary_arguments(parser)
    parser.add_argument("--seed", type=int, default=0, help="of rows that are drawn at random")
    parser.add_argument(
        "--ignore_setting",
        action="append",
        default=[],
        metavar="NAME",
        help="a setting of config.json that changes nothing; may be repeated",
    )


def main(args: argparse.Namespace) -> int:
    """Imports; returns 0.

    Raises:
      ConfigError: the checkpoint cannot be read or represented; nothing is left behind then.
    """
    source, folder = pathlib.Path(args.source), pathlib.Path(args.to)
    if not source.is_dir():
        raise ConfigError(f"--from={args.source}: no such folder")
    ignore = tuple(args.ignore_setting)
    family = open_checkpoint(source, ignore).family
    change = vocabulary_choice.vocabulary_change(args, source, add_eos=family == "encoder_decoder")
    options = ImportOptions(
        dtype=args.dtype,
        scan_layers=not args.unrolled,
        ignore=ignore,
        rows=change.rows if change else None,
        seed=args.seed,
    )
    copied = None if change else tokenizer_choice.copied_tokenizer(source, args.tokenizer)
    write_tokenizer = change.write_tokenizer if change else copied
    with byte_progress("import") as show:
        info = import_weights(
            source,
            folder,
            partitioner=_partitioner(args.fsdp),
            options=options,
            write_tokenizer=write_tokenizer or (lambda target: []),
            show=show,
        )
    config = info.config
    print(
        f"{folder}: {info.family}, {len(info.arrays)} arrays in {args.dtype}, d_model "
        f"{config['d_model']}, {config['num_encoder_layers']} encoder and "
        f"{config['num_decoder_layers']} decoder layers, vocabulary of {config['vocab_size']}"
    )
    if change:
        print(f"vocabulary changed: {change.rows.describe()}")
    names = info.vocabulary["tokenizer_files"]
    print("tokenizer: " + (", ".join(names) or "none there; --tokenizer=PATH brings one in"))
    return 0


def _partitioner(fsdp: bool) -> Partitioner:
    """The devices that hold the parameters on their way: all, or the host's memory."""
    if fsdp:
        return Partitioner(rules=rules.fsdp(), data=1, fsdp=-1)
    return Partitioner(rules=rules.data_parallel(), devices=(jax.devices("cpu")[0],))

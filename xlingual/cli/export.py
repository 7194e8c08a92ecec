"""`xlingual export`: a model of ours becomes a folder that `transformers` loads as it is."""

import argparse
import functools
import pathlib

from xlingual.checkpointing.huggingface_export import (
    DEFAULT_SHARD_BYTES,
    ExportOptions,
    export_huggingface,
)
from xlingual.checkpointing.model_card import make_model_card
from xlingual.checkpointing.weights import identify, load_array, load_info
from xlingual.cli import tokenizer_choice
from xlingual.cli.progress import byte_progress

HELP = "write a model in the Hugging Face layout; the same command again goes on"
EXAMPLE = "xlingual export --from=runs/toy --to=exported/toy --dtype=bfloat16"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options of the verb."""
    parser.add_argument(
        "--from",
        dest="source",
        required=True,
        metavar="DIR",
        help="MODEL_DIR of a run (its latest checkpoint), MODEL_DIR/checkpoints/STEP, or the "
        "folder of an import",
    )
    parser.add_argument("--to", required=True, metavar="DIR", help="new folder for the model")
    parser.add_argument(
        "--dtype", default="float32", help="of the tensors: float32 (default) or bfloat16"
    )
    parser.add_argument(
        "--max_shard_bytes",
        type=float,
        default=DEFAULT_SHARD_BYTES,
        metavar="BYTES",
        help="size of a file, e.g. 2e9 (default 5e9); a larger tensor has a file of its own",
    )
    parser.add_argument(
        "--model_type",
        metavar="TYPE",
        help="of config.json: t5, mt5, umt5, llama, qwen3 or gemma (default: the first that fits)",
    )
    parser.add_argument(
        "--license", metavar="NAME", help="for the model card, e.g. apache-2.0 (default: left open)"
    )
    tokenizer_choice.add_tokenizer_argument(parser, "of the folder or of the run's tasks")
    parser.add_argument(
        "--transformers",
        type=int,
        default=5,
        metavar="VERSION",
        help="major version that will read it, 4 or 5 (default); matters to an untied umT5 alone",
    )


def main(args: argparse.Namespace) -> int:
    """Exports; returns 0.

    Raises:
      ConfigError: there are no weights, they have no counterpart there, or a folder is in the way.
    """
    source, folder = pathlib.Path(args.source), pathlib.Path(args.to)
    info = load_info(source)
    write_tokenizer = tokenizer_choice.exported_tokenizer(
        source, args.tokenizer, add_eos=info.family == "encoder_decoder"
    )
    card = make_model_card(source, name=folder.name, license_id=args.license)
    written: list[str] = []

    def finish(target: pathlib.Path) -> None:
        written.extend(write_tokenizer(target) if write_tokenizer else [])
        (target / "README.md").write_text(card, encoding="utf-8")

    options = ExportOptions(
        dtype=args.dtype,
        max_shard_bytes=int(args.max_shard_bytes),
        model_type=args.model_type,
        transformers=args.transformers,
    )
    with byte_progress("export") as show:
        export_huggingface(
            folder,
            info,
            functools.partial(load_array, source),
            identity=identify(source),
            options=options,
            finish=finish,
            show=show,
        )
    print(f"tokenizer: {', '.join(written) or 'none'}")
    print(f"{folder}: {info.family} of step {info.step}, {len(info.arrays)} arrays, {args.dtype}")
    return 0

"""`xlingual pivot-join`: multi-way records and direct pairs from corpora that share a language."""

import argparse

from rich.console import Console

from xlingual.data.pivot_join import JoinRules
from xlingual.errors import ConfigError

HELP = "join bilingual corpora on the sentences of their pivot language"
EXAMPLE = "xlingual pivot-join joined --inputs hi-en.tsv sw-en.tsv.gz --exclude flores.tsv"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options of the verb; `--beam.NAME=value` goes to Beam."""
    defaults = JoinRules()
    parser.add_argument("output", help="folder to write, empty or new")
    parser.add_argument(
        "--inputs",
        nargs="+",
        action="extend",
        default=[],
        metavar="FILE",
        help="tables with a header of language codes, one of them the pivot; .gz is decompressed",
    )
    parser.add_argument(
        "--exclude",
        nargs="+",
        action="extend",
        default=[],
        metavar="FILE",
        help="evaluation tables: no sentence of any of their languages gets into the output",
    )
    parser.add_argument("--pivot", default=defaults.pivot, help="code of the shared language")
    parser.add_argument(
        "--loose", action="store_true", help="join without regard to case and final punctuation"
    )
    parser.add_argument(
        "--include_pivot", action="store_true", help="also write pairs with the pivot language"
    )
    parser.add_argument("--min_tokens", type=int, default=defaults.min_tokens)
    parser.add_argument("--max_tokens", type=int, default=defaults.max_tokens)
    parser.add_argument(
        "--pairs_per_key",
        type=int,
        default=defaults.pairs_per_key,
        help="pairs that one sentence may give a direction, by smallest hash",
    )
    parser.add_argument("--max_pairs", type=int, help="pairs a direction, by smallest hash")
    parser.add_argument("--num_shards", type=int, default=1, help="files an output is cut into")
    parser.set_defaults(beam_overrides=[])
    parser.epilog = (
        f"{parser.epilog}\n\nFlags of Beam follow --beam., e.g. --beam.runner=DataflowRunner or, "
        "for four\nprocesses here, --beam.direct_num_workers=4 "
        "--beam.direct_running_mode=multi_processing"
    )


def main(args: argparse.Namespace) -> int:
    """Runs the pipeline and prints what it counted; returns 0.

    Raises:
      ConfigError: Beam is not installed, or as `pivot_pipeline.run`.
    """
    rules = JoinRules(
        pivot=args.pivot,
        loose=args.loose,
        min_tokens=args.min_tokens,
        max_tokens=args.max_tokens,
        pairs_per_key=args.pairs_per_key,
        include_pivot=args.include_pivot,
    )
    try:
        from xlingual.data import pivot_pipeline
    except ImportError as error:
        raise ConfigError(
            f"pivot-join needs Apache Beam ({error}); run: pip install 'xlingual[beam]'"
        ) from error
    files = pivot_pipeline.JoinFiles(
        inputs=args.inputs,
        exclude=args.exclude,
        output=args.output,
        num_shards=args.num_shards,
        max_pairs=args.max_pairs,
    )
    flags = [f"--{name}={value}" if value else f"--{name}" for name, value in args.beam_overrides]
    console = Console()
    for name, count in pivot_pipeline.run(files, rules, flags).items():
        console.print(f"{name:<24}{count:>14,}", highlight=False)
    console.print(f"written to {args.output}", soft_wrap=True, highlight=False)
    return 0

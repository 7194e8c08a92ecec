"""`xlingual cache`: a task or mixture as files that a pod reads without processing text."""

import argparse
import dataclasses
import functools
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import gin
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from xlingual.cache.manifest import MODES, CachedTask, Manifest, summed
from xlingual.cache.packing import FAMILIES, PACKERS
from xlingual.cli import gin_flags
from xlingual.data import cache_job, task_checks
from xlingual.errors import ConfigError
from xlingual.training import loop

HELP = "write a task or mixture as packed ArrayRecord files with a manifest"
EXAMPLE = (
    "xlingual cache toy_translation_trained --output=caches/toy --row_shape=translation=64,64 "
    "--num_shards=2 --no_beam"
)
_PIPE_WIDTH = 200
_LENGTH_STEP = 8
"""Row lengths that are proposed are multiples of it."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options of the verb; `--beam.NAME=value` goes to Beam."""
    defaults = cache_job.CacheJob(name="", output="")
    parser.add_argument(
        "name", nargs="?", help="a registered task or mixture; with --gin_file default: its own"
    )
    parser.add_argument("--output", required=True, metavar="FOLDER", help="new, or to continue")
    parser.add_argument("--module", action="append", help="task module (default: tasks.toy)")
    gin_flags.add_gin_arguments(parser)
    parser.add_argument(
        "--mode",
        choices=MODES,
        default=defaults.mode,
        help="tokenised: before the objective, which is applied as it is read; packed: all done",
    )
    parser.add_argument("--family", choices=FAMILIES, default=defaults.family)
    parser.add_argument("--split", action="append", help="may be repeated (default: train)")
    parser.add_argument(
        "--num_shards", type=int, default=defaults.num_shards, help="files a task and split"
    )
    parser.add_argument(
        "--row_shape",
        action="append",
        default=[],
        metavar="[NAME=]INPUTS,TARGETS",
        help="row lengths in tokens, of an objective or task, or of all others; may be repeated; "
        "goes before what the mixture declares",
    )
    parser.add_argument("--packing", choices=sorted(PACKERS), default=defaults.packing)
    parser.add_argument("--window", type=int, help="of best_fit: examples to choose from")
    parser.add_argument(
        "--no_reset_at_eos",
        action="store_true",
        help="of chunk: a row is one example, whatever documents it holds",
    )
    parser.add_argument("--seed", type=int, default=defaults.seed, help="of objectives")
    parser.add_argument(
        "--min_fill",
        type=float,
        default=0.95,
        help="warn of tasks whose rows hold a smaller share of tokens",
    )
    parser.add_argument(
        "--no_beam", action="store_true", help="make one shard after the other, without Beam"
    )
    parser.set_defaults(beam_overrides=[])
    parser.epilog = (
        f"{parser.epilog}\n\nA job that was stopped continues when it is started again. Flags of "
        "Beam follow\n--beam., e.g. --beam.runner=DataflowRunner or, for two processes here,\n"
        "--beam.direct_num_workers=2 --beam.direct_running_mode=multi_processing"
    )


def main(args: argparse.Namespace) -> int:
    """Makes the cache and prints what it holds; returns 0.

    Raises:
      ConfigError: Beam is not installed, or as `cache_job.make_cache`.
    """
    if not 0.0 <= args.min_fill <= 1.0:
        raise ConfigError(f"--min_fill={args.min_fill}; expected a share from 0 to 1")
    registration = Registration(
        modules=tuple(args.module or (() if args.gin_file else ("tasks.toy",))),
        gin_files=tuple(args.gin_file),
        gin_overrides=tuple(args.gin_overrides),
        gin_search_paths=tuple(args.gin_search_paths),
    )
    own_name = registration()
    name = args.name or own_name
    if not isinstance(name, str):
        raise ConfigError(
            "no task or mixture named; expected a name, or a --gin_file with MIXTURE_OR_TASK_NAME"
        )
    job = cache_job.CacheJob(
        name=name,
        output=args.output,
        mode=args.mode,
        family=args.family,
        splits=tuple(args.split or ["train"]),
        num_shards=args.num_shards,
        row_shapes=row_shapes(args.row_shape),
        packing=args.packing,
        packing_options=_packing_options(args),
        seed=args.seed,
    )
    manifest = cache_job.make_cache(job, _distribution(args, registration))
    console = Console() if sys.stdout.isatty() else Console(width=_PIPE_WIDTH)
    for split in manifest.splits:
        _print_split(console, manifest, split, args.min_fill)
    console.print(f"written to {args.output}", soft_wrap=True, highlight=False)
    return 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Registration:
    """Registers the tasks of a command line; it can be pickled, for every worker needs them.

    Attributes:
      modules: task modules.
      gin_files: experiments, whose task modules and registrations count.
      gin_overrides: pairs (name, value).
      gin_search_paths: further folders of gin files.
    """

    modules: Sequence[str]
    gin_files: Sequence[str] = ()
    gin_overrides: Sequence[tuple[str, str]] = ()
    gin_search_paths: Sequence[str] = ()

    def __call__(self) -> Any:
        """Registers; returns the name of the experiment's mixture, or None.

        Raises:
          ConfigError: a module or gin file is wrong.
        """
        task_checks.import_task_modules(self.modules)
        if not self.gin_files:
            return None
        gin_flags.parse_gin(argparse.Namespace(gin_file=self.gin_files, **self._gin_options()))
        source = gin.get_bindings(loop.train, resolve_references=True)["source"]
        task_checks.import_task_modules(getattr(source, "task_modules", ()))
        return getattr(source, "mixture_or_task_name", None)

    def _gin_options(self) -> Mapping[str, Any]:
        return {
            "gin_overrides": self.gin_overrides,
            "gin_search_paths": self.gin_search_paths,
        }


def row_shapes(words: Sequence[str]) -> dict[str, dict[str, int]]:
    """Returns `NAME=INPUTS,TARGETS` and `INPUTS,TARGETS` as row shapes; `*` stands for all others.

    Raises:
      ConfigError: a word is neither, or a name is given twice.
    """
    found: dict[str, dict[str, int]] = {}
    for word in words:
        name, _, lengths = word.rpartition("=")
        parts = lengths.split(",")
        if len(parts) != 2 or not all(part.strip().isdecimal() for part in parts):
            raise ConfigError(
                f"--row_shape={word}; expected INPUTS,TARGETS or NAME=INPUTS,TARGETS, in tokens"
            )
        if (name or cache_job.ALL) in found:
            raise ConfigError(f"--row_shape={word} is the second for {name or 'all others'}")
        found[name or cache_job.ALL] = {"inputs": int(parts[0]), "targets": int(parts[1])}
    return found


def _packing_options(args: argparse.Namespace) -> dict[str, Any]:
    options: dict[str, Any] = {}
    if args.window is not None:
        options["window"] = args.window
    if args.no_reset_at_eos:
        options["reset_at_eos"] = False
    return options


def _distribution(
    args: argparse.Namespace, registration: Registration
) -> cache_job.Distribute | None:
    if args.no_beam:
        if args.beam_overrides:
            raise ConfigError("--no_beam is given with flags of Beam; expected one or the other")
        return None
    try:
        from xlingual.data import cache_pipeline
    except ImportError as error:
        raise ConfigError(
            f"cache needs Apache Beam ({error}); run: pip install 'xlingual[beam]', or make one "
            "shard after the other: --no_beam"
        ) from error
    flags = [f"--{name}={value}" if value else f"--{name}" for name, value in args.beam_overrides]
    return functools.partial(
        cache_pipeline.distribute, register_tasks=registration, beam_options=flags
    )


def _print_split(console: Console, manifest: Manifest, split: str, min_fill: float) -> None:
    tasks = manifest.tasks(split)
    packed = manifest.mode == "packed"
    table = Table(title=f"{escape(manifest.mixture)}, split {split}, {manifest.mode}")
    for column in ("task", "objective", "row shape"):
        table.add_column(column)
    for column in ("rows" if packed else "records", "examples", "inputs", "targets", "MB", "fill"):
        table.add_column(column, justify="right")
    for task in tasks:
        shape = f"{task.row_shape['inputs']}+{task.row_shape['targets']}" if task.row_shape else ""
        style = "yellow" if packed and task.counts.fill < min_fill else None
        table.add_row(
            escape(task.name), task.objective, shape, *_cells([task], packed), style=style
        )
    if len(tasks) > 1:
        table.add_section()
        table.add_row("all", "", "", *_cells(tasks, packed))
    console.print(table)
    for task in tasks:
        if packed and task.counts.fill < min_fill:
            console.print(
                f"warning: rows of {escape(task.name)} are {task.counts.fill:.1%} full, below "
                f"{min_fill:.1%}; {advice(task, manifest.family)}",
                style="yellow",
                soft_wrap=True,
                highlight=False,
            )


def advice(task: CachedTask, family: str) -> str:
    """Returns what would make rows of a task fuller.

    Args:
      task: with rows.
      family: of the models.
    """
    counts, (inputs, targets) = task.counts, (task.row_shape["inputs"], task.row_shape["targets"])
    rows = max(counts.input_tokens / inputs if inputs else 0.0, counts.target_tokens / targets)
    bound = counts.tokens / (rows * (inputs + targets))
    if family == "decoder_only" or bound - counts.fill > 1.0 - bound:
        return (
            "its examples are long for its rows, or few: try longer rows, or another --packing or "
            "--window"
        )
    wanted = (inputs + targets) * counts.input_tokens / counts.tokens
    inputs_wanted = max(_LENGTH_STEP, round(wanted / _LENGTH_STEP) * _LENGTH_STEP)
    return (
        f"its examples have {counts.input_tokens / counts.target_tokens:.2f} inputs a target, so "
        f"{bound:.1%} is the most that rows of this shape can be: try "
        f"--row_shape={task.name}={inputs_wanted},{inputs + targets - inputs_wanted}"
    )


def _cells(tasks: Sequence[CachedTask], packed: bool) -> list[str]:
    counts = summed([task.counts for task in tasks])
    num_bytes = sum(shard.num_bytes for task in tasks for shard in task.shards)
    return [
        f"{sum(task.num_records for task in tasks):,}",
        f"{counts.examples:,}",
        f"{counts.input_tokens:,}",
        f"{counts.target_tokens:,}",
        f"{num_bytes / 1e6:,.1f}",
        f"{counts.fill:.1%}" if packed else "",
    ]

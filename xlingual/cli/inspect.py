"""`xlingual inspect`: what a task or mixture feeds a model, before any device time is spent."""

import argparse
import itertools
from collections.abc import Iterator, Mapping, Sequence

import gin
import numpy as np
import seqio
from rich.console import Console
from rich.table import Table
from rich.text import Text

from xlingual.cli import gin_flags
from xlingual.data import feature_converters, task_checks
from xlingual.data.base import TaskInfo
from xlingual.data.datasets import SeqioSource
from xlingual.errors import ConfigError
from xlingual.training import loop

HELP = "show rates, token shares, fill and packed examples of a task or mixture"
EXAMPLE = "xlingual inspect toy_pretrain --inputs=128 --targets=128 --num_rows=2"
CONVERTERS = {
    "encoder_decoder": feature_converters.EncDecFeatureConverter,
    "decoder_only": feature_converters.DecoderFeatureConverter,
}
_COLOURS = ("cyan", "magenta", "green", "yellow", "blue")
_FILL_BATCHES = 4


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options of the verb."""
    parser.add_argument("name", nargs="?", help="a registered task or mixture")
    parser.add_argument("--module", action="append", help="task module (default: tasks.toy)")
    gin_flags.add_gin_arguments(parser)
    parser.add_argument("--inputs", type=int, default=128, help="length of inputs in tokens")
    parser.add_argument("--targets", type=int, default=128, help="length of targets in tokens")
    parser.add_argument("--num_rows", type=int, default=2, help="packed rows to show")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--split", default="train")
    parser.add_argument("--family", choices=sorted(CONVERTERS), default="encoder_decoder")


def main(args: argparse.Namespace) -> int:
    """Prints the tables; returns 0.

    Raises:
      ConfigError: the name, a module, a split or the lengths are wrong.
    """
    if args.num_rows < 0:
        raise ConfigError(f"--num_rows={args.num_rows}; expected 0 or more")
    source = _source_of(args)
    tasks = source.tasks
    batches = list(itertools.islice(_batches(source), _FILL_BATCHES))
    console = Console()
    console.print(_task_table(source, batches))
    console.print(_fill_line(batches))
    vocabulary = task_checks.load_vocabulary_of(seqio.TaskRegistry.get(tasks[0].name))
    for row in range(min(args.num_rows, len(batches[0]["decoder_target_tokens"]))):
        one = {name: value[row] for name, value in batches[0].items()}
        _print_row(console, row, one, tasks, vocabulary)
    return 0


def _source_of(args: argparse.Namespace) -> SeqioSource:
    """Returns the data of an experiment, or of the named task or mixture."""
    if args.gin_file:
        gin_flags.parse_gin(args)
        return gin.get_bindings(loop.train, resolve_references=True)["source"]
    if args.name is None:
        raise ConfigError("no task or mixture named; expected a name, or an experiment: --gin_file")
    return SeqioSource(
        mixture_or_task_name=args.name,
        task_feature_lengths={"inputs": args.inputs, "targets": args.targets},
        batch_size=32,
        feature_converter=CONVERTERS[args.family](pack=True),
        split=args.split,
        seed=args.seed,
        task_modules=list(args.module or ["tasks.toy"]),
    )


def _batches(source: SeqioSource) -> Iterator[dict[str, np.ndarray]]:
    iterator = source.iterator()
    while True:
        yield next(iterator)


def _task_table(source: SeqioSource, batches: list[dict[str, np.ndarray]]) -> Table:
    """Returns one row a task: declared share, rate of examples, realised share, sizes."""
    title = f"{source.mixture_or_task_name}: shares in {source.tasks[0].share_unit}"
    table = Table(title=title)
    columns = ("task", "declared", "rate", "realised", "inputs", "targets", "examples/epoch")
    for column in columns:
        table.add_column(column, justify="left" if column == "task" else "right", no_wrap=True)
    weights = np.concatenate([b["decoder_loss_weights"].ravel() for b in batches])
    ids = np.concatenate([b["decoder_task_ids"].ravel() for b in batches])
    sums = np.bincount(ids, weights, minlength=len(source.tasks) + 1)[1:]
    for info, realised in zip(source.tasks, sums / max(sums.sum(), 1e-9), strict=True):
        measured = source.statistics[info.name]
        epoch = info.examples_per_epoch
        table.add_row(
            info.name,
            f"{info.share:.4f}",
            f"{source.example_rates[info.name]:.4f}",
            f"{realised:.4f}",
            f"{measured.mean_input_tokens:.1f}",
            f"{measured.mean_target_tokens:.1f}",
            "?" if epoch is None else f"{epoch:,.0f}",
        )
    return table


def _fill_line(batches: list[dict[str, np.ndarray]]) -> str:
    """Returns the share of positions that are not padding, per stack."""
    parts = []
    for name in batches[0]:
        if name.endswith("_segment_ids"):
            filled = np.mean([np.mean(batch[name] > 0) for batch in batches])
            segments = np.mean([batch[name].max(axis=1).mean() for batch in batches])
            stack = name.removesuffix("_segment_ids")
            parts.append(f"{stack} {filled:.3f} ({segments:.1f} examples a row)")
    rows = sum(len(batch["decoder_target_tokens"]) for batch in batches)
    return f"fill over {rows} rows: " + ", ".join(parts)


def _print_row(
    console: Console,
    index: int,
    row: Mapping[str, np.ndarray],
    tasks: Sequence[TaskInfo],
    vocabulary: seqio.Vocabulary,
) -> None:
    """Prints a packed row: a colour a segment, bold sentinels and tags, dim weight 0."""
    console.rule(f"row {index}")
    stacks = ["encoder_input_tokens", "decoder_target_tokens"]
    segments = row["decoder_segment_ids"]
    for segment in range(1, int(segments.max()) + 1):
        first = int(np.argmax(segments == segment))
        console.print(f"[bold]{tasks[int(row['decoder_task_ids'][first]) - 1].name}[/bold]")
        for name in [stack for stack in stacks if stack in row]:
            stack = name.split("_")[0]
            chosen = row[f"{stack}_segment_ids"] == segment
            weights = row["decoder_loss_weights"] if stack == "decoder" else np.ones_like(chosen)
            text = Text(f"  {name}: ", style="dim")
            for token, weight in zip(row[name][chosen], weights[chosen], strict=True):
                text.append(_piece(vocabulary, int(token)), _style(segment, float(weight)))
                text.append(" ")
            console.print(text)


def _style(segment: int, weight: float) -> str:
    colour = _COLOURS[segment % len(_COLOURS)]
    return f"dim {colour}" if weight == 0 else colour


def _piece(vocabulary: seqio.Vocabulary, token: int) -> str:
    if isinstance(vocabulary, seqio.SentencePieceVocabulary):
        return str(vocabulary.tokenizer.id_to_piece(token))
    return str(vocabulary.decode([token]))

"""`xlingual inspect`: what a task, mixture or experiment feeds a model, before it trains."""

import argparse
import dataclasses
import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import gin
import numpy as np
from rich.console import RenderableType

from xlingual.cli import filter_report, gin_flags, inspection, reports
from xlingual.data import feature_converters, task_checks, task_registry
from xlingual.data.arms import ArmsSource
from xlingual.data.datasets import SeqioSource
from xlingual.data.staged import StagedSource
from xlingual.errors import ConfigError
from xlingual.objectives import registry
from xlingual.training import loop

HELP = "show stages, rates, token shares, fill and examples of a task, mixture or experiment"
EXAMPLE = "xlingual inspect toy_pretrain --inputs=128 --targets=128 --html=toy.html"
CONVERTERS = {
    "encoder_decoder": feature_converters.EncDecFeatureConverter,
    "decoder_only": feature_converters.DecoderFeatureConverter,
}
_ROWS = 128
_FILTERED_RECORDS = 4096
_LONGER = 8


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options of the verb."""
    parser.add_argument("name", nargs="?", help="a registered task or mixture")
    parser.add_argument("--module", action="append", help="task module (default: tasks.toy)")
    gin_flags.add_gin_arguments(parser)
    parser.add_argument("--inputs", type=int, default=128, help="length of inputs in tokens")
    parser.add_argument("--targets", type=int, default=128, help="length of targets in tokens")
    parser.add_argument("--num_examples", type=int, default=6, help="examples to show")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--split", help="default: train, or validation where there is no train")
    parser.add_argument(
        "--family",
        choices=sorted(CONVERTERS),
        help="default: encoder_decoder, or decoder_only where objectives train no other",
    )
    parser.add_argument("--html", metavar="FILE", help="also write the report as one HTML page")


def main(args: argparse.Namespace) -> int:
    """Prints the report; returns 0.

    Raises:
      ConfigError: the name, a module, a split, the lengths or the HTML file are wrong.
    """
    if args.num_examples < 0:
        raise ConfigError(f"--num_examples={args.num_examples}; expected 0 or more")
    title, source = _source_of(args)
    parts = report(source, args.num_examples)
    reports.print_report(parts)
    if args.html:
        page = reports.html_page(f"xlingual inspect {title}", parts)
        reports.write_file("--html", args.html, page.encode("utf-8"))
    return 0


def report(source: Any, num_examples: int) -> list[RenderableType]:
    """Returns what is shown, from the top.

    Args:
      source: `SeqioSource`, or stages or arms of it, which are shown in turn.
      num_examples: examples to show of each.

    Raises:
      ConfigError: a source of another kind, or stages or arms that do not fit together.
    """
    if isinstance(source, SeqioSource):
        return _report_one("", source, num_examples)
    if isinstance(source, StagedSource):
        parts: list[RenderableType] = [inspection.stage_table(source.schedule)]
    elif isinstance(source, ArmsSource):
        parts = [inspection.arm_table(source.arms)]
    else:
        raise ConfigError(
            f"the data source is {type(source).__name__}; inspect shows SeqioSource, and "
            "StagedSource and ArmsSource of it"
        )
    members = source.combined
    if members.tasks and members.spec:  # raises if the members do not fit together
        for name, one in members.sources.items():
            parts += _report_one(f"{name}: ", one, num_examples)
    return parts


def _report_one(heading: str, source: Any, num_examples: int) -> list[RenderableType]:
    tasks = source.tasks
    batches = list(itertools.islice(_batches(source), -(-_ROWS // source.batch_size)))
    lengths = ", ".join(f"{name} {n}" for name, n in source.task_feature_lengths.items())
    mixture = inspection.mixture_text(source.mixture_or_task_name)
    table = inspection.task_table(
        f"{heading}{mixture}, split {source.split}, {lengths}",
        tasks,
        source.example_rates,
        source.statistics,
        _losses(source),
        batches,
    )
    parts: list[RenderableType] = [
        table,
        inspection.column_notes(tasks[0].share_unit),
        inspection.fill_line(batches),
        *filter_report.filter_parts([one.name for one in tasks], source.split, _FILTERED_RECORDS),
    ]
    if num_examples:
        vocabulary = task_checks.load_vocabulary_of(
            task_registry.get_mixture_or_task(tasks[0].name)
        )
        painter = inspection.Painter(vocabulary, tasks)
        examples = list(inspection.examples_of(batches))
        parts.append(inspection.legend())
        parts += [painter.paint(one) for one in inspection.choose(examples, num_examples)]
    return parts


def _source_of(args: argparse.Namespace) -> tuple[str, Any]:
    """Returns the name and the data of an experiment, or of the named task or mixture."""
    if args.gin_file and args.name is not None:
        raise ConfigError(f"both {args.name!r} and --gin_file are given; expected one of them")
    if args.gin_file:
        gin_flags.parse_gin(args)
        source = gin.get_bindings(loop.train, resolve_references=True)["source"]
        return " ".join(args.gin_file), source
    if args.name is None:
        raise ConfigError("no task or mixture named; expected a name, or an experiment: --gin_file")
    modules = list(args.module or ["tasks.toy"])
    task_checks.import_task_modules(modules)
    source = SeqioSource(
        mixture_or_task_name=args.name,
        task_feature_lengths={"inputs": args.inputs, "targets": args.targets},
        batch_size=32,
        feature_converter=CONVERTERS[args.family or _first_family(args.name)](pack=True),
        split=args.split or _first_split(args.name),
        seed=args.seed,
        task_modules=modules,
    )
    return args.name, source


def _first_family(name: str) -> str:
    """Returns the first family of models that every leaf's objective trains."""
    leaves = task_registry.leaf_shares(name)[0]
    found = {task_registry.task_metadata(leaf).objective for leaf in leaves}
    trained = [one.families for key, one in registry.objectives().items() if key in found]
    for family in registry.BOTH_FAMILIES:
        if all(family in families for families in trained):
            return family
    return registry.ENCODER_DECODER


def _first_split(name: str) -> str:
    """Returns `train` if every leaf has it, else the first split that all have."""
    leaves = [
        task_registry.get_mixture_or_task(leaf) for leaf in task_registry.leaf_shares(name)[0]
    ]
    for split in ("train", *leaves[0].splits):
        if all(split in leaf.splits for leaf in leaves):
            return str(split)
    raise ConfigError(f"the tasks of {name!r} have no split in common; name one: --split")


def _losses(source: SeqioSource) -> Mapping[str, inspection.Loss | None]:
    """Returns task -> what the lengths cost it; None for tasks that longer lengths do not suit."""
    longer = {name: _LONGER * length for name, length in source.task_feature_lengths.items()}
    whole = dataclasses.replace(source, task_feature_lengths=longer)
    try:
        found = dict(whole.statistics)
    except ConfigError:
        found = {}
        for info in source.tasks:
            alone = dataclasses.replace(whole, mixture_or_task_name=info.name)
            try:
                found.update(alone.statistics)
            except ConfigError:
                continue
    return {
        name: inspection.Loss.between(here, found[name]) if name in found else None
        for name, here in source.statistics.items()
    }


def _batches(source: SeqioSource) -> Iterator[dict[str, np.ndarray]]:
    iterator = source.iterator()
    while True:
        yield next(iterator)

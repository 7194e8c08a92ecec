"""What a run shows at its end: scores by direction, held-out loss by task, sample outputs."""

from collections.abc import Mapping, Sequence
from typing import Any

import rich.console
import rich.table
import rich.text

from xlingual.outputs import Sample

MAX_SAMPLES = 12
"""Shown at the end of a run, spread evenly over what the evaluators kept."""


def print_report(
    results: Mapping[str, Any],
    samples: Sequence[Sample],
    console: rich.console.Console | None = None,
) -> None:
    """Prints the tables of what evaluators found; nothing where they found nothing.

    Args:
      results: as in `results.json`; `directions` (direction -> `chrf`, `bleu`, `copy_chrf`,
        `trained`), `heldout_loss` (task -> loss) and `heldout_group` (group of tasks -> mean
        loss) are shown.
      samples: decoded examples.
      console: where to print; None for standard output.
    """
    console = console or rich.console.Console()
    if results.get("directions"):
        console.print(make_direction_table(results["directions"]))
    if results.get("heldout_loss"):
        console.print(make_loss_table(results["heldout_loss"], results.get("heldout_group", {})))
    if samples:
        console.print(make_sample_table(samples[:: -(-len(samples) // MAX_SAMPLES)]))


def make_direction_table(directions: Mapping[str, Mapping[str, Any]]) -> rich.table.Table:
    """Returns one row a direction, trained ones first, and the mean of each kind.

    Args:
      directions: direction -> scores, each in [0, 100], and `trained`, a bool.
    """
    table = rich.table.Table(title="Translation")
    for name in ("direction", "kind"):
        table.add_column(name)
    columns = ("chrf", "bleu", "copy_chrf")
    for title in ("chrF", "BLEU", "chrF of copying"):
        table.add_column(title, justify="right")
    for trained, kind in ((True, "trained"), (False, "zero-shot")):
        rows = {n: row for n, row in directions.items() if bool(row.get("trained")) == trained}
        for name, row in sorted(rows.items()):
            table.add_row(name, kind, *[_format(row.get(column)) for column in columns])
        if rows:
            means = [_mean([row.get(column) for row in rows.values()]) for column in columns]
            table.add_row("mean", kind, *map(_format, means), style="bold", end_section=True)
    return table


def make_loss_table(losses: Mapping[str, Any], groups: Mapping[str, Any]) -> rich.table.Table:
    """Returns one row a task, then one a group.

    Args:
      losses: task -> held-out loss per target token, in nats.
      groups: group -> mean over its tasks.
    """
    table = rich.table.Table(title="Held-out loss")
    table.add_column("task")
    table.add_column("loss", justify="right")
    for name, loss in sorted(losses.items()):
        table.add_row(name, _format(loss, digits=4))
    table.add_section()
    for name, loss in groups.items():
        table.add_row(f"mean of {name}", _format(loss, digits=4), style="bold")
    return table


def make_sample_table(samples: Sequence[Sample]) -> rich.table.Table:
    """Returns a section a sample; text is shown as it is, brackets included."""
    table = rich.table.Table(title="Samples", show_header=False)
    table.add_column("part")
    table.add_column("text", overflow="fold")
    for sample in samples:
        table.add_row("task", rich.text.Text(sample.task), style="bold")
        table.add_row("source", rich.text.Text(sample.source))
        table.add_row("reference", rich.text.Text(sample.target))
        table.add_row("output", rich.text.Text(sample.prediction), end_section=True)
    return table


def _mean(values: Sequence[Any]) -> float | None:
    numbers = [value for value in values if value is not None]
    return sum(numbers) / len(numbers) if numbers else None


def _format(value: Any, digits: int = 1) -> str:
    return "–" if value is None else f"{value:.{digits}f}"

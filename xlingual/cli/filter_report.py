"""What the filters of tasks drop and why, as a table."""

from collections.abc import Iterable

import seqio
from rich.console import RenderableType
from rich.text import Text

from xlingual.cli import reports
from xlingual.data import task_registry
from xlingual.data.filtered_source import FilteredSource
from xlingual.data.tf_errors import as_config_error

_EXAMPLE_CHARACTERS = 60


def filter_parts(
    names: Iterable[str], split: str, max_records: int | None = None
) -> list[RenderableType]:
    """Returns a table of what filters drop; nothing where no task has a filter.

    Args:
      names: registered tasks or mixtures.
      split: tasks without it are left out.
      max_records: of each task, from its first; None for all.

    Raises:
      ConfigError: an unknown name, or records that do not suit a filter.
    """
    tasks = {
        leaf: task_registry.get_mixture_or_task(leaf)
        for name in names
        for leaf in task_registry.leaf_shares(name)[0]
    }
    rows = [row for task in tasks.values() for row in _rows(task, split, max_records)]
    if not rows:
        return []
    some = "" if max_records is None else f", first {max_records:,} records of each"
    title = f"filters, split {split}{some}"
    columns = ("records", "dropped", "share")
    table = reports.table_of(title, ("task", "filter", "because", "for example"), columns, rows)
    return [table, Text("records: what came to the filter; share: of these.", style="dim")]


def _rows(task: seqio.Task, split: str, max_records: int | None) -> list[tuple[str, ...]]:
    source = task.source
    if not isinstance(source, FilteredSource) or split not in source.splits:
        return []
    found: list[tuple[str, ...]] = []
    with as_config_error(f"task {task.name!r}"):
        for count in source.count_dropped(split, max_records):
            for reason, dropped in count.dropped.items():
                example = next(iter(count.examples.get(reason, ())), "")
                found.append(
                    (
                        task.name,
                        count.filter,
                        reason,
                        example[:_EXAMPLE_CHARACTERS],
                        f"{count.records:,}",
                        f"{dropped:,}",
                        f"{dropped / max(count.records, 1):.2%}",
                    )
                )
    return found

"""`xlingual list`: the tasks, mixtures, objectives and experiments that there are."""

import argparse
import pathlib
import sys
from collections.abc import Callable, Mapping

import seqio
from rich.console import Console
from rich.table import Table
from rich.text import Text

from xlingual import config
from xlingual.data import task_checks, task_registry
from xlingual.errors import ConfigError
from xlingual.objectives import registry

HELP = "list tasks, mixtures, objectives and experiments, one line each"
EXAMPLE = "xlingual list zero_shot --kind=mixtures"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options of the verb."""
    parser.add_argument("filter", nargs="?", default="", help="only what contains this text")
    parser.add_argument("--module", action="append", help="task module (default: tasks.toy)")
    parser.add_argument("--kind", choices=sorted(KINDS), help="only things of this kind")


def main(args: argparse.Namespace) -> int:
    """Prints a table a kind; on a pipe, lines `kind<TAB>name<TAB>description`. Returns 0.

    Raises:
      ConfigError: a module cannot be imported, or nothing matches the filter.
    """
    task_checks.import_task_modules(args.module or ["tasks.toy"])
    console = Console()
    found = 0
    for kind, describe in KINDS.items():
        if args.kind not in (None, kind):
            continue
        things = describe()
        wanted = args.filter.lower()
        matching = {n: d for n, d in things.items() if wanted in f"{n} {d}".lower()}
        found += len(matching)
        if not console.is_terminal:
            sys.stdout.writelines(f"{kind}\t{name}\t{text}\n" for name, text in matching.items())
        elif matching:
            console.print(_table(kind, matching, len(things)))
    if not found:
        raise ConfigError(f"nothing contains {args.filter!r}; xlingual list shows everything")
    return 0


def describe_objectives() -> dict[str, str]:
    """Returns name -> what it does, what records it takes and what models it trains."""
    found = {}
    for name, objective in registry.objectives().items():
        families = " and ".join(family.replace("_", "-") for family in objective.families)
        found[name] = f"{objective.summary} [{', '.join(objective.records)}; {families}]"
    return found


def describe_tasks() -> dict[str, str]:
    """Returns name -> description, with objective, languages and splits."""
    found = {}
    for name in sorted(seqio.TaskRegistry.names()):
        metadata = task_registry.task_metadata(name)
        languages = "-".join(dict.fromkeys(filter(None, (metadata.src_lang, metadata.tgt_lang))))
        splits = ", ".join(seqio.TaskRegistry.get(name).splits)
        trained = "" if metadata.trained else "; evaluation only"
        facts = "; ".join(filter(None, (metadata.objective, languages, splits)))
        found[name] = f"{metadata.description} [{facts}{trained}]".strip()
    return found


def describe_mixtures() -> dict[str, str]:
    """Returns name -> description, with the number of tasks by objective."""
    found = {}
    for name in sorted(seqio.MixtureRegistry.names()):
        shares, unit = task_registry.leaf_shares(name)
        totals: dict[str, float] = {}
        for task, share in shares.items():
            objective = task_registry.task_metadata(task).objective or "unknown"
            totals[objective] = totals.get(objective, 0.0) + share
        parts = ", ".join(f"{objective} {share:.0%}" for objective, share in totals.items())
        description = task_registry.mixture_description(name)
        found[name] = f"{description} {len(shares)} tasks by {unit}: {parts}".strip()
    return found


def describe_experiments() -> dict[str, str]:
    """Returns path of a gin file -> the first sentence of its header."""
    found: dict[str, str] = {}
    for root in config.search_paths():
        for path in sorted(pathlib.Path(root).glob("experiments/*.gin")):
            found.setdefault(f"gin/experiments/{path.name}", _first_sentence(path))
    return dict(sorted(found.items()))


KINDS: Mapping[str, Callable[[], dict[str, str]]] = {
    "objectives": describe_objectives,
    "tasks": describe_tasks,
    "mixtures": describe_mixtures,
    "experiments": describe_experiments,
}


def _table(kind: str, things: Mapping[str, str], total: int) -> Table:
    count = f"{total}" if len(things) == total else f"{len(things)} of {total}"
    table = Table(title=f"{kind} ({count})", title_justify="left", show_header=False)
    table.add_column("name", overflow="fold")
    table.add_column("description", overflow="fold", ratio=1)
    for name, text in things.items():
        table.add_row(Text(name, style="bold"), Text(text))
    return table


def _first_sentence(path: pathlib.Path) -> str:
    header = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#") or not line.strip("# "):
            break
        header.append(line.strip("# "))
    return " ".join(header).partition(". ")[0].rstrip(".") + "." if header else ""

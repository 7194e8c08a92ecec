"""Tables of reports on a terminal, on a pipe and in a page, and their numbers as JSON."""

import io
import json
import pathlib
import sys
from collections.abc import Sequence
from typing import Any

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from xlingual.errors import ConfigError

PIPE_WIDTH = 200
_PAGE_WIDTH = 140


def table_of(
    title: str,
    words: Sequence[str],
    numbers: Sequence[str] = (),
    rows: Sequence[Sequence[str]] = (),
) -> Table:
    """Returns a table whose first columns are words and whose others are numbers, to the right."""
    found = Table(title=Text(title), title_justify="left")
    for column in words:
        found.add_column(column, overflow="fold")
    for column in numbers:
        found.add_column(column, justify="right", overflow="fold")
    for row in rows:
        found.add_row(*(Text(cell) for cell in row))
    return found


def print_report(parts: Sequence[RenderableType]) -> None:
    """Prints a report from the top; wide on a pipe."""
    console = Console() if sys.stdout.isatty() else Console(width=PIPE_WIDTH)
    for part in parts:
        console.print(part)


def html_page(title: str, parts: Sequence[RenderableType]) -> str:
    """Returns a page of its own, without links to anything, that shows `parts`."""
    console = Console(
        record=True,
        width=_PAGE_WIDTH,
        file=io.StringIO(),
        force_terminal=True,
        legacy_windows=False,
    )
    for part in parts:
        console.print(part)
    page = console.export_html(inline_styles=True)
    safe = title.replace("&", "&amp;").replace("<", "&lt;")
    return page.replace("<head>", f"<head>\n<title>{safe}</title>", 1)


def json_bytes(content: Any) -> bytes:
    """Returns JSON with a line break at its end, in UTF-8."""
    return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode("utf-8")


def write_file(flag: str, path: str, data: bytes) -> None:
    """Writes a file that a flag asked for.

    Raises:
      ConfigError: it cannot be written.
    """
    try:
        pathlib.Path(path).write_bytes(data)
    except OSError as error:
        raise ConfigError(f"{flag}={path} cannot be written: {error}") from error

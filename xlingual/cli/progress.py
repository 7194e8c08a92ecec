"""Progress bars on standard error, which show in a terminal only."""

import contextlib
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)


def progress_bar() -> Progress:
    """Returns a progress bar that counts records."""
    console = Console(stderr=True)
    return Progress(console=console, disable=not console.is_terminal, transient=True)


@contextlib.contextmanager
def byte_progress(name: str) -> Iterator[Callable[[int, int], None]]:
    """Gives a function of the bytes that are done and of all, which shows them.

    Args:
      name: what is going on, e.g. `import`.
    """
    console = Console(stderr=True)
    columns = (DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        *columns,
        console=console,
        disable=not console.is_terminal,
        transient=True,
    ) as progress:
        bar = progress.add_task(name, total=None)

        def show(done: int, total: int) -> None:
            progress.update(bar, completed=done, total=total)

        yield show

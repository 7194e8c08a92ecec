"""An item of a checkpoint that is one small file a process: data position, text, JSON."""

import dataclasses
import pathlib
from typing import Any

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint import future


class BytesHandler(ocp.AsyncCheckpointHandler):
    """Writes bytes to one file in the background, in process 0 or in every process."""

    def __init__(self, filename: str, *, every_process: bool = False) -> None:
        """Makes a handler.

        Args:
          filename: name within the item's folder; of its own in each process, if all write.
          every_process: True if all processes write, False if process 0 alone does.
        """
        self._filename = filename
        self._writes = every_process or jax.process_index() == 0

    async def async_save(
        self, directory: pathlib.Path, *args: Any, **kwargs: Any
    ) -> list[future.Future]:
        """Returns the write, which waits until Orbax has made the folder."""
        content = kwargs["args"].content

        async def write() -> None:
            if self._writes:
                write_file(directory / self._filename, content)

        return [future.CommitFutureAwaitingContractedSignals(write(), name="save_bytes")]

    def save(self, directory: pathlib.Path, *args: Any, **kwargs: Any) -> None:
        """Writes at once."""
        if self._writes:
            write_file(directory / self._filename, kwargs["args"].content)

    def restore(self, directory: pathlib.Path, *args: Any, **kwargs: Any) -> bytes:
        """Returns the content of the file."""
        return (directory / self._filename).read_bytes()


def write_file(path: pathlib.Path, content: bytes) -> None:
    """Writes one file whole."""
    path.write_bytes(content)


@ocp.args.register_with_handler(BytesHandler, for_save=True)
@dataclasses.dataclass
class BytesSave(ocp.args.CheckpointArgs):
    """What to write.

    Attributes:
      content: the bytes of the file.
    """

    content: bytes


@ocp.args.register_with_handler(BytesHandler, for_restore=True)
@dataclasses.dataclass
class BytesRestore(ocp.args.CheckpointArgs):
    """Asks for the bytes of the file."""

"""The peer of benchmarks/train_step.py: a process that runs steps of the same shape in PyTorch.

A process of its own keeps thread pools and allocators of the two frameworks apart, and lets the
peer live in another virtual environment (`--peer_python`). The two talk in lines of JSON: the
parent writes a number of steps, the child answers with the seconds of each.
"""

import dataclasses
import json
import pathlib
import subprocess
import sys
import tempfile
from typing import Any

from xlingual.checkpointing.huggingface_export_config import choose_model_type, to_huggingface
from xlingual.errors import ConfigError
from xlingual.models.base import Model

SCRIPT = pathlib.Path(__file__).with_name("peer_step.py")


@dataclasses.dataclass(frozen=True, kw_only=True)
class PeerModel:
    """The model that a peer builds.

    Attributes:
      config: what `config.json` of the Hugging Face layout says (`peer_config`).
      threads: intra-operation threads.
    """

    config: dict[str, Any]
    threads: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class PeerShape(PeerModel):
    """What the peer of a training step builds.

    Attributes:
      batch_size: rows.
      inputs_length: encoder tokens of a row; 0 where there is no encoder.
      targets_length: decoder tokens of a row.
      optimizer: class in `torch.optim`, `Adafactor` or `AdamW`.
      device: of PyTorch, `cpu` or `cuda`.
      dtype: of the products, `float32` or `bfloat16` (by autocast; parameters stay float32).
      compiled: whether `torch.compile` compiles the model.
    """

    batch_size: int
    inputs_length: int
    targets_length: int
    optimizer: str
    device: str = "cpu"
    dtype: str = "float32"
    compiled: bool = False


def peer_config(model: Model) -> dict[str, Any]:
    """Returns the configuration of the transformers model that computes what ours does.

    Raises:
      ConfigError: there is none.
    """
    sizes = model.config  # type: ignore[attr-defined]
    kind = choose_model_type(model.family, sizes)
    dtype = {"dtype": "float32", "transformers": 5, "token_ids": {}}
    return to_huggingface(kind, sizes, max_length=1 << 20, **dtype)[0]  # type: ignore[arg-type]


class Peer:
    """A running peer."""

    def __init__(
        self, shape: Any, *, python: str = sys.executable, script: pathlib.Path = SCRIPT
    ) -> None:
        """Starts it.

        Args:
          shape: what it builds, a dataclass that the script understands; `PeerShape` for SCRIPT.
          python: interpreter that has torch and transformers.
          script: the child's program.

        Raises:
          ConfigError: the interpreter does not exist.
        """
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 (closed in close)
        try:
            self._process = subprocess.Popen(
                [python, str(script), json.dumps(dataclasses.asdict(shape))],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                text=True,
            )
        except OSError as error:
            self._errors.close()
            raise ConfigError(f"--peer_python={python!r} cannot be started: {error}") from error

    def run(self, steps: int) -> list[Any]:
        """Returns the seconds of each of `steps` steps.

        Raises:
          ConfigError: the peer has ended; the message has the last line that it wrote.
        """
        answer: list[Any] = self._ask(str(steps))
        return answer

    def peak_memory_bytes(self) -> int:
        """Returns the most memory that it held so far: of the device, or of the process on a CPU.

        Raises:
          ConfigError: the peer has ended; the message has the last line that it wrote.
        """
        return int(self._ask("memory"))

    def _ask(self, line: str) -> Any:
        if self._process.stdin is None or self._process.stdout is None:
            raise ConfigError("--peer: the peer has no pipes")
        try:
            self._process.stdin.write(f"{line}\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise ConfigError(f"--peer: the peer ended: {self._last_error()}")
        return json.loads(line)

    def close(self) -> None:
        """Ends the peer and waits for it."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None and not pipe.closed:
                try:
                    pipe.close()
                except BrokenPipeError:  # it has ended already, with a step unread
                    continue
        self._process.wait()
        self._errors.close()

    def _last_error(self) -> str:
        self._process.wait()
        self._errors.seek(0)
        lines = [line.strip() for line in self._errors if line.strip()]
        return lines[-1] if lines else f"exit status {self._process.returncode}"

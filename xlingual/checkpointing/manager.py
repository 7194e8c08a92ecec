"""Checkpoints of a run, written while training goes on; the one module that knows Orbax.

`MODEL_DIR/checkpoints/STEP/` holds four items: `state` (the sharded arrays), `position` (one file
a process: where its data stream stands), `config` (the operative gin text) and `metadata` (JSON).
A checkpoint appears under its final name only when all of it is written, so whatever a crash
leaves behind is ignored and removed at the next start.
"""

import dataclasses
import json
import pathlib
from collections.abc import Mapping
from types import TracebackType
from typing import Any

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers

from xlingual.checkpointing.files import BytesHandler, BytesRestore, BytesSave
from xlingual.errors import ConfigError
from xlingual.types import PyTree

FOLDER = "checkpoints"


@dataclasses.dataclass(frozen=True, kw_only=True)
class CheckpointConfig:
    """When to save and what to keep.

    Attributes:
      period_steps: steps between checkpoints, >= 1; the end of a run and a stop save in any case.
      keep: number of latest checkpoints that stay, >= 1.
      keep_period_steps: checkpoints at multiples of it stay for ever; None for no such rule.

    Raises:
      ConfigError: a value is below 1.
    """

    period_steps: int = 1000
    keep: int = 2
    keep_period_steps: int | None = None

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value is not None and value < 1:
                raise ConfigError(f"{field.name}={value}; expected an integer of at least 1")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """What one checkpoint holds.

    Attributes:
      state: a tree of `jax.Array`.
      position: where the data stream of this process stands.
      metadata: JSON types.
      config_text: the operative configuration.
    """

    state: PyTree
    position: bytes
    metadata: Mapping[str, Any]
    config_text: str = ""


class CheckpointManager:
    """Saves and restores the checkpoints of one model directory; call it on every process."""

    def __init__(self, model_dir: str | pathlib.Path, config: CheckpointConfig) -> None:
        """Opens the folder, makes it if it is missing, and removes half-written checkpoints.

        Args:
          model_dir: the run's folder.
          config: when to save and what to keep.
        """
        self._config = config
        self._folder = pathlib.Path(model_dir).absolute() / FOLDER
        keep = [checkpoint_managers.LatestN(config.keep)]
        if config.keep_period_steps:
            keep.append(checkpoint_managers.EveryNSteps(config.keep_period_steps))
        options = ocp.CheckpointManagerOptions(
            preservation_policy=checkpoint_managers.AnyPreservationPolicy(keep),
            save_decision_policy=checkpoint_managers.FixedIntervalPolicy(1),
            cleanup_tmp_directories=True,
            enable_background_delete=True,
        )
        self._position_file = _position_file(jax.process_index(), jax.process_count())
        self._manager = ocp.CheckpointManager(
            self._folder,
            options=options,
            item_handlers={
                "state": ocp.StandardCheckpointHandler(),
                "position": BytesHandler(self._position_file, every_process=True),
                "config": BytesHandler("operative_config.gin"),
                "metadata": BytesHandler("metadata.json"),
            },
        )

    def __enter__(self) -> "CheckpointManager":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def folder(self) -> pathlib.Path:
        """Folder of all checkpoints."""
        return self._folder

    def is_due(self, step: int) -> bool:
        """Whether the configured period asks for a checkpoint after `step` updates."""
        return step % self._config.period_steps == 0

    def latest_step(self) -> int | None:
        """Returns the step of the newest complete checkpoint; None if there is none."""
        return self._manager.latest_step()

    def save(self, step: int, checkpoint: Checkpoint) -> None:
        """Starts to save, and returns when the arrays may be overwritten.

        The caller waits for the update that makes the arrays, for their copy to host memory, and
        for the end of the checkpoint before this one; files are written in the background. A step
        that is already saved is left alone.

        Args:
          step: updates done.
          checkpoint: what to save.
        """
        if step == self.latest_step():
            return
        arrays = describe_arrays(checkpoint.state)
        self._manager.save(
            step,
            args=ocp.args.Composite(
                state=ocp.args.StandardSave(checkpoint.state),
                position=BytesSave(checkpoint.position),
                config=BytesSave(checkpoint.config_text.encode()),
                metadata=BytesSave(_to_json({"run": checkpoint.metadata, "arrays": arrays})),
            ),
        )

    def load_metadata(self, step: int) -> dict[str, Any]:
        """Returns the metadata of a checkpoint, without its arrays."""
        return self._load_metadata(step)["run"]

    def load_positions(self, step: int) -> list[bytes]:
        """Returns where the data stream stood: of this process, or of all.

        Args:
          step: of the checkpoint.

        Returns:
          The position of this process alone if as many processes wrote the checkpoint as there are
          now; else those of all that wrote it, in their order.

        Raises:
          ConfigError: the file of a process is missing.
        """
        item = self._folder / str(step) / "position"
        found = sorted(path.name for path in item.glob("process_*_of_*"))
        if self._position_file in found:
            return [(item / self._position_file).read_bytes()]
        written_by = int(found[0].rpartition("_")[2]) if found else 1
        expected = [_position_file(index, written_by) for index in range(written_by)]
        if found != expected:
            raise ConfigError(
                f"checkpoint {step} has the data positions {found}; expected {expected}: a file is "
                f"missing in {item}"
            )
        return [(item / name).read_bytes() for name in found]

    def load_state(self, step: int, shapes: PyTree) -> PyTree:
        """Returns the arrays of a checkpoint, bit for bit, cut as `shapes` says.

        Args:
          step: of the checkpoint.
          shapes: tree of `jax.ShapeDtypeStruct` that carry a sharding, which may differ from the
            one at saving.

        Raises:
          ConfigError: the arrays on disk are not those that `shapes` names.
        """
        saved, wanted = self._load_metadata(step)["arrays"], describe_arrays(shapes)
        if saved != wanted:
            names = sorted(n for n in saved | wanted if saved.get(n) != wanted.get(n))
            found = "; ".join(
                f"{name} is {saved.get(name, 'absent')} there, {wanted.get(name, 'absent')} here"
                for name in names[:5]
            )
            raise ConfigError(
                f"checkpoint {step} in {self._folder} does not hold the arrays of this model and "
                f"optimizer ({len(names)} differ): {found}"
            )
        arguments = ocp.args.Composite(state=ocp.args.StandardRestore(shapes))
        return self._manager.restore(step, args=arguments)["state"]

    def _load_metadata(self, step: int) -> dict[str, Any]:
        restored = self._manager.restore(step, args=ocp.args.Composite(metadata=BytesRestore()))
        return json.loads(restored["metadata"])

    def wait(self) -> None:
        """Returns when every checkpoint that was started is complete on disk."""
        self._manager.wait_until_finished()

    def close(self) -> None:
        """Waits for what was started, and ends the background work."""
        self._manager.close()


def _position_file(index: int, count: int) -> str:
    return f"process_{index:05d}_of_{count:05d}"


def describe_arrays(tree: PyTree) -> dict[str, str]:
    """Returns path -> dtype and shape of every array, e.g. `float32[64, 16]`.

    Args:
      tree: arrays or `jax.ShapeDtypeStruct`.
    """
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {
        jax.tree_util.keystr(path): f"{leaf.dtype.name}{list(leaf.shape)}" for path, leaf in leaves
    }


def _to_json(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, indent=1, ensure_ascii=False).encode()

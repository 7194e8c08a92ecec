"""The optimizer's state of another run's checkpoint, for a run that goes on with its statistics."""

import pathlib

import jax
import orbax.checkpoint as ocp

from xlingual.checkpointing.weights import check_arrays, find_checkpoint, run_arrays
from xlingual.errors import ConfigError
from xlingual.types import PyTree

ITEM = ".opt_state"


def check_opt_state(path: str | pathlib.Path, shapes: PyTree) -> None:
    """Checks that a checkpoint holds the state of this optimizer.

    Statistics of parameters that are frozen here may be there as well.

    Args:
      path: a run's folder (its latest checkpoint), or one checkpoint of a run.
      shapes: tree of `jax.ShapeDtypeStruct`.

    Raises:
      ConfigError: there is no checkpoint, or an array is missing or of another shape or dtype; all
        are listed.
    """
    found = run_arrays(_checkpoint(path), ITEM)
    wanted = {
        jax.tree_util.keystr(key): f"{leaf.dtype.name}{list(leaf.shape)}"
        for key, leaf in jax.tree_util.tree_leaves_with_path(shapes)
    }
    mine = {name: array for name, array in found.items() if name in wanted}
    check_arrays(mine, wanted, f"{path} (state of the optimizer)")


def load_opt_state(path: str | pathlib.Path, shapes: PyTree) -> PyTree:
    """Returns the optimizer's state in a checkpoint, bit for bit, each array made where it lives.

    Args:
      path: as in `check_opt_state`.
      shapes: tree of `jax.ShapeDtypeStruct` that carry a sharding.

    Raises:
      ConfigError: as in `check_opt_state`.
    """
    check_opt_state(path, shapes)
    tree = {"opt_state": shapes}
    arguments = ocp.args.PyTreeRestore(
        item=tree,
        restore_args=ocp.checkpoint_utils.construct_restore_args(tree),
        partial_restore=True,
    )
    with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as checkpointer:
        return checkpointer.restore(_checkpoint(path) / "state", args=arguments)["opt_state"]


def _checkpoint(path: str | pathlib.Path) -> pathlib.Path:
    found = find_checkpoint(path)
    if found is None:
        raise ConfigError(
            f"{path} holds no state of an optimizer; expected the MODEL_DIR of a run with a "
            f"checkpoint, or MODEL_DIR/checkpoints/STEP, or reset_optimizer=True"
        )
    return found

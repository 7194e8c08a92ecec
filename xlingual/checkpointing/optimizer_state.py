"""The optimizer's state of another run's checkpoint, for a run that goes on with its statistics.

A weights folder has one if `xlingual resize` made it: beside the parameters `opt_state/`, an Orbax
item, and `opt_state.json` with names, dtypes and shapes.
"""

import json
import pathlib

import jax
import orbax.checkpoint as ocp

from xlingual.checkpointing.manager import describe_arrays
from xlingual.checkpointing.weights import check_arrays, find_checkpoint, run_arrays
from xlingual.errors import ConfigError
from xlingual.types import PyTree

ITEM = ".opt_state"
SAVED, ARRAYS = "opt_state", "opt_state.json"


def save_opt_state(folder: pathlib.Path, opt_state: PyTree) -> None:
    """Writes an optimizer's state into a folder that becomes one of weights."""
    with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as checkpointer:
        arguments = ocp.args.PyTreeSave({"opt_state": opt_state})
        checkpointer.save(folder.absolute() / SAVED, args=arguments)
    text = json.dumps(describe_arrays(opt_state), indent=1)
    (folder / ARRAYS).write_text(text + "\n", encoding="utf-8")


def check_opt_state(path: str | pathlib.Path, shapes: PyTree) -> None:
    """Checks that a checkpoint holds the state of this optimizer.

    Statistics of parameters that are frozen here may be there as well.

    Args:
      path: a run's folder (its latest checkpoint), one checkpoint of a run, or weights from
        `xlingual resize`.
      shapes: tree of `jax.ShapeDtypeStruct`.

    Raises:
      ConfigError: there is no checkpoint, or an array is missing or of another shape or dtype; all
        are listed.
    """
    item = _item(path)
    if item.name == SAVED:
        found = json.loads((item.parent / ARRAYS).read_text(encoding="utf-8"))
    else:
        found = run_arrays(item.parent, ITEM)
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
        return checkpointer.restore(_item(path), args=arguments)["opt_state"]


def _item(path: str | pathlib.Path) -> pathlib.Path:
    """The folder of arrays."""
    if (pathlib.Path(path) / ARRAYS).is_file():
        return pathlib.Path(path).absolute() / SAVED
    found = find_checkpoint(path)
    if found is None:
        raise ConfigError(
            f"{path} holds no state of an optimizer; expected the MODEL_DIR of a run with a "
            f"checkpoint, or MODEL_DIR/checkpoints/STEP, or reset_optimizer=True"
        )
    return found / "state"

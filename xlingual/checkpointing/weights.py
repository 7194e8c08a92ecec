"""The parameters of a model on disk, without optimizer, data position or run: in and out.

A weights folder holds

    weights/        the parameter tree, an Orbax item of sharded arrays
    weights.json    what they are: names and shapes, family, configuration, vocabulary, origin

and appears whole or not at all: `weights.json` is written last, and a folder without it is none.
Parameters are read from such a folder or straight from a checkpoint of a run, each array cut as
the reader says, and nothing of the optimizer is touched.
"""

import dataclasses
import hashlib
import json
import pathlib
import re
import shutil
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from jax.sharding import SingleDeviceSharding

from xlingual.checkpointing.manager import FOLDER, describe_arrays
from xlingual.checkpointing.mapping import flatten, unflatten
from xlingual.errors import ConfigError
from xlingual.types import PyTree

ITEM, INFO = "weights", "weights.json"

MAX_CONCURRENT_GB = 2
"""Arrays of at most so many gigabytes (or one, if it is larger) are in flight at a time."""

CHUNK_BYTES = 64 * 2**20
"""Size of the blocks of an array on disk: a host of many reads those that it needs."""

_FAMILIES = {
    "xlingual.models.encoder_decoder.EncoderDecoder": "encoder_decoder",
    "xlingual.models.decoder_only.DecoderOnly": "decoder_only",
}
"""Class in a run's fingerprint -> family."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class WeightsInfo:
    """What the arrays of a weights folder are.

    Attributes:
      family: of the model, e.g. `encoder_decoder`.
      config: the fields of its `TransformerConfig`, JSON types.
      source: where the weights come from, for people.
      step: updates done to them here; 0 for imported weights.
      vocabulary: what is known of the vocabulary, JSON types; empty when nothing is.
      details: anything else that should travel along, JSON types.
      arrays: path -> dtype and shape (`describe_arrays`); `save_weights` fills it in.
    """

    family: str
    config: Mapping[str, Any]
    source: str
    step: int = 0
    vocabulary: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    details: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    arrays: Mapping[str, str] = dataclasses.field(default_factory=dict)


def save_weights(folder: str | pathlib.Path, params: PyTree, info: WeightsInfo) -> None:
    """Writes a weights folder; call it on every process.

    Args:
      folder: made if it is missing; other files in it stay.
      params: tree of `jax.Array`.
      info: what they are; its `arrays` are taken from `params`.

    Raises:
      ConfigError: the folder holds weights already.
    """
    folder = pathlib.Path(folder).absolute()
    if (folder / INFO).exists():
        raise ConfigError(f"{folder} holds weights already; expected a folder without {INFO}")
    folder.mkdir(parents=True, exist_ok=True)
    if jax.process_index() == 0:
        shutil.rmtree(folder / ITEM, ignore_errors=True)  # what an interruption left
    with ocp.Checkpointer(_handler()) as checkpointer:
        save_args = jax.tree.map(lambda _: ocp.SaveArgs(chunk_byte_size=CHUNK_BYTES), params)
        checkpointer.save(folder / ITEM, args=ocp.args.PyTreeSave(params, save_args))
    if jax.process_index() == 0:
        described = dataclasses.replace(info, arrays=describe_arrays(params))
        text = json.dumps(dataclasses.asdict(described), indent=1, ensure_ascii=False)
        unfinished = folder / f"{INFO}.partial"
        unfinished.write_text(text + "\n", encoding="utf-8")
        unfinished.rename(folder / INFO)


def load_info(path: str | pathlib.Path) -> WeightsInfo:
    """Returns what the parameters at `path` are, without reading them.

    Args:
      path: a weights folder, a run's folder (its latest checkpoint), or one checkpoint of a run.

    Raises:
      ConfigError: there are no parameters, or the run's model is of no known family.
    """
    item = _find_item(path)
    if item.name == ITEM:
        return WeightsInfo(**json.loads((item.parent / INFO).read_text(encoding="utf-8")))
    metadata = _run_metadata(item)
    fingerprint = metadata["run"].get("fingerprint", {})
    model_class = fingerprint.get("model.class")
    if model_class not in _FAMILIES:
        raise ConfigError(
            f"{item.parent} is the checkpoint of a model {model_class}; expected one of "
            f"{', '.join(_FAMILIES)}"
        )
    vocabulary = _unflatten(fingerprint, "data.vocabulary")
    return WeightsInfo(
        family=_FAMILIES[model_class],
        config=_unflatten(fingerprint, "model.config"),
        source=str(item.parent),
        step=int(metadata["run"].get("step", item.parent.name)),
        vocabulary=vocabulary if isinstance(vocabulary, Mapping) else {"fingerprint": vocabulary},
        arrays=_saved_arrays(item),
    )


def load_params(path: str | pathlib.Path, shapes: PyTree) -> PyTree:
    """Returns the parameters at `path`, bit for bit, each array made where it will live.

    Args:
      path: a weights folder, a run's folder (its latest checkpoint), or one checkpoint of a run.
      shapes: parameter tree of `jax.ShapeDtypeStruct`; one without a sharding goes to the first
        device.

    Returns:
      The tree of `shapes`, as `jax.Array`.

    Raises:
      ConfigError: there are no parameters, or not those of `shapes`; all differences are listed.
    """
    check_params(path, shapes)
    item = _find_item(path)
    shapes = jax.tree.map(_with_sharding, shapes)
    return _restore(item, shapes, ocp.checkpoint_utils.construct_restore_args(shapes))


def load_array(path: str | pathlib.Path, name: str) -> np.ndarray:
    """Returns one parameter at `path`, whole and in host memory.

    Args:
      path: a weights folder, a run's folder (its latest checkpoint), or one checkpoint of a run.
      name: of the parameter, e.g. `decoder/decoder_norm/scale`.
    """
    item = _find_item(path)
    wanted = flatten(array_shapes(_saved_arrays(item)))[name]
    as_numpy = ocp.RestoreArgs(restore_type=np.ndarray, dtype=wanted.dtype)
    restored = _restore(item, unflatten({name: wanted}), unflatten({name: as_numpy}))
    return flatten(restored)[name]


def array_shapes(arrays: Mapping[str, str]) -> PyTree:
    """Returns the tree of `jax.ShapeDtypeStruct` that `describe_arrays` described."""
    flat = {}
    for name, text in arrays.items():
        dtype, _, sizes = text.rstrip("]").partition("[")
        shape = tuple(int(size) for size in sizes.split(",") if size.strip())
        flat[_readable(name)] = jax.ShapeDtypeStruct(shape, jnp.dtype(dtype))
    return unflatten(flat)


def identify(path: str | pathlib.Path) -> dict[str, Any]:
    """Returns what tells the parameters at `path` from others: their files, sizes and times."""
    item = _find_item(path)
    digest = hashlib.sha256()
    for file in sorted(p for p in item.rglob("*") if p.is_file()):
        stat = file.stat()
        digest.update(f"{file.relative_to(item)} {stat.st_size} {stat.st_mtime_ns}\n".encode())
    return {"folder": str(item), "files": digest.hexdigest()}


def _restore(item: pathlib.Path, shapes: PyTree, restore_args: PyTree) -> PyTree:
    """Reads the parameters that `shapes` names, and nothing else."""
    whole = item.name == ITEM
    arguments = ocp.args.PyTreeRestore(
        item=shapes if whole else {"params": shapes},
        restore_args=restore_args if whole else {"params": restore_args},
        partial_restore=True,
    )
    with ocp.Checkpointer(_handler()) as checkpointer:
        restored = checkpointer.restore(item, args=arguments)
    return restored if whole else restored["params"]


def check_params(path: str | pathlib.Path, shapes: PyTree) -> None:
    """Checks that the parameters at `path` are those of `shapes`, without reading them.

    Args:
      path: as in `load_params`.
      shapes: parameter tree of `jax.ShapeDtypeStruct`.

    Raises:
      ConfigError: there are no parameters, or not those of `shapes`; all differences are listed.
    """
    check_arrays(_saved_arrays(_find_item(path)), describe_arrays(shapes), str(path))


def find_checkpoint(path: str | pathlib.Path) -> pathlib.Path | None:
    """Returns the folder of one checkpoint of a run; None where `path` is no run.

    Args:
      path: `MODEL_DIR` (its latest complete checkpoint) or `MODEL_DIR/checkpoints/STEP`.
    """
    path = pathlib.Path(path).absolute()
    if (path / "state").is_dir() and (path / "metadata").is_dir():
        return path
    steps = [int(p.name) for p in path.glob(f"{FOLDER}/*") if p.name.isdecimal()]
    return path / FOLDER / str(max(steps)) if steps else None


def run_arrays(checkpoint: pathlib.Path, prefix: str) -> dict[str, str]:
    """Returns path -> dtype and shape of the arrays of a run's checkpoint below a prefix.

    Args:
      checkpoint: folder of one checkpoint (`find_checkpoint`).
      prefix: e.g. `.params`; taken off the paths.
    """
    arrays = _run_metadata(checkpoint / "state")["arrays"]
    return {n.removeprefix(prefix): a for n, a in arrays.items() if n.startswith(prefix + "[")}


def check_arrays(found: Mapping[str, str], wanted: Mapping[str, str], source: str) -> None:
    """Checks that two sets of arrays are the same.

    Args:
      found: path -> dtype and shape, of what is on disk.
      wanted: the same, of what the reader needs.
      source: where `found` is, for the message.

    Raises:
      ConfigError: with every array that is missing, superfluous or different.
    """
    lines = [
        *(f"missing there: {n}, {wanted[n]}" for n in sorted(wanted.keys() - found.keys())),
        *(f"unknown here: {n}, {found[n]}" for n in sorted(found.keys() - wanted.keys())),
        *(
            f"different: {n} is {found[n]} there; expected {wanted[n]}"
            for n in sorted(found.keys() & wanted.keys())
            if found[n] != wanted[n]
        ),
    ]
    if lines:
        raise ConfigError(
            f"the weights in {source} are not those of this model ({len(lines)} differ):\n"
            + "\n".join(f"  {_readable(line)}" for line in lines)
        )


def _handler() -> ocp.PyTreeCheckpointHandler:
    return ocp.PyTreeCheckpointHandler(
        save_concurrent_gb=MAX_CONCURRENT_GB,
        restore_concurrent_gb=MAX_CONCURRENT_GB,
        save_device_host_concurrent_gb=MAX_CONCURRENT_GB,
    )


def _find_item(path: str | pathlib.Path) -> pathlib.Path:
    """The folder of arrays: `weights` of a weights folder, `state` of a checkpoint."""
    folder = pathlib.Path(path).absolute()
    if (folder / INFO).is_file():
        return folder / ITEM
    checkpoint = find_checkpoint(folder)
    if checkpoint is None or not checkpoint.is_dir():
        raise ConfigError(
            f"{path} holds no weights; expected a folder with {INFO} (written by xlingual import), "
            f"the MODEL_DIR of a run with a checkpoint, or MODEL_DIR/{FOLDER}/STEP"
        )
    return checkpoint / "state"


def _saved_arrays(item: pathlib.Path) -> dict[str, str]:
    """Path -> dtype and shape of the parameters among the arrays of an item."""
    if item.name == ITEM:
        return json.loads((item.parent / INFO).read_text(encoding="utf-8"))["arrays"]
    return run_arrays(item.parent, ".params")


def _run_metadata(item: pathlib.Path) -> dict[str, Any]:
    path = item.parent / "metadata" / "metadata.json"
    return json.loads(path.read_text(encoding="utf-8"))


def _with_sharding(leaf: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
    sharding = leaf.sharding or SingleDeviceSharding(jax.devices()[0])
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)


def _unflatten(fingerprint: Mapping[str, Any], prefix: str) -> Any:
    """The value under a dotted name, as nested mappings; what names a class is left out."""
    if prefix in fingerprint:
        return fingerprint[prefix]
    names = (n for n in fingerprint if n.startswith(f"{prefix}."))
    heads: Iterable[str] = dict.fromkeys(n.removeprefix(f"{prefix}.").split(".")[0] for n in names)
    return {head: _unflatten(fingerprint, f"{prefix}.{head}") for head in heads if head != "class"}


def _readable(line: str) -> str:
    """Paths as `decoder/layers/mlp`, not `['decoder']['layers']['mlp']`."""
    line = re.sub(r"'\]\['", "/", line)
    return re.sub(r"\['([^']*)'\]", r"\1", line)

"""Compiled train steps on disk: a pod loads the program that another machine compiled for it.

A saved program is good for one combination of versions, devices and configuration. What it was
compiled from is written beside it, entry by entry, and ends with a hash of the program before
compilation: a job whose own entries differ refuses it by name.
"""

import hashlib
import importlib.metadata
import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
from jax.experimental import serialize_executable

from xlingual.errors import ConfigError
from xlingual.partitioning.partitioner import Partitioner
from xlingual.training.fingerprint import describe, find_differences, flatten

PROGRAM = "train_step.bin"
IDENTITY = "train_step.json"
MAX_LINES = 10
"""Differences that a refusal lists."""


def make_identity(
    lowered: jax.stages.Lowered,
    partitioner: Partitioner,
    parts: Mapping[str, Any],
) -> dict[str, Any]:
    """Returns what a compiled program depends on, JSON types only.

    Args:
      lowered: the program before compilation.
      partitioner: mesh and rules.
      parts: name -> what the program was made from: model, losses, optimizer, shapes, ...
    """
    devices = list(partitioner.mesh.devices.flat)
    return flatten(
        {
            "jax": jax.__version__,
            "jaxlib": importlib.metadata.version("jaxlib"),
            "compiler": _compiler_version(devices[0].platform),
            "topology": {
                "device_kind": devices[0].device_kind,
                "devices": len(devices),
                "slices": len({getattr(device, "slice_index", None) or 0 for device in devices}),
                "order": _order(devices),
            },
            "mesh": {axis: int(size) for axis, size in partitioner.mesh.shape.items()},
            "rules": describe(partitioner.rules),
            **{name: describe(part) for name, part in parts.items()},
            "program": hashlib.sha256(lowered.as_text().encode()).hexdigest(),
        }
    )


def save_executable(
    folder: str | os.PathLike[str], compiled: jax.stages.Compiled, identity: Mapping[str, Any]
) -> pathlib.Path:
    """Writes a compiled program and what it depends on; returns the program's file.

    Args:
      folder: made if it is missing.
      compiled: the program.
      identity: from `make_identity`.

    Raises:
      ConfigError: the folder cannot be written, or the platform's programs cannot be saved.
    """
    path = pathlib.Path(folder)
    try:
        payload, _, _ = serialize_executable.serialize(compiled)
    except (ValueError, NotImplementedError) as error:
        raise ConfigError(f"the program cannot be saved: {error}") from error
    record = {"identity": dict(identity), "sha256": hashlib.sha256(payload).hexdigest()}
    try:
        path.mkdir(parents=True, exist_ok=True)
        # The identity last, so that a program without one is an unfinished write.
        for name, data in (
            (PROGRAM, payload),
            (IDENTITY, json.dumps(record, indent=1, sort_keys=True).encode()),
        ):
            partial = path / f"{name}.partial"
            partial.write_bytes(data)
            os.replace(partial, path / name)
    except OSError as error:
        raise ConfigError(f"executable={str(path)!r} cannot be written: {error}") from error
    return path / PROGRAM


def load_executable(
    folder: str | os.PathLike[str],
    lowered: jax.stages.Lowered,
    partitioner: Partitioner,
    identity: Mapping[str, Any],
) -> jax.stages.Compiled:
    """Returns the saved program of a job, ready to run.

    Loading runs what the file says (JAX pickles programs): load only what you saved.

    Args:
      folder: as given to `save_executable`.
      lowered: the job's own program before compilation.
      partitioner: mesh and rules.
      identity: of `lowered`, from `make_identity`.

    Raises:
      ConfigError: there is none, it is damaged, or it was compiled from something else: every
        entry that differs is named, with both values.
    """
    path = pathlib.Path(folder)
    try:
        record = json.loads((path / IDENTITY).read_text(encoding="utf-8"))
        payload = (path / PROGRAM).read_bytes()
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"executable={str(path)!r} holds no compiled train step ({error}); make one with "
            "xlingual compile --save, or leave it out"
        ) from error
    _check_identity(path, record["identity"], identity)
    if hashlib.sha256(payload).hexdigest() != record["sha256"]:
        raise ConfigError(f"{path / PROGRAM} is damaged: its hash is not the one in {IDENTITY}")
    devices = list(partitioner.mesh.devices.flat)
    try:
        return serialize_executable.deserialize_and_load(
            payload,
            jax.tree.structure(lowered.args_info),
            lowered.out_tree,
            backend=devices[0].client,
            execution_devices=devices,
        )
    except (ValueError, KeyError, jax.errors.JaxRuntimeError) as error:
        raise ConfigError(f"executable={str(path)!r} cannot be loaded here: {error}") from error


def _check_identity(
    path: pathlib.Path, saved: Mapping[str, Any], present: Mapping[str, Any]
) -> None:
    differences = find_differences(saved, json.loads(json.dumps(dict(present))))
    if not differences:
        return
    lines = [
        f"  {name}: compiled with {old!r}, this job has {new!r}"
        for name, (old, new) in sorted(
            differences.items(), key=lambda item: (item[0] == "program", item[0])
        )[:MAX_LINES]
    ]
    raise ConfigError(
        f"executable={str(path)!r} was compiled for another job:\n"
        + "\n".join(lines)
        + "\ncompile it anew with xlingual compile --save, or leave it out"
    )


def _compiler_version(platform: str) -> str:
    try:
        return importlib.metadata.version("libtpu") if platform == "tpu" else "jaxlib"
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def _order(devices: list[Any]) -> str:
    """Returns a hash of where the devices stand in the machine, in the order of the mesh."""
    places = [
        [*getattr(device, "coords", ()), getattr(device, "core_on_chip", 0), device.id]
        for device in devices
    ]
    return hashlib.sha256(json.dumps(places).encode()).hexdigest()[:16]

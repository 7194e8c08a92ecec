"""Device meshes that follow the machine: fast links inside a slice, the data axis between slices.

Axes are always of type Auto: the compiler propagates shardings from hints. (`jax.make_mesh` may
default to Explicit axes, which turn hints into assertions.)
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import mesh_utils
from jax.sharding import AxisType, Mesh

from xlingual.errors import ConfigError
from xlingual.partitioning.axes import MESH_AXES


def make_mesh(sizes: Mapping[str, int], devices: Sequence[jax.Device]) -> Mesh:
    """Returns the mesh of `devices` with axes `MESH_AXES`.

    Args:
      sizes: mesh axis -> number of devices along it; at most one may be -1: all that remain.
      devices: the devices of all hosts.

    Returns:
      A mesh whose axes are all of type Auto.

    Raises:
      ConfigError: as `mesh_shape` and `arrange_devices`.
    """
    shape = mesh_shape(sizes, len(devices))
    return Mesh(
        arrange_devices(shape, devices), MESH_AXES, axis_types=(AxisType.Auto,) * len(MESH_AXES)
    )


def mesh_shape(sizes: Mapping[str, int], num_devices: int) -> tuple[int, ...]:
    """Returns the size of each mesh axis, with -1 filled in.

    Args:
      sizes: mesh axis -> size; at most one may be -1.
      num_devices: number of devices that the mesh must hold.

    Raises:
      ConfigError: a size is neither positive nor -1, two are -1, or the product is not
        `num_devices`.
    """
    asked = {axis: sizes[axis] for axis in MESH_AXES}
    if any(size < 1 and size != -1 for size in asked.values()):
        raise ConfigError(f"mesh sizes {asked}; expected positive numbers, or one -1 for the rest")
    if list(asked.values()).count(-1) > 1:
        raise ConfigError(f"mesh sizes {asked} hold more than one -1; expected at most one")
    fixed = int(np.prod([size for size in asked.values() if size != -1]))
    rest = num_devices // fixed
    shape = tuple(rest if size == -1 else size for size in asked.values())
    if int(np.prod(shape)) != num_devices:
        raise ConfigError(
            f"mesh sizes {asked} do not fit the {num_devices} devices; expected sizes whose "
            f"product is {num_devices}"
        )
    return shape


def arrange_devices(shape: Sequence[int], devices: Sequence[Any]) -> np.ndarray:
    """Returns the devices as an array of `shape`, neighbours in the machine next to each other.

    On several TPU slices, which are joined by the slower data-centre network, only the first axis
    (`data`) crosses slices.

    Args:
      shape: size of each mesh axis, none of them -1.
      devices: the devices; `slice_index`, where a device has one, tells slices apart.

    Raises:
      ConfigError: the first axis is not a multiple of the number of TPU slices.
    """
    num_slices = len({getattr(device, "slice_index", 0) for device in devices})
    if num_slices == 1 or devices[0].platform != "tpu":
        return mesh_utils.create_device_mesh(tuple(shape), devices)
    if shape[0] % num_slices:
        raise ConfigError(
            f"mesh axis {MESH_AXES[0]!r} has size {shape[0]}; expected a multiple of the "
            f"{num_slices} slices, because only this axis may cross them"
        )
    return mesh_utils.create_hybrid_device_mesh(
        (shape[0] // num_slices, *shape[1:]), (num_slices, *[1] * (len(shape) - 1)), devices
    )

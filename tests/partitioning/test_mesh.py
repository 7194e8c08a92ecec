import dataclasses

import jax
import numpy as np
import pytest
from jax.sharding import AxisType

from xlingual.errors import ConfigError
from xlingual.partitioning.mesh import arrange_devices, make_mesh, mesh_shape


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [((-1, 1, 1), (8, 1, 1)), ((2, -1, 2), (2, 2, 2)), ((1, 2, 4), (1, 2, 4))],
)
def test_the_rest_is_filled_in(sizes, expected):
    assert mesh_shape(dict(zip(("data", "fsdp", "tensor"), sizes, strict=True)), 8) == expected


@pytest.mark.parametrize("sizes", [(3, 1, 1), (-1, 3, 1), (4, 4, 1), (-1, -1, 1), (0, 1, 1)])
def test_sizes_that_do_not_fit_are_named(sizes):
    with pytest.raises(ConfigError, match="mesh sizes"):
        mesh_shape(dict(zip(("data", "fsdp", "tensor"), sizes, strict=True)), 8)


def test_axes_are_auto():
    mesh = make_mesh({"data": -1, "fsdp": 2, "tensor": 2}, jax.devices())
    assert dict(mesh.shape) == {"data": 2, "fsdp": 2, "tensor": 2}
    assert set(mesh.axis_types) == {AxisType.Auto}
    assert sorted(d.id for d in mesh.devices.flat) == list(range(8))


@dataclasses.dataclass(frozen=True)
class FakeTpu:
    """A device of a v4 slice as `mesh_utils` sees it."""

    id: int
    slice_index: int
    coords: tuple[int, int, int]
    platform: str = "tpu"
    device_kind: str = "TPU v4"
    core_on_chip: int = 0
    process_index: int = 0


def two_slices():
    return [
        FakeTpu(id=4 * s + i, slice_index=s, coords=(i % 2, i // 2, 0))
        for s in range(2)
        for i in range(4)
    ]


@pytest.mark.parametrize("shape", [(2, 4, 1), (4, 1, 2), (2, 2, 2)])
def test_only_the_data_axis_crosses_slices(shape):
    devices = arrange_devices(shape, two_slices())
    assert devices.shape == shape and len(set(devices.flat)) == 8
    slices = np.vectorize(lambda device: device.slice_index)(devices)
    assert all(len(np.unique(block)) == 1 for block in slices)
    assert list(slices[:, 0, 0]) == sorted(slices[:, 0, 0])


def test_a_data_axis_shorter_than_the_slices_is_named():
    with pytest.raises(ConfigError, match="2 slices"):
        arrange_devices((1, 8, 1), two_slices())

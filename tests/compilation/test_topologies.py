"""Slices that are not there: names, sizes, and what is refused."""

import pytest

from xlingual.compilation.topologies import CHIPS, describe_slice
from xlingual.errors import ConfigError


@pytest.mark.parametrize(
    ("topology", "num_slices", "message"),
    [
        ("v9:2x2", 1, "expected GENERATION:SHAPE"),
        ("v5e", 1, "expected GENERATION:SHAPE"),
        ("v5p:2xtwo", 1, "expected GENERATION:SHAPE"),
        ("v5p:4x4", 1, "expected three sizes"),
        ("cpu:8", 0, "num_slices=0"),
        ("cpu:8", 2, "expected 1"),
        ("cpu:999", 1, "this process has 8"),
    ],
)
def test_bad_topologies_are_refused(topology, num_slices, message):
    with pytest.raises(ConfigError, match=message):
        describe_slice(topology, num_slices)


def test_devices_of_this_process():
    assert len(describe_slice("cpu:8").devices) == 8


@pytest.mark.parametrize(
    ("topology", "chips", "devices"),
    [("v4:2x2x4", 16, 16), ("v5e:4x4", 16, 16), ("v5p:2x2x2", 8, 8), ("v6e:2x4", 8, 8)]
    + [("tpu7x:2x2x1", 4, 8), ("v5e:1x1", 1, 1)],
)
def test_slices_of_every_generation(topology, chips, devices):
    pytest.importorskip("libtpu", reason="libtpu has the compiler of TPUs")
    where = describe_slice(topology)
    assert (where.num_chips, len(where.devices)) == (chips, devices)
    assert where.devices[0].device_kind == CHIPS[topology.partition(":")[0]].device_kind
    assert where.chip.flops_per_second > 1e14


def test_slices_are_told_apart():
    pytest.importorskip("libtpu", reason="libtpu has the compiler of TPUs")
    where = describe_slice("v5e:2x2", num_slices=2)
    assert [device.slice_index for device in where.devices] == [0] * 4 + [1] * 4


def test_shapes_that_a_generation_lacks_are_refused():
    pytest.importorskip("libtpu", reason="libtpu has the compiler of TPUs")
    with pytest.raises(ConfigError, match="topology='v5e:3x5'"):
        describe_slice("v5e:3x5")

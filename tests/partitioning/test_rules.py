import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import PartitionSpec as P

from xlingual.errors import ConfigError
from xlingual.partitioning import rules
from xlingual.partitioning.axes import LOGICAL_AXES, MESH_AXES

TABLES = (rules.data_parallel(), rules.fsdp(), rules.fsdp_tensor())


def test_tables_are_valid():
    for table in TABLES:
        rules.validate_rules(table)
    assert rules.used_mesh_axes(rules.data_parallel()) == {"data"}
    assert rules.used_mesh_axes(rules.fsdp()) == {"data", "fsdp"}
    assert rules.used_mesh_axes(rules.fsdp_tensor()) == set(MESH_AXES)


@pytest.mark.parametrize(
    ("axes", "expected"),
    [
        (("batch", "length", "embed"), P(("data", "fsdp"), None, None)),
        (("batch", "length", "heads", "kv"), P(("data", "fsdp"), None, "tensor", None)),
        (("layers", "embed", "mlp"), P(None, "fsdp", "tensor")),
        (("heads", "mlp"), P("tensor", None)),
        (("embed", "batch"), P("fsdp", "data")),
        ((None, "vocab"), P(None, "tensor")),
        ((), P()),
    ],
)
def test_the_first_dimension_takes_a_mesh_axis(axes, expected):
    assert rules.mesh_spec(axes, rules.fsdp_tensor()) == expected


@settings(max_examples=50, deadline=None)
@given(
    axes=st.lists(st.sampled_from([None, *LOGICAL_AXES]), max_size=5), table=st.sampled_from(TABLES)
)
def test_no_mesh_axis_twice(axes, table):
    spec = rules.mesh_spec(axes, table)
    used = [a for entry in spec for a in ((entry,) if isinstance(entry, str) else entry or ())]
    assert len(spec) == len(axes) and len(used) == len(set(used))


def test_unknown_logical_axis():
    with pytest.raises(ValueError, match="embedding"):
        rules.mesh_spec(("batch", "embedding"), rules.fsdp())


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda table: table[1:], "batch"),
        (lambda table: (*table, ("embed", None)), "exactly once"),
        (lambda table: (*table[:-1], ("relpos_buckets", "model")), "model"),
        (lambda table: (*table[:-1], ("relpos_buckets", ("data", "data"))), "twice"),
    ],
)
def test_bad_tables_are_named(change, named):
    with pytest.raises(ConfigError, match=named):
        rules.validate_rules(change(rules.fsdp()))

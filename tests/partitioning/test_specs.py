import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest
from jax.sharding import PartitionSpec as P

from xlingual.errors import ConfigError
from xlingual.partitioning import rules
from xlingual.partitioning.partitioner import Partitioner
from xlingual.partitioning.specs import split_boxes


def shape(*dims):
    return jax.ShapeDtypeStruct(dims, jnp.float32)


@pytest.fixture
def partitioner():
    return Partitioner(rules=rules.fsdp_tensor(), data=2, fsdp=2, tensor=2)


def test_boxes_come_off():
    boxed = {
        "kernel": nn.LogicallyPartitioned(shape(4, 6), names=("embed", "mlp")),
        "bare": shape(3),
    }
    params, axes = split_boxes(boxed)
    assert params == {"kernel": shape(4, 6), "bare": shape(3)}
    assert axes == {"kernel": P("embed", "mlp"), "bare": P()}


def test_a_box_of_another_rank_is_named():
    with pytest.raises(ValueError, match="kernel"):
        split_boxes({"kernel": nn.LogicallyPartitioned(shape(4, 6), names=("embed",))})


def test_shardings(partitioner):
    axes = {"kernel": P("layers", "embed", "mlp"), "relpos": P("heads", "relpos_buckets")}
    shapes = {"kernel": shape(3, 256, 512), "relpos": shape(5, 32)}
    found = partitioner.shardings(axes, shapes)
    assert found["kernel"].spec == P(None, "fsdp", "tensor")
    assert found["relpos"].spec == P(None, None), "5 heads: small, so replicated"
    assert partitioner.shardings(P(), shape(7, 7)).spec == P()


def test_a_large_dimension_that_does_not_divide_is_named(partitioner):
    axes = {"layers": {"kernel": P("embed", "mlp")}}
    with pytest.raises(ConfigError, match=r"kernel.*'mlp' of size 511.*tensor"):
        partitioner.shardings(axes, {"layers": {"kernel": shape(256, 511)}})


def test_a_spec_of_another_rank_is_named(partitioner):
    with pytest.raises(ValueError, match="kernel"):
        partitioner.shardings({"kernel": P("embed")}, {"kernel": shape(4, 4)})

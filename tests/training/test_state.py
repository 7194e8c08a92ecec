import jax
import numpy as np
import pytest

from tests.training.fakes import FakeModel, FakeSource, make_arguments, make_partitioner
from xlingual.training.state import make_state, plan_state


def _state(partitioner, seed=0):
    model, spec = FakeModel(), FakeSource().spec
    layout = plan_state(model, make_arguments("")["optimizer"], partitioner, spec)
    return layout, make_state(model, layout, partitioner, spec, seed)


def test_a_new_state_has_the_planned_shapes_and_shardings():
    layout, state = _state(make_partitioner(8, data=2, fsdp=4))
    assert state.step.dtype == np.int32 and int(state.step) == 0
    assert state.extra == {}
    assert jax.tree.structure(state) == jax.tree.structure(layout.shapes)
    for array, shape, sharding in zip(
        *map(jax.tree.leaves, (state, layout.shapes, layout.shardings)), strict=True
    ):
        assert (array.shape, array.dtype) == (shape.shape, shape.dtype)
        assert array.sharding == sharding == shape.sharding
    assert state.params["embedding"].addressable_shards[0].data.shape == (64, 4)


@pytest.mark.parametrize("sizes", [{"data": 8}, {"data": 2, "fsdp": 4}])
def test_parameters_depend_on_the_seed_and_not_on_the_mesh(sizes):
    _, alone = _state(make_partitioner(1))
    _, many = _state(make_partitioner(8, **sizes))
    _, other = _state(make_partitioner(1), seed=1)
    for name in alone.params:
        np.testing.assert_array_equal(alone.params[name], many.params[name])
        assert not np.array_equal(alone.params[name], other.params[name])

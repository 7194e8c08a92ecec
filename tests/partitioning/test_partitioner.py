import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from xlingual.errors import ConfigError
from xlingual.partitioning import rules
from xlingual.partitioning.constraints import constrain
from xlingual.partitioning.partitioner import Partitioner


@pytest.fixture
def eight():
    return Partitioner(rules=rules.fsdp_tensor(), data=2, fsdp=2, tensor=2)


def test_constrain_is_identity_but_checks_without_a_mesh():
    x = jnp.ones((2, 3))
    assert constrain(x, ("batch", None)) is x
    with pytest.raises(ValueError, match="name 1 dimensions"):
        constrain(x, ("batch",))
    with pytest.raises(ValueError, match="unknown logical axes"):
        constrain(x, ("batch", "width"))


def test_constrain_hints_under_a_partitioner(eight):
    def fn(x):
        return constrain(x * 2.0, ("batch", "mlp"))

    jitted = eight.jit(fn)
    x = np.arange(64, dtype=np.float32).reshape(8, 8)
    y = jitted(x)
    np.testing.assert_array_equal(y, x * 2)
    assert y.sharding.spec == P(("data", "fsdp"), "tensor")
    assert jitted.lower(x).as_text().count("sdy.sharding_constraint") == 1
    assert jax.jit(fn).lower(x).as_text().count("sdy.sharding_constraint") == 0


def test_jit_traces_anew_under_other_rules(eight):
    def fn(x):
        return constrain(x, ("embed", "mlp"))

    other = Partitioner(rules=rules.fsdp(), data=2, fsdp=4)
    x = np.ones((8, 8), np.float32)
    assert eight.jit(fn)(x).sharding.spec == P("fsdp", "tensor")
    assert other.jit(fn)(x).sharding.spec[0] == "fsdp"
    assert constrain(jnp.ones((8, 8)), ("embed", "mlp")).sharding.is_fully_replicated


def test_jit_donates_and_takes_static_arguments(eight):
    def fn(x, name, y):
        assert name == "static"
        return x + y

    sharding = eight.shardings(P("embed", None), jax.ShapeDtypeStruct((8, 8), jnp.float32))
    jitted = eight.jit(
        fn,
        in_shardings=(sharding, None),
        out_shardings=sharding,
        donate_argnums=0,
        static_argnums=1,
    )
    x = jax.device_put(jnp.ones((8, 8)), sharding)
    y = jitted(x, "static", np.ones((8, 8), np.float32))
    assert x.is_deleted() and y.sharding == sharding
    np.testing.assert_array_equal(y, 2.0)


def test_shard_batch(eight):
    rows = {"tokens": np.arange(32, dtype=np.int32).reshape(8, 4), "lengths": np.arange(8)}
    batch = eight.shard_batch(rows)
    assert eight.num_batch_shards == 4
    for name, array in batch.items():
        assert array.sharding == eight.batch_sharding
        assert array.addressable_shards[0].data.shape[0] == 2
        np.testing.assert_array_equal(array, rows[name])
    with pytest.raises(ConfigError, match=r"tokens has 6 rows.*4 batch shards"):
        eight.shard_batch({"tokens": rows["tokens"][:6]})


def test_batch_sizes_that_do_not_divide_are_named(eight):
    eight.check_batch_size(8)
    eight.check_batch_size(8, num_microbatches=2)
    for size, parts in ((6, 1), (8, 4), (0, 1)):
        with pytest.raises(ConfigError, match=f"batch_size={size}"):
            eight.check_batch_size(size, parts)


def test_one_host_supplies_all_rows(eight):
    np.testing.assert_array_equal(eight.host_rows(12), np.arange(12))


def test_a_mesh_axis_without_a_rule_is_named():
    with pytest.raises(ConfigError, match="'tensor' has size 2"):
        Partitioner(rules=rules.fsdp(), data=2, fsdp=2, tensor=2).mesh  # noqa: B018


def test_a_mesh_that_does_not_fit_is_named():
    with pytest.raises(ConfigError, match="8 devices"):
        Partitioner(rules=rules.fsdp(), data=2, fsdp=3).mesh  # noqa: B018


def test_bad_rules_are_named_at_once():
    with pytest.raises(ConfigError, match="logical axes"):
        Partitioner(rules=(("batch", "data"),))

"""Global batches are this host's rows, placed; the position is the host's."""

import jax
import numpy as np

from xlingual.data.iterator import GlobalBatchIterator


class _Counter:
    """Host batches that count up."""

    def __init__(self):
        self.value = 0

    def __next__(self):
        self.value += 1
        return {"decoder_target_tokens": np.full((8, 3), self.value, np.int32)}

    def state(self):
        return str(self.value).encode()

    def restore(self, state):
        self.value = int(state)


class _Sharder:
    """Splits rows over all devices."""

    def __init__(self):
        mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
        self.sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))

    def shard_batch(self, host_batch):
        return {name: jax.device_put(value, self.sharding) for name, value in host_batch.items()}


def test_batches_are_placed_in_order():
    sharder = _Sharder()
    batches = GlobalBatchIterator(_Counter(), sharder)
    for expected in (1, 2):
        batch = next(batches)
        assert batch["decoder_target_tokens"].sharding == sharder.sharding
        np.testing.assert_array_equal(batch["decoder_target_tokens"], np.full((8, 3), expected))


def test_position_counts_the_batches_handed_out():
    batches = GlobalBatchIterator(_Counter(), _Sharder())
    next(batches)
    state = batches.state()
    expected = next(batches)["decoder_target_tokens"]
    again = GlobalBatchIterator(_Counter(), _Sharder())
    again.restore(state)
    np.testing.assert_array_equal(next(again)["decoder_target_tokens"], expected)


def test_it_is_an_iterator():
    batches = GlobalBatchIterator(_Counter(), _Sharder())
    assert iter(batches) is batches

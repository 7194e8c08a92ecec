"""Candidates, neighbours, loss and gradients on eight devices are those on one."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xlingual.losses.blockwise_cross_entropy import BlockwiseCrossEntropy
from xlingual.losses.neighbour_cross_entropy import NeighbourCrossEntropy
from xlingual.outputs import ModelOutputs, Readout
from xlingual.partitioning.constraints import constrain

WIDTH, VOCAB = 32, 200
LOSS = NeighbourCrossEntropy(
    exact=BlockwiseCrossEntropy(z_loss=0.01, token_block=8, vocab_block=30),
    num_neighbours=3,
    max_candidates=120,
    query_block=4,
)


def example(batch, by_row):
    rng = np.random.default_rng(0)
    states = rng.standard_normal((*batch["decoder_loss_weights"].shape, WIDTH))
    table = rng.standard_normal((VOCAB, WIDTH) if by_row else (WIDTH, VOCAB))
    return states.astype(np.float32), table.astype(np.float32)


def compute(states, table, batch, by_row):
    """A step with empty lists: `(lists, ((total, term), gradients))`."""

    def outputs_of(states, table):
        states = constrain(states, ("batch", "length", "embed"))
        readout = Readout(states=states, table=table, by_row=by_row)
        return ModelOutputs(logits=jnp.zeros(()), readout=readout)

    outputs = outputs_of(states, table)
    extra, loss = LOSS.update_extra(LOSS.init_extra(outputs), outputs, batch, jnp.int32(0))

    def total(states, table):
        term = loss(outputs_of(states, table), batch)
        return term.total / 7, term

    return extra, jax.value_and_grad(total, argnums=(0, 1), has_aux=True)(states, table)


@pytest.mark.parametrize(
    "table",
    [
        name if name == "fsdp_tensor" else pytest.param(name, marks=pytest.mark.slow)
        for name in ("data_parallel", "fsdp", "fsdp_tensor", "fsdp_tensor_sequence")
    ],
)
@pytest.mark.parametrize("by_row", [pytest.param(True, marks=pytest.mark.slow), False])
def test_eight_devices_equal_one(table, partitioner, batch, by_row):
    fn = functools.partial(compute, by_row=by_row)
    states, kernel = example(batch, by_row)
    wanted = jax.device_get(jax.jit(fn)(states, kernel, batch))
    names = ("vocab", "embed") if by_row else ("embed", "vocab")
    cut = partitioner.shardings(jax.sharding.PartitionSpec(*names), kernel)
    step = partitioner.jit(
        fn,
        in_shardings=(partitioner.batch_sharding, cut, partitioner.batch_sharding),
        out_shardings=(partitioner.replicated, (None, (None, cut))),
    )
    placed = jax.device_put((states, kernel), (partitioner.batch_sharding, cut))
    found = jax.device_get(step(*placed, partitioner.shard_batch(batch)))
    jax.tree.map(np.testing.assert_array_equal, found[0], wanted[0])

    def compare(a, b):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-5 * max(np.abs(b).max(), 1e-6))

    jax.tree.map(compare, found[1], wanted[1])
    term = wanted[1][0][1]
    assert 0 < term.metrics["candidates"].total < VOCAB

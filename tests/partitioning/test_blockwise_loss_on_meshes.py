"""The loss in blocks on eight devices is that on one, and gradients are reduced once."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xlingual.compilation.costs import compute_costs
from xlingual.compilation.hlo import parse_program
from xlingual.losses.blockwise_cross_entropy import BlockwiseCrossEntropy
from xlingual.losses.cross_entropy import CrossEntropy
from xlingual.outputs import ModelOutputs, Readout
from xlingual.partitioning.constraints import constrain

WIDTH, VOCAB = 32, 200
LOSS = BlockwiseCrossEntropy(z_loss=0.01, label_smoothing=0.1, token_block=8, vocab_block=30)
_ON_ONE: dict = {}


def example(batch, by_row):
    rng = np.random.default_rng(0)
    states = rng.standard_normal((*batch["decoder_loss_weights"].shape, WIDTH))
    table = rng.standard_normal((VOCAB, WIDTH) if by_row else (WIDTH, VOCAB))
    return states.astype(np.float32), table.astype(np.float32)


def reference(batch, by_row):
    if by_row not in _ON_ONE:
        loss = CrossEntropy(z_loss=0.01, label_smoothing=0.1)

        def compute(states, table):
            term = loss(ModelOutputs(logits=states @ (table.T if by_row else table)), batch)
            return term.total / 7, term

        graded = jax.value_and_grad(compute, argnums=(0, 1), has_aux=True)
        _ON_ONE[by_row] = jax.device_get(jax.jit(graded)(*example(batch, by_row)))
    return _ON_ONE[by_row]


@pytest.mark.parametrize(
    "table",
    [
        name if name == "fsdp_tensor" else pytest.param(name, marks=pytest.mark.slow)
        for name in ("data_parallel", "fsdp", "fsdp_tensor", "fsdp_tensor_sequence")
    ],
)
@pytest.mark.parametrize("by_row", [pytest.param(False, marks=pytest.mark.slow), True])
def test_eight_devices_equal_one(table, partitioner, batch, by_row):
    names = ("vocab", "embed") if by_row else ("embed", "vocab")

    def compute(states, table, batch):
        states = constrain(states, ("batch", "length", "embed"))
        readout = Readout(states=states, table=table, by_row=by_row)
        term = LOSS(ModelOutputs(logits=jnp.zeros(()), readout=readout), batch)
        return term.total / 7, term

    states, kernel = example(batch, by_row)
    cut = partitioner.shardings(jax.sharding.PartitionSpec(*names), kernel)
    features = partitioner.shard_batch(batch)
    step = partitioner.jit(
        jax.value_and_grad(compute, argnums=(0, 1), has_aux=True),
        in_shardings=(partitioner.batch_sharding, cut, partitioner.batch_sharding),
        out_shardings=(None, (None, cut)),
    )
    compiled = step.lower(states, kernel, features).compile()
    placed = jax.device_put((states, kernel), (partitioner.batch_sharding, cut))
    found = jax.device_get(compiled(*placed, features))

    def compare(a, b):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-5 * np.abs(b).max())

    jax.tree.map(compare, found, reference(batch, by_row))

    costs = compute_costs(parse_program(compiled.as_text()), num_devices=8)
    # A device has a quarter of the table at least; nothing else that is reduced is as large.
    of_table = [
        one
        for one in costs.collectives
        if one.kind in ("all-reduce", "reduce-scatter") and one.num_bytes >= VOCAB * WIDTH
    ]
    assert of_table and all(one.runs == 1 for one in of_table)
    assert sum(one.num_bytes for one in of_table) <= 4 * VOCAB * WIDTH * 1.5

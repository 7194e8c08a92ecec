"""Parameters in the dtype of the products write the same logits as those that are trained."""

import jax
import jax.numpy as jnp
import numpy as np

from xlingual.evaluation.decoding_batches import make_decoding_batch


def test_logits_are_those_of_the_trained_parameters(family, make_model, random_params):
    model = make_model(family, dtype="bfloat16")
    params = random_params(model)
    served = model.serving_params(params)
    leaves = jax.tree_util.tree_leaves_with_path(served)
    dtypes = {(path[-1].key == "kernel", leaf.dtype.name) for path, leaf in leaves}
    assert dtypes == {(True, "bfloat16"), (False, "float32")}
    inputs = [np.asarray(ids, np.int32) for ids in ([5, 6, 7, 1], [9, 1])]
    batch = make_decoding_batch(inputs, batch_size=2, length=8)

    @jax.jit
    def decode(params):
        first, cache = model.start_decoding(params, batch, max_length=4)
        tokens = jnp.argmax(first, axis=-1).astype(jnp.int32)
        return first, model.decode_step(model.step_params(params), cache, tokens)[0]

    for expected, found in zip(decode(params), decode(served), strict=True):
        np.testing.assert_array_equal(found, expected)

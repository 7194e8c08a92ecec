"""Partially non-autoregressive decoding: groups of targets do not see each other."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xlingual.losses.cross_entropy import CrossEntropy

INPUTS = [5, 6, 7, 1]
TARGETS = [60, 8, 9, 59, 10, 58, 11, 1]
GROUPS = [1, 1, 1, 1, 1, 2, 2, 2]
LENGTHS = (6, 10)
SETTINGS = [("encoder_decoder", False), ("decoder_only", False), ("decoder_only", True)]


@pytest.fixture(scope="module", params=SETTINGS, ids=lambda s: f"{s[0]}-{s[1]}")
def setting(request, make_model, random_params, make_batch):
    """(model, params, batch without groups, place of the first target, pad behind the groups)."""
    family, prefix = request.param
    model = make_model(family, prefix_attention=prefix)
    batch = make_batch(family, [[(INPUTS, TARGETS)]], LENGTHS)
    start = len(INPUTS) if family == "decoder_only" else 0
    batch["decoder_loss_weights"] = np.zeros(batch["decoder_segment_ids"].shape, np.float32)
    batch["decoder_loss_weights"][0, start : start + len(TARGETS)] = 1
    return model, random_params(model), batch, start


def with_groups(batch, start, groups):
    """The batch as a converter gives it for targets of these groups."""
    ids = np.zeros_like(batch["decoder_segment_ids"])
    ids[0, start : start + len(groups)] = groups
    if start:
        ids[0, start] = 0  # reads the end of the inputs, which all groups see
    tokens = batch["decoder_input_tokens"].copy()
    opens = [i for i in range(1, len(groups)) if groups[i] != groups[i - 1]]
    tokens[0, [start + i for i in opens]] = 0
    return {**batch, "decoder_group_ids": ids, "decoder_input_tokens": tokens}


def test_one_group_is_the_ordinary_loss_exactly(setting):
    model, params, batch, start = setting
    loss = jax.jit(lambda params, batch: CrossEntropy()(model.apply(params, batch), batch).total)
    assert loss(params, with_groups(batch, start, [1] * 8)) == loss(params, batch)
    assert loss(params, with_groups(batch, start, GROUPS)) != loss(params, batch)


def test_a_token_of_one_group_leaves_the_other_alone(setting):
    model, params, batch, start = setting
    forward = jax.jit(lambda params, batch: model.apply(params, batch).logits)
    batch = with_groups(batch, start, GROUPS)
    before = np.asarray(forward(params, batch))[0]
    group = np.array([0] * start + GROUPS)
    for place in range(start + 1, start + len(TARGETS)):
        tokens = batch["decoder_input_tokens"].copy()
        tokens[0, place] = 40
        after = np.asarray(forward(params, {**batch, "decoder_input_tokens": tokens}))[0]
        moved = np.flatnonzero((before != after).any(-1)[: len(group)])
        expected = [i for i in range(place, len(group)) if group[i] == group[place]]
        assert moved.tolist() == expected


def test_every_group_reads_all_inputs(setting):
    model, params, batch, start = setting
    batch = with_groups(batch, start, GROUPS)

    @jax.jit
    def gradient(params, own):
        def loss(params):
            logits = model.apply(params, batch).logits
            return jnp.sum(jnp.square(logits) * own[None, :, None])

        return jax.grad(loss)(params)["token_embedder"]["embedding"]

    group = np.zeros(batch["decoder_segment_ids"].shape[1], np.int32)
    group[start : start + len(GROUPS)] = GROUPS
    for chosen, other in ((1, [11]), (2, [8, 9, 10])):
        found = np.abs(np.asarray(gradient(params, group == chosen))).max(-1)
        assert (found[INPUTS] > 0).all()
        # Targets of another group reach a group neither by reading nor by attention.
        np.testing.assert_array_equal(found[other], 0)

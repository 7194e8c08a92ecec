"""Rotary positions, shared keys, SwiGLU and normalised queries in the decoder-only family."""

import dataclasses
import pathlib

import gin
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.models.test_parameter_trees import count
from xlingual import config as gin_config
from xlingual.errors import ConfigError
from xlingual.layers import rotary
from xlingual.layers.functional import dot_product_attention
from xlingual.models.config import TransformerConfig
from xlingual.models.flops import TokenCounts, train_flops
from xlingual.partitioning import rules
from xlingual.partitioning.partitioner import Partitioner

pytestmark = pytest.mark.slow

GIN = pathlib.Path(__file__).resolve().parents[2] / "gin" / "models" / "decoder_only"
MODERN = {
    "position_encoding": "rotary",
    "num_heads": 4,
    "num_kv_heads": 2,
    "mlp_activation": "silu",
    "qk_norm": True,
    "scale_scores": True,
    "logits_via_embedding": True,
    "scale_tied_logits": False,
    "rope_scaling": rotary.RopeScaling(kind="llama3", factor=4.0, original_max_length=16),
}
FIRST, SECOND = ([5, 6, 7, 1], [8, 9, 10, 1]), ([11, 12, 1], [13, 14, 15, 16, 1])
LENGTHS = (9, 11)


@pytest.fixture(scope="module")
def setting(make_model, random_params, make_batch):
    """(model, params, two packed rows)."""
    model = make_model("decoder_only", **MODERN)
    batch = make_batch("decoder_only", [[FIRST, SECOND], [SECOND, FIRST]], LENGTHS)
    return model, random_params(model), batch


def logits_of(model, params, batch):
    return np.asarray(jax.jit(lambda p, b: model.apply(p, b).logits)(params, batch))


def test_it_has_no_table_of_positions_and_fewer_keys(setting):
    _, params, _ = setting
    assert set(params) == {"token_embedder", "decoder"}
    assert set(params["decoder"]) == {"layers", "decoder_norm"}
    attention = params["decoder"]["layers"]["self_attention"]
    assert attention["key"]["kernel"].shape == (2, 16, 16)
    assert attention["query"]["kernel"].shape == (2, 16, 32)
    assert attention["query_norm"]["scale"].shape == (2, 8)


def test_packed_examples_have_the_logits_of_rows_of_their_own(setting, make_batch):
    model, params, packed = setting
    alone = make_batch("decoder_only", [[FIRST], [SECOND]], LENGTHS)
    together, apart = (logits_of(model, params, batch) for batch in (packed, alone))
    np.testing.assert_allclose(together[0, 8:16], apart[1, :8], atol=1e-5)
    np.testing.assert_array_equal(
        packed["decoder_segment_ids"][0, 8:16], [2] * 8, err_msg="where the second example is"
    )


@pytest.mark.parametrize("scan", [True, False])
def test_decoding_with_a_cache_gives_the_logits_of_one_pass(setting, make_model, scan):
    model, params, _ = setting
    if not scan:
        model = make_model("decoder_only", **MODERN, scan_layers=False)
        layers = params["decoder"]["layers"]
        unrolled = {
            f"layers_{i}": jax.tree.map(lambda leaf, i=i: leaf[i], layers) for i in range(2)
        }
        norm = {"decoder_norm": params["decoder"]["decoder_norm"]}
        params = {**params, "decoder": {**unrolled, **norm}}
    tokens = np.random.default_rng(0).integers(2, 64, (2, 12)).astype(np.int32)
    inputs = np.pad(tokens, ((0, 0), (1, 0)))[:, :-1]
    whole = logits_of(
        model,
        params,
        {"decoder_input_tokens": inputs, "decoder_segment_ids": np.ones_like(inputs)},
    )
    lengths = np.array([5, 3], np.int32)
    prompt = np.where(np.arange(5)[None] < lengths[:, None], inputs[:, :5], 0)
    found, cache = model.start_decoding(
        params,
        {"decoder_prefix_tokens": prompt, "decoder_prefix_lengths": lengths},
        max_length=4,
    )
    step = jax.jit(model.decode_step)
    for offset in range(4):
        here = lengths + offset
        np.testing.assert_allclose(found, whole[[0, 1], here - 1], atol=2e-5)
        found, cache = step(params, cache, jnp.asarray(inputs[[0, 1], here]))


@pytest.mark.parametrize(
    "kv_heads",
    [pytest.param(1, marks=pytest.mark.slow), 2, pytest.param(4, marks=pytest.mark.slow)],
)
def test_eight_devices_compute_what_one_does(make_model, random_params, make_batch, kv_heads):
    model = make_model("decoder_only", **{**MODERN, "num_kv_heads": kv_heads})
    params = random_params(model)
    batch = make_batch("decoder_only", [[FIRST, SECOND], [SECOND, FIRST]], LENGTHS)

    def loss(params, batch):
        logits = model.apply(params, batch).logits
        return jnp.mean(jax.nn.logsumexp(logits, axis=-1) ** 2)

    partitioner = Partitioner(rules=rules.fsdp_tensor(), data=1, fsdp=2, tensor=4)
    expected = jax.jit(jax.value_and_grad(loss))(params, batch)
    with partitioner.activate():
        found = jax.jit(jax.value_and_grad(loss))(params, partitioner.shard_batch(batch))
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_shared_keys_are_those_of_neighbouring_heads():
    rng = np.random.default_rng(0)
    query = rng.standard_normal((2, 5, 6, 4)).astype(np.float32)
    key, value = rng.standard_normal((2, 2, 7, 3, 4)).astype(np.float32)
    mask = rng.random((2, 1, 5, 7)) < 0.7
    bias = rng.standard_normal((1, 6, 5, 7)).astype(np.float32)
    dropout = rng.random((2, 6, 1, 7)).astype(np.float32)

    def total(query, key, value, bias):
        return jnp.sum(dot_product_attention(query, key, value, mask, bias, dropout) ** 2)

    def repeated(query, key, value, bias):
        key, value = (jnp.repeat(x, 2, axis=2) for x in (key, value))
        return total(query, key, value, bias)

    one, other = (
        jax.value_and_grad(f, argnums=(0, 1, 2, 3))(query, key, value, bias)
        for f in (total, repeated)
    )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), one, other)


def test_rotated_scores_depend_on_the_distance_alone():
    frequencies = rotary.rotary_frequencies(8, 10_000.0)
    query, key = np.random.default_rng(0).standard_normal((2, 1, 1, 1, 8)).astype(np.float32)

    def score(q, k):
        turned = [rotary.rotate(x, np.array([[p]]), frequencies) for x, p in ((query, q), (key, k))]
        return float(jnp.sum(turned[0] * turned[1]))

    assert score(9, 4) == pytest.approx(score(105, 100), abs=1e-4)
    assert score(9, 4) != pytest.approx(score(9, 5), abs=1e-3)
    assert score(0, 0) == pytest.approx(float((query * key).sum()), abs=1e-6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_kv_heads": 3}, "num_kv_heads=3; expected a divisor"),
        ({"num_kv_heads": 0}, "num_kv_heads=0"),
        ({"position_encoding": "sinusoidal"}, "position_encoding='sinusoidal'"),
        ({"per_layer_relpos": True}, "per_layer_relpos=True"),
        ({"d_kv": 7}, "d_kv=7; expected an even size"),
        ({"mlp_activation": "relu"}, "mlp_activation='relu'"),
        ({"norm_epsilon": 0.0}, "norm_epsilon=0.0"),
        ({"rope_theta": -1.0}, "rope_theta=-1.0"),
        ({"position_encoding": "relative"}, "rope_scaling is set"),
    ],
)
def test_a_bad_switch_is_refused(make_model, changes, message):
    with pytest.raises(ConfigError, match=message):
        make_model("decoder_only", **{**MODERN, **changes})


def test_a_bad_scaling_is_refused():
    for changes, message in (
        ({"kind": "yarn"}, "kind='yarn'"),
        ({"factor": 0.5}, "factor=0.5"),
        ({"low_freq_factor": 4.0}, "low_freq_factor=4.0"),
        ({"original_max_length": 0}, "original_max_length=0"),
    ):
        with pytest.raises(ConfigError, match=message):
            rotary.RopeScaling(**{"kind": "llama3", "factor": 8.0, **changes})


@pytest.mark.parametrize(
    ("size", "vocab_size", "parameters"),
    [
        ("llama3_1b", 128_256, 1_235_814_400),
        ("qwen3_0_6b", 151_936, 596_049_920),
        ("gemma_2b", 256_000, 2_506_172_416),
    ],
)
def test_published_models_have_their_number_of_parameters(clean_gin, size, vocab_size, parameters):
    files = [str(GIN / "architecture.gin"), str(GIN / f"{size}.gin")]
    gin_config.parse(files, [("VOCAB_SIZE", str(vocab_size)), ("PACK", "True")])
    model = gin.query_parameter("%MODEL").scoped_configurable_fn()
    assert count(model) == parameters


def test_shared_keys_cost_less():
    tokens = TokenCounts(encoder=0, decoder=100, encoder_length=0, decoder_length=50)
    base = TransformerConfig(
        vocab_size=64,
        d_model=16,
        d_ff=32,
        d_kv=8,
        num_heads=4,
        num_encoder_layers=0,
        num_decoder_layers=2,
    )
    shared = dataclasses.replace(base, num_kv_heads=1)
    saved = train_flops(base, tokens).decoder_self - train_flops(shared, tokens).decoder_self
    assert saved == 3 * 2 * 100 * 2 * (2 * 16 * 3 * 8)

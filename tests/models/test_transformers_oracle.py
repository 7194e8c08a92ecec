"""Logits and gradients equal those of MT5 in transformers (PyTorch), from the same weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xlingual.models.config import TransformerConfig
from xlingual.models.encoder_decoder import EncoderDecoder
from xlingual.partitioning.specs import split_boxes

torch = pytest.importorskip("torch", reason="the oracle runs in PyTorch, which is not installed")
transformers = pytest.importorskip("transformers", reason="the oracle is transformers' MT5")

V, D, F, K, H, LAYERS = 96, 32, 48, 8, 3, 2


@pytest.fixture(scope="module")
def oracle():
    """A small random MT5 in evaluation mode, float32."""
    torch.manual_seed(0)
    model = transformers.MT5ForConditionalGeneration(
        transformers.MT5Config(
            vocab_size=V,
            d_model=D,
            d_ff=F,
            d_kv=K,
            num_heads=H,
            num_layers=LAYERS,
            num_decoder_layers=LAYERS,
            dropout_rate=0.0,
            feed_forward_proj="gated-gelu",
            initializer_factor=1.0,
        )
    )
    # The port ties the output layer whatever its configuration says; mT5 has its own.
    model.lm_head.weight = torch.nn.Parameter(torch.randn(V, D) / D**0.5)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "layer_norm" in name:
                weight.mul_(1 + 0.3 * torch.randn_like(weight))
            elif "relative" in name:
                weight.copy_(torch.randn_like(weight))
    return model.eval()


def from_torch(state):
    """The same weights under our names, layers stacked."""

    def stacked(pattern, transpose=True):
        arrays = [state[pattern.format(i)].numpy() for i in range(LAYERS)]
        return np.stack([a.T if transpose else a for a in arrays])

    def attention(prefix):
        names = {"query": "q", "key": "k", "value": "v", "out": "o"}
        return {n: {"kernel": stacked(f"{prefix}.{t}.weight")} for n, t in names.items()}

    def norm(prefix):
        return {"scale": stacked(f"{prefix}.layer_norm.weight", transpose=False)}

    def mlp(prefix):
        names = ("wi_0", "wi_1", "wo")
        dense = f"{prefix}.DenseReluDense"
        return {name: {"kernel": stacked(f"{dense}.{name}.weight")} for name in names}

    def relpos(stack, sublayer):
        table = state[f"{stack}.block.0.{sublayer}.relative_attention_bias.weight"]
        return {"rel_embedding": table.numpy().T}

    enc, dec = "encoder.block.{}.layer", "decoder.block.{}.layer"
    return {
        "token_embedder": {"embedding": state["shared.weight"].numpy()},
        "encoder": {
            "relpos_bias": relpos("encoder", "layer.0.SelfAttention"),
            "encoder_norm": {"scale": state["encoder.final_layer_norm.weight"].numpy()},
            "layers": {
                "pre_attention_layer_norm": norm(f"{enc}.0"),
                "attention": attention(f"{enc}.0.SelfAttention"),
                "pre_mlp_layer_norm": norm(f"{enc}.1"),
                "mlp": mlp(f"{enc}.1"),
            },
        },
        "decoder": {
            "relpos_bias": relpos("decoder", "layer.0.SelfAttention"),
            "decoder_norm": {"scale": state["decoder.final_layer_norm.weight"].numpy()},
            "logits_dense": {"kernel": state["lm_head.weight"].numpy().T},
            "layers": {
                "pre_self_attention_layer_norm": norm(f"{dec}.0"),
                "self_attention": attention(f"{dec}.0.SelfAttention"),
                "pre_cross_attention_layer_norm": norm(f"{dec}.1"),
                "encoder_decoder_attention": attention(f"{dec}.1.EncDecAttention"),
                "pre_mlp_layer_norm": norm(f"{dec}.2"),
                "mlp": mlp(f"{dec}.2"),
            },
        },
    }


@pytest.fixture(scope="module")
def model():
    return EncoderDecoder(
        TransformerConfig(
            vocab_size=V,
            d_model=D,
            d_ff=F,
            d_kv=K,
            num_heads=H,
            num_encoder_layers=LAYERS,
            num_decoder_layers=LAYERS,
            dtype="float32",
        )
    )


@pytest.fixture(scope="module")
def batch():
    """Two rows; the first source is padded, and longer than the last exact distance bucket."""
    rng = np.random.default_rng(0)
    source = rng.integers(2, V, (2, 150)).astype(np.int32)
    source[0, 90:] = 0
    targets = rng.integers(2, V, (2, 40)).astype(np.int32)
    return {
        "encoder_input_tokens": source,
        "encoder_segment_ids": (source > 0).astype(np.int32),
        "decoder_target_tokens": targets,
        "decoder_input_tokens": np.pad(targets, ((0, 0), (1, 0)))[:, :-1],
        "decoder_segment_ids": np.ones_like(targets),
    }


def test_names_and_shapes_match(oracle, model, batch):
    shapes, _ = split_boxes(jax.eval_shape(lambda k: model.init(k, batch), jax.random.key(0)))
    ours = jax.tree.map(lambda leaf: tuple(leaf.shape), shapes)
    theirs = jax.tree.map(np.shape, from_torch(oracle.state_dict()))
    assert ours == theirs


def test_logits_and_gradients_match(oracle, model, batch):
    oracle.zero_grad()
    logits = oracle(
        input_ids=torch.tensor(batch["encoder_input_tokens"]).long(),
        attention_mask=torch.tensor(batch["encoder_segment_ids"]),
        decoder_input_ids=torch.tensor(batch["decoder_input_tokens"]).long(),
        use_cache=False,
    ).logits
    targets = torch.tensor(batch["decoder_target_tokens"]).long()
    torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten()).backward()
    grads = from_torch({n: p.grad for n, p in oracle.named_parameters()})

    def loss(params):
        logits = model.apply(params, batch).logits
        scores = jax.nn.log_softmax(logits)
        chosen = jnp.take_along_axis(scores, batch["decoder_target_tokens"][..., None], axis=-1)
        return -jnp.mean(chosen), logits

    params = from_torch(oracle.state_dict())
    (_, ours), our_grads = jax.jit(jax.value_and_grad(loss, has_aux=True))(params)
    scale = np.std(logits.detach().numpy())
    np.testing.assert_allclose(ours / scale, logits.detach().numpy() / scale, atol=2e-4)
    pairs = zip(jax.tree.leaves(our_grads), jax.tree.leaves(grads), strict=True)
    for found, expected in pairs:
        # Each array relative to its largest entry: unscaled scores make the softmax sharp.
        np.testing.assert_allclose(
            found / np.abs(expected).max(), expected / np.abs(expected).max(), atol=2e-3
        )

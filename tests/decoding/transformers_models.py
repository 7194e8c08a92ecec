"""Tiny random mT5 models in transformers, the same in ours, and what `generate` writes."""

import functools

import jax
import numpy as np
import pytest

from xlingual.checkpointing.huggingface_names import IGNORED, RULES
from xlingual.checkpointing.layout import param_shapes
from xlingual.checkpointing.mapping import read_params
from xlingual.models.config import TransformerConfig
from xlingual.models.encoder_decoder import EncoderDecoder

torch = pytest.importorskip("torch", reason="the oracle runs in PyTorch, which is not installed")
transformers = pytest.importorskip("transformers", reason="the oracle is transformers' generate")

from tests.checkpointing import oracle as their_models  # noqa: E402
from tests.checkpointing import small_models  # noqa: E402

torch.set_num_threads(1)  # the models are too small to share

LAYERS, START = 2, 3
SIZES = {"vocab_size": 40, "d_model": 16, "d_ff": 24, "d_kv": 8, "num_heads": 2}
MODEL = EncoderDecoder(
    TransformerConfig(
        **SIZES,
        num_encoder_layers=LAYERS,
        num_decoder_layers=LAYERS,
        start_token_id=START,
        dtype="float32",
    )
)


@functools.cache
def oracle(seed, eos_boost=0.0):
    """A tiny random MT5 in float32 and our parameters; EOS is likelier with `eos_boost`."""
    torch.manual_seed(seed)
    model = transformers.MT5ForConditionalGeneration(
        transformers.MT5Config(
            **SIZES,
            num_layers=LAYERS,
            num_decoder_layers=LAYERS,
            dropout_rate=0.0,
            feed_forward_proj="gated-gelu",
            decoder_start_token_id=START,
        )
    )
    with torch.no_grad():
        # Every state has a part in common, which the output layer reads as a bias.
        head = 1.5 * torch.randn(SIZES["vocab_size"], SIZES["d_model"]) / SIZES["d_model"] ** 0.5
        for name, weight in model.named_parameters():
            weight.mul_(1.0 if "layer_norm" in name or "shared" in name else 2.0)
            if "relative" in name:
                weight.copy_(torch.randn_like(weight))
        shift = torch.randn(SIZES["d_model"])
        model.shared.weight.add_(shift)
        head[1] += eos_boost * shift / shift.norm()
        model.lm_head.weight = torch.nn.Parameter(head)
    source = their_models.StateDict(dict(model.state_dict()))
    shapes = param_shapes(MODEL, small_models.partitioner())
    params = read_params(shapes, RULES["mt5"], source, IGNORED["mt5"])
    return model.eval(), jax.tree.map(np.asarray, params)


@functools.cache
def sources(seed, rows=5, length=9):
    """[rows, length] int32: random sources of different lengths, EOS included, padded."""
    rng = np.random.default_rng(seed)
    tokens = rng.integers(2, SIZES["vocab_size"], (rows, length)).astype(np.int32)
    for row, end in zip(tokens, rng.integers(1, length, rows), strict=True):
        row[end], row[end + 1 :] = 1, 0
    return tokens


def generate(model, tokens, max_length, **settings):
    """[rows * returned, max_length] of `generate`, PAD behind EOS, and the sequences' scores."""
    found = model.generate(
        input_ids=torch.tensor(tokens).long(),
        attention_mask=torch.tensor(tokens > 0).long(),
        max_new_tokens=max_length,
        return_dict_in_generate=True,
        output_scores=True,
        **settings,
    )
    written = found.sequences[:, 1:].numpy()
    written = np.pad(written, ((0, 0), (0, max_length - written.shape[1])))
    ended = np.cumsum(written == 1, axis=1) - (written == 1) > 0
    scores = getattr(found, "sequences_scores", None)
    return np.where(ended, 0, written), None if scores is None else scores.numpy()


def quick_jit(function):
    """Compiles in half the time; tiny models run fast enough."""
    return jax.jit(function, compiler_options={"xla_backend_optimization_level": 0})

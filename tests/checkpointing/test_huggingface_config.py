import dataclasses
import json

import pytest

from tests.checkpointing.small_models import CONFIG
from xlingual.checkpointing.huggingface_config import from_huggingface
from xlingual.checkpointing.huggingface_export_config import choose_model_type, to_huggingface
from xlingual.errors import ConfigError
from xlingual.layers.rotary import RopeScaling

MT5_SMALL = {
    "_name_or_path": "mt5-small",
    "architectures": ["MT5ForConditionalGeneration"],
    "d_ff": 1024,
    "d_kv": 64,
    "d_model": 512,
    "decoder_start_token_id": 0,
    "dropout_rate": 0.1,
    "eos_token_id": 1,
    "feed_forward_proj": "gated-gelu",
    "initializer_factor": 1.0,
    "is_encoder_decoder": True,
    "layer_norm_epsilon": 1e-06,
    "model_type": "mt5",
    "num_decoder_layers": 8,
    "num_heads": 6,
    "num_layers": 8,
    "pad_token_id": 0,
    "relative_attention_num_buckets": 32,
    "tie_word_embeddings": False,
    "tokenizer_class": "T5Tokenizer",
    "transformers_version": "4.10.0",
    "use_cache": True,
    "vocab_size": 250112,
}
"""What the public mT5-small says."""

QWEN3 = {
    "model_type": "qwen3",
    "attention_bias": False,
    "attention_dropout": 0.0,
    "head_dim": 128,
    "hidden_act": "silu",
    "hidden_size": 1024,
    "intermediate_size": 3072,
    "max_position_embeddings": 40960,
    "max_window_layers": 28,
    "num_attention_heads": 16,
    "num_hidden_layers": 28,
    "num_key_value_heads": 8,
    "rms_norm_eps": 1e-06,
    "rope_scaling": None,
    "rope_theta": 1000000,
    "sliding_window": None,
    "tie_word_embeddings": True,
    "use_sliding_window": False,
    "vocab_size": 151936,
}
"""What the public Qwen3-0.6B says, but for its tokens."""


def _read(settings, tied=False, **options):
    return from_huggingface(settings, tied=tied, source="config.json", **options)


def test_mt5_small():
    model = _read(MT5_SMALL)
    assert (model.family, model.output_scale) == ("encoder_decoder", 1.0)
    config = model.config
    assert (config.vocab_size, config.d_model, config.d_ff, config.d_kv) == (250112, 512, 1024, 64)
    assert (config.num_heads, config.num_encoder_layers, config.num_decoder_layers) == (6, 8, 8)
    assert not config.logits_via_embedding and config.dropout_rate == 0.1
    assert model.token_ids == {
        "eos_token_id": 1,
        "pad_token_id": 0,
        "decoder_start_token_id": 0,
    }


def test_qwen3():
    model = _read(QWEN3, tied=True)
    config = model.config
    assert (model.family, model.max_length) == ("decoder_only", 40960)
    assert (config.d_kv, config.num_kv_heads, config.rope_theta) == (128, 8, 1e6)
    assert config.qk_norm and config.scale_scores and not config.scale_tied_logits
    assert config.position_encoding == "rotary" and config.rope_scaling is None


@pytest.mark.parametrize(
    ("settings", "tied", "scaled"),
    [
        ({"model_type": "t5", "tie_word_embeddings": True}, True, True),
        ({"model_type": "t5", "tie_word_embeddings": False}, True, False),
        ({"model_type": "t5", "scale_decoder_outputs": False}, True, False),
        ({"tie_word_embeddings": True}, True, True),
        ({"tie_word_embeddings": True, "transformers_version": "5.23.0"}, True, False),
        ({"model_type": "umt5", "tie_word_embeddings": True}, True, True),
        ({"model_type": "t5", "tie_word_embeddings": True}, False, True),
        ({"model_type": "umt5", "tie_word_embeddings": True}, False, True),
        ({"model_type": "umt5", "tie_word_embeddings": False}, False, False),
    ],
)
def test_whether_logits_are_scaled_follows_the_class_and_its_version(settings, tied, scaled):
    model = _read(MT5_SMALL | settings, tied=tied)
    if tied:
        assert model.config.logits_via_embedding and model.config.scale_tied_logits == scaled
    else:
        assert model.output_scale == pytest.approx(512**-0.5 if scaled else 1.0)


@pytest.mark.parametrize(
    ("base", "change", "message"),
    [
        (MT5_SMALL, {"feed_forward_proj": "relu"}, "feed_forward_proj='relu'; expected gated-gelu"),
        (MT5_SMALL, {"decoder_start_token_id": -1}, "start_token_id=-1; expected an integer of"),
        (QWEN3, {"bos_token_id": 151936}, "start_token_id=151936; expected less than vocab_size"),
        (MT5_SMALL, {"d_model": None}, "d_model is missing"),
        (MT5_SMALL, {"model_type": "bart"}, "model_type='bart'; expected one of t5, mt5"),
        (QWEN3, {"attention_bias": True}, "attention_bias=True; expected False"),
        (QWEN3, {"use_sliding_window": True}, "use_sliding_window=True; expected False"),
        (QWEN3, {"layer_types": ["sliding_attention"]}, "layer_types=.*expected full_attention"),
        (QWEN3, {"hidden_act": "relu"}, "hidden_act='relu'"),
        (QWEN3, {"hidden_act": "gelu"}, "hidden_act='gelu'"),
        (QWEN3, {"mlp_bias": True}, "mlp_bias=True"),
        (QWEN3, {"rope_scaling": {"type": "yarn", "factor": 4.0}}, "rope_type='yarn'"),
        (QWEN3, {"rope_scaling": {"rope_type": "llama3", "factor": 4.0}}, "lacks low_freq_factor"),
        (QWEN3, {"rope_parameters": {"partial_rotary_factor": 0.5}}, "partial_rotary_factor"),
        (QWEN3, {"attn_logit_softcapping": 50.0}, "attn_logit_softcapping=50.0; it is unknown"),
        (QWEN3, {"quantization_config": {"bits": 4}}, "quantization_config="),
    ],
)
def test_what_cannot_be_represented_is_refused_by_name(base, change, message):
    with pytest.raises(ConfigError, match=message):
        _read(base | change)


def test_all_refusals_come_at_once_and_unknown_settings_may_be_skipped():
    settings = QWEN3 | {"attention_bias": True, "hidden_act": "relu", "new_switch": 3}
    with pytest.raises(ConfigError, match=r"3 settings") as error:
        _read(settings)
    for name in ("attention_bias", "hidden_act", "new_switch"):
        assert name in str(error.value)
    assert _read(QWEN3 | {"new_switch": 3}, ignore=("new_switch",)).config == _read(QWEN3).config


def test_gemma_may_say_gelu_for_its_tanh_form():
    gemma = QWEN3 | {"model_type": "gemma", "hidden_act": "gelu"}
    assert _read(gemma, tied=True).config.mlp_activation == "gelu"


@pytest.mark.parametrize(
    ("scaling", "expected"),
    [
        ({"type": "linear", "factor": 2.0}, RopeScaling(kind="linear", factor=2.0)),
        (
            {
                "rope_type": "llama3",
                "factor": 8.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 8192,
            },
            RopeScaling(kind="llama3", factor=8.0),
        ),
    ],
)
def test_scaled_rotary_positions_of_both_generations(scaling, expected):
    old = _read(QWEN3 | {"rope_scaling": scaling, "rope_theta": 5e5}).config
    new = {k: v for k, v in QWEN3.items() if not k.startswith("rope")}
    new = _read(new | {"rope_parameters": {**scaling, "rope_theta": 5e5}}).config
    assert old == new and (old.rope_scaling, old.rope_theta) == (expected, 5e5)


@pytest.mark.parametrize(
    ("settings", "tied"),
    [
        (MT5_SMALL, False),
        (MT5_SMALL | {"model_type": "t5", "tie_word_embeddings": True}, True),
        (MT5_SMALL | {"model_type": "umt5", "tie_word_embeddings": True}, True),
        (QWEN3, True),
        (QWEN3 | {"model_type": "llama", "rope_scaling": {"type": "linear", "factor": 2.0}}, False),
        (QWEN3 | {"model_type": "gemma", "hidden_act": "gelu_pytorch_tanh"}, True),
    ],
)
def test_configurations_go_out_and_back(settings, tied):
    model = _read(settings, tied=tied)
    name = choose_model_type(model.family, model.config, wished=settings["model_type"])
    assert name == settings["model_type"]
    written, generation = to_huggingface(
        name,
        model.config,
        dtype="float32",
        transformers=5,
        token_ids=model.token_ids,
        max_length=model.max_length,
    )
    assert _read(json.loads(json.dumps(written)), tied=tied) == dataclasses.replace(
        model, token_ids=generation
    )


def test_a_model_without_a_counterpart_is_refused_with_the_reasons():
    with pytest.raises(ConfigError) as error:
        choose_model_type("decoder_only", dataclasses.replace(CONFIG, num_encoder_layers=0))
    message = str(error.value)
    for line in ("llama: position_encoding='relative'; expected 'rotary'", "qwen3:", "gemma:"):
        assert line in message
    with pytest.raises(ConfigError, match=r"umt5: per_layer_relpos=False; expected True"):
        choose_model_type("encoder_decoder", CONFIG, only="umt5")
    with pytest.raises(ConfigError, match=r"model_type='bert'"):
        choose_model_type("encoder_decoder", CONFIG, only="bert")

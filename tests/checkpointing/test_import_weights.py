import dataclasses
import json

import gin
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from tests.checkpointing import small_models
from xlingual import config as gin_config
from xlingual.checkpointing import weights
from xlingual.checkpointing.import_weights import ImportOptions, import_weights
from xlingual.checkpointing.layout import make_model, param_shapes, read_config
from xlingual.checkpointing.mapping import flatten
from xlingual.checkpointing.model_gin import model_gin
from xlingual.checkpointing.safetensors_files import SafetensorsFolder
from xlingual.errors import ConfigError
from xlingual.layers.rotary import RopeScaling
from xlingual.models.config import TransformerConfig


@pytest.fixture(scope="module")
def model():
    return make_model("encoder_decoder", small_models.CONFIG)


@pytest.fixture(scope="module")
def params(model):
    return small_models.random_params(model)


@pytest.fixture
def foreign(model, params, tmp_path):
    """The model in the Hugging Face layout: one file."""
    small_models.export_ours(model, params, tmp_path / "foreign")
    return tmp_path / "foreign"


def _import(source, folder, **options):
    return import_weights(
        source,
        folder,
        partitioner=small_models.partitioner(),
        options=ImportOptions(**options),
    )


def _change(folder, change):
    """Rewrites the tensors of a single file."""
    path = folder / "model.safetensors"
    tensors = dict(safetensors.numpy.load_file(path))
    change(tensors)
    safetensors.numpy.save_file(tensors, path)


def _assert_equal(one, two):
    jax.tree.map(np.testing.assert_array_equal, one, two)


def test_the_folder_holds_the_parameters_and_says_what_they_are(model, params, foreign, tmp_path):
    info = _import(foreign, tmp_path / "ours")
    assert sorted(p.name for p in (tmp_path / "ours").iterdir()) == [
        "model.gin",
        "weights",
        "weights.json",
    ]
    assert weights.load_info(tmp_path / "ours") == info
    assert (info.family, info.details["model_type"]) == ("encoder_decoder", "mt5")
    assert info.details["token_ids"]["eos_token_id"] == 1
    read = read_config(info.config)
    assert dataclasses.replace(read, dtype="float32") == model.config
    shapes = param_shapes(model, small_models.partitioner(8))
    _assert_equal(weights.load_params(tmp_path / "ours", shapes), params)
    _assert_equal(
        weights.load_array(tmp_path / "ours", "decoder/decoder_norm/scale"),
        flatten(params)["decoder/decoder_norm/scale"],
    )


@pytest.mark.parametrize(("num_devices", "scan_layers"), [(8, True), (8, False), (2, True)])
def test_shards_go_to_a_mesh_and_to_either_layout_of_layers(
    model, params, tmp_path, num_devices, scan_layers
):
    small_models.export_ours(model, params, tmp_path / "foreign", max_shard_bytes=20_000)
    assert len(list((tmp_path / "foreign").glob("*.safetensors"))) > 3
    _, loaded = small_models.load_ours(
        tmp_path / "foreign", num_devices=num_devices, scan_layers=scan_layers
    )
    flat = flatten(params)
    for path, leaf in flatten(loaded).items():
        assert len(leaf.sharding.device_set) == num_devices
        if "layers_" in path:
            number = path.split("layers_")[1].split("/")[0]
            expected = flat[path.replace(f"layers_{number}", "layers")][int(number)]
        else:
            expected = flat[path]
        np.testing.assert_array_equal(leaf, expected, err_msg=path)
    cut = flatten(loaded)["token_embedder/embedding"]
    assert cut.addressable_shards[0].data.shape == (small_models.V, small_models.D // num_devices)


def test_a_device_reads_its_own_part_alone(model, params, tmp_path, monkeypatch):
    small_models.export_ours(model, params, tmp_path / "foreign")
    read, sizes = SafetensorsFolder.read, {}

    def count(self, name, index):
        array = read(self, name, index)
        sizes.setdefault(name, []).append(array.size)
        return array

    monkeypatch.setattr(SafetensorsFolder, "read", count)
    monkeypatch.setattr("xlingual.checkpointing.mapping.BLOCK_BYTES", 256)
    small_models.load_ours(tmp_path / "foreign", num_devices=4)
    names = {"DenseReluDense.wo": 48 * 32, "SelfAttention.q": 32 * 32, "layer_norm": 32}
    for name, size in names.items():
        counts = sizes[f"encoder.block.1.layer.{1 if 'wo' in name else 0}.{name}.weight"]
        assert max(counts) <= 64, "blocks of 256 bytes"
        assert sum(counts) == size, "every number is read once"


def test_bfloat16_files_keep_their_values(model, params, tmp_path):
    small_models.export_ours(model, params, tmp_path / "foreign", dtype="bfloat16")
    _, loaded = small_models.load_ours(tmp_path / "foreign")
    expected = jax.tree.map(lambda x: x.astype(jnp.bfloat16).astype(jnp.float32), params)
    _assert_equal(loaded, expected)


def test_parameters_may_be_bfloat16(params, foreign, tmp_path):
    info = _import(foreign, tmp_path / "ours", dtype="bfloat16")
    assert set(a.partition("[")[0] for a in info.arrays.values()) == {"bfloat16"}
    name = "encoder/layers/mlp/wo/kernel"
    expected = np.asarray(flatten(params)[name].astype(jnp.bfloat16))
    np.testing.assert_array_equal(weights.load_array(tmp_path / "ours", name), expected)


def test_all_that_does_not_match_is_in_one_message_and_nothing_is_left(foreign, tmp_path):
    def change(tensors):
        del tensors["encoder.block.1.layer.1.DenseReluDense.wo.weight"]
        tensors["decoder.final_layer_norm.weight"] = np.ones(31, np.float32)
        tensors["lm_head.weight"] = np.ones((small_models.V, small_models.D), np.int32)
        tensors["decoder.adapter.weight"] = np.ones((3, 2), np.float32)
        tensors["encoder.embed_tokens.weight"] = tensors["shared.weight"].copy()

    _change(foreign, change)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(ConfigError) as error:
        _import(foreign, tmp_path / "ours")
    message = str(error.value)
    assert "(4 differ)" in message
    assert "missing: encoder.block.1.layer.1.DenseReluDense.wo.weight, [32, 48]" in message
    assert "different: decoder.final_layer_norm.weight is [31]; expected [32]" in message
    assert "different: lm_head.weight is int32; expected one of float32" in message
    assert "unknown: decoder.adapter.weight, [3, 2]" in message
    assert sorted(tmp_path.iterdir()) == before


def test_an_embedding_under_another_name_is_found(params, foreign):
    def change(tensors):
        tensors["decoder.embed_tokens.weight"] = tensors.pop("shared.weight")

    _change(foreign, change)
    _assert_equal(small_models.load_ours(foreign)[1], params)


def test_damaged_files_are_refused(model, params, foreign, tmp_path):
    path = foreign / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ConfigError, match=r"no whole safetensors file"):
        _import(foreign, tmp_path / "ours")
    path.unlink()
    (foreign / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(ConfigError, match=r"found pytorch_model\.bin; expected model\.safetensors"):
        _import(foreign, tmp_path / "ours")
    small_models.export_ours(model, params, tmp_path / "shards", max_shard_bytes=50_000)
    (tmp_path / "shards" / "model-00002-of-00005.safetensors").unlink()
    with pytest.raises(ConfigError, match=r"lacks shards.*model-00002-of-00005"):
        _import(tmp_path / "shards", tmp_path / "ours")
    with pytest.raises(ConfigError, match=r"unknown layout"):
        _import(tmp_path, tmp_path / "ours")


def test_a_failure_halfway_leaves_nothing(foreign, tmp_path):
    with pytest.raises(ZeroDivisionError):
        import_weights(
            foreign,
            tmp_path / "ours",
            partitioner=small_models.partitioner(),
            options=ImportOptions(),
            write_tokenizer=lambda folder: 1 / 0,
        )
    assert [p.name for p in tmp_path.iterdir()] == ["foreign"]
    (tmp_path / "ours").mkdir()
    (tmp_path / "ours" / "mine.txt").write_text("mine")
    with pytest.raises(ConfigError, match=r"ours exists"):
        _import(foreign, tmp_path / "ours")
    assert (tmp_path / "ours" / "mine.txt").read_text() == "mine"


MODELS = {
    "mt5": ("encoder_decoder", small_models.CONFIG),
    "umt5": (
        "encoder_decoder",
        dataclasses.replace(
            small_models.CONFIG,
            per_layer_relpos=True,
            max_relpos_distance=96,
            norm_epsilon=1e-5,
            logits_via_embedding=True,
            scan_layers=False,
        ),
    ),
    "llama": (
        "decoder_only",
        TransformerConfig(
            vocab_size=128,
            d_model=16,
            d_ff=8,
            d_kv=4,
            num_heads=4,
            num_kv_heads=2,
            num_encoder_layers=0,
            num_decoder_layers=1,
            position_encoding="rotary",
            rope_theta=5e5,
            rope_scaling=RopeScaling(kind="llama3", factor=8.0, original_max_length=64),
            mlp_activation="silu",
            scale_scores=True,
        ),
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_the_gin_file_builds_the_same_model(name, tmp_path, clean_gin):
    family, config = MODELS[name]
    path = tmp_path / "model.gin"
    path.write_text(model_gin(family, config, source=name) + "PACK = True\n")
    top = tmp_path / "top.gin"
    top.write_text(
        "from __gin__ import dynamic_registration\n"
        "from tests.checkpointing import small_models\n"
        f"include '{path}'\n"
        "small_models.build.model = %MODEL\n"
        "small_models.build.converter = %FEATURE_CONVERTER\n"
    )
    gin_config.parse([str(top)], [])
    assert gin.get_configurable(small_models.build)() == make_model(family, config)


def test_the_configuration_of_the_info_is_read_back():
    for family, config in MODELS.values():
        text = json.dumps(dataclasses.asdict(config))
        assert read_config(json.loads(text)) == config, family

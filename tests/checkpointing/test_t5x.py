"""Checkpoints in the layout of T5X, written here with TensorStore and flax's msgpack."""

import dataclasses

import jax
import numpy as np
import pytest
import tensorstore
from flax import serialization

from tests.checkpointing import small_models
from xlingual.checkpointing.import_weights import ImportOptions, import_weights
from xlingual.checkpointing.layout import make_model, param_shapes
from xlingual.checkpointing.mapping import flatten, read_params, unflatten
from xlingual.checkpointing.t5x import open_t5x
from xlingual.checkpointing.weights import load_array
from xlingual.errors import ConfigError

HEADS, KV = small_models.CONFIG.num_heads, small_models.CONFIG.d_kv


def _write(folder, target, *, driver="file"):
    """Writes a checkpoint: arrays of 500 numbers and more as zarr, the rest in the msgpack file."""
    folder.mkdir()

    def leaf(path, array):
        if array.size < 500:
            return array
        name = "target." + path.replace("/", ".")
        spec = {
            "driver": "zarr",
            "kvstore": {"driver": "file", "path": f"{folder}/{name}/"},
            "metadata": {
                "shape": array.shape,
                "chunks": [-(-size // 2) for size in array.shape],
                "dtype": "<f4",
                "compressor": {"id": "gzip", "level": 1},
            },
        }
        tensorstore.open(spec, create=True).result()[...].write(array).result()
        return {
            "driver": "zarr",
            "dtype": "float32",
            "kvstore": {"driver": driver, "path": name},
            "metadata": {"shape": list(array.shape), "chunks": spec["metadata"]["chunks"]},
        }

    tree = unflatten({path: leaf(path, array) for path, array in target.items()})
    state = {"step": np.int32(7), "param_states": {"token_embedder": {"v": np.ones(3)}}}
    content = {"version": 3, "optimizer": {"target": tree, "state": state}}
    (folder / "checkpoint").write_bytes(serialization.to_bytes(content))
    return folder


def _unrolled(params):
    """Our parameters as `examples/t5/network.py` of T5X has them."""
    target = {}
    for path, array in flatten(params).items():
        array = np.asarray(array)
        if "/layers/" not in path:
            target[path] = array
        else:
            for number, layer in enumerate(array):
                target[path.replace("/layers/", f"/layers_{number}/")] = layer
    return target


def _scanned(params, *, split_heads):
    """As a scanned variant has them: layers on axis 1, attention kernels perhaps of rank 4."""
    target = {}
    for path, array in flatten(params).items():
        array = np.asarray(array)
        stack = path.split("/")[0]
        if "/layers/" in path:
            path = path.replace("/layers/", f"/{stack}/")
            if split_heads and "attention/" in path and path.endswith("kernel"):
                split = (HEADS, KV, -1) if "/out/" in path else (-1, HEADS, KV)
                array = array.reshape(len(array), *split)
            array = np.moveaxis(array, 0, 1)
        target[path] = array
    return target


@pytest.fixture(scope="module")
def models():
    """Name -> model and parameters: mT5, and umT5 with a table of positions a layer, tied."""
    configs = {
        "mt5": small_models.CONFIG,
        "umt5": dataclasses.replace(
            small_models.CONFIG, per_layer_relpos=True, logits_via_embedding=True
        ),
    }
    made = {name: make_model("encoder_decoder", config) for name, config in configs.items()}
    return {name: (model, small_models.random_params(model)) for name, model in made.items()}


LAYOUTS = {
    "unrolled": _unrolled,
    "scanned": lambda params: _scanned(params, split_heads=False),
    "scanned with heads": lambda params: _scanned(params, split_heads=True),
}


@pytest.mark.parametrize(
    ("name", "layout", "num_devices"),
    [
        ("mt5", "unrolled", 1),
        ("mt5", "unrolled", 4),
        ("mt5", "scanned", 1),
        ("umt5", "scanned", 2),
        ("umt5", "scanned with heads", 4),
    ],
)
def test_parameters_and_sizes_are_read(models, tmp_path, name, layout, num_devices):
    model, params = models[name]
    folder = _write(tmp_path / "checkpoint_7", LAYOUTS[layout](params))
    checkpoint = open_t5x(folder)
    assert dataclasses.replace(checkpoint.config, dtype="float32") == model.config
    shapes = param_shapes(model, small_models.partitioner(num_devices))
    read = read_params(shapes, checkpoint.rules, checkpoint.source, checkpoint.ignored)
    jax.tree.map(np.testing.assert_array_equal, read, params)


def test_a_checkpoint_written_to_another_file_system_becomes_a_weights_folder(models, tmp_path):
    _, params = models["mt5"]
    folder = _write(tmp_path / "checkpoint_7", _unrolled(params), driver="gfile")
    info = import_weights(
        folder,
        tmp_path / "ours",
        partitioner=small_models.partitioner(),
        options=ImportOptions(),
    )
    assert info.family == "encoder_decoder" and (tmp_path / "ours" / "model.gin").is_file()
    name = "encoder/layers/attention/query/kernel"
    np.testing.assert_array_equal(load_array(tmp_path / "ours", name), flatten(params)[name])


def test_arrays_that_do_not_match_are_listed(models, tmp_path):
    _, params = models["mt5"]
    target = _unrolled(params)
    del target["decoder/layers_1/mlp/wo/kernel"]
    target["decoder/layers_0/mlp/wi_1/kernel"] = np.ones((3, 4), np.float32)
    target["decoder/extra/scale"] = np.ones(3, np.float32)
    folder = _write(tmp_path / "checkpoint_7", target)
    with pytest.raises(ConfigError) as error:
        small = small_models.partitioner()
        import_weights(folder, tmp_path / "ours", partitioner=small, options=ImportOptions())
    message = str(error.value)
    for line in (
        "(3 differ)",
        "missing: decoder/layers_1/mlp/wo/kernel, [48, 32]",
        "different: decoder/layers_0/mlp/wi_1/kernel is [3, 4]; expected [32, 48]",
        "unknown: decoder/extra/scale, [3]",
    ):
        assert line in message
    assert not (tmp_path / "ours").exists()


def test_damaged_checkpoints_and_other_models_are_refused(models, tmp_path):
    target = _unrolled(models["mt5"][1])
    folder = _write(tmp_path / "lacking", target)
    (folder / "target.token_embedder.embedding").rename(tmp_path / "away")
    with pytest.raises(ConfigError, match=r"lacks the arrays target\.token_embedder\.embedding"):
        open_t5x(folder)
    (folder / "checkpoint").write_bytes(b"\xc1 no msgpack")
    with pytest.raises(ConfigError, match=r"cannot be read as a T5X checkpoint"):
        open_t5x(folder)
    (folder / "checkpoint").write_bytes(serialization.to_bytes({"version": 3}))
    with pytest.raises(ConfigError, match=r"expected them under optimizer/target"):
        open_t5x(folder)
    first_t5 = {n.replace("wi_0", "wi"): a for n, a in target.items() if "wi_1" not in n}
    with pytest.raises(ConfigError, match=r"no layers of the encoder with mlp/wi_0/kernel"):
        open_t5x(_write(tmp_path / "t5", first_t5))

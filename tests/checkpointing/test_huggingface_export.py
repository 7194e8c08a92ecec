import dataclasses
import json
import tracemalloc

import jax.numpy as jnp
import numpy as np
import pytest
import safetensors
import safetensors.numpy

from tests.checkpointing import small_models
from xlingual.checkpointing.huggingface_export import ExportOptions, export_huggingface
from xlingual.checkpointing.layout import make_model
from xlingual.checkpointing.manager import describe_arrays
from xlingual.checkpointing.mapping import flatten
from xlingual.checkpointing.weights import WeightsInfo
from xlingual.errors import ConfigError

SHARD_BYTES = 40_000


@pytest.fixture(scope="module")
def params():
    return small_models.random_params(make_model("encoder_decoder", small_models.CONFIG))


class Export:
    """An export whose reads are counted and can be made to fail."""

    def __init__(self, params, folder):
        self.flat, self.folder = flatten(params), folder
        self.read, self.said, self.fail_at = [], [], None
        self.info = WeightsInfo(
            family="encoder_decoder",
            config=dataclasses.asdict(small_models.CONFIG),
            source="a test",
            arrays=describe_arrays(params),
        )

    def __call__(self, identity=1, **options):
        self.read.clear()
        self.said.clear()
        export_huggingface(
            self.folder,
            self.info,
            self._read,
            identity={"number": identity},
            options=ExportOptions(**{"max_shard_bytes": SHARD_BYTES} | options),
            say=self.said.append,
        )

    def _read(self, path):
        if path == self.fail_at:
            raise KeyboardInterrupt
        self.read.append(path)
        return np.asarray(self.flat[path])

    @property
    def partial(self):
        return self.folder.with_name(f"{self.folder.name}.partial")


@pytest.fixture
def export(params, tmp_path):
    return Export(params, tmp_path / "out")


@pytest.fixture(scope="module")
def whole(params, tmp_path_factory):
    """File name -> content of an export that nothing interrupted."""
    export = Export(params, tmp_path_factory.mktemp("whole") / "out")
    export()
    return {p.name: p.read_bytes() for p in export.folder.iterdir()}


def test_shards_and_index_are_those_of_the_library(export, whole, params):
    export()
    index = json.loads((export.folder / "model.safetensors.index.json").read_text())
    loaded = {}
    for path in sorted(export.folder.glob("*.safetensors")):
        tensors = safetensors.numpy.load_file(path)
        size = sum(array.nbytes for array in tensors.values())
        assert size <= SHARD_BYTES
        assert {index["weight_map"][name] for name in tensors} == {path.name}
        loaded |= tensors
        with safetensors.safe_open(path, framework="np") as file:
            assert file.metadata() == {"format": "pt"}
    assert set(loaded) == set(index["weight_map"])
    total = sum(array.size for array in flatten(params).values())
    assert index["metadata"] == {"total_parameters": total, "total_size": 4 * total}
    kernel = flatten(params)["decoder/layers/mlp/wo/kernel"][1]
    name = "decoder.block.1.layer.2.DenseReluDense.wo.weight"
    np.testing.assert_array_equal(loaded[name], np.asarray(kernel).T)
    assert sorted(whole) == sorted(p.name for p in export.folder.iterdir())
    assert not export.partial.exists()
    assert len(export.read) == len(set(export.read)), "every parameter is read once"


def test_a_model_of_one_file_has_no_index(export):
    export(max_shard_bytes=10**9)
    names = sorted(p.name for p in export.folder.iterdir())
    assert names == ["config.json", "generation_config.json", "model.safetensors"]


def test_bfloat16_is_rounded_to_the_nearest(export, params):
    export(dtype="bfloat16", max_shard_bytes=10**9)
    tensors = safetensors.numpy.load_file(export.folder / "model.safetensors")
    expected = np.asarray(params["token_embedder"]["embedding"].astype(jnp.bfloat16))
    np.testing.assert_array_equal(tensors["shared.weight"], expected)
    settings = json.loads((export.folder / "config.json").read_text())
    assert settings["torch_dtype"] == "bfloat16"


def _interrupt(export):
    export.fail_at = "encoder/layers/attention/query/kernel"
    with pytest.raises(KeyboardInterrupt):
        export()
    export.fail_at = None
    finished = sorted(p.name for p in export.partial.glob("*.safetensors"))
    assert finished and not export.folder.exists()
    return finished


def test_an_interrupted_export_is_recognised_and_goes_on(export, whole):
    finished = _interrupt(export)
    times = {name: (export.partial / name).stat().st_mtime_ns for name in finished}
    export()
    assert "an interrupted export of the same" in export.said[0]
    assert "decoder/layers/mlp/wi_0/kernel" not in export.read, "a finished shard is not redone"
    assert {p.name: p.read_bytes() for p in export.folder.iterdir()} == whole
    for name, time in times.items():
        assert (export.folder / name).stat().st_mtime_ns == time
    assert not export.partial.exists()


def test_a_finished_shard_that_was_damaged_is_written_again(export, whole):
    name = _interrupt(export)[0]
    content = bytearray((export.partial / name).read_bytes())
    content[-1] ^= 1
    (export.partial / name).write_bytes(bytes(content))
    export()
    assert {p.name: p.read_bytes() for p in export.folder.iterdir()} == whole


def test_what_was_left_of_another_export_is_thrown_away(export, whole):
    _interrupt(export)
    export(identity=2)
    assert "something else" in export.said[0]
    assert {p.name: p.read_bytes() for p in export.folder.iterdir()} == whole


def test_folders_in_the_way_are_refused_and_left_alone(export):
    export.partial.mkdir()
    (export.partial / "mine.txt").write_text("mine")
    with pytest.raises(ConfigError, match=r"no export left it"):
        export()
    (export.partial / "mine.txt").rename(export.partial.parent / "mine.txt")
    export.folder.mkdir()
    export()
    with pytest.raises(ConfigError, match=r"out exists"):
        export()


@pytest.mark.parametrize(
    "options", [{"dtype": "int8"}, {"max_shard_bytes": 0}, {"transformers": 3}]
)
def test_options_are_checked(options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        ExportOptions(**options)


def test_a_tensor_of_another_shape_is_not_written(export):
    export.flat["decoder/decoder_norm/scale"] = np.ones(31, np.float32)
    with pytest.raises(ValueError, match=r"decoder\.final_layer_norm\.weight"):
        export()
    assert not export.folder.exists()


def test_no_more_than_a_parameter_and_a_tensor_are_in_memory(tmp_path):
    config = dataclasses.replace(small_models.CONFIG, vocab_size=8192, d_model=128)
    params = small_models.random_params(make_model("encoder_decoder", config))
    export = Export(params, tmp_path / "out")
    export.info = dataclasses.replace(export.info, config=dataclasses.asdict(config))
    read = export._read
    export._read = lambda path: np.array(read(path))
    largest = max(array.nbytes for array in export.flat.values())
    tracemalloc.start()
    try:
        export(max_shard_bytes=10**9)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert largest == 8192 * 128 * 4
    assert peak < 2.2 * largest

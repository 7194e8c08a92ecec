import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from xlingual.checkpointing import weights
from xlingual.checkpointing.manager import Checkpoint, CheckpointConfig, CheckpointManager
from xlingual.errors import ConfigError
from xlingual.models.config import TransformerConfig
from xlingual.models.encoder_decoder import EncoderDecoder
from xlingual.training.fingerprint import make_fingerprint
from xlingual.training.state import TrainState

CONFIG = TransformerConfig(
    vocab_size=64,
    d_model=16,
    d_ff=8,
    d_kv=4,
    num_heads=2,
    num_encoder_layers=1,
    num_decoder_layers=1,
)


def _sharding(num_devices, *spec):
    mesh = Mesh(np.array(jax.devices()[:num_devices]), ("x",))
    return NamedSharding(mesh, PartitionSpec(*spec))


def _params():
    bits = np.random.default_rng(0).integers(0, 2**32, (16, 6), np.uint32).view(np.float32)
    return {
        "token_embedder": {"embedding": jax.device_put(bits, _sharding(8, "x"))},
        "decoder": {
            "decoder_norm": {"scale": jax.device_put(jnp.ones(6, jnp.bfloat16), _sharding(8))}
        },
    }


def _shapes(params, sharding=None):
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding or x.sharding), params
    )


def _info(**fields):
    config = dataclasses.asdict(CONFIG)
    return weights.WeightsInfo(
        **{"family": "encoder_decoder", "config": config, "source": "a test"} | fields
    )


def _assert_same_bits(one, two):
    assert jax.tree.structure(one) == jax.tree.structure(two)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True):
        assert a.dtype == b.dtype
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("folder") / "weights_of_a_test"
    weights.save_weights(path, _params(), _info(vocabulary={"size": 60}))
    return path


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run with checkpoints 3 and 12, whose parameters differ."""
    path = tmp_path_factory.mktemp("run")
    fingerprint = make_fingerprint(
        data={"vocabulary": {"size": 60, "pieces": {"eos": 1}}},
        model=EncoderDecoder(CONFIG),
        losses={},
        optimizer={},
        seed=0,
    )
    with CheckpointManager(path, CheckpointConfig(period_steps=1, keep=5)) as manager:
        for step in (3, 12):
            params = jax.tree.map(lambda x, s=step: x * s, _params())
            state = TrainState(
                step=jnp.int32(step), params=params, opt_state=({"mu": params}, ()), extra={}
            )
            metadata = {"step": step, "fingerprint": fingerprint}
            manager.save(step, Checkpoint(state=state, position=b"", metadata=metadata))
    return path


@pytest.mark.parametrize("sharding", [None, (1,), (2, "x"), (2,)])
def test_a_weights_folder_comes_back_on_any_mesh_bit_for_bit(folder, sharding):
    params = _params()
    shapes = _shapes(params, _sharding(*sharding) if sharding else None)
    restored = weights.load_params(folder, shapes)
    _assert_same_bits(params, restored)
    for leaf, shape in zip(jax.tree.leaves(restored), jax.tree.leaves(shapes), strict=True):
        assert leaf.sharding == shape.sharding


def test_without_a_sharding_arrays_go_to_the_first_device(folder):
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), _params())
    restored = weights.load_params(folder, shapes)
    assert all(leaf.devices() == {jax.devices()[0]} for leaf in jax.tree.leaves(restored))


def test_the_info_of_a_folder_tells_the_model(folder):
    info = weights.load_info(folder)
    assert info == _info(vocabulary={"size": 60}, arrays=info.arrays)
    assert info.arrays["['token_embedder']['embedding']"] == "float32[16, 6]"
    assert TransformerConfig(**info.config) == CONFIG


@pytest.mark.parametrize(("place", "step"), [("", 12), ("checkpoints/3", 3)])
def test_the_parameters_of_a_run_are_read_without_its_optimizer(run, place, step):
    shapes = _shapes(_params(), _sharding(2))
    restored = weights.load_params(run / place, shapes)
    _assert_same_bits(jax.tree.map(lambda x: x * step, _params()), restored)
    info = weights.load_info(run / place)
    assert (info.family, info.step) == ("encoder_decoder", step)
    assert TransformerConfig(**info.config) == CONFIG
    assert info.vocabulary == {"size": 60, "pieces": {"eos": 1}}
    assert len(info.arrays) == 2


@pytest.mark.parametrize("source", ["folder", "run"])
def test_all_that_does_not_match_is_listed_at_once(request, source):
    path = request.getfixturevalue(source)
    shapes = _shapes(_params(), _sharding(1))
    other = jax.ShapeDtypeStruct((16, 7), jnp.float32, sharding=_sharding(1))
    shapes["token_embedder"] = {"embedding": other}
    shapes["decoder"] = {"logits_dense": {"kernel": other}}
    with pytest.raises(ConfigError) as error:
        weights.load_params(path, shapes)
    message = str(error.value)
    assert "3 differ" in message
    assert "missing there: decoder/logits_dense/kernel, float32[16, 7]" in message
    assert "unknown here: decoder/decoder_norm/scale, bfloat16[6]" in message
    expected = "token_embedder/embedding is float32[16, 6] there; expected float32[16, 7]"
    assert expected in message


def test_an_interrupted_save_leaves_no_weights_and_can_be_repeated(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(weights, "describe_arrays", lambda _: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            weights.save_weights(tmp_path, _params(), _info())
    with pytest.raises(ConfigError, match="holds no weights"):
        weights.load_info(tmp_path)
    weights.save_weights(tmp_path, _params(), _info())
    _assert_same_bits(_params(), weights.load_params(tmp_path, _shapes(_params())))
    with pytest.raises(ConfigError, match="already"):
        weights.save_weights(tmp_path, _params(), _info())


def test_a_checkpoint_of_another_model_is_refused(tmp_path):
    fingerprint = {"model.class": "some.Model"}
    with CheckpointManager(tmp_path, CheckpointConfig()) as manager:
        state = TrainState(step=jnp.int32(1), params=_params(), opt_state=())
        metadata = {"fingerprint": fingerprint}
        manager.save(1, Checkpoint(state=state, position=b"", metadata=metadata))
    with pytest.raises(ConfigError, match=r"some\.Model"):
        weights.load_info(tmp_path)

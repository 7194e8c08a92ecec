"""The verbs import and export: a folder of another program, a weights folder, a run."""

import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from tests.checkpointing import small_models
from xlingual.checkpointing.layout import make_model, param_shapes
from xlingual.checkpointing.manager import Checkpoint, CheckpointConfig, CheckpointManager
from xlingual.checkpointing.mapping import flatten
from xlingual.checkpointing.weights import load_params
from xlingual.cli import main
from xlingual.training.fingerprint import make_fingerprint
from xlingual.training.state import TrainState


@pytest.fixture(scope="module")
def model():
    return make_model("encoder_decoder", small_models.CONFIG)


@pytest.fixture(scope="module")
def params(model):
    return small_models.random_params(model)


def _assert_params(model, params, folder):
    loaded = load_params(folder, param_shapes(model, small_models.partitioner()))
    for path, leaf in flatten(loaded).items():
        np.testing.assert_array_equal(leaf, flatten(params)[path], err_msg=path)


def test_a_model_goes_in_and_out_again(model, params, tmp_path, capsys):
    foreign, ours, back = tmp_path / "foreign", tmp_path / "ours", tmp_path / "back"
    small_models.export_ours(model, params, foreign, max_shard_bytes=50_000)
    assert main.main(["import", f"--from={foreign}", f"--to={ours}"]) == 0
    assert "encoder_decoder, 29 arrays in float32" in capsys.readouterr().out
    _assert_params(model, params, ours)
    command = ["export", f"--from={ours}", f"--to={back}", "--max_shard_bytes=5e4"]
    assert main.main(command) == 0
    assert "model-00001-of-00005.safetensors" in capsys.readouterr().out
    assert {p.name: p.read_bytes() for p in back.iterdir()} == {
        p.name: p.read_bytes() for p in foreign.iterdir()
    }
    assert main.main(command) == 2
    assert "back exists; expected a new or an empty folder" in capsys.readouterr().err


def test_the_parameters_of_a_run_are_exported(model, params, tmp_path, capsys):
    fingerprint = make_fingerprint(data={}, model=model, losses={}, optimizer={}, seed=0)
    with CheckpointManager(tmp_path / "run", CheckpointConfig(period_steps=1)) as manager:
        state = TrainState(step=jnp.int32(5), params=params, opt_state=(params,))
        metadata = {"step": 5, "fingerprint": fingerprint}
        manager.save(5, Checkpoint(state=state, position=b"", metadata=metadata))
    out = tmp_path / "out"
    assert (
        main.main(["export", f"--from={tmp_path / 'run'}", f"--to={out}", "--tokenizer=none"]) == 0
    )
    assert "encoder_decoder of step 5" in capsys.readouterr().out
    tensors = safetensors.numpy.load_file(out / "model.safetensors")
    np.testing.assert_array_equal(
        tensors["lm_head.weight"], np.asarray(params["decoder"]["logits_dense"]["kernel"]).T
    )


def test_parameters_may_be_cut_over_all_devices_and_unrolled(model, params, tmp_path):
    foreign, ours = tmp_path / "foreign", tmp_path / "ours"
    small_models.export_ours(model, params, foreign)
    assert main.main(["import", f"--from={foreign}", f"--to={ours}", "--unrolled", "--fsdp"]) == 0
    text = (ours / "model.gin").read_text()
    assert "SCAN_LAYERS = False" in text
    back = tmp_path / "back"
    assert main.main(["export", f"--from={ours}", f"--to={back}"]) == 0
    ours = safetensors.numpy.load_file(back / "model.safetensors")
    theirs = safetensors.numpy.load_file(foreign / "model.safetensors")
    assert ours.keys() == theirs.keys()
    for name, array in theirs.items():
        np.testing.assert_array_equal(ours[name], array)


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["import", "--from=nowhere", "--to=x"], "--from=nowhere: no such folder"),
        (["export", "--from=nowhere", "--to=x"], "nowhere holds no weights; expected a folder"),
    ],
)
def test_bad_input_is_one_line(command, message, capsys):
    assert main.main(command) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1

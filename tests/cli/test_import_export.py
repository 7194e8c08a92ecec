"""The verbs import and export: a folder of another program, a weights folder, a run."""

import dataclasses

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
from xlingual.data.byte_vocabulary import ByteVocabulary
from xlingual.data.tokenizer_files import export_tokenizer, load_tokenizer_vocabulary
from xlingual.reporting.metrics import Counters
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


def _save_run(folder, model, params, config_text="", opt_state=None):
    """Writes step 5 of a run, as the train loop does."""
    metadata = {
        "step": 5,
        "fingerprint": make_fingerprint(data={}, model=model, losses={}, optimizer={}, seed=0),
        "counters": dataclasses.asdict(Counters(steps=5)),
    }
    state = TrainState(step=jnp.int32(5), params=params, opt_state=opt_state or (params,))
    checkpoint = Checkpoint(state=state, position=b"", metadata=metadata, config_text=config_text)
    with CheckpointManager(folder, CheckpointConfig(period_steps=1)) as manager:
        manager.save(5, checkpoint)


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
    } | {"README.md": (back / "README.md").read_bytes()}
    assert main.main(command) == 2
    assert "back exists; expected a new or an empty folder" in capsys.readouterr().err


def test_the_parameters_of_a_run_are_exported(model, params, tmp_path, capsys):
    _save_run(tmp_path / "run", model, params)
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


def test_a_run_becomes_a_folder_that_transformers_loads_as_it_is(tmp_path, capsys):
    """With the tokenizer of the tasks in its operative configuration, and a model card."""
    pytest.importorskip("torch", reason="transformers loads weights with PyTorch")
    transformers = pytest.importorskip("transformers", reason="loads what is exported")
    config = dataclasses.replace(small_models.CONFIG, vocab_size=4608)
    model = make_model("encoder_decoder", config)
    text = "include 'gin/experiments/toy.gin'\nMODEL_DIR = 'unused'\n"
    _save_run(tmp_path / "run", model, small_models.random_params(model), config_text=text)
    out = tmp_path / "out"
    command = ["export", f"--from={tmp_path / 'run'}", f"--to={out}", "--license=apache-2.0"]
    assert main.main(command) == 0
    assert "tokenizer: spiece.model, tokenizer.json" in capsys.readouterr().out
    card = (out / "README.md").read_text()
    assert 'license: "apache-2.0"' in card and "5 steps" in card
    tokenizer = transformers.AutoTokenizer.from_pretrained(out)
    vocabulary = load_tokenizer_vocabulary(out)
    sentence = "the fox <2en> sees"
    assert tokenizer(sentence).input_ids == [*vocabulary.encode(sentence), 1]
    loaded = transformers.AutoModelForSeq2SeqLM.from_pretrained(out)
    assert loaded.config.vocab_size == 4608 >= len(tokenizer)


def test_tokenizer_files_come_in_and_go_out_as_they_are(model, params, tmp_path, capsys):
    foreign, ours, back = tmp_path / "foreign", tmp_path / "ours", tmp_path / "back"
    small_models.export_ours(model, params, foreign)
    export_tokenizer(ByteVocabulary(num_sentinels=3), foreign)
    assert main.main(["import", f"--from={foreign}", f"--to={ours}"]) == 0
    assert "tokenizer: byte_vocabulary.json, tokenizer.json" in capsys.readouterr().out
    assert main.main(["export", f"--from={ours}", f"--to={back}"]) == 0
    for name in ("byte_vocabulary.json", "tokenizer.json", "tokenizer_config.json"):
        assert (back / name).read_bytes() == (foreign / name).read_bytes()
        (ours / name).unlink()
    assert main.main(["export", f"--from={ours}", f"--to={tmp_path / 'none'}"]) == 0
    assert "tokenizer: none" in capsys.readouterr().out
    named = ["export", f"--from={ours}", f"--to={tmp_path / 'named'}", f"--tokenizer={foreign}"]
    assert main.main(named) == 0
    assert (tmp_path / "named" / "tokenizer.json").is_file()


def test_a_run_whose_vocabulary_cannot_be_found_says_what_to_do(model, params, tmp_path, capsys):
    _save_run(tmp_path / "run", model, params, config_text="include 'nowhere.gin'\n")
    assert main.main(["export", f"--from={tmp_path / 'run'}", f"--to={tmp_path / 'out'}"]) == 2
    error = capsys.readouterr().err
    assert "does not lead to the run's vocabulary" in error and "--tokenizer=none" in error
    assert [p.name for p in tmp_path.iterdir()] == ["run"]

"""What a user can get wrong: one clear message, status 2, nothing overwritten, no device time."""

import gin
import pytest

from xlingual.cli import main

TOY = "--gin_file=gin/experiments/toy.gin"


@pytest.fixture(autouse=True)
def _clean_gin():
    gin.clear_config()
    yield
    gin.clear_config()


@pytest.fixture
def refuse(capsys, tmp_path):
    """Runs `xlingual train` on the toy experiment and returns the message it refuses with."""

    def run(*overrides, model_dir=None, gin_file=TOY):
        model_dir = tmp_path / "model" if model_dir is None else model_dir
        argv = ["train", gin_file, f"--gin.MODEL_DIR={model_dir}", *overrides]
        status = main.main(argv)
        captured = capsys.readouterr()
        assert status == 2, captured.err
        assert captured.err.startswith("xlingual train: error:"), captured.err
        assert "Traceback" not in captured.err
        assert not list(tmp_path.rglob("checkpoints/*")), "nothing is written before the check"
        return captured.err

    return run


def test_unknown_gin_name_or_file(refuse):
    assert "did you mean TRAIN_STEPS" in refuse("--gin.TRAIN_STEP=3")
    assert "no_such_parameter" in refuse("--gin.loop.train.no_such_parameter=3")
    assert "nowhere.gin" in refuse(gin_file="--gin_file=nowhere.gin")


def test_unregistered_mixture_gets_the_nearest_names(refuse):
    message = refuse("--gin.MIXTURE_OR_TASK_NAME=toy_pretrian")
    assert "toy_pretrian" in message and "toy_pretrain" in message


def test_lengths_too_short_for_the_objective(refuse):
    message = refuse("--gin.TASK_FEATURE_LENGTHS={'inputs': 128, 'targets': 16}")
    assert "targets" in message and "16" in message


def test_vocabulary_larger_than_the_embedding(refuse):
    message = refuse("--gin.VOCAB_SIZE=512")
    assert "512" in message and "vocab" in message


def test_batch_that_does_not_divide_over_the_mesh(refuse):
    message = refuse("--gin.BATCH_SIZE=9")
    assert "9" in message and "8" in message and "batch" in message


def test_mesh_that_does_not_fit_the_devices(refuse):
    assert "MESH" in refuse("--gin.MESH_TENSOR=3").upper()


def test_model_dir_that_cannot_be_written(refuse, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("kept")
    assert str(blocked) in refuse(model_dir=blocked / "model")
    assert blocked.read_text() == "kept"


def test_missing_data_folder(refuse, tmp_path):
    files = "--gin_file=gin/experiments/files_encoder_decoder.gin"
    message = refuse(f"--gin.DATA_DIR={tmp_path / 'none'}", gin_file=files)
    assert str(tmp_path / "none") in message


def test_module_that_registers_no_task(refuse):
    assert "no_such_module" in refuse("--gin.TASK_MODULES=('no_such_module',)")


def test_model_dir_is_not_created_for_a_refused_run(refuse, tmp_path):
    refuse("--gin.VOCAB_SIZE=512", model_dir=tmp_path / "fresh")
    assert not list((tmp_path / "fresh").rglob("*.json"))

"""What a user can get wrong: one clear message, status 2, nothing overwritten, no device time."""

import sys

import pytest
import seqio

from xlingual.cli import main

_TASKS = """
import functools

import seqio
import tensorflow as tf

from tasks import toy
from xlingual.data import task_registry

def register(name, texts, vocabulary=None):
    def make_dataset(split, shuffle_files, seed=None):
        lang = ["en"] * len(texts)
        return tf.data.Dataset.from_tensor_slices(
            {"text": tf.constant(texts, tf.string), "lang": tf.constant(lang, tf.string)}
        )

    features = toy.OUTPUT_FEATURES
    if vocabulary:
        features = {
            name: seqio.Feature(seqio.SentencePieceVocabulary(vocabulary), add_eos=False)
            for name in ("inputs", "targets")
        }
    task_registry.register_task(
        name,
        objective="causal_lm",
        source=seqio.FunctionDataSource(make_dataset, ("train", "validation")),
        preprocessors=[
            toy.tokenize, toy.with_toy_tokens(toy.language_model.causal_lm, form="packed")
        ],
        output_features=features,
        src_lang="en",
        tgt_lang="en",
    )

register("bad_empty", [])
register("bad_sentinel", ["the old tree", "an <extra_id_3> tree"] * 50)
register("bad_vocabulary", ["the old tree"], "no_such_folder/no.model")
"""
TOY = "--gin_file=gin/experiments/toy.gin"
ONE_TASK = ("--gin.MIXTURE_OR_TASK_NAME=toy_translation_de_en", "--gin.HOOKS=[]")
"""Where the data are not what is wrong: they are checked before the model."""


pytestmark = pytest.mark.usefixtures("clean_gin")


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
    message = refuse(*ONE_TASK, "--gin.VOCAB_SIZE=512")
    assert "512" in message and "vocab" in message


def test_batch_that_does_not_divide_over_the_mesh(refuse):
    message = refuse(*ONE_TASK, "--gin.BATCH_SIZE=9")
    assert "9" in message and "8" in message and "batch" in message


def test_mesh_that_does_not_fit_the_devices(refuse):
    assert "MESH" in refuse(*ONE_TASK, "--gin.MESH_TENSOR=3").upper()


def test_model_dir_that_cannot_be_written(refuse, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("kept")
    assert str(blocked) in refuse(*ONE_TASK, model_dir=blocked / "model")
    assert blocked.read_text() == "kept"


def test_missing_data_folder(refuse, tmp_path):
    files = "--gin_file=gin/experiments/files_encoder_decoder.gin"
    message = refuse(f"--gin.DATA_DIR={tmp_path / 'none'}", gin_file=files)
    assert str(tmp_path / "none") in message


def test_module_that_registers_no_task(refuse):
    assert "no_such_module" in refuse("--gin.TASK_MODULES=('no_such_module',)")


def test_model_dir_is_not_created_for_a_refused_run(refuse, tmp_path):
    refuse(*ONE_TASK, "--gin.VOCAB_SIZE=512", model_dir=tmp_path / "fresh")
    assert not list((tmp_path / "fresh").rglob("*.json"))


@pytest.fixture
def bad_tasks(tmp_path, monkeypatch):
    """Makes the module `bad_tasks`, whose tasks are named for what is wrong with them."""
    (tmp_path / "bad_tasks.py").write_text(_TASKS)
    monkeypatch.syspath_prepend(tmp_path)
    yield "--gin.TASK_MODULES=('bad_tasks',)"
    sys.modules.pop("bad_tasks", None)
    for name in list(seqio.TaskRegistry.names()):
        if name.startswith("bad_"):
            seqio.TaskRegistry.remove(name)


@pytest.mark.parametrize(
    ("task", "words"),
    [
        ("bad_empty", ("bad_empty", "train")),
        ("bad_sentinel", ("bad_sentinel", "sentinel ids")),
        ("bad_vocabulary", ("no_such_folder/no.model",)),
    ],
)
def test_tasks_that_cannot_be_trained_on(refuse, bad_tasks, task, words):
    message = refuse(bad_tasks, f"--gin.MIXTURE_OR_TASK_NAME={task}", "--gin.HOOKS=[]")
    assert all(word in message for word in words), message


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_last_good_checkpoint(
    capsys, tmp_path
):
    arguments = [
        "train",
        TOY,
        f"--gin.MODEL_DIR={tmp_path}",
        *ONE_TASK,
        "--gin.D_MODEL=32",
        "--gin.D_FF=48",
        "--gin.NUM_DECODER_LAYERS=1",
        "--gin.NUM_ENCODER_LAYERS=1",
        "--gin.CHECKPOINT_PERIOD=1",
        "--gin.WARMUP_STEPS=6",
        "--gin.PEAK_LEARNING_RATE=1e30",
        "--gin.TRAIN_STEPS=12",
    ]
    assert main.main(arguments) == 2
    error = capsys.readouterr().err
    assert "expected finite numbers" in error and "the last good checkpoint is" in error
    assert "Traceback" not in error
    kept = sorted(int(path.name) for path in (tmp_path / "checkpoints").iterdir())
    assert kept and f"checkpoints/{kept[-1]}" in error

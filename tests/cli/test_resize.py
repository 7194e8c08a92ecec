"""`xlingual resize`: a run's tables and its optimizer's statistics of them get new rows."""

import dataclasses
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.checkpointing import small_models
from tests.cli.test_import_export import _save_run
from xlingual.checkpointing.layout import make_model, read_config
from xlingual.checkpointing.weights import load_info
from xlingual.cli import main, trained_model
from xlingual.data import tokenizer_files, vocabularies
from xlingual.optimizers.adafactor import Adafactor
from xlingual.optimizers.adamw import AdamW
from xlingual.optimizers.schedules import constant
from xlingual.training.starting_point import StartingPoint
from xlingual.training.state import plan_state

TEXTS = ["the cat sat on the mat", "der Hund sass auf der Matte", "ein Hund, a dog"] * 9
OPTIMIZERS = {
    "adamw": AdamW(learning_rate=constant(0.01)),
    "adafactor": Adafactor(learning_rate=constant(0.01), min_factored_size=16),
}
OLD_SIZE = 300
CONFIG = dataclasses.replace(small_models.CONFIG, vocab_size=384)


def layout_of(model, optimizer):
    spec = {n: jax.ShapeDtypeStruct((1, 1), jnp.int32) for n in model.requires_features}
    return plan_state(model, optimizer, small_models.partitioner(), spec)


def with_numbers(shapes):
    """Every array filled with different numbers."""
    rng = np.random.default_rng(0)
    draw = lambda leaf: jnp.asarray(rng.uniform(1, 2, leaf.shape), leaf.dtype)  # noqa: E731
    return jax.tree.map(draw, shapes)


@pytest.fixture(params=OPTIMIZERS)
def run(request, tmp_path, monkeypatch):
    """A run's folder, its optimizer and the state of its checkpoint."""
    optimizer = OPTIMIZERS[request.param]
    model = make_model("encoder_decoder", CONFIG)
    params = small_models.random_params(model)
    opt_state = with_numbers(layout_of(model, optimizer).shapes.opt_state)
    folder = tmp_path / "run"
    _save_run(folder, model, params, opt_state=opt_state)
    file = tmp_path / "spiece.model"
    vocabulary = vocabularies.train_vocabulary(
        TEXTS,
        file,
        vocab_size=OLD_SIZE,
        control_tokens=["<2en>"],
        num_sentinels=10,
        model_type="bpe",
    )
    bindings = {
        "model": model,
        "optimizer": optimizer,
        "partitioner": small_models.partitioner(),
        "source": types.SimpleNamespace(),
    }
    monkeypatch.setattr(trained_model, "load_bindings", lambda args, folder: bindings)
    vocabulary = vocabularies.load_vocabulary(file)
    monkeypatch.setattr(trained_model, "vocabulary_of", lambda source: vocabulary)
    return folder, optimizer, params, opt_state


def test_a_run_goes_on_with_its_statistics_and_more_tokens(run, tmp_path, capsys):
    folder, optimizer, params, opt_state = run
    grown = tmp_path / "grown"
    words = ["resize", f"--model_dir={folder}", f"--to={grown}", "--append_languages=de,tr"]
    languages = "--append_languages=" + ",".join(["de", "tr", "ru", "ar", "zh", "hi", "sw", "ja"])
    assert main.main([*words[:-1], languages]) == 0
    assert "300 rows copied, 0 averaged" in capsys.readouterr().out
    info = load_info(grown)
    config = read_config(info.config)
    vocabulary = tokenizer_files.load_tokenizer_vocabulary(grown)
    assert info.step == 5 and OLD_SIZE < vocabulary.vocab_size <= config.vocab_size
    assert f"VOCAB_SIZE = {config.vocab_size}\n" in (grown / "model.gin").read_text()
    layout = layout_of(make_model("encoder_decoder", config), optimizer)
    start = StartingPoint(weights=str(grown), reset_optimizer=False)
    start.check(layout)
    state = start.load(layout, small_models.partitioner())
    assert int(state.step) == 0
    changed = 0
    for old, new in zip(
        jax.tree.leaves((params, opt_state)),
        jax.tree.leaves((state.params, state.opt_state)),
        strict=True,
    ):
        kept = tuple(slice(OLD_SIZE if size == 384 else size) for size in old.shape)
        np.testing.assert_array_equal(np.asarray(old)[kept], np.asarray(new)[kept])
        changed += 384 in old.shape
    assert changed >= 4
    assert main.main(words) == 2 and "expected a new or an empty" in capsys.readouterr().err


def test_what_cannot_be_done_is_refused(tmp_path, capsys):
    words = ["resize", f"--model_dir={tmp_path}", f"--to={tmp_path / 'new'}"]
    for flags, message in (
        ([], "neither --append_languages nor --vocabulary is given"),
        (["--append_languages=de"], "has no folder checkpoints/; expected a run"),
    ):
        assert main.main([*words, *flags]) == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "new").exists()

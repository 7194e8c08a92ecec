"""`xlingual import` with another vocabulary, or with tokens behind the ids that are there."""

import dataclasses
import json

import numpy as np
import pytest

from tests.checkpointing import small_models
from xlingual.checkpointing.layout import make_model, param_shapes
from xlingual.checkpointing.mapping import flatten
from xlingual.checkpointing.weights import load_info, load_params
from xlingual.cli import main
from xlingual.data import tokenizer_files, vocabularies

TEXTS = ["the cat sat on the mat", "der Hund sass auf der Matte", "ein Hund, a dog"] * 9
CONFIG = dataclasses.replace(small_models.CONFIG, vocab_size=384)
TABLES = {"token_embedder/embedding": 0, "decoder/logits_dense/kernel": 1}


@pytest.fixture(scope="module")
def foreign(tmp_path_factory):
    """A model in the Hugging Face layout with a SentencePiece vocabulary of 300 pieces."""
    folder = tmp_path_factory.mktemp("foreign") / "model"
    model = make_model("encoder_decoder", CONFIG)
    small_models.export_ours(model, small_models.random_params(model), folder)
    vocabularies.train_vocabulary(
        TEXTS,
        folder / "spiece.model",
        vocab_size=300,
        control_tokens=["<2en>"],
        num_sentinels=10,
        model_type="bpe",
    )
    return folder


def _tables(folder):
    """Both tables of a weights folder, tokens first."""
    info = load_info(folder)
    config = dataclasses.replace(CONFIG, vocab_size=info.config["vocab_size"])
    shapes = param_shapes(make_model(info.family, config), small_models.partitioner())
    flat = flatten(load_params(folder, shapes))
    return {name: np.moveaxis(np.asarray(flat[name]), axis, 0) for name, axis in TABLES.items()}


@pytest.fixture(scope="module")
def plain(foreign, tmp_path_factory):
    """Tables of the model, imported as it is."""
    folder = tmp_path_factory.mktemp("plain") / "weights"
    assert main.main(["import", f"--from={foreign}", f"--to={folder}"]) == 0
    return _tables(folder)


def test_control_tokens_go_behind_the_ids(foreign, plain, tmp_path, capsys):
    folder = tmp_path / "weights"
    command = ["import", f"--from={foreign}", f"--to={folder}", "--append_languages=en,de,python"]
    assert main.main(command) == 0
    assert "vocabulary changed: 300 rows copied, 0 averaged" in capsys.readouterr().out
    vocabulary = tokenizer_files.load_tokenizer_vocabulary(folder)
    special = vocabularies.special_tokens(vocabulary)
    assert special.sentinel_start == 299 and special.num_sentinels == 10
    assert special.control_id("<2de>") >= 300 and special.control_id("<2en>") < 300
    for name, table in _tables(folder).items():
        np.testing.assert_array_equal(table[:300], plain[name][:300])
    assert (
        f"VOCAB_SIZE = {load_info(folder).config['vocab_size']}\n"
        in (folder / "model.gin").read_text()
    )
    config = json.loads((folder / "tokenizer_config.json").read_text())
    assert "<2de>" in config["additional_special_tokens"]


def test_another_vocabulary_takes_the_rows_of_its_parts(foreign, plain, tmp_path, capsys):
    new = tmp_path / "new.model"
    vocabularies.train_vocabulary(
        [*TEXTS, "neue Texte, neue Worte"] * 3,
        new,
        vocab_size=420,
        control_tokens=["<2en>", "<2de>"],
        num_sentinels=100,
        model_type="bpe",
    )
    folder = tmp_path / "weights"
    command = ["import", f"--from={foreign}", f"--to={folder}", f"--vocabulary={new}"]
    assert main.main([*command, "--new_rows=overlap", "--seed=3"]) == 0
    assert " 0 averaged" in capsys.readouterr().out
    tables = _tables(folder)
    old = vocabularies.load_vocabulary(foreign / "spiece.model").tokenizer
    to_id = vocabularies.load_vocabulary(new).tokenizer.PieceToId
    for name, table in tables.items():
        assert len(table) == 512
        for piece in ("</s>", "<2en>", "<extra_id_9>", "<0x20>"):
            row = plain[name][old.PieceToId(piece)]
            np.testing.assert_array_equal(table[to_id(piece)], row)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--vocabulary=x", "--append_languages=en"], "exclude each other"),
        (["--vocabulary=x", "--new_rows=guess"], "expected one of mean, overlap"),
        (["--vocabulary=missing.model"], "missing.model does not exist"),
        (["--append_languages=xx"], "language 'xx' is unknown"),
        (["--append_languages=en", "--num_sentinels=11"], "has 10 sentinels"),
        (["--num_sentinels=11"], "goes with --append_languages"),
    ],
)
def test_contradictions_are_refused(foreign, tmp_path, capsys, flags, message):
    command = ["import", f"--from={foreign}", f"--to={tmp_path / 'weights'}", *flags]
    assert main.main(command) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())

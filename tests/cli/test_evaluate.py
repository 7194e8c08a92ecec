"""`evaluate` on weights: rows with their origin, the same digits twice, early refusals."""

import dataclasses
import json
import pathlib

import gin
import jax
import pytest

from tests.decoding.test_greedy import config, random_params
from xlingual import config as xlingual_config
from xlingual.checkpointing import weights
from xlingual.cli import evaluate, main
from xlingual.data.byte_vocabulary import ByteVocabulary
from xlingual.data.tokenizer_files import export_tokenizer
from xlingual.models.encoder_decoder import EncoderDecoder
from xlingual.reporting.evaluations import FILE, read_evaluations

_GIN = """
from __gin__ import dynamic_registration
from xlingual.evaluation import probes
from xlingual.evaluation import suite
from xlingual.evaluation import text_sets

TABLE = %gin.REQUIRED
suite.Suite.evaluators = [
    @probes.RepresentationProbes(), @other/probes.RepresentationProbes()]
probes.RepresentationProbes.sets = @text_sets.TextSets()
text_sets.TextSets.tables = (%TABLE,)
other/probes.RepresentationProbes.name = 'other'
other/probes.RepresentationProbes.layers = (0,)
"""


@pytest.fixture
def folder(tmp_path):
    vocabulary = ByteVocabulary()
    settings = config(vocab_size=vocabulary.vocab_size)
    params = jax.tree.map(jax.numpy.asarray, random_params(EncoderDecoder(settings)))
    place = tmp_path / "weights"
    info = weights.WeightsInfo(
        family="encoder_decoder", config=dataclasses.asdict(settings), source="made up", step=0
    )
    weights.save_weights(place, params, info)
    export_tokenizer(vocabulary, place)
    (tmp_path / "words.tsv").write_text("en\tde\nhouse\tHAUS\ntree\tBAUM\nriver\tFLUSS\n")
    (tmp_path / "probes.gin").write_text(_GIN)
    yield place
    gin.clear_config()


def _evaluate(folder, *words):
    root = folder.parent
    return main.main(
        [
            "evaluate",
            f"--gin_file={root / 'probes.gin'}",
            f"--gin.TABLE={root / 'words.tsv'}",
            f"--run={folder}",
            *words,
        ]
    )


def test_rows_are_written_with_their_origin_and_the_same_twice(folder, capsys):
    assert _evaluate(folder) == 0
    assert "cosine_gap" in capsys.readouterr().out
    first = (folder / FILE).read_text()
    rows = read_evaluations(folder)
    assert {row["evaluator"] for row in rows} == {"probes", "other"}
    assert {row["layer"] for row in rows if row["evaluator"] == "other"} == {0}
    for row in rows:
        assert row["config_hash"].startswith("sha256:") and row["data_hash"].startswith("sha256:")
        assert (row["step"], row["model"], row["seed"]) == (0, "weights", 0)
    assert _evaluate(folder, "--only=other", f"--output={folder.parent / 'out'}") == 0
    again = (folder.parent / "out" / FILE).read_text()
    wanted = [line for line in first.splitlines() if json.loads(line)["evaluator"] == "other"]
    assert again.splitlines() == wanted


def test_the_files_of_evaluations_bind_evaluators_with_names_of_their_own():
    root = pathlib.Path(__file__).resolve().parents[2] / "gin" / "evaluations"
    for name, overrides in (("toy", []), ("files", [("suite.Suite.registrations", "()")])):
        data = [("DATA_DIR", "nowhere")] if name == "files" else []
        xlingual_config.parse([str(root / f"{name}.gin")], [*data, *overrides])
        found = [evaluator.name for evaluator in evaluate._suite().evaluators]
        assert {"heldout", "translation", "retrieval", "probes"} <= set(found)
    gin.clear_config()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--only=translatoin",), "no evaluator 'translatoin'"),
        (("--step=3",), "is no run"),
        (("--gin.TABLE=nowhere.tsv",), "does not exist"),
    ],
)
def test_mistakes_are_told_before_anything_is_written(words, message, folder, capsys):
    assert _evaluate(folder, *words) == 2
    assert message in capsys.readouterr().err
    assert not (folder / FILE).exists()


def test_a_configuration_that_describes_no_run_is_refused(folder, tmp_path, capsys):
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    (run / "operative_config.gin").write_text("")
    assert _evaluate(folder, f"--run={run}") == 2
    told = capsys.readouterr().err
    assert f"{run / 'operative_config.gin'}: no model, source, losses, partitioner" in told

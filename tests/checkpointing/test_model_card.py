"""The card of a trained model holds the numbers of the run, and YAML that Hugging Face reads."""

import json

import pytest

from tests.training.fakes import make_arguments
from xlingual.checkpointing.model_card import make_model_card
from xlingual.errors import ConfigError
from xlingual.reporting.results import write_results
from xlingual.training import loop

yaml = pytest.importorskip("yaml", reason="reads the header of the card as Hugging Face does")
CONFIG = "TRAIN_STEPS = 4\nloop.train.train_steps = %TRAIN_STEPS\n"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A short run of three tasks, its results extended by what evaluators write."""
    folder = tmp_path_factory.mktemp("runs") / "noise_run"
    loop.train(**make_arguments(folder, config_text=CONFIG))
    results = json.loads((folder / "results.json").read_text())
    results["directions"] = {
        "en-de": {"chrf": 61.26, "bleu": 30.0, "copy_chrf": 12.5, "trained": True},
        "de-fr": {"chrf": 21.0, "bleu": 3.25, "copy_chrf": 11.0, "trained": False},
    }
    results["heldout_loss"] = {"noise_en": 2.71828}
    write_results(folder, results)
    metadata = json.loads((folder / "checkpoints/4/metadata/metadata.json").read_text())
    return folder, metadata["run"]


def _split(card):
    _, header, body = card.split("---\n", 2)
    return yaml.safe_load(header), body


def test_the_header_names_languages_tags_and_library(run):
    header, _ = _split(make_model_card(run[0]))
    assert header["language"] == ["de", "en"]
    assert header["library_name"] == "transformers"
    assert {"xlingual", "span", "translation"} <= set(header["tags"])
    assert "license" not in header
    assert _split(make_model_card(run[0], license_id="apache-2.0"))[0]["license"] == "apache-2.0"


def test_the_body_holds_the_counters_of_the_run(run):
    folder, metadata = run
    _, body = _split(make_model_card(folder))
    counters = metadata["counters"]
    assert body.startswith("\n# noise_run\n")
    assert "for 4 steps" in body and f"{sum(counters['tokens'].values()):,} tokens" in body
    for name, count in counters["targets"].items():
        row = next(line for line in body.splitlines() if line.startswith(f"| `{name}` |"))
        assert row.endswith(f" {count:,.0f} |") and f"{counters['examples'][name]:,.0f}" in row
    english = counters["targets"]["noise_en"] + counters["targets"]["de_en"]
    assert f"| en | English | {english:,.0f} |" in body
    assert "| `en_de` | translation | en-de | 0.2500 of examples |" in body
    for stack, count in counters["tokens"].items():
        assert f"{count:,} in the {stack}" in body


def test_the_body_holds_scores_and_configuration(run):
    _, body = _split(make_model_card(run[0], name="Noise"))
    assert "# Noise\n" in body
    assert "| en-de | trained | 61.26 | 30 | 12.5 |" in body
    assert "| de-fr | zero-shot | 21 | 3.25 | 11 |" in body
    assert "| `noise_en` | 2.718 |" in body
    assert f"```gin\n{CONFIG}```" in body
    assert "peak_rss_bytes" not in body


def test_one_checkpoint_and_its_run_have_the_same_card(run):
    folder, _ = run
    assert make_model_card(folder / "checkpoints" / "4") == make_model_card(folder)


def test_checkpoints_without_descriptions_of_tasks_have_a_card(run, tmp_path):
    """Earlier runs saved the names of their tasks only."""
    old = json.loads((run[0] / "checkpoints/4/metadata/metadata.json").read_text())
    del old["run"]["tasks"]
    item = tmp_path / "checkpoints" / "4" / "metadata"
    item.mkdir(parents=True)
    (item / "metadata.json").write_text(json.dumps(old))
    header, body = _split(make_model_card(tmp_path))
    assert "language" not in header
    assert "| `noise_en` |" in body and "No evaluation was run." in body


def test_imported_weights_name_their_source(tmp_path):
    info = {
        "family": "encoder_decoder",
        "source": "google/mt5-small",
        "arrays": {"['w']": "float32[4, 5]", "['b']": "bfloat16[3]"},
    }
    (tmp_path / "weights.json").write_text(json.dumps(info))
    header, body = _split(make_model_card(tmp_path))
    assert header["tags"] == ["xlingual", "encoder_decoder"]
    assert "`google/mt5-small`, a model of 23 parameters" in body
    assert "AutoModelForSeq2SeqLM" in body


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"holds neither a checkpoint nor weights\.json"):
        make_model_card(tmp_path)

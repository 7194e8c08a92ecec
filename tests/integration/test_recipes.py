"""Every recipe of the field trains at tiny size: its tasks, stages, arms and model fit together."""

import functools
import json
import pathlib

import gin
import jax
import pytest

from xlingual import config
from xlingual.data import records
from xlingual.training import loop

STEPS = 20
TINY = {
    "D_MODEL": "32",
    "D_FF": "48",
    "D_KV": "8",
    "NUM_HEADS": "4",
    "NUM_DECODER_LAYERS": "1",
    "ACTIVATION_DTYPE": "'float32'",
    "SCAN_LAYERS": "False",
    "BATCH_SIZE": "8",
    "TRAIN_STEPS": str(STEPS),
    "TASK_FEATURE_LENGTHS": "{'inputs': 96, 'targets': 96}",
    "LOG_PERIOD": "5",
    "HOOKS": "()",
    "train/datasets.SeqioSource.num_measured_records": "32",
}
RECIPES = ("mt5", "nmt5", "mt6", "ernie_code", "mbart", "ul2", "dot", "xlsup", "gamayun")
OBJECTIVES = {
    "mt5": {"span_corruption"},
    "nmt5": {"span_corruption", "translation"},
    "mt6": {"span_corruption", "tsc"},
    "ernie_code": {"span_corruption", "ptlm"},
    "mbart": {"mbart"},
    "ul2": {"ul2"},
    "dot": {"dot_denoise", "translation"},
    "xlsup": {"causal_lm", "translation"},
    "gamayun": {"causal_lm"},
}


@pytest.fixture(scope="module", autouse=True)
def records_are_loaded_once():
    """Recipes share the records of the toy corpus, which do not change."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(records, "load_records", functools.cache(records.load_records))
        yield


@pytest.mark.parametrize("recipe", RECIPES)
def test_twenty_steps(recipe, tmp_path, monkeypatch, clean_gin):
    text = pathlib.Path(f"gin/experiments/{recipe}.gin").read_text(encoding="utf-8")
    tiny = dict(TINY)
    if "encoder_decoder" in text:
        tiny["NUM_ENCODER_LAYERS"] = "1"
    if "WARMUP_STEPS" in text or "cosine" in text:
        tiny["WARMUP_STEPS"] = "2"
    if "cosine" in text:
        tiny["PEAK_LEARNING_RATE"] = "0.1"
    overrides = [("MODEL_DIR", str(tmp_path)), *tiny.items()]
    config.parse([f"gin/experiments/{recipe}.gin"], overrides)
    # Meshes have tests of their own; a program for one device is compiled and run in less time.
    first = jax.devices()[:1]
    monkeypatch.setattr(jax, "devices", lambda: first)
    state = gin.get_configurable(loop.train)()
    assert int(state.step) == STEPS
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [5, 10, 15, 20]
    assert lines[-1]["loss"] < lines[0]["loss"]
    trained = {
        name.split("/")[1]
        for line in lines
        for name, value in line.items()
        if name.startswith("objective/") and name.endswith("/targets") and value > 0
    }
    assert trained == OBJECTIVES[recipe]

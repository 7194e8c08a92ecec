"""Fine-tuning on English alone, on real text, and the evaluation of every language."""

import json
import pathlib

import gin
import pytest
import seqio

from xlingual.cli import main
from xlingual.data import task_registry

TINY = {
    "D_MODEL": "32",
    "D_FF": "48",
    "D_KV": "8",
    "NUM_ENCODER_LAYERS": "1",
    "NUM_DECODER_LAYERS": "1",
    "TRAIN_STEPS": "20",
    "WARMUP_STEPS": "2",
    "UNDERSTANDING_EXAMPLES": "20",
    "EVALUATION_BATCH_SIZE": "40",
}


@pytest.mark.slow
def test_zero_shot_transfer_is_trained_and_evaluated(data_dir, tmp_path, clean_gin):
    changes = [f"--gin.{name}={value}" for name, value in TINY.items()]
    folders = [f"--gin.MODEL_DIR={tmp_path / 'run'}", f"--gin.DATA_DIR={data_dir}"]
    experiment = "--gin_file=gin/experiments/finetune_zero_shot.gin"
    assert main.main(["train", experiment, *folders, *changes]) == 0
    rows = _rows(tmp_path / "run")
    langs = {row["lang"]: row["trained"] for row in rows if row["metric"] == "accuracy"}
    assert langs == {"en": True, "de": False, "fr": False, "cs": False, "ha": False}
    assert {row["metric"] for row in rows} >= {"accuracy_mean", "accuracy_gap", "macro_f1_others"}
    gin.clear_config()
    evaluate = ["evaluate", "--gin_file=gin/evaluations/understanding.gin"]
    changes = ["--gin.NUM_EXAMPLES=20", f"--output={tmp_path / 'again'}"]
    assert main.main([*evaluate, f"--run={tmp_path / 'run'}", *changes]) == 0
    again = _rows(tmp_path / "again")
    assert _values(again) == _values(rows)
    for name in [*seqio.TaskRegistry.names(), *seqio.MixtureRegistry.names()]:
        if name.startswith("sib200_"):
            task_registry.unregister(name)


def _rows(folder: pathlib.Path):
    return [json.loads(line) for line in (folder / "evaluations.jsonl").read_text().splitlines()]


def _values(rows):
    return {(row["metric"], row["dataset"]): row["value"] for row in rows}

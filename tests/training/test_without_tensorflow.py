"""The trainer trains where TensorFlow cannot be imported."""

import json
import os
import pathlib
import subprocess
import sys

from tests.cache import small_caches

ROOT = pathlib.Path(__file__).resolve().parents[2]
BLOCKED = """
import importlib, importlib.machinery, pkgutil, sys

class Block:  # to be asked whether TensorFlow is there is no harm; to load it is
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("tensorflow", "seqio", "t5", "tensorflow_datasets", "torch"):
            return importlib.machinery.ModuleSpec(name, self)
    def create_module(self, spec):
        raise ImportError("blocked: " + spec.name)
    def exec_module(self, module):
        raise ImportError("blocked: " + module.__name__)

sys.meta_path.insert(0, Block())
"""
PROGRAM = """
for package in ("training", "checkpointing", "reporting"):
    folder = importlib.import_module("xlingual." + package)
    for module in pkgutil.iter_modules(folder.__path__):
        importlib.import_module(f"xlingual.{package}.{module.name}")

try:
    import tensorflow
except ImportError as error:
    assert "blocked" in str(error)

from tests.training.fakes import make_arguments
from xlingual.training import loop

state = loop.train(**make_arguments(sys.argv[1], train_steps=2))
assert int(state.step) == 2
assert "tensorflow" not in sys.modules
print("trained")
"""

CACHED = """
from xlingual.cli import main

folder, cache = sys.argv[1:]
sizes = dict(D_MODEL=16, D_FF=16, D_KV=8, NUM_HEADS=2, NUM_ENCODER_LAYERS=1, NUM_DECODER_LAYERS=1)
sizes |= dict(TRAIN_STEPS=6, CHECKPOINT_PERIOD=3, LOG_PERIOD=1, WARMUP_STEPS=2, BATCH_SIZE=8)
sizes |= dict(HELDOUT_PERIOD=0, HELDOUT_BATCH_SIZE=8, CACHE=cache, MODEL_DIR=folder)
flags = [f"--gin.{name}={value}" for name, value in sizes.items()]
assert main.main(["train", "--gin_file=gin/experiments/toy_cached.gin", *flags]) == 0
assert "tensorflow" not in sys.modules
print("trained")
"""


def _run(program, *arguments):
    """Runs a program that ends by printing `trained`, where TensorFlow is blocked."""
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", BLOCKED + program, *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        timeout=300,
    )
    assert result.returncode == 0, result.stderr
    assert "trained" in result.stdout


def test_two_steps_with_checkpoint_and_reports(tmp_path):
    _run(PROGRAM, tmp_path)
    assert (tmp_path / "checkpoints" / "2").is_dir()
    assert list((tmp_path / "tensorboard").glob("events.*"))


def test_a_run_from_a_packed_cache_and_its_held_out_split(tmp_path):
    small_caches.write_packed(tmp_path / "cache")
    run = tmp_path / "run"
    _run(CACHED, run, tmp_path / "cache")
    assert (run / "checkpoints" / "3").is_dir() and (run / "checkpoints" / "6").is_dir()
    results = json.loads((run / "results.json").read_text())
    assert set(results["heldout_loss"]) == set(small_caches.RECORDS)
    assert results["steps"] == 6 and results["tokens_per_second"] > 0

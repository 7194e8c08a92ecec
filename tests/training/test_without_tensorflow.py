"""The trainer trains where TensorFlow cannot be imported."""

import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAM = """
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


def test_two_steps_with_checkpoint_and_reports(tmp_path):
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM, str(tmp_path)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        timeout=300,
    )
    assert result.returncode == 0, result.stderr
    assert "trained" in result.stdout
    assert (tmp_path / "checkpoints" / "2").is_dir()
    assert list((tmp_path / "tensorboard").glob("events.*"))

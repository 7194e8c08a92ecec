"""Eight fake devices, strict numerics, and the real-data folder when it is there."""

import atexit
import importlib.metadata
import os
import pathlib
import shutil
import tempfile

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# Most of the time of a test is the compiler's: without optimisation it takes a third as long.
_FLAGS = ["--xla_force_host_platform_device_count=8", "--xla_backend_optimization_level=0"]
if importlib.metadata.version("jaxlib").startswith("0.10."):
    _FLAGS.append("--xla_cpu_use_fusion_emitters=false")
_GIVEN = os.environ.get("XLA_FLAGS", "")
os.environ["XLA_FLAGS"] = " ".join(
    [_GIVEN, *(flag for flag in _FLAGS if flag.partition("=")[0] not in _GIVEN)]
).strip()

# What one test has compiled the next ones, and the processes that they start, find again: within
# this run of pytest, and within one of its workers.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="xlingual_tests_")
    atexit.register(shutil.rmtree, os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ["JAX_COMPILATION_CACHE_DIR"] += f"/{os.environ['PYTEST_XDIST_WORKER']}"
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"

import gin
import jax
import pytest

jax.config.update("jax_numpy_rank_promotion", "raise")


COSTLY = (
    "integration/test_recipes.py",
    "objectives/test_overfit.py",
    "objectives/test_training.py",
    "objectives/test_all_objectives.py",
    "objectives/test_twins.py",
    "objectives/test_text_objectives.py",
)
"""Files of a minute or so, from the costliest: a worker that got one last would end alone."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the costly files first, which workers then take first (`--no-loadscope-reorder`)."""
    folder = pathlib.Path(__file__).parent
    order = {folder / name: place for place, name in enumerate(COSTLY)}
    items.sort(key=lambda item: order.get(item.path, len(order)))


@pytest.fixture(scope="session")
def data_dir() -> pathlib.Path:
    """The folder of small real corpora that lies beside the project."""
    default = pathlib.Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = pathlib.Path(os.environ.get("XLINGUAL_DATA_DIR", default))
    if not (folder / "languages.tsv").is_file():
        pytest.skip(f"the real-data folder {folder} is absent; set XLINGUAL_DATA_DIR to use one")
    return folder


@pytest.fixture
def clean_gin():
    """No gin bindings before a test, and none left after it."""
    gin.clear_config()
    yield
    gin.clear_config()

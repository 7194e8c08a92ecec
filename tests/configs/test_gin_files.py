"""Every gin file parses; every experiment is built and traced without device time."""

import pathlib

import gin
import jax
import pytest

from tests.cache import small_caches
from xlingual import config
from xlingual.training import loop, startup, state

ROOT = pathlib.Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "gin").rglob("*.gin"))
EXPERIMENTS = [p for p in FILES if p.parent.name == "experiments"]
WIRING = ("architecture", "model")
SIZES = [p for p in FILES if p.parent.parent.name == "models" and p.stem not in WIRING]
QUICKLY_TRACED = ("gamayun", "toy", "toy_cached")
COSTLY = tuple(p.stem for p in EXPERIMENTS if p.stem not in QUICKLY_TRACED)
NEEDS_DATA = "DATA_DIR = %gin.REQUIRED"
NEEDS_CACHE = "pretrain_cached.gin"


@pytest.fixture(autouse=True)
def _clean_gin():
    gin.clear_config()
    yield
    gin.clear_config()


def _name(path):
    return str(path.relative_to(ROOT / "gin"))


@pytest.mark.parametrize("path", FILES, ids=_name)
def test_every_file_says_what_it_is_for(path):
    first = path.read_text(encoding="utf-8").splitlines()[0]
    assert first.startswith("# ") and len(first) > 20


@pytest.mark.parametrize("path", EXPERIMENTS, ids=_name)
def test_experiments_are_includes_and_few_overrides(path):
    text = path.read_text(encoding="utf-8")
    header = text.split("from __gin__")[0]
    assert "Must be set:" in header and "MODEL_DIR" in header
    assert f"xlingual train --gin_file=gin/experiments/{path.name}" in header
    overrides = [line for line in text.splitlines() if line[:1].isupper() and " = " in line]
    assert len(overrides) <= 15


def test_there_are_six_sizes_of_both_families():
    sizes = {"tiny", "small", "base", "large", "xl", "xxl"}
    for family in ("encoder_decoder", "decoder_only"):
        found = {p.stem for p in SIZES if p.parent.name == family}
        modern = {"modern", "llama3_1b", "qwen3_0_6b", "gemma_2b"}
        assert found == (sizes | modern if family == "decoder_only" else sizes)


@pytest.mark.parametrize(
    "path",
    [
        # Ordinary runs of the tests train these recipes, at a small size.
        pytest.param(p, id=_name(p), marks=[pytest.mark.slow] if p.stem in COSTLY else [])
        for p in EXPERIMENTS
    ],
)
def test_experiments_build_and_trace(path, tmp_path, request):
    overrides = [("MODEL_DIR", str(tmp_path / "model"))]
    if NEEDS_DATA in path.read_text(encoding="utf-8"):
        overrides.append(("DATA_DIR", str(request.getfixturevalue("data_dir"))))
    if NEEDS_CACHE in path.read_text(encoding="utf-8"):
        overrides.append(("CACHE", str(tmp_path / "cache")))
        small_caches.write_packed(tmp_path / "cache")
    config.parse([str(path)], overrides)
    values = gin.get_bindings(loop.train, resolve_references=True)
    model, source, partitioner = (values[k] for k in ("model", "source", "partitioner"))
    startup.check_data(source, model, partitioner, values["num_microbatches"])
    layout = state.plan_state(model, values["optimizer"], partitioner, source.spec)
    startup.check_losses_of(model, values["losses"], layout, source)
    assert len(source.tasks) >= (1 if path.stem == "finetune_zero_shot" else 2)
    assert values["hooks"] and all(hook.evaluator.name for hook in values["hooks"])
    parameters = sum(leaf.size for leaf in jax.tree.leaves(layout.shapes.params))
    assert parameters > model.config.vocab_size * model.config.d_model
    assert not (tmp_path / "model").exists()

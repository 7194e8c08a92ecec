"""`xlingual cache`: its table, its warning, and what it says of bad input."""

import builtins
import sys

import pytest

from tests.data import cached_tasks
from xlingual.cache.manifest import CachedTask, Counts, load_manifest
from xlingual.cli import cache, main
from xlingual.errors import ConfigError


@pytest.fixture(scope="module", autouse=True)
def tasks():
    yield
    cached_tasks.unregister()


@pytest.fixture(scope="module")
def module():
    """A task module: importing it registers tasks."""
    cached_tasks.register()
    return "--module=tests.data.cached_tasks"


def _run(module, root, *flags):
    argv = ["cache", cached_tasks.MIXTURE, module, f"--output={root}", "--split=validation"]
    return main.main([*argv, "--num_shards=1", *flags])


def test_the_job_prints_fill_per_task_and_warns_below_a_bound(module, tmp_path, capsys):
    assert _run(module, tmp_path / "a", "--no_beam", "--min_fill=0") == 0
    out = capsys.readouterr().out
    assert "warning" not in out and "cached_mixture, split validation, packed" in out
    manifest = load_manifest(tmp_path / "a")
    assert manifest.settings["packing"] == {"name": "best_fit"}
    for task in manifest.tasks("validation"):
        (line,) = [line for line in out.splitlines() if f" {task.name} " in line]
        assert f"{task.counts.fill:.1%}" in line and f"{task.num_records:,}" in line
    flags = ("--no_beam", "--min_fill=0.999", "--row_shape=translation=128,300", "--window=9")
    assert _run(module, tmp_path / "b", *flags) == 0
    out = capsys.readouterr().out
    (warning,) = [line for line in out.splitlines() if "warning: rows of cached_de_en" in line]
    assert "below 99.9%" in warning and "--row_shape=cached_de_en=216,212" in warning
    manifest = load_manifest(tmp_path / "b")
    assert manifest.tasks("validation")[1].row_shape == {"inputs": 128, "targets": 300}
    assert manifest.settings["packing"] == {"name": "best_fit", "window": 9}


def _task(inputs, targets, room, shape=(64, 64)):
    counts = Counts(examples=9, input_tokens=inputs, target_tokens=targets, room=room)
    lengths = dict(zip(("inputs", "targets"), shape, strict=True))
    return CachedTask(name="t", row_shape=lengths, schema=(), counts=counts, shards=())


def test_advice_tells_a_shape_that_does_not_fit_from_examples_that_do_not():
    assert cache.advice(_task(6_000, 3_000, 12_800), "encoder_decoder") == (
        "its examples have 2.00 inputs a target, so 75.0% is the most that rows of this shape can "
        "be: try --row_shape=t=88,40"
    )
    for family, shape in (("encoder_decoder", (64, 64)), ("decoder_only", (0, 128))):
        assert "try longer rows" in cache.advice(_task(6_000, 5_900, 19_200, shape), family)


def test_tokenised_caches_show_no_fill(module, tmp_path, capsys):
    assert _run(module, tmp_path, "--no_beam", "--mode=tokenised") == 0
    out = capsys.readouterr().out
    assert "validation, tokenised" in out and "%" not in out and "120" in out


def test_beam_is_asked_for_by_name(module, tmp_path, capsys, monkeypatch):
    real = builtins.__import__

    def without_beam(name, *args):
        if name.startswith("apache_beam"):
            raise ImportError("No module named 'apache_beam'")
        return real(name, *args)

    monkeypatch.delitem(sys.modules, "xlingual.data.cache_pipeline", raising=False)
    monkeypatch.setattr(builtins, "__import__", without_beam)
    assert _run(module, tmp_path) == 2
    assert "cache needs Apache Beam" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--min_fill=1.5",), "--min_fill=1.5; expected a share"),
        (("--row_shape=64",), "--row_shape=64; expected INPUTS,TARGETS"),
        (("--row_shape=64,x",), "--row_shape=64,x; expected INPUTS,TARGETS"),
        (("--row_shape=1,2", "--row_shape=3,4"), "--row_shape=3,4 is the second for all others"),
        (("--beam.runner=x",), "--no_beam is given with flags of Beam"),
        (("--packing=chunk", "--window=3"), "'chunk' has not the options"),
        (("--gin_file=no.gin",), "gin file not found"),
    ],
)
def test_bad_input_is_refused(module, tmp_path, capsys, flags, message):
    assert _run(module, tmp_path, "--no_beam", *flags) == 2
    assert message in capsys.readouterr().err


def test_a_name_is_needed(module, tmp_path, capsys):
    assert main.main(["cache", module, f"--output={tmp_path}", "--no_beam"]) == 2
    assert "no task or mixture named" in capsys.readouterr().err


def test_an_experiment_names_its_mixture_and_modules(tmp_path):
    file = tmp_path / "x.gin"
    file.write_text(
        "from __gin__ import dynamic_registration\n"
        "from xlingual.data import datasets\n"
        "from xlingual.data import feature_converters\n"
        "from xlingual.training import loop\n"
        "loop.train.source = @datasets.SeqioSource()\n"
        "datasets.SeqioSource:\n"
        f"  mixture_or_task_name = '{cached_tasks.MIXTURE}'\n"
        "  task_feature_lengths = {'inputs': 8, 'targets': 8}\n"
        "  batch_size = 1\n"
        "  feature_converter = @feature_converters.EncDecFeatureConverter()\n"
        "  task_modules = ('tests.data.cached_tasks',)\n"
    )
    registration = cache.Registration(modules=(), gin_files=(str(file),))
    assert registration() == cached_tasks.MIXTURE
    with pytest.raises(ConfigError, match=r"task_modules names 'no.module'"):
        cache.Registration(modules=("no.module",))()

"""Tokenised caches of objectives that read text, word lists or pieces, as toy tasks use them."""

import dataclasses
import functools
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import seqio
import tensorflow as tf

from tasks import toy, toy_objectives
from tests.objectives.test_twins import InTensorflow
from xlingual.cache import manifest
from xlingual.cache.record_files import RecordFiles
from xlingual.data import cache_job, recipe_options, recipes, tokenised_stream
from xlingual.data.cached import CacheSource
from xlingual.errors import ConfigError
from xlingual.objectives.token_noise import InfillSpans

ROOT = pathlib.Path(__file__).resolve().parents[2]
SHAPE = {"inputs": 160, "targets": 160}
TASKS = {
    "toy_lem_de": "encoder_decoder",
    "toy_mbart_de": "encoder_decoder",
    "toy_ras_de_en": "encoder_decoder",
    "toy_cs_restore_de": "encoder_decoder",
    "toy_cs_input_only_de": "decoder_only",
    "toy_entity_cs_de": "encoder_decoder",
    "toy_deobfuscation_python": "encoder_decoder",
    "toy_denoise_de": "encoder_decoder",
    "toy_dot_denoise_de": "encoder_decoder",
    "toy_pivot_pairs_de_fr": "encoder_decoder",
}
"""Task -> a family that trains on it."""
QUICK = ("toy_lem_de",)


@functools.cache
def make_cache(root, name):
    toy_objectives.register_tasks()
    folder = pathlib.Path(root, name)
    job = cache_job.CacheJob(
        name=name,
        output=str(folder),
        mode="tokenised",
        splits=("validation",),
        num_shards=1,
        row_shapes={"*": SHAPE},
    )
    cache_job.make_cache(job)
    return folder


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("text_caches")


def _some():
    marks = {name: [] if name in QUICK else [pytest.mark.slow] for name in TASKS}
    return [pytest.param(name, marks=marks[name]) for name in TASKS]


def twin_task(folder):
    (task,) = manifest.load_manifest(folder).tasks("validation")
    return tokenised_stream.TwinTask(
        folder=folder, task=task, row_shape=SHAPE, seed=7, shuffle=False
    )


@pytest.mark.parametrize("name", _some())
def test_examples_are_those_of_the_registered_task(root, name):
    task = twin_task(make_cache(root, name))
    number = min(task.twin.batch_size, task.task.num_records)
    records = RecordFiles(task.folder, task.task).read(np.arange(number))
    batch = recipes.make_batch(records, task.task.schema)
    columns = {
        key: tf.RaggedTensor.from_row_splits(_tensor(value.values), value.row_splits)
        if hasattr(value, "row_splits")
        else _tensor(value)
        for key, value in batch.items()
    }
    objective = seqio.TaskRegistry.get(name).preprocessors[-1]
    found = 0
    for number in range(4):
        seed = tokenised_stream.batch_seed(7, 0, number)
        theirs = objective(
            InTensorflow(columns, tf.constant(seed)),
            sequence_length=SHAPE,
            output_features=toy.OUTPUT_FEATURES,
        ).element_spec
        mine = task.twin(batch, seed)
        assert set(mine) == set(theirs)
        for key, value in theirs.items():
            np.testing.assert_array_equal(mine[key].values, value.values.numpy())
            np.testing.assert_array_equal(mine[key].row_splits, value.row_splits.numpy())
        found += len(mine["targets"])
    assert found


def _tensor(values):
    if values.dtype == object:
        return tf.constant([text.encode() for text in values.tolist()], tf.string)
    return tf.constant(values)


@pytest.mark.parametrize("name", _some())
def test_rows_come_without_tensorflow_and_the_files_of_the_job(root, tmp_path, name):
    """The reader is a process that cannot import TensorFlow, and the cache has moved."""
    moved = tmp_path / "moved"
    folder = make_cache(root, name)
    subprocess.run(["cp", "-r", str(folder), str(moved)], check=True)
    script = (
        "import sys; sys.modules['tensorflow'] = sys.modules['seqio'] = None\n"
        "import hashlib; from xlingual.data.cached import CacheSource\n"
        f"source = CacheSource(folder={str(moved)!r}, batch_size=4, split='validation',\n"
        f"    family={TASKS[name]!r}, host_index=0, host_count=1)\n"
        "iterator = source.iterator()\n"
        "for _ in range(3):\n"
        "    print(hashlib.sha256(next(iterator)['decoder_target_tokens'].tobytes()).hexdigest())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"},
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert len(set(done.stdout.split())) == 3


def test_a_file_of_the_cache_that_is_missing_or_changed_is_refused(root):
    task = twin_task(make_cache(root, "toy_lem_de"))
    name = task.task.recipe["vocabulary"]["file"]
    path = task.folder / recipe_options.FILES_FOLDER / name
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    with pytest.raises(ConfigError, match=f"{name} was changed or damaged"):
        recipe_options.read_file(task.folder, name)
    path.unlink()
    with pytest.raises(ConfigError, match=f"{name} cannot be read"):
        recipe_options.read_file(task.folder, name)
    path.write_bytes(content)


def test_options_of_a_recipe(tmp_path):
    words = tmp_path / "words.tsv"
    words.write_text("a\tb\n")
    options = {
        "lexicons": {("en", "de"): str(words)},
        "noise": (InfillSpans(rate=0.2),),
        "language_names": {"en": "English"},
        "rate": 0.3,
        "types": ("NOUN", None),
    }
    dumped = recipe_options.dump_options(options, ("lexicons",), tmp_path / "cache")
    words.unlink()
    found = recipe_options.load_options(dumped, tmp_path / "cache")
    (path,) = found["lexicons"].values()
    assert pathlib.Path(path).read_text() == "a\tb\n"
    assert {**found, "lexicons": 0} == {**options, "lexicons": 0}
    with pytest.raises(ConfigError, match="an option is <object"):
        recipe_options.dump_options({"a": object()}, (), tmp_path)


def test_the_iterator_of_text_records_is_restored(root):
    source = CacheSource(
        folder=str(make_cache(root, "toy_lem_de")),
        batch_size=4,
        split="validation",
        family="encoder_decoder",
        batches_ahead=1,
    )
    iterator = source.iterator()
    for _ in range(3):
        next(iterator)
    state, wanted = iterator.state(), next(iterator)
    other = dataclasses.replace(source).iterator()
    other.restore(state)
    for name, value in next(other).items():
        np.testing.assert_array_equal(value, wanted[name])

"""Registration is idempotent, refuses clashes, and names what is near."""

import functools

import pytest
import seqio
import tensorflow as tf

from xlingual.data import task_registry
from xlingual.errors import ConfigError

_FEATURES = {
    "inputs": seqio.Feature(seqio.ByteVocabulary(), add_eos=False),
    "targets": seqio.Feature(seqio.ByteVocabulary(), add_eos=False),
}


def _records(split, shuffle_files=False, seed=None, text="a"):
    del split, shuffle_files, seed
    return tf.data.Dataset.from_tensor_slices({"text": [text]})


def _identity(dataset, factor=1):
    del factor
    return dataset


def _register(name="registry_task", text="a", factor=1, **kwargs):
    source = seqio.FunctionDataSource(functools.partial(_records, text=text), splits=("train",))
    return task_registry.register_task(
        name,
        objective="span_corruption",
        source=source,
        preprocessors=[functools.partial(_identity, factor=factor)],
        output_features=_FEATURES,
        **kwargs,
    )


@pytest.fixture(autouse=True)
def _clean():
    yield
    for name in ("registry_mixture", "registry_outer", "registry_task", "registry_other"):
        task_registry.unregister(name)


def test_metadata_is_kept():
    _register(src_lang="de", tgt_lang="en", trained=False, description="German.")
    metadata = task_registry.task_metadata("registry_task")
    assert (metadata.objective, metadata.src_lang, metadata.tgt_lang) == (
        "span_corruption",
        "de",
        "en",
    )
    assert not metadata.trained
    assert "registry_task" in seqio.TaskRegistry.names()


def test_same_registration_twice_is_one():
    assert _register() is _register()


def test_text_line_sources_compare_by_content(tmp_path):
    def register(skip):
        return task_registry.register_task(
            "registry_task",
            objective="",
            source=seqio.TextLineDataSource({"train": str(tmp_path)}, skip_header_lines=skip),
            preprocessors=[],
            output_features=_FEATURES,
        )

    assert register(0) is register(0)
    with pytest.raises(ConfigError, match="other content"):
        register(1)


@pytest.mark.parametrize("change", [{"text": "b"}, {"factor": 2}, {"src_lang": "fr"}])
def test_other_content_under_a_name_is_refused(change):
    _register()
    with pytest.raises(ConfigError, match="'registry_task' is already registered"):
        _register(**change)


def test_mixture_shares_are_normalised_and_zero_shares_left_out():
    for name in ("registry_task", "registry_other"):
        _register(name)
    task_registry.register_mixture("registry_mixture", {"registry_task": 3, "registry_other": 1})
    assert task_registry.leaf_shares("registry_mixture") == (
        {"registry_other": 0.25, "registry_task": 0.75},
        "tokens",
    )
    task_registry.register_mixture(
        "registry_outer",
        {"registry_mixture": 1, "registry_task": 1, "registry_other": 0},
        share_unit="examples",
    )
    shares, unit = task_registry.leaf_shares("registry_outer")
    assert unit == "examples"
    assert shares == pytest.approx({"registry_other": 0.125, "registry_task": 0.875})
    assert task_registry.leaf_shares("registry_task") == ({"registry_task": 1.0}, "tokens")
    assert task_registry.leaf_shares({"registry_mixture": 1, "registry_task": 3}) == (
        {"registry_other": 0.0625, "registry_task": 0.9375},
        "tokens",
    )


def test_mixture_registration_is_idempotent_and_refuses_changes():
    _register()
    first = task_registry.register_mixture("registry_mixture", {"registry_task": 1})
    assert task_registry.register_mixture("registry_mixture", {"registry_task": 1}) is first
    with pytest.raises(ConfigError, match="other content"):
        task_registry.register_mixture("registry_mixture", {"registry_task": 2})


def test_unknown_names_come_with_the_nearest():
    _register()
    with pytest.raises(ConfigError, match="'registry_tusk'; nearest: registry_task"):
        task_registry.get_mixture_or_task("registry_tusk")
    with pytest.raises(ConfigError, match="nearest: registry_task"):
        task_registry.register_mixture("registry_mixture", {"registry_tusk": 1})
    with pytest.raises(ConfigError, match="no known name is similar"):
        task_registry.get_mixture_or_task("§§§§")


@pytest.mark.parametrize(
    ("leaves", "unit", "message"),
    [
        ({"registry_task": -1}, "tokens", "share of 'registry_task'"),
        ({"registry_task": float("nan")}, "tokens", "finite"),
        ({"registry_task": 0}, "tokens", "no leaf with a share above 0"),
        ({}, "tokens", "no leaf"),
        ({"registry_task": 1}, "words", "share_unit"),
    ],
)
def test_bad_shares_are_refused(leaves, unit, message):
    _register()
    with pytest.raises(ConfigError, match=message):
        task_registry.register_mixture("registry_mixture", leaves, share_unit=unit)


def test_tasks_and_mixtures_do_not_share_names():
    _register()
    task_registry.register_mixture("registry_mixture", {"registry_task": 1})
    with pytest.raises(ConfigError, match="name of a mixture"):
        _register("registry_mixture")
    with pytest.raises(ConfigError, match="name of a task"):
        task_registry.register_mixture("registry_task", {"registry_task": 1})
    with pytest.raises(ConfigError, match="expected a task"):
        task_registry.task_metadata("registry_mixture")


def test_stock_seqio_tasks_have_empty_metadata():
    seqio.TaskRegistry.add(
        "registry_task",
        source=seqio.FunctionDataSource(_records, splits=("train",)),
        output_features=_FEATURES,
        metric_fns=[],
    )
    assert task_registry.task_metadata("registry_task") == task_registry.TaskMetadata(
        name="registry_task"
    )

"""Mixtures of objectives whose languages follow measured or given sizes."""

import functools

import pytest
import seqio
import tensorflow as tf

from tasks import mixtures, toy
from xlingual.data import mixing_rates, sizes, task_registry
from xlingual.errors import ConfigError

TEXTS = {"small_en": ["abc", "dé"], "small_sw": ["x" * 20] * 8, "small_none": []}


@pytest.fixture(scope="module", autouse=True)
def tasks():
    for name, texts in TEXTS.items():

        def make(split, shuffle_files, seed=None, texts=texts):
            del split, shuffle_files, seed
            records = {"text": tf.constant(texts, tf.string), "lang": ["en"] * len(texts)}
            return tf.data.Dataset.from_tensor_slices(records)

        task_registry.register_task(
            name,
            objective="causal_lm",
            source=seqio.FunctionDataSource(make, ["train"]),
            preprocessors=[],
            output_features=toy.OUTPUT_FEATURES,
        )
    yield
    for name in [*TEXTS, "small_mixture"]:
        task_registry.unregister(name)


@pytest.fixture
def register():
    yield functools.partial(
        mixtures.register_objectives,
        name="small_mixture",
        shares={"causal_lm": 3, "prefix_lm": 1},
        tasks={"causal_lm": ["small_en", "small_sw"], "prefix_lm": ["toy_prefix_lm_en"]},
    )
    task_registry.unregister("small_mixture")


def test_sizes_are_counted_in_the_declared_unit():
    names = ["small_en", "small_sw"]
    assert sizes.measure_sizes(names, "documents").counts == {"small_en": 2, "small_sw": 8}
    assert sizes.measure_sizes(names, "characters").counts == {"small_en": 5, "small_sw": 160}
    name = toy.task_name("causal_lm", "de")  # its source declares how many records there are
    counts = sizes.measure_sizes([name], "documents").counts
    records = seqio.TaskRegistry.get(name).source.get_dataset("train", shuffle=False)
    assert counts == {name: int(records.reduce(0, lambda n, _: n + 1))}


@pytest.mark.parametrize(
    ("sampling", "expected"),
    [
        (None, (0.5, 0.5)),
        (mixing_rates.Temperature(alpha=1.0), (0.2, 0.8)),
        (mixing_rates.Temperature(alpha=1.0, unit="characters"), (5 / 165, 160 / 165)),
        (mixing_rates.UniMax(budget=20, max_epochs=1), (0.25, 0.75)),
    ],
)
def test_rates_within_an_objective_follow_the_rule(register, sampling, expected):
    register(sampling=sampling)
    shares, unit = task_registry.leaf_shares("small_mixture")
    assert unit == "tokens"
    assert shares == pytest.approx(
        {
            "small_en": 0.75 * expected[0],
            "small_sw": 0.75 * expected[1],
            "toy_prefix_lm_en": 0.25,
        }
    )


def test_given_sizes_are_taken_as_they_are(register):
    given = {"small_en": 1e6, "small_sw": 1e3, "toy_prefix_lm_en": 1.0}
    register(sampling=mixing_rates.Temperature(), task_sizes=given)
    shares = task_registry.leaf_shares("small_mixture")[0]
    assert shares["small_en"] / shares["small_sw"] == pytest.approx(1000**0.3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: sizes.measure_sizes(["small_en"], "tokens"),
            "sizes in 'tokens' cannot be read off records",
        ),
        (
            lambda: sizes.measure_sizes(["small_none"], "documents"),
            "'small_none' has no documents in its split 'train'",
        ),
        (lambda: sizes.measure_sizes(["small_enn"], "documents"), "nearest: small_en"),
        (
            lambda: sizes.measure_sizes(["toy_pretrain"], "documents"),
            "'toy_pretrain' is a mixture; sizes are those of tasks",
        ),
    ],
)
def test_mistakes_in_sizes_are_named(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


def test_a_task_without_a_size_is_named(register):
    with pytest.raises(ConfigError, match=r"counts\['small_sw'\] is 0"):
        register(sampling=mixing_rates.Temperature(), task_sizes={"small_en": 2})

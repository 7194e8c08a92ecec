"""Objectives on monolingual text and code as tasks: mixed, packed, inspected, saved and resumed."""

import functools

import gin
import numpy as np
import pytest
import seqio
import tensorflow as tf

from xlingual.data import task_registry, vocabularies
from xlingual.data.byte_vocabulary import ByteVocabulary
from xlingual.data.datasets import SeqioSource
from xlingual.data.feature_converters import DecoderFeatureConverter, EncDecFeatureConverter
from xlingual.objectives import denoising, token_noise
from xlingual.objectives.registry import get_objective
from xlingual.objectives.tokenize import tokenize

pytestmark = pytest.mark.slow

VOCABULARY = ByteVocabulary(vocabularies.control_tokens(["en", "python"]))
LENGTHS = {"inputs": 96, "targets": 96}
NAMES = ("ul2", "paired_prefix_lm", "glm", "denoise", "mbart", "deobfuscation")
TEXTS = {
    "en": [f"The library {i} is behind the park. It is the old one {i}!" for i in range(200)],
    "python": [f"def f{i}(a, b):\n    return a + {i} * b" for i in range(200)],
}


def _records(split, shuffle_files=False, seed=None, *, lang):
    del split, shuffle_files, seed
    return tf.data.Dataset.from_tensor_slices({"text": TEXTS[lang], "lang": [lang] * 200})


@pytest.fixture(scope="module", autouse=True)
def _tasks():
    for name in NAMES:
        objective = get_objective(name)
        lang = "python" if name == "deobfuscation" else "en"
        preprocess = functools.partial(
            objective.preprocess, special_tokens=VOCABULARY.special_tokens
        )
        feature = seqio.Feature(VOCABULARY, add_eos=False)
        task_registry.register_task(
            f"mono_{name}",
            objective=name,
            source=seqio.FunctionDataSource(
                functools.partial(_records, lang=lang), splits=("train",)
            ),
            preprocessors=[*([tokenize] if objective.tokenized else []), preprocess],
            output_features={"inputs": feature, "targets": feature},
        )
    task_registry.register_mixture("mono_all", {f"mono_{name}": 1.0 for name in NAMES})
    yield
    for name in ("mono_all", *(f"mono_{name}" for name in NAMES)):
        task_registry.unregister(name)


def _source(name, converter):
    return SeqioSource(
        mixture_or_task_name=name,
        task_feature_lengths=LENGTHS,
        batch_size=8,
        feature_converter=converter,
        num_measured_records=64,
    )


@pytest.mark.parametrize(
    "converter",
    [EncDecFeatureConverter(), pytest.param(DecoderFeatureConverter(), marks=pytest.mark.slow)],
)
def test_a_mixture_of_all_resumes_where_it_was_saved(converter):
    source = _source("mono_all", converter)
    iterator = source.iterator()
    first = [next(iterator) for _ in range(4)]
    tasks = np.concatenate([np.unique(batch["decoder_task_ids"]) for batch in first])
    assert set(tasks.tolist()) - {0} == set(range(1, len(NAMES) + 1))
    position = iterator.state()
    expected = [next(iterator) for _ in range(3)]
    resumed = _source("mono_all", converter).iterator()
    resumed.restore(position)
    for batch in expected:
        other = next(resumed)
        for name, value in batch.items():
            np.testing.assert_array_equal(value, other[name], err_msg=name)


def test_rows_of_paired_prefixes_alone_are_full():
    iterator = _source("mono_paired_prefix_lm", EncDecFeatureConverter()).iterator()
    for _ in range(8):
        batch = next(iterator)
        for stack in ("encoder", "decoder"):
            segments = batch[f"{stack}_segment_ids"]
            assert segments.min() == 1 and np.all(segments.max(axis=1) == 2)


def test_noise_composes_in_gin(clean_gin):
    gin.parse_config(
        """
        from __gin__ import dynamic_registration
        from xlingual.objectives import denoising
        from xlingual.objectives import token_noise
        denoising.denoise.noise = (@token_noise.InfillSpans(), @token_noise.ReplaceTokens())
        token_noise.InfillSpans.rate = 0.2
        token_noise.ReplaceTokens.only_masks = True
        """
    )
    steps = gin.get_bindings(denoising.denoise, resolve_references=True)["noise"]
    assert [repr(step) for step in steps] == [
        repr(token_noise.InfillSpans(rate=0.2)),
        repr(token_noise.ReplaceTokens(only_masks=True)),
    ]
    add_noise = token_noise.noise_function(steps, VOCABULARY.special_tokens, vocabulary=VOCABULARY)
    tokens = tf.ragged.constant([VOCABULARY.encode(TEXTS["en"][0])], tf.int32, ragged_rank=1)
    seeds = tf.random.split(tf.constant([0, 0]), 2)
    assert add_noise(tokens, seeds).to_list() != tokens.to_list()

"""Small tasks over bytes, with every random operation that real ones use."""

import functools

import pytest
import seqio
import tensorflow as tf

from xlingual.data import task_registry

_VOCABULARY = seqio.ByteVocabulary()


def _records(split, shuffle_files=False, seed=None, *, texts):
    del shuffle_files, seed
    return tf.data.Dataset.from_tensor_slices({"text": list(texts[split])})


@seqio.map_over_dataset
def _tokenize(record):
    return {"text": _VOCABULARY.encode_tf(record["text"])}


def _noisy_copy(dataset, sequence_length):
    """Inputs with random tokens dropped; targets, of random weights, whole."""

    @seqio.map_over_dataset(num_seeds=2)
    def corrupt(record, seeds):
        text = record["text"][: sequence_length["targets"] - 1]
        kept = tf.random.stateless_uniform(tf.shape(text), seeds[0]) < 0.7
        inputs = tf.boolean_mask(text, kept)[: sequence_length["inputs"] - 1]
        targets = tf.concat([text, [1]], axis=0)
        classes = tf.random.stateless_uniform(tf.shape(targets), seeds[1], 0, 2, dtype=tf.int32)
        return {
            "inputs": tf.concat([inputs, [1]], axis=0),
            "targets": targets,
            "targets_weights": classes,
        }

    return corrupt(dataset)


def _copy(dataset, sequence_length):
    """Inputs and targets are the text; longer texts are dropped."""
    limit = min(sequence_length.values())
    dataset = dataset.filter(lambda record: tf.size(record["text"]) < limit)
    return dataset.map(
        lambda record: {
            name: tf.concat([record["text"], [1]], axis=0) for name in ("inputs", "targets")
        }
    )


_OBJECTIVES = {"copy": _copy, "noisy_copy": _noisy_copy}


@pytest.fixture
def texts_of():
    """Distinct texts of several lengths, as a function of a word and their number."""
    return lambda word, count: [f"{word} {'x' * (i % 9)}{i}" for i in range(count)]


@pytest.fixture
def add_task():
    """Registers tasks over given texts and removes them at the end."""
    names = []

    def add(name, texts=(), objective="copy", source=None, **metadata):
        texts = texts if isinstance(texts, dict) else {"train": texts}
        if source is None:
            source = seqio.FunctionDataSource(
                functools.partial(_records, texts=texts), splits=tuple(texts)
            )
        task = task_registry.register_task(
            name,
            objective=objective,
            source=source,
            preprocessors=[_tokenize, _OBJECTIVES[objective]],
            output_features={
                feature: seqio.Feature(_VOCABULARY, add_eos=False)
                for feature in ("inputs", "targets")
            },
            **metadata,
        )
        names.append(name)
        return task

    yield add
    for name in names:
        task_registry.unregister(name)


@pytest.fixture
def add_mixture():
    """Registers mixtures and removes them at the end."""
    names = []

    def add(name, leaves, **settings):
        names.append(name)
        return task_registry.register_mixture(name, leaves, **settings)

    yield add
    for name in names:
        task_registry.unregister(name)

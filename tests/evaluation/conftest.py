"""Copy tasks over bytes, a one-device mesh, and tiny models of both families."""

import functools

import jax
import pytest
import seqio
import tensorflow as tf

from xlingual.data import feature_converters, task_registry
from xlingual.models.config import TransformerConfig
from xlingual.models.decoder_only import DecoderOnly
from xlingual.models.encoder_decoder import EncoderDecoder
from xlingual.partitioning.partitioner import Partitioner
from xlingual.partitioning.rules import data_parallel
from xlingual.partitioning.specs import split_boxes

LENGTHS = {"inputs": 24, "targets": 24}
_VOCABULARY = seqio.ByteVocabulary()


def _records(split, shuffle_files=False, seed=None, *, pairs):
    del split, shuffle_files, seed
    sources, targets = zip(*pairs, strict=True) if pairs else ((), ())
    columns = {
        "inputs": tf.constant(sources, tf.string),
        "targets": tf.constant(targets, tf.string),
    }
    return tf.data.Dataset.from_tensor_slices(columns)


@seqio.map_over_dataset
def _to_bytes(record):
    """Both sides and EOS; every third target token, and EOS, has no loss."""
    ids = {
        name: tf.concat([_VOCABULARY.encode_tf(text), [1]], axis=0) for name, text in record.items()
    }
    positions = tf.range(tf.size(ids["targets"]))
    return {**ids, "targets_weights": tf.cast(positions % 3 != 2, tf.int32)}


@pytest.fixture
def add_task():
    """Registers tasks over pairs of texts and removes them at the end."""
    names = []

    def add(name, pairs, **metadata):
        features = ("inputs", "targets", "targets_weights")
        task_registry.register_task(
            name,
            objective=metadata.pop("objective", "translation"),
            source=seqio.FunctionDataSource(
                functools.partial(_records, pairs=pairs), splits=("validation",)
            ),
            preprocessors=[_to_bytes],
            output_features={
                name: seqio.Feature(_VOCABULARY, add_eos=False) for name in features[:2]
            },
            **metadata,
        )
        names.append(name)
        return name

    yield add
    for name in names:
        task_registry.unregister(name)


@pytest.fixture(scope="session")
def partitioner():
    return Partitioner(rules=data_parallel(), devices=tuple(jax.devices()[:1]))


@pytest.fixture(scope="session", params=["encoder_decoder", "decoder_only"])
def family(request):
    """`(model, params, feature converter)`: random weights, large enough to vary."""
    encoder_decoder = request.param == "encoder_decoder"
    config = TransformerConfig(
        vocab_size=384,
        d_model=16,
        d_ff=32,
        d_kv=8,
        num_heads=2,
        num_encoder_layers=1 if encoder_decoder else 0,
        num_decoder_layers=1,
        dtype="float32",
    )
    model = EncoderDecoder(config) if encoder_decoder else DecoderOnly(config)
    converter = (
        feature_converters.EncDecFeatureConverter(pack=False)
        if encoder_decoder
        else feature_converters.DecoderFeatureConverter(pack=False)
    )
    shape = jax.ShapeDtypeStruct((2, 4), "int32")
    boxed = jax.jit(lambda key: model.init(key, dict.fromkeys(model.requires_features, shape)))(
        jax.random.key(0)
    )
    params, _ = split_boxes(boxed)
    return model, jax.tree.map(lambda leaf: leaf * 2.0, params), converter

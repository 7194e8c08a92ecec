"""Groups of spans from the objective to the loss: packing changes nothing, and models train."""

import functools

import gin
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import seqio

from tasks import toy
from xlingual import config
from xlingual.data import task_registry, vocabularies
from xlingual.data.datasets import SeqioSource
from xlingual.data.feature_converters import DecoderFeatureConverter, EncDecFeatureConverter
from xlingual.losses.cross_entropy import CrossEntropy
from xlingual.models.config import TransformerConfig
from xlingual.models.decoder_only import DecoderOnly
from xlingual.models.encoder_decoder import EncoderDecoder
from xlingual.objectives.translation_spans import tsc
from xlingual.partitioning.specs import split_boxes
from xlingual.training import loop

pytestmark = pytest.mark.slow

_LENGTHS = {"inputs": 96, "targets": 96}
_TRANSLATION = toy.task_name("translation", "de", "en")
_FAMILIES = {
    "encoder_decoder": (EncoderDecoder, EncDecFeatureConverter, 1, False),
    "decoder_only": (DecoderOnly, DecoderFeatureConverter, 0, False),
    "decoder_only_prefix": (DecoderOnly, DecoderFeatureConverter, 0, True),
}


@pytest.fixture
def mixture():
    """A mixture of translation and of spans in groups, over the same pairs."""
    like = seqio.TaskRegistry.get(_TRANSLATION)
    special = vocabularies.special_tokens(like.output_features["targets"].vocabulary)
    task_registry.register_task(
        "grouped_spans",
        objective="tsc",
        source=like.source,
        preprocessors=[
            like.preprocessors[0],
            functools.partial(tsc, special_tokens=special, pnat=True),
        ],
        output_features=like.output_features,
    )
    task_registry.register_mixture(
        "grouped", {"grouped_spans": 1.0, _TRANSLATION: 1.0}, share_unit="tokens"
    )
    yield "grouped"
    task_registry.unregister("grouped_spans")
    task_registry.unregister("grouped")


def _losses(family, pack):
    """Returns example (its targets) -> loss of its tokens, summed."""
    make, converter, num_encoder_layers, prefix = _FAMILIES[family]
    source = SeqioSource(
        mixture_or_task_name="grouped_spans",
        task_feature_lengths=_LENGTHS,
        batch_size=4 if pack else 16,
        feature_converter=converter(pack=pack, group_size=16),
        shuffle=False,
    )
    model = make(
        TransformerConfig(
            vocab_size=-(-source.vocab_size // 128) * 128,
            d_model=16,
            d_ff=32,
            d_kv=8,
            num_heads=2,
            num_encoder_layers=num_encoder_layers,
            num_decoder_layers=2,
            dtype="float32",
            prefix_attention=prefix,
        )
    )
    params, _ = split_boxes(jax.jit(lambda key: model.init(key, source.spec))(jax.random.key(0)))
    loss = CrossEntropy()
    apply = jax.jit(
        lambda batch: loss(model.apply(params, batch), batch).token_metrics["loss"].total
    )
    found = {}
    batch = next(source.iterator())
    values = np.asarray(apply({name: jnp.asarray(value) for name, value in batch.items()}))
    assert batch["decoder_group_ids"].max() == 3
    for row, segments in enumerate(batch["decoder_segment_ids"]):
        for segment in range(1, segments.max() + 1):
            mine = segments == segment
            found[tuple(batch["decoder_target_tokens"][row][mine])] = values[row][mine].sum()
    return found


@pytest.mark.parametrize(
    "family", ["encoder_decoder", pytest.param("decoder_only", marks=pytest.mark.slow)]
)
def test_packed_examples_lose_as_unpacked_ones(mixture, family):
    packed, apart = _losses(family, True), _losses(family, False)
    shared = packed.keys() & apart.keys()
    assert len(shared) >= 8
    for example in shared:
        np.testing.assert_allclose(packed[example], apart[example], rtol=1e-5)


@pytest.mark.slow
def test_a_mixture_with_groups_trains_and_is_evaluated(mixture, tmp_path, clean_gin):
    overrides = {
        "TRAIN_STEPS": "3",
        "WARMUP_STEPS": "1",
        "D_MODEL": "32",
        "D_FF": "48",
        "D_KV": "8",
        "NUM_DECODER_LAYERS": "1",
        "TASK_FEATURE_LENGTHS": str(_LENGTHS),
        "MIXTURE_OR_TASK_NAME": mixture,
        "MODEL_DIR": str(tmp_path),
        "HELDOUT_PERIOD": "3",
        "TRANSLATION_TASKS": "()",
    }
    config.parse(["gin/experiments/toy.gin"], list(overrides.items()), [])
    state = gin.get_configurable(loop.train)()
    assert int(state.step) == 3
    assert '"heldout_loss/grouped_spans"' in (tmp_path / "metrics.jsonl").read_text()

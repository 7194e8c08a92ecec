"""Held-out loss is the mean over weighted tokens, however they are batched."""

import jax
import numpy as np
import pytest
import seqio

from xlingual.data import evaluation_sets, feature_converters, task_registry
from xlingual.data.base import TaskInfo
from xlingual.errors import ConfigError
from xlingual.evaluation.heldout import HeldoutLoss
from xlingual.losses.cross_entropy import CrossEntropy
from xlingual.models.config import TransformerConfig
from xlingual.models.encoder_decoder import EncoderDecoder
from xlingual.partitioning.specs import split_boxes

LENGTHS = {"inputs": 24, "targets": 24}
_LOSSES = {"cross_entropy": CrossEntropy(z_loss=1e-2)}
_CONVERTER = feature_converters.EncDecFeatureConverter(pack=False)


class Source:
    """A training data set of which only the tasks are asked."""

    def __init__(self, *tasks):
        self.tasks = [TaskInfo(name=task) for task in tasks]


@pytest.fixture
def tasks(add_task):
    short = [(f"in {i}", f"out {'a' * (i % 5)}{i}") for i in range(7)]
    long = [(f"longer in {i}", f"and longer {i}") for i in range(5)]
    return add_task("short", short), add_task("long", long)


def slow_loss(model, params, batches):
    """Sums over single tokens in numpy, from the logits of one batch at a time."""
    total = weights = 0.0
    for batch in batches:
        logits = np.asarray(jax.jit(model.apply)(params, batch).logits, np.float64)
        for row, targets in enumerate(batch["decoder_target_tokens"]):
            for position, target in enumerate(targets):
                scores = logits[row, position]
                log_z = np.log(np.sum(np.exp(scores - scores.max()))) + scores.max()
                weight = float(batch["decoder_loss_weights"][row, position])
                total += weight * (log_z - scores[target] + 1e-2 * log_z**2)
                weights += weight
    return total / weights


def test_loss_equals_a_slow_loop_for_both_families(tasks, family, partitioner):
    model, params, converter = family
    settings = dict(
        split="validation",
        num_batches=9,
        batch_size=4,
        task_feature_lengths=LENGTHS,
        feature_converter=converter,
    )
    evaluator = HeldoutLoss(tasks=tasks, **settings)
    evaluator.prepare(model, partitioner, _LOSSES, Source())
    evaluation = evaluator(params)
    found = evaluation.results["heldout_loss"]
    assert list(found) == list(tasks)
    for task in tasks:
        expected = slow_loss(model, params, evaluation_sets.load_batches(task, **settings))
        assert found[task] == pytest.approx(expected, rel=1e-5)
        assert evaluation.scalars[f"heldout_loss/{task}"] == found[task]
    assert evaluation.scalars["heldout_loss/mean"] == pytest.approx(np.mean(list(found.values())))


def test_loss_does_not_depend_on_batch_size_or_order(tasks, family, partitioner):
    model, params, converter = family
    results = []
    for batch_size, names in ((2, tasks), (5, tasks[::-1])):
        evaluator = HeldoutLoss(
            tasks=names,
            num_batches=9,
            batch_size=batch_size,
            task_feature_lengths=LENGTHS,
            feature_converter=converter,
        )
        for _ in range(2):  # a second start-up replaces the first
            evaluator.prepare(model, partitioner, _LOSSES, Source())
        results.append(evaluator(params).results["heldout_loss"])
    assert results[0] == pytest.approx(results[1], rel=1e-5)


class Bigram:
    """Logits of a target are the row of its input token in a table."""

    def apply(self, params, batch):
        outputs = jax.numpy.take(params, batch["decoder_input_tokens"], axis=0)
        return type("Outputs", (), {"logits": outputs})


def test_all_token_losses_add_up_and_mixtures_stand_for_their_tasks(tasks, partitioner):
    task_registry.register_mixture("both", dict.fromkeys(tasks, 1.0))
    table = jax.numpy.eye(384) * 3.0
    losses = {"one": CrossEntropy(z_loss=0.0), "two": CrossEntropy(z_loss=0.0, weight=5.0)}
    found = []
    for names, chosen in ((["both"], losses), ([], {"one": losses["one"]})):
        evaluator = HeldoutLoss(
            tasks=names,
            task_feature_lengths=LENGTHS,
            feature_converter=_CONVERTER,
            batch_size=8,
        )
        evaluator.prepare(Bigram(), partitioner, chosen, Source(*tasks))
        found.append(evaluator(table).results["heldout_loss"])
    task_registry.unregister("both")
    assert found[0] == pytest.approx({task: 2 * loss for task, loss in found[1].items()})


def test_groups_are_means_over_their_tasks_trained_on_or_not(tasks, partitioner):
    task_registry.register_mixture("first_only", {"short": 1.0})
    table = jax.numpy.eye(384) * 3.0
    evaluator = HeldoutLoss(
        tasks=(),
        groups={"target": {"first_only": 2.0}, "replay": "long", "all": ["short", "long"]},
        task_feature_lengths=LENGTHS,
        feature_converter=_CONVERTER,
        batch_size=8,
    )
    evaluator.prepare(Bigram(), partitioner, _LOSSES, Source("short"))
    evaluation = evaluator(table)
    task_registry.unregister("first_only")
    losses = evaluation.results["heldout_loss"]
    assert list(losses) == ["short", "long"]
    expected = {"target": losses["short"], "replay": losses["long"]}
    expected["all"] = (losses["short"] + losses["long"]) / 2
    assert evaluation.results["heldout_group"] == pytest.approx(expected)
    for group, loss in expected.items():
        assert evaluation.scalars[f"heldout_group/{group}"] == pytest.approx(loss)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"tasks": ["shrt"]}, "no task or mixture is named 'shrt'; nearest: short"),
        ({"num_batches": 0}, "num_batches=0; expected at least 1"),
        ({"groups": {"replay": []}}, "HeldoutLoss.groups.'replay'. is empty; expected tasks"),
        ({"groups": {"replay": "lng"}}, "'lng'; nearest: long"),
        ({"batch_size": 0}, "batch_size=0 does not divide"),
        ({"split": "dev"}, "dev"),
        ({"task_feature_lengths": {"inputs": 24, "targets": 1}}, "targets"),
    ],
)
def test_what_cannot_be_evaluated_is_refused_at_start_up(tasks, partitioner, changes, message):
    settings = dict(
        tasks=["short"],
        batch_size=8,
        task_feature_lengths=LENGTHS,
        feature_converter=_CONVERTER,
    )
    evaluator = HeldoutLoss(**{**settings, **changes})
    with pytest.raises(ConfigError, match=message):
        evaluator.prepare(Bigram(), partitioner, _LOSSES, Source())


def test_an_empty_task_is_refused_at_start_up(add_task, partitioner):
    evaluator = HeldoutLoss(
        tasks=[add_task("empty", [])], task_feature_lengths=LENGTHS, feature_converter=_CONVERTER
    )
    with pytest.raises(ConfigError, match="'empty' yields no example"):
        evaluator.prepare(Bigram(), partitioner, _LOSSES, Source())


def test_bits_per_byte_are_the_likelihood_over_the_bytes_of_the_texts(add_task, partitioner):
    pairs = [("in", "aé"), ("in", "xyz ü"), ("in", "b")]
    task = add_task("bytes", pairs, src_lang="de", tgt_lang="fr")
    config = TransformerConfig(
        vocab_size=384,
        d_model=16,
        d_ff=32,
        d_kv=8,
        num_heads=2,
        num_encoder_layers=1,
        num_decoder_layers=1,
        dtype="float32",
    )
    model = EncoderDecoder(config)
    shape = jax.ShapeDtypeStruct((2, 4), "int32")
    features = dict.fromkeys(model.requires_features, shape)
    params, _ = split_boxes(jax.jit(lambda key: model.init(key, features))(jax.random.key(0)))
    evaluator = HeldoutLoss(
        tasks=(task,), task_feature_lengths=LENGTHS, feature_converter=_CONVERTER, batch_size=2
    )
    evaluator.prepare(model, partitioner, _LOSSES, Source())
    rows = {(row["metric"], row["dataset"]): row for row in evaluator(params).rows}
    batches = evaluation_sets.load_batches(
        task,
        split="validation",
        num_batches=2,
        batch_size=2,
        task_feature_lengths=LENGTHS,
        feature_converter=_CONVERTER,
    )
    nats = num_bytes = 0.0
    for batch in batches:
        logits = np.asarray(jax.jit(model.apply)(params, batch).logits, np.float64)
        log_probabilities = np.log(np.exp(logits) / np.exp(logits).sum(-1, keepdims=True))
        targets, scored = batch["decoder_target_tokens"], batch["decoder_loss_weights"] > 0
        chosen = np.take_along_axis(log_probabilities, targets[:, :, None], axis=2)[:, :, 0]
        nats -= chosen[scored].sum()
        kept = targets[scored]
        num_bytes += len(seqio.ByteVocabulary().decode(kept[kept > 1].tolist()).encode())
    found = rows["bits_per_byte", task]
    assert found["value"] == pytest.approx(nats / np.log(2) / num_bytes, rel=1e-5)
    assert (found["lang"], found["src_lang"], found["objective"]) == ("fr", "de", "translation")
    assert found["data_hash"].startswith("sha256:")
    assert rows["bits_per_byte", "lang:fr"]["value"] == found["value"]
    assert rows["loss", task]["value"] != found["value"]

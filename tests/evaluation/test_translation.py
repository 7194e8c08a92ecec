"""Translations are scored per direction; a perfect model gets 100, a copying one the baseline."""

import json

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sacrebleu
import seqio

import tasks.toy
from tasks.toy_vocabulary import toy_special_tokens
from xlingual.data import evaluation_sets
from xlingual.decoding.greedy import greedy_decode
from xlingual.errors import ConfigError
from xlingual.evaluation.decoding_batches import make_decoding_batch
from xlingual.evaluation.scores import METRICS, SCORES_OF_SUMS
from xlingual.evaluation.translation import TranslationEvaluator, direction_names

LENGTHS = {"inputs": 24, "targets": 24}
_WORDS = ["the", "cat", "saw", "one", "big", "dog", "near", "this", "old", "tree"]
_SOURCES = [" ".join(_WORDS[i % 6 : i % 6 + 2 + i % 3]) + f" {i}" for i in range(9)]


@flax.struct.dataclass
class Tape:
    tokens: jax.Array
    position: jax.Array


class Copier:
    """Writes its input, and never stops by itself where the input has no EOS."""

    vocab_size = 384

    def start_decoding(self, params, batch, *, max_length):
        del max_length
        tape = Tape(tokens=batch["encoder_input_tokens"], position=jnp.int32(0))
        return self.decode_step(params, tape, tape.tokens[:, 0])

    def serving_params(self, params):
        return params

    def step_params(self, params):
        return params

    def decode_step(self, params, cache, tokens):
        del tokens
        index = jnp.minimum(cache.position, cache.tokens.shape[1] - 1)
        chosen = jax.lax.dynamic_index_in_dim(cache.tokens, index, axis=1, keepdims=False)
        logits = jax.nn.one_hot(chosen, self.vocab_size) * params
        return logits, cache.replace(position=cache.position + 1)


class WideCopier(Copier):
    vocab_size = 4608


def evaluate(tasks, model, params, partitioner, **changes):
    settings = dict(split="validation", num_examples=50, batch_size=4, task_feature_lengths=LENGTHS)
    evaluator = TranslationEvaluator(tasks=tasks, **{**settings, **changes})
    evaluator.prepare(model, partitioner, {}, None)
    return evaluator(params)


@pytest.fixture
def tasks(add_task):
    same = [(text, text) for text in _SOURCES]
    turned = [(text, " ".join(reversed(text.split()))) for text in _SOURCES]
    return (
        add_task("same", same, src_lang="de", tgt_lang="en"),
        add_task("turned", turned, src_lang="de", tgt_lang="fr", trained=False),
    )


def test_a_copying_model_is_perfect_on_copies_and_equals_the_baseline_elsewhere(tasks, partitioner):
    evaluation = evaluate(tasks, Copier(), jnp.ones(()), partitioner, samples_per_task=2)
    directions = evaluation.results["directions"]
    assert list(directions) == ["de-en", "de-fr"]
    perfect, other = directions["de-en"], directions["de-fr"]
    assert perfect["bleu"] == pytest.approx(100) and perfect["chrf"] == pytest.approx(100)
    assert (perfect["exact_match"], perfect["num_examples"]) == (100, 9)
    assert perfect["trained"] and not other["trained"]
    references = [" ".join(reversed(text.split())) for text in _SOURCES]
    assert other["chrf"] == other["copy_chrf"]
    assert other["copy_chrf"] == pytest.approx(sacrebleu.corpus_chrf(_SOURCES, [references]).score)
    assert other["bleu"] == pytest.approx(sacrebleu.corpus_bleu(_SOURCES, [references]).score)
    assert evaluation.scalars["chrf/mean_trained"] == perfect["chrf"]
    assert evaluation.scalars["chrf/mean_zero_shot"] == other["chrf"]
    assert evaluation.scalars["copy_chrf/mean_zero_shot"] == other["copy_chrf"]
    assert evaluation.scalars["chrf/de-fr"] == other["chrf"]
    assert [sample.task for sample in evaluation.samples] == ["same", "same", "turned", "turned"]
    for sample in evaluation.samples:
        assert sample.prediction == sample.source


def test_the_decoding_limit_cuts_translations(tasks, partitioner):
    whole = evaluate(tasks, Copier(), jnp.ones(()), partitioner)
    cut = evaluate(tasks, Copier(), jnp.ones(()), partitioner, max_decode_length=4)
    assert cut.results["directions"]["de-en"]["chrf"] < whole.results["directions"]["de-en"]["chrf"]
    assert all(sample.prediction == sample.source[:4] for sample in cut.samples)


def test_without_tasks_nothing_is_translated(partitioner):
    evaluation = evaluate((), Copier(), jnp.ones(()), partitioner)
    assert evaluation.results == {"directions": {}}
    assert not evaluation.scalars and not evaluation.samples


def test_texts_equal_those_decoded_one_at_a_time(tasks, family, partitioner):
    model, params, _ = family
    evaluation = evaluate(
        tasks, model, params, partitioner, samples_per_task=50, max_decode_length=6
    )
    examples = [
        example
        for task in tasks
        for example in evaluation_sets.load_examples(
            task, split="validation", num_examples=50, task_feature_lengths=LENGTHS
        )
    ]
    assert len(evaluation.samples) == len(examples) == 18
    decode = jax.jit(lambda batch: greedy_decode(model, params, batch, max_length=6))
    texts = set()
    for sample, example in zip(evaluation.samples, examples, strict=True):
        batch = make_decoding_batch([example.inputs], batch_size=1, length=24)
        ids = [token for token in np.asarray(decode(batch))[0].tolist() if token > 1]
        assert sample.prediction == seqio.ByteVocabulary().decode(ids)
        assert (sample.source, sample.target) == (example.source_text, example.target_text)
        texts.add(sample.prediction)
    assert len(texts) > 1


def test_scores_do_not_depend_on_batch_size_or_order(tasks, family, partitioner):
    model, params, _ = family
    first, second = (
        evaluate(names, model, params, partitioner, batch_size=size, max_decode_length=6)
        for names, size in ((tasks, 2), (tasks[::-1], 16))
    )
    assert first.results == second.results
    assert first.scalars == pytest.approx(second.scalars)


def test_directions_that_two_tasks_share_are_told_apart(add_task):
    pairs = [("a", "b")]
    for name, objective in (("a1", "translation"), ("a2", "ptlm"), ("a3", "ptlm")):
        add_task(name, pairs, objective=objective, src_lang="de", tgt_lang="en")
    add_task("b", pairs, src_lang="en", tgt_lang="de")
    add_task("c", pairs)
    assert direction_names(["a1", "b", "c"]) == {"a1": "de-en", "b": "en-de", "c": "c"}
    expected = {"a1": "de-en (translation)", "a2": "de-en (ptlm)"}
    assert direction_names(["a1", "a2"]) == direction_names(["a2", "a1"]) == expected
    assert direction_names(["a2", "a3"]) == {"a2": "de-en (a2)", "a3": "de-en (a3)"}


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"tasks": ["sam"]}, "no task or mixture is named 'sam'; nearest: same"),
        ({"num_examples": 0}, "num_examples=0"),
        ({"max_decode_length": 0}, "max_decode_length=0"),
        ({"batch_size": 0}, "batch_size=0 does not divide"),
        ({"split": "dev"}, "dev"),
    ],
)
def test_what_cannot_be_evaluated_is_refused_at_start_up(tasks, partitioner, changes, message):
    with pytest.raises(ConfigError, match=message):
        evaluate(changes.pop("tasks", ["same"]), Copier(), None, partitioner, **changes)


def test_a_task_without_examples_is_refused_at_start_up(add_task, partitioner):
    with pytest.raises(ConfigError, match="'empty' yields no example"):
        evaluate([add_task("empty", [])], Copier(), None, partitioner)


def test_rows_say_how_translations_go_wrong_and_details_give_the_scores_again(tasks, partitioner):
    evaluation = evaluate(tasks, Copier(), jnp.ones(()), partitioner, bootstrap_samples=50)
    again = evaluate(tasks, Copier(), jnp.ones(()), partitioner, bootstrap_samples=50)
    assert evaluation.rows == again.rows and evaluation.details == again.details
    rows = {(row["dataset"], row["metric"]): row for row in evaluation.rows}
    assert rows["same", "copy_rate"]["value"] == rows["turned", "copy_rate"]["value"] == 1.0
    assert rows["turned", "length_ratio"]["value"] == 1.0
    assert rows["turned", "wrong_language_rate"]["value"] > 0.5  # English words are no French
    chrf = rows["turned", "chrf"]
    assert chrf["low"] < chrf["value"] < chrf["high"] and "nc:6" in chrf["signature"]
    assert chrf["value"] == evaluation.results["directions"]["de-fr"]["chrf"]
    assert rows["mean_zero_shot", "chrf"]["value"] == chrf["value"]
    for metric in METRICS:
        counts = np.asarray([record[f"{metric}_stats"] for record in evaluation.details["turned"]])
        score = SCORES_OF_SUMS[metric](counts.sum(0, keepdims=True))
        assert score == pytest.approx([rows["turned", metric]["value"]], abs=1e-9)
    json.dumps(evaluation.rows, allow_nan=False)


def test_two_hops_go_through_the_pivot(partitioner):
    """A model that writes its inputs, tag and all: the second hop shows what the first wrote."""
    evaluator = TranslationEvaluator(
        tasks=("toy_translation_de_fr", "toy_translation_de_en"),
        task_feature_lengths={"inputs": 64, "targets": 64},
        split="test",
        num_examples=2,
        batch_size=2,
        pivot_lang="en",
        bootstrap_samples=0,
    )
    evaluator.prepare(WideCopier(), partitioner, {}, None)
    evaluation = evaluator(jnp.ones(()))
    records = evaluation.details["toy_translation_de_fr_two_hop"]
    assert [record["prediction"] for record in records] == [r["source"] for r in records]
    two_hop = {row["metric"] for row in evaluation.rows if row["metric"].endswith("_two_hop")}
    assert {"chrf_two_hop", "bleu_two_hop"} <= two_hop
    assert "toy_translation_de_en_two_hop" not in evaluation.details
    inputs = evaluator._two_hop.second_inputs(["a red house", "x"])
    special = toy_special_tokens()
    assert inputs[0][0] == special.control_id("<2fr>")
    assert evaluator._two_hop.first_inputs[0][0] == special.control_id("<2en>")
    with pytest.raises(ConfigError, match="pivot_format='src_tgt'"):
        evaluator.pivot_format = "src_tgt"
        evaluator.prepare(WideCopier(), partitioner, {}, None)

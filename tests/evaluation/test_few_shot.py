"""Labels are ranked by the likelihoods that transformers computes, behind the shots asked for."""

import pathlib
import tempfile

import jax
import numpy as np
import pytest
import seqio

from tests.evaluation.test_translation import Copier
from tests.evaluation.test_understanding import add_gold_task
from xlingual.data import task_registry
from xlingual.decoding.scoring import score_targets
from xlingual.errors import ConfigError
from xlingual.evaluation.few_shot import FewShotEvaluator
from xlingual.evaluation.scoring_batches import make_scoring_batch

pytestmark = pytest.mark.slow

LABELS = ["BAD", "GOOD", "SO-SO"]
SETTINGS = dict(max_inputs=96, max_targets=8, batch_size=4, num_samples=50, shot_separator="//")


@pytest.fixture(scope="module")
def tasks():
    """Upper-case texts: their bytes are in the small vocabulary of the models of transformers."""
    names = []
    for lang in ("en", "de"):
        rows = [
            (f"{lang.upper()} {i}", label, {"kind": "label", "label": label, "labels": LABELS})
            for i, label in enumerate((LABELS * 3)[:7])
        ]
        names.append(add_gold_task(f"mood_{lang}", rows, lang, dataset="mood"))
    names.append(
        add_gold_task("mood_qa", [("A", "B", {"kind": "answers", "answers": ["B"]})], "en",
                      dataset="qa", normalization="squad")
    )  # fmt: skip
    yield names
    for name in names:
        task_registry.unregister(name)


def prepare(tasks, model, partitioner, **changes):
    evaluator = FewShotEvaluator(tasks=tasks, **{**SETTINGS, **changes})
    evaluator.prepare(model, partitioner, {}, None)
    return evaluator


def ids(text):
    return list(seqio.ByteVocabulary().encode(text))


@pytest.mark.slow
def test_labels_have_the_likelihoods_of_transformers(tasks, partitioner):
    torch = pytest.importorskip("torch", reason="the oracle runs in PyTorch")
    pytest.importorskip("transformers", reason="the oracle is transformers' Llama")
    from tests.checkpointing import oracle, small_models

    reference = oracle.make_theirs(oracle.KINDS["llama"])
    model, params = _ours(reference, small_models)
    evaluator = prepare(tasks[:1], model, partitioner, num_shots=2, normalization="bytes")
    evaluation = evaluator(params)
    details = evaluation.details["mood_en"]
    shots = evaluator._pairs[0][0].tolist()
    right = 0
    for one in details:
        asked = ids(one["source"])
        assert shots[: -len(asked)] + asked == [
            *ids("//".join(_shots(evaluator)) + "//"),
            *asked,
        ]
        scores = []
        for label in LABELS:
            after = ids(" " + label)
            tokens = torch.tensor([[reference.config.bos_token_id, *shots[: -len(asked)], *asked]])
            whole = torch.cat([tokens, torch.tensor([after])], dim=1)
            with torch.no_grad():
                logits = reference(input_ids=whole[:, :-1]).logits[0, -len(after) :]
            chosen = logits.log_softmax(-1)[torch.arange(len(after)), torch.tensor(after)]
            scores.append(float(chosen.sum()) / len(label.encode()))
        assert [one["scores"][label] for label in LABELS] == pytest.approx(scores, abs=2e-5)
        assert one["prediction"] == LABELS[int(np.argmax(scores))]
        right += one["prediction"] == one["gold"]
    rows = {row["metric"]: row for row in evaluation.rows}
    assert rows["accuracy"]["value"] == pytest.approx(100 * right / 7)
    assert rows["accuracy"]["signature"] == "rank|shots:2|from:own|norm:bytes|texts:one|seed:0"


def _ours(reference, small_models):
    with tempfile.TemporaryDirectory() as folder:
        reference.save_pretrained(folder)
        return small_models.load_ours(pathlib.Path(folder))


def _shots(evaluator):
    return [f"{one.src} {one.gold['label']}" for one in evaluator._load_shots(evaluator.tasks[0])]


def test_two_texts_are_scored_as_inputs_and_targets(tasks, family, partitioner):
    model, params, _ = family
    settings = dict(two_texts=True, normalization="tokens", num_examples=2)
    evaluator = prepare(tasks[:2], model, partitioner, **settings)
    first = evaluator(params)
    assert {row["metric"] for row in first.rows} >= {"accuracy", "macro_f1", "accuracy_gap"}
    one = first.details["mood_de"][0]
    pair = (np.array([*ids(one["source"]), 1]), np.array([*ids("GOOD"), 1]))
    batch = make_scoring_batch(model, [pair], batch_size=1, lengths=(len(pair[0]), len(pair[1])))
    expected = jax.jit(lambda p, b: score_targets(model, p, b).totals)(params, batch)
    assert one["scores"]["GOOD"] == pytest.approx(float(expected[0]) / 5, abs=1e-5)
    again = evaluator(params)
    assert again.rows == first.rows and again.details == first.details


def test_prompts_hold_the_shots_of_the_task_asked_for(tasks, partitioner):
    model = Copier()
    settings = dict(num_shots=2, shots_task="mood_en", template="{inputs} = {targets}")
    evaluator = prepare(tasks[1:2], model, partitioner, label_texts={"BAD": "MINUS"}, **settings)
    text = seqio.ByteVocabulary().decode(evaluator._pairs[0][0].tolist())
    first, second, asked = text.split("//")
    assert first.startswith("EN ") and second.startswith("EN ") and asked.startswith("DE ")
    assert asked.endswith(" =") and first.split(" = ")[1] in ("MINUS", "GOOD", "SO-SO")
    labels = {seqio.ByteVocabulary().decode(label.tolist()) for _, label in evaluator._pairs}
    assert labels == {" MINUS", " GOOD", " SO-SO"}
    other = prepare(tasks[1:2], model, partitioner, seed=5, **settings)
    assert other._pairs[0][0].tolist() != evaluator._pairs[0][0].tolist()
    cut = prepare(tasks[1:2], model, partitioner, max_inputs=8, **settings)
    assert all(len(prompt) == 8 for prompt, _ in cut._pairs)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"normalization": "pmi"}, "normalization='pmi'"),
        ({"template": "{targets} {inputs}"}, "template="),
        ({"num_shots": -1}, "num_shots=-1"),
        ({"num_shots": 9}, "has 7 examples; expected num_shots=9"),
        ({"max_targets": 3}, "label 'BAD' has 4 tokens; expected max_targets=3"),
        ({"tasks": ["mood_qa"]}, "no labels; expected classification"),
        ({"batch_size": 0}, "batch_size=0"),
    ],
)
def test_what_cannot_be_asked_is_refused(tasks, partitioner, changes, message):
    with pytest.raises(ConfigError, match=message):
        prepare(changes.pop("tasks", tasks[:1]), Copier(), partitioner, **changes)

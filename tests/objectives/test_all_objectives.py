"""What holds for every registered objective: ids, lengths, types, determinism, no leak."""

import numpy as np
import pytest
import seqio
import tensorflow as tf

from tests.objectives import cases

LENGTHS = {"inputs": 128, "targets": 128}
PER_TARGET = {"targets_weights", "targets_groups", "targets_read"}
FIXED = (
    "bit",
    "causal_lm",
    "causal_lm_packed",
    "pivot_chain",
    "pivot_pairs",
    "pivot_triangle",
    "ptlm",
    "translation",
    "translation_prompt",
)
"""Cases without random choices."""
SPANS = {
    "mono": ("span_corruption", "glm"),
    "pair": ("ptlm_half", "nmt5_tlm", "tpsc", "tpsc_pnat", "tsc", "tsc_pnat", "camlm", "btmlm"),
}
"""Cases whose targets are spans that the inputs lack."""


@pytest.fixture
def bind(output_features, special, tmp_path):
    def make(case):
        return cases.bind(
            case,
            lengths=LENGTHS,
            output_features=output_features,
            special_tokens=special,
            folder=tmp_path,
        )

    return make


@pytest.mark.parametrize("case", cases.CASES)
def test_examples_are_valid_and_follow_the_seed_alone(run, bind, vocabulary, tmp_path, case):
    records, objective = bind(case)
    examples = run(objective, records)
    assert len(examples) >= 1
    for example in examples:
        assert set(example) - PER_TARGET == {"inputs", "targets"}
        weights = example.get("targets_weights", [1] * len(example["targets"]))
        assert any(weights), "nothing to learn"
        assert set(weights) <= {0, 1, 2}
        assert min(example.get("targets_groups", [1])) >= 1
        for feature in PER_TARGET & set(example):
            assert len(example[feature]) == len(example["targets"])
        for feature, limit in LENGTHS.items():
            assert len(example[feature]) <= limit
        for feature in ("inputs", "targets", "targets_read"):
            assert all(0 < i < vocabulary.vocab_size for i in example.get(feature, ()))

    with seqio.map_seed_manager(0):
        result = objective(records)
    for spec in result.element_spec.values():
        assert (spec.dtype, spec.shape.rank) == (tf.int32, 1)
    options = tf.data.Options()
    options.threading.private_threadpool_size = 1
    iterator = iter(result.with_options(options))
    by_one_worker = [next(iterator)]
    # Whoever reads the stream can save its position, run-time checks and tokenizer included.
    assert tf.train.Checkpoint(iterator=iterator).write(str(tmp_path / "position"))
    by_one_worker.extend(iterator)
    assert [{k: v.numpy().tolist() for k, v in e.items()} for e in by_one_worker] == examples

    batch = next(iter(records.ragged_batch(cases.NUM_RECORDS)))
    twin = cases.make_twin(case, objective, batch, vocabulary)
    others = [cases.split_rows(twin(cases.as_numpy(batch), seed)) for seed in ([0, 1], [0, 2])]
    assert (others[0] == others[1]) == (case in FIXED)


@pytest.mark.parametrize(("kind", "case"), [(k, case) for k, v in SPANS.items() for case in v])
def test_no_run_of_target_tokens_is_in_the_inputs(run, documents, pairs, bind, kind, case):
    """On texts whose tokens are all different, a shared run of 4 tokens would be a leak."""
    texts = np.arange(3, 363).reshape(9, 40)
    if kind == "mono":
        dataset = documents(texts)
    else:
        dataset = pairs([(text[:20], text[20:], "hi", "en") for text in texts])
    found = run(bind(case)[1], dataset)
    assert found
    for example in found:
        inputs = example["inputs"]
        read = {tuple(inputs[i : i + 4]) for i in range(len(inputs) - 3)}
        targets = example["targets"]
        assert not read & {tuple(targets[i : i + 4]) for i in range(len(targets) - 3)}

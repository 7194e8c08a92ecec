"""What holds for every objective: ids, lengths, types, determinism and no leak of targets."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from xlingual.objectives.language_model import causal_lm, prefix_lm
from xlingual.objectives.pivot_translation import ptlm
from xlingual.objectives.span_corruption import span_corruption
from xlingual.objectives.tokenize import tokenize
from xlingual.objectives.translation import translation

SENTENCES = {
    "en": "The library number {} is behind the green park, next to the river.",
    "hi": "पुस्तकालय {} हरे उद्यान के पीछे, नदी के पास है।",
    "zh": "图书馆{}在绿色公园后面，靠近河边。",
}
NAMES = {"en": "English", "hi": "Hindi", "zh": "Chinese"}
LENGTHS = {"inputs": 128, "targets": 128}
MONO = [
    {"text": SENTENCES[lang].format(i), "lang": lang}
    for i in range(7)
    for lang in ("en", "hi", "zh")
][:20]
PAIRS = [
    {
        "src": SENTENCES[lang].format(i),
        "tgt": SENTENCES["en"].format(i),
        "src_lang": lang,
        "tgt_lang": "en",
    }
    for i in range(10)
    for lang in ("hi", "zh")
]
OBJECTIVES = {
    "span_corruption": (span_corruption, MONO, {}),
    "prefix_lm": (prefix_lm, MONO, {}),
    "causal_lm": (causal_lm, MONO, {}),
    "translation_random": (translation, PAIRS, {"direction": "random"}),
    "ptlm": (ptlm, PAIRS, {"language_names": NAMES}),
    "ptlm_half": (ptlm, PAIRS, {"language_names": NAMES, "layout": "concat", "rho": 0.5}),
}
RANDOM = ("span_corruption", "prefix_lm", "translation_random", "ptlm_half")


def bind(name, output_features, special):
    objective, _, options = OBJECTIVES[name]
    return functools.partial(
        objective,
        sequence_length=LENGTHS,
        output_features=output_features,
        special_tokens=special,
        **options,
    )


@pytest.mark.parametrize("name", OBJECTIVES)
def test_examples_are_valid_and_follow_the_seed_alone(
    run, output_features, special, vocabulary, tmp_path, name
):
    records = OBJECTIVES[name][1]
    columns = {field: [record[field] for record in records] for field in records[0]}
    tokens = tokenize(tf.data.Dataset.from_tensor_slices(columns), output_features)
    objective = bind(name, output_features, special)
    examples = run(objective, tokens)
    assert len(examples) >= 1
    for example in examples:
        assert sorted(example) == ["inputs", "targets"]
        assert example["targets"], "nothing to learn"
        for feature, ids in example.items():
            assert len(ids) <= LENGTHS[feature]
            assert all(0 < i < vocabulary.vocab_size for i in ids)

    if name in RANDOM:
        assert run(objective, tokens, seed=1) != examples

    def one_worker(dataset):
        result = objective(dataset)
        for spec in result.element_spec.values():
            assert (spec.dtype, spec.shape.rank) == (tf.int32, 1)
        options = tf.data.Options()
        options.threading.private_threadpool_size = 1
        return result.with_options(options)

    assert run(one_worker, tokens) == examples
    # Whoever reads the stream can save its position, run-time checks and tokenizer included.
    iterator = iter(objective(tokens))
    next(iterator)
    assert tf.train.Checkpoint(iterator=iterator).write(str(tmp_path / "position"))


@pytest.mark.parametrize("name", ["span_corruption", "ptlm_half"])
def test_no_run_of_target_tokens_is_in_the_inputs(
    run, documents, pairs, output_features, special, name
):
    """On texts whose tokens are all different, a shared run of 4 tokens would be a leak."""
    texts = np.arange(3, 363).reshape(9, 40)
    if OBJECTIVES[name][1] is MONO:
        dataset = documents(texts)
    else:
        dataset = pairs([(text[:20], text[20:], "hi", "en") for text in texts])
    for example in run(bind(name, output_features, special), dataset):
        inputs = example["inputs"]
        read = {tuple(inputs[i : i + 4]) for i in range(len(inputs) - 3)}
        targets = example["targets"]
        assert not read & {tuple(targets[i : i + 4]) for i in range(len(targets) - 3)}

"""What holds for every objective that takes text: ids, lengths, types, determinism, positions."""

import functools

import pytest
import seqio
import tensorflow as tf

from xlingual.objectives import registry

LENGTHS = {"inputs": 128, "targets": 128}
SENTENCES = {
    "en": "The library number {} is behind the green park, next to the river.",
    "hi": "पुस्तकालय {} हरे उद्यान के पीछे, नदी के पास है।",
    "zh": "图书馆 {} 在绿色 公园 后面，靠近河边。",
}
LEXICONS = {
    ("en", "hi"): "library\tपुस्तकालय\nriver\tनदी\n",
    ("hi", "en"): "पुस्तकालय\tlibrary\nनदी\triver\nहरे\tgreen\n",
    ("zh", "en"): "图书馆\tlibrary\n公园\tpark\n",
}
MONO = [(SENTENCES[lang].format(i), lang) for i in range(7) for lang in SENTENCES][:20]
PAIRS = [
    (SENTENCES[lang].format(i), SENTENCES["en"].format(i), lang)
    for i in range(10)
    for lang in ("hi", "zh")
]


def mono():
    return tf.data.Dataset.from_tensor_slices(
        {"text": [text for text, _ in MONO], "lang": [lang for _, lang in MONO]}
    )


def pairs():
    src, tgt, lang = zip(*PAIRS, strict=True)
    columns = {"src": src, "tgt": tgt, "src_lang": lang, "tgt_lang": ["en"] * 20}
    return tf.data.Dataset.from_tensor_slices({k: list(v) for k, v in columns.items()})


def entities():
    """Records whose library (a noun) and river (linked) are marked."""
    columns = {name: [] for name in ("text", "lang", "starts", "ends", "types", "qids")}
    for text, lang in MONO:
        words = {"en": ("library", "river"), "hi": ("पुस्तकालय", "नदी"), "zh": ("图书馆", "公园")}[
            lang
        ]
        starts = [text.index(word) for word in words]
        ends = [start + len(word) for start, word in zip(starts, words, strict=True)]
        row = (text, lang, starts, ends, ["NOUN", "NE"], ["", "Q4022"])
        for name, value in zip(columns, row, strict=True):
            columns[name].append(value)
    return tf.data.Dataset.from_tensor_slices(columns)


LABELS = "Q4022\ten\triver\nQ4022\tfr\trivière\nQ4022\thi\tनदी\nQ4022\tzh\t河\n"
CASES = {
    "lem": (entities, {}),
    "entity_cs": (entities, {"variant": "PEP-MS", "num_languages": 2}),
    "ras": (pairs, {"rate": 0.5}),
    "cs_restore": (mono, {"rate": 0.5}),
    "cs_restore_pair": (pairs, {"rate": 0.5}),
    "cs_input_only": (mono, {"rate": 0.5}),
}


@pytest.fixture
def lexicons(tmp_path):
    paths = {}
    for codes, text in LEXICONS.items():
        path = tmp_path / ("-".join(codes) + ".tsv")
        path.write_text(text)
        paths[codes] = str(path)
    return paths


@pytest.mark.parametrize("name", CASES)
def test_examples_are_valid_and_follow_the_seed_alone(
    run, output_features, special, vocabulary, lexicons, tmp_path, name
):
    make_records, options = CASES[name]
    found = registry.get_objective(name.removesuffix("_pair"))
    assert not found.tokenized and found.summary
    (tmp_path / "labels.tsv").write_text(LABELS)
    needed = {"lexicons": lexicons, "labels": str(tmp_path / "labels.tsv")}
    assert set(found.required) <= set(needed)
    objective = functools.partial(
        found.preprocess,
        sequence_length=LENGTHS,
        output_features=output_features,
        special_tokens=special,
        **{name: needed[name] for name in found.required},
        **options,
    )
    records = make_records()
    examples = run(objective, records)
    assert len(examples) >= 1
    for example in examples:
        assert (
            {"inputs", "targets"}
            <= set(example)
            <= {
                "inputs",
                "targets",
                "targets_read",
                "targets_weights",
            }
        )
        assert example["targets"], "nothing to learn"
        for feature in set(example) - {"targets_weights"}:
            ids = example[feature]
            assert len(ids) <= LENGTHS[feature.split("_")[0]]
            assert all(0 < i < vocabulary.vocab_size for i in ids)
    assert run(objective, records, seed=1) != examples

    with seqio.map_seed_manager(0):
        result = objective(records)
    for spec in result.element_spec.values():
        assert (spec.dtype, spec.shape.rank) == (tf.int32, 1)
    threads = tf.data.Options()
    threads.threading.private_threadpool_size = 1
    by_one_worker = result.with_options(threads)
    iterator = iter(by_one_worker)
    first = next(iterator)
    # Whoever reads the stream can save its position and go on from it.
    saved = tf.train.Checkpoint(iterator=iterator).write(str(tmp_path / "position"))
    rest = [_lists(example) for example in iterator]
    assert [_lists(first), *rest] == examples
    other = iter(by_one_worker)
    tf.train.Checkpoint(iterator=other).read(saved).assert_consumed()
    assert [_lists(example) for example in other] == rest


def _lists(example):
    return {name: value.numpy().tolist() for name, value in example.items()}

import functools

import pytest
import tensorflow as tf

from xlingual.errors import ConfigError
from xlingual.objectives.code_whitespace import decode_whitespace
from xlingual.objectives.pivot_translation import code_pairs, ptlm
from xlingual.objectives.span_corruption import merge_spans
from xlingual.objectives.special_tokens import SpecialTokens
from xlingual.objectives.tokenize import tokenize

EOS = 1
NAMES = {"en": "English", "fr": "French", "zh": "Chinese", "python": "Python"}
LENGTHS = {"inputs": 96, "targets": 64}
CODE = "def f(a,b):\n\t# 7 spaces\n\n       x = 1\n  return a+b  \n"


def pretrain(run, dataset, features, special, *, lengths=LENGTHS, seed=0, **options):
    objective = functools.partial(
        ptlm,
        sequence_length=lengths,
        output_features=features,
        special_tokens=special,
        language_names=NAMES,
        **options,
    )
    return run(objective, dataset, seed=seed)


@pytest.fixture
def text_pairs(output_features):
    """Tokenised pairs: one French, one Python."""
    records = {
        "src": ["le parc vert", "add two numbers"],
        "tgt": ["the green park", CODE],
        "src_lang": ["fr", "en"],
        "tgt_lang": ["en", "python"],
    }
    dataset = tf.data.Dataset.from_tensor_slices(records)
    return tokenize(dataset, output_features, code_fields=["tgt"])


def test_both_directions_with_matching_names(run, text_pairs, output_features, special, vocabulary):
    examples = pretrain(run, text_pairs, output_features, special, max_length_ratio=None)
    texts = [
        tuple(decode_whitespace(vocabulary.decode(e[name][:-1])) for name in ("inputs", "targets"))
        for e in examples
    ]
    assert texts == [
        ("translate French to English: \n le parc vert", "the green park"),
        ("translate English to French: \n the green park", "le parc vert"),
        ("translate English to Python: \n add two numbers", CODE),
        (f"translate Python to English: \n {CODE}", "add two numbers"),
    ]
    assert all(ids[-1] == EOS and ids.count(EOS) == 1 for e in examples for ids in e.values())
    prompt = vocabulary.encode("translate English to Python: <nl>")
    assert examples[2]["inputs"] == [*prompt, *vocabulary.encode("add two numbers"), EOS]


def test_span_form_of_the_whole_side(run, text_pairs, output_features, special, vocabulary):
    seq2seq = pretrain(run, text_pairs, output_features, special, direction="fwd")
    spans = pretrain(run, text_pairs, output_features, special, layout="concat", direction="fwd")
    s0 = special.sentinel_id(0)
    for plain, span in zip(seq2seq, spans, strict=True):
        assert span["inputs"] == [*plain["inputs"], s0, EOS]
        assert span["targets"] == [s0, *plain["targets"]]


@pytest.mark.parametrize("rho", [0.15, 0.5, 1.0])
def test_merging_gives_both_sides_back(run, pairs, output_features, special, vocabulary, rho):
    records = [(range(10, 10 + n), range(70, 70 + m), "fr", "en") for n, m in [(9, 20), (1, 1)]]
    examples = pretrain(
        run, pairs(records), output_features, special, layout="concat", rho=rho, seed=3
    )
    prompt = {
        target: vocabulary.encode(f"translate {source} to {target}: <nl>")
        for source, target in (("French", "English"), ("English", "French"))
    }
    expected = []
    # One token has no noise unless all of it is hidden: nothing to learn from the second pair.
    for src, tgt, _, _ in records if rho == 1.0 else records[:1]:
        expected.append([*prompt["English"], *src, EOS, *tgt])
        expected.append([*prompt["French"], *tgt, EOS, *src])
    assert [merge_spans(e["inputs"], e["targets"], special).tolist() for e in examples] == expected
    hidden = sum(i < special.sentinel_end for i in examples[0]["targets"][:-1])
    assert hidden == {0.15: 3, 0.5: 10, 1.0: 20}[rho]


def test_source_may_end_with_a_separator(run, text_pairs, output_features, special, vocabulary):
    plain = pretrain(run, text_pairs, output_features, special)
    found = pretrain(run, text_pairs, output_features, special, source_end="<sep>")
    for example, other in zip(found, plain, strict=True):
        assert example["inputs"] == [*other["inputs"][:-1], special.control_id("<sep>")]
        assert example["targets"] == other["targets"]


def test_pairs_without_the_pivot_are_refused(run, pairs, output_features, special):
    good, bad = ([41], [51], "fr", "en"), ([41], [51], "fr", "zh")
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"pivot language en .*fr-zh"):
        pretrain(run, pairs([good, bad]), output_features, special)
    found = pretrain(run, pairs([bad]), output_features, special, pivot_lang=None)
    assert len(found) == 2, "for zero-shot evaluation"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rho": 0.0, "layout": "concat"}, r"rho is 0\.0"),
        ({"rho": 0.5}, r"rho=0\.5 needs layout='concat'"),
        ({"layout": "spans"}, "layout is 'spans'"),
        ({"layout": "concat", "source_end": "<sep>"}, "source_end='<sep>' needs layout='seq2seq'"),
        ({"source_end": "<end>"}, "control token <end> is not in the vocabulary"),
        ({"lengths": {"inputs": 8, "targets": 9}}, r"\['inputs'\]=8 is too short for ptlm"),
        (
            {
                "lengths": {"inputs": 900, "targets": 900},
                "layout": "concat",
                "rho": 0.5,
                "mean_noise_span_length": 2.0,
            },
            "ptlm with rho=0.5 needs .* sentinels",
        ),
    ],
)
def test_mistakes_are_refused_at_once(run, pairs, output_features, special, options, message):
    with pytest.raises(ConfigError, match=message):
        pretrain(run, pairs([([41], [51], "fr", "en")]), output_features, special, **options)


def test_a_vocabulary_without_line_breaks_is_refused(run, pairs, output_features):
    bare = SpecialTokens(vocab_size=510, sentinel_start=509)
    with pytest.raises(ConfigError, match="control token <nl>"):
        pretrain(run, pairs([([41], [51], "fr", "en")]), output_features, bare)


def converted(*records):
    docs, codes = zip(*records, strict=True)
    dataset = tf.data.Dataset.from_tensor_slices(
        {
            "doc": list(docs),
            "code": list(codes),
            "doc_lang": ["en"] * len(docs),
            "pl": ["python"] * len(docs),
        }
    )
    pairs = list(code_pairs(dataset).as_numpy_iterator())
    assert all((p["src_lang"], p["tgt_lang"]) == (b"en", b"python") for p in pairs)
    return [(p["src"].decode(), p["tgt"].decode()) for p in pairs]


def test_comments_that_repeat_the_description_are_removed():
    doc = "Adds (a) and b,\nthen stops"
    body = "def f(a, b):\n    {}\n    return a + b  # then stops"
    left = "def f(a, b):\n    \n    return a + b  # then stops"
    found = converted(
        (doc, body.format('"""Adds (a) and b,\n    then stops."""')),
        (doc, body.format("# Adds (a) and b, then stops")),
        (doc, body.format("/** Adds (a) and b,\n * then stops */")),
        (doc, body.format("# Adds (a) and b, then goes on")),
        ("f", "def f(a): return f"),
    )
    assert found[:3] == [(doc, left)] * 3
    assert found[3][1] == body.format("# Adds (a) and b, then goes on"), "another comment stays"
    assert found[4] == ("f", "def f(a): return f"), "identifiers stay"


def test_blank_descriptions_and_bodies_are_dropped():
    assert converted((" \n", "x = 1"), ("doc", "\n\t"), ("doc", "# doc"), ("doc", "x")) == [
        ("doc", "x")
    ]

import pytest
import tensorflow as tf

from xlingual.errors import ConfigError
from xlingual.objectives import code_whitespace
from xlingual.objectives.tokenize import tokenize


def test_monolingual_records(run, vocabulary, output_features):
    texts = ["The old library", "", "旧图书馆", "press <tab>  twice", "पुराना"]
    dataset = tf.data.Dataset.from_tensor_slices({"text": texts, "lang": ["en"] * 5})
    examples = run(tokenize, dataset, output_features=output_features)
    assert [e["targets"] for e in examples] == [
        vocabulary.encode(code_whitespace.escape_control(t)) for t in texts if t
    ]
    assert [
        code_whitespace.decode_whitespace(vocabulary.decode(e["targets"])) for e in examples
    ] == [t for t in texts if t]
    assert all(e["lang"] == b"en" for e in examples)


def test_pair_records_with_code(run, vocabulary, output_features, special):
    code = "def f(a):\n\treturn a\n"
    pair = {"src": "a <nl> b", "tgt": code, "src_lang": "en", "tgt_lang": "python", "id": "7"}
    dataset = tf.data.Dataset.from_tensors(pair).repeat(3)
    examples = run(tokenize, dataset, output_features=output_features, code_fields=["tgt"])
    assert len(examples) == 3
    assert examples[0]["src"] == vocabulary.encode("a <\\nl> b")
    assert examples[0]["tgt"] == vocabulary.encode("def f(a):<nl><tab>return a<nl>")
    assert examples[0]["tgt"].count(special.control_id("<nl>")) == 2
    assert special.control_id("<nl>") not in examples[0]["src"]
    found = {name: examples[0][name] for name in ("src_lang", "tgt_lang", "id")}
    assert found == {"src_lang": b"en", "tgt_lang": b"python", "id": b"7"}


def test_records_without_text_are_refused(output_features):
    dataset = tf.data.Dataset.from_tensors({"texte": "x"})
    with pytest.raises(ConfigError, match=r"fields \['texte'\]; expected `text`"):
        tokenize(dataset, output_features)
    dataset = tf.data.Dataset.from_tensors({"text": "x", "lang": "en"})
    with pytest.raises(ConfigError, match=r"code_fields names \['tgt'\]"):
        tokenize(dataset, output_features, code_fields=["tgt"])

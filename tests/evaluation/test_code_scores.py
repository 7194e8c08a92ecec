"""Scores of code equal those of the package codebleu and of sacrebleu, and follow the data."""

import json
import pathlib

import pytest
import sacrebleu
from hypothesis import given, settings
from hypothesis import strategies as st

from xlingual.errors import ConfigError
from xlingual.evaluation import code_flow, code_scores, code_trees, ngram_scores

GOLDEN = json.loads(
    (pathlib.Path(__file__).resolve().parents[1] / "golden" / "codebleu.json").read_text()
)
_WORDS = st.lists(st.sampled_from("abcde"), max_size=9)


def values(candidates, references, language="python", **options):
    scores = code_scores.score_code(candidates, references, language, **options)
    return {one.metric: one.value / 100 for one in scores}


def _cases():
    pairs = [([one["reference"]], [one["candidate"]], one["expected"]) for one in GOLDEN["pairs"]]
    whole = ([one[0][0] for one in pairs], [one[1][0] for one in pairs], GOLDEN["corpus"])
    return [*pairs, whole]


@pytest.mark.parametrize("references, candidates, expected", _cases())
def test_matches_are_those_of_the_package_codebleu(references, candidates, expected):
    """n-grams always; what needs a syntax tree where it is tree-sitter's, as theirs."""
    found = values(candidates, references)
    for metric in ("ngram_match", "weighted_ngram_match"):
        assert found[metric] == pytest.approx(expected[metric], abs=1e-12)
    parts = [found[f"{m}_match"] for m in ("ngram", "weighted_ngram", "syntax", "dataflow")]
    assert found["codebleu"] == pytest.approx(sum(parts) / 4)
    pytest.importorskip("tree_sitter_python", reason="the trees of codebleu are tree-sitter's")
    theirs = values(candidates, references, tree_sitter=True)
    assert theirs["syntax_match"] == pytest.approx(expected["syntax_match"])
    assert theirs["dataflow_match"] == pytest.approx(expected["dataflow_match"])


def test_data_flows_as_in_the_package_codebleu():
    pytest.importorskip("tree_sitter_python", reason="the trees of codebleu are tree-sitter's")
    path = pathlib.Path(__file__).resolve().parents[1] / "golden" / "codebleu_flow.json"
    for pair in json.loads(path.read_text())["pairs"]:
        gold, found = (code_flow.data_flow(pair[side]) for side in ("reference", "candidate"))
        hits = code_trees.overlap(found, gold)
        assert hits / max(len(gold), 1) == pytest.approx(pair["dataflow_match"]), pair["candidate"]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(_WORDS, _WORDS), min_size=1, max_size=4))
def test_bleu_of_tokens_is_sacrebleus(pairs):
    found, gold = zip(*pairs, strict=True)
    texts = [[" ".join(tokens) for tokens in side] for side in (found, gold)]
    expected = sacrebleu.corpus_bleu(texts[0], [texts[1]], tokenize="none", force=True).score
    assert ngram_scores.bleu("bleu", found, gold).value == pytest.approx(expected)


def test_code_in_python():
    good = "def f(xs):\n    '''A docstring.'''\n    return sum(xs)\n"
    renamed = "def g(a):\n    return sum(a)  # a comment\n"
    found = values([renamed, good, "def f(:", ""], [good] * 4)
    assert found["parse_rate"] == 0.5 and found["exact_match"] == 0.25
    found = values([renamed], [good])
    assert found["syntax_match"] == found["dataflow_match"] == 1 and found["bleu"] < 1
    assert values([good], [good])["codebleu"] == 1


def test_code_in_other_languages():
    code = "function f(xs) { return xs.length; }"
    pytest.importorskip("tree_sitter_javascript", reason="parses JavaScript")
    found = values([code, "function f(xs {", ""], [code] * 3, "javascript")
    assert found["parse_rate"] == pytest.approx(1 / 3)
    assert "dataflow_match" not in found and 0 < found["syntax_match"] < 1
    without = values([code], [code], "haskell")
    assert set(without) == {
        "bleu", "exact_match", "ngram_match", "weighted_ngram_match", "codebleu"
    }  # fmt: skip
    with pytest.raises(ConfigError, match="no parser of 'haskell'"):
        code_trees.parses(code, "haskell")


def test_values_flow_as_by_hand():
    swap = "def swap(a, b):\n    c = a\n    a = b\n    b += c\n    return a, b\n"
    assert code_trees.data_flow(swap) == [
        ("var_0", "comesFrom", ("var_0",)),  # a is read
        ("var_1", "computedFrom", ("var_0",)),  # c = a
        ("var_2", "comesFrom", ("var_2",)),  # b is read
        ("var_0", "computedFrom", ("var_2",)),  # a = b
        ("var_1", "comesFrom", ("var_1",)),  # c is read
        ("var_2", "computedFrom", ("var_1", "var_2")),  # b += c
        ("var_0", "comesFrom", ("var_0",)),
        ("var_2", "comesFrom", ("var_2",)),
    ]
    assert code_trees.data_flow("def f(:") is None
    listed = code_trees.data_flow("def f(xs):\n    return [x * 2 for x in xs if x]\n")
    assert ("var_1", "computedFrom", ("var_0",)) in listed

"""Scores are sacrebleu's, and say how they were made."""

import hypothesis
import pytest
import sacrebleu
from hypothesis import strategies as st

from xlingual.evaluation.scores import bleu_of_sums, chrf_of_sums, score_corpus

_REFERENCES = ["The small cat sleeps in the house.", "Two dogs ran to the old market."]
_HYPOTHESES = ["The small cat slept in a house.", "Two dogs run to market."]


def test_perfect_hypotheses_score_100_and_unrelated_ones_0():
    scores = score_corpus(_REFERENCES, _REFERENCES)
    assert (scores.bleu, scores.chrf) == (pytest.approx(100), pytest.approx(100))
    scores = score_corpus(["", ""], _REFERENCES)
    assert (scores.bleu, scores.chrf) == (0, 0)


def test_scores_equal_the_functions_of_sacrebleu():
    scores = score_corpus(_HYPOTHESES, _REFERENCES, language="en")
    assert scores.bleu == sacrebleu.corpus_bleu(_HYPOTHESES, [_REFERENCES]).score
    assert scores.chrf == sacrebleu.corpus_chrf(_HYPOTHESES, [_REFERENCES]).score
    assert 0 < scores.bleu < scores.chrf < 100


@pytest.mark.parametrize(
    "language, tokenizer",
    [("", "13a"), ("de", "13a"), ("zh", "zh"), ("zh-Hant", "zh"), ("ja", "char"), ("km", "char")],
)
def test_the_signature_names_the_tokenizer_of_the_language(language, tokenizer):
    scores = score_corpus(["我 喜欢 猫"], ["我 喜欢 猫"], language=language)
    assert f"tok:{tokenizer}|" in scores.bleu_signature
    assert f"version:{sacrebleu.__version__}" in scores.bleu_signature
    assert "nc:6|nw:0|" in scores.chrf_signature


def test_chinese_bleu_counts_characters_where_words_would_find_nothing():
    hypothesis_, reference = ["今天天气很好我们去公园"], ["今天天气很好我们去市场"]
    assert score_corpus(hypothesis_, reference, language="zh").bleu > 60
    assert score_corpus(hypothesis_, reference, language="de").bleu == 0


@pytest.mark.parametrize("hypotheses, references", [([], []), (["a"], ["a", "b"])])
def test_empty_or_uneven_lists_are_refused(hypotheses, references):
    with pytest.raises(ValueError, match=f"{len(hypotheses)} hypotheses for {len(references)}"):
        score_corpus(hypotheses, references)


@hypothesis.settings(max_examples=20, deadline=None)
@hypothesis.given(
    pairs=st.lists(st.tuples(st.text("ab c", min_size=4), st.text("abc ", min_size=4)), min_size=2),
    data=st.data(),
)
def test_scores_do_not_depend_on_the_order_of_the_examples(pairs, data):
    shuffled = data.draw(st.permutations(pairs))
    first, second = (score_corpus(*zip(*rows, strict=True)) for rows in (pairs, shuffled))
    assert first.bleu == pytest.approx(second.bleu)
    assert first.chrf == pytest.approx(second.chrf)


def test_chrf_plus_plus_equals_that_of_sacrebleu():
    scores = score_corpus(_HYPOTHESES, _REFERENCES)
    theirs = sacrebleu.corpus_chrf(_HYPOTHESES, [_REFERENCES], word_order=2)
    assert scores.chrf_plus_plus == theirs.score
    assert "nw:2|" in scores.chrf_plus_plus_signature
    assert scores.of("chrf++") == (scores.chrf_plus_plus, scores.chrf_plus_plus_signature)


_COUNTS = st.lists(st.integers(0, 9), min_size=8, max_size=8)


@hypothesis.given(_COUNTS, _COUNTS)
@hypothesis.settings(max_examples=60, deadline=None)
def test_scores_of_sums_are_those_of_sacrebleu(numbers, others):
    correct = [min(a, b) for a, b in zip(numbers[:4], others[:4], strict=True)]
    total = [max(a, b) for a, b in zip(numbers[:4], others[:4], strict=True)]
    sums = [numbers[4], others[4], *correct, *total]
    bleu = sacrebleu.BLEU()._compute_score_from_stats(sums).score
    grams = [n for c, t, o in zip(correct, total, others, strict=False) for n in (t, o, min(c, o))]
    chrf = sacrebleu.CHRF(char_order=4)._compute_score_from_stats(grams).score
    if all(total) and sums[0]:
        assert bleu_of_sums([sums, sums]) == pytest.approx([bleu, bleu], abs=1e-9)
    assert chrf_of_sums([grams]) == pytest.approx([chrf], abs=1e-9)

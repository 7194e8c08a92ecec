"""Scores of labels, answers and entities equal those of scikit-learn, T5, seqeval and by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xlingual.errors import ConfigError
from xlingual.evaluation import answer_scores, classification_scores, tagging_scores

LABELS = ["entailment", "neutral", "contradiction"]
_QUESTIONS = [
    (["The Normans", "normans"], "normans."),
    (["10th and 11th centuries"], "in the 10th century"),
    (["Denmark, Iceland and Norway", "Norway"], "a Norway, and Iceland"),
    (["fünf"], ""),
    (["of the"], "the of the of"),
    (["the", "a an"], "an"),
    (["90,000"], "90000 men"),
]
_MLQA = {
    "en": ("the “Köln”—a city", "Köln, city"),
    "es": ("La casa de los Pérez¡!", "las casa pérez"),
    "hi": ("वह 1990 में।", "1990 में"),
    "vi": ("những chiếc xe của Hà Nội", "xe Hà Nội"),
    "de": ("Die „Stadt“ eines Kaisers", "stadt kaisers die"),
    "ar": ("في المدينة القديمة،", "مدينة قديمة"),
    "zh": ("在1990年，北京。", "1990年北京ABC def"),
}


def values(scored):
    return {one.metric: one.value for one in scored.scores}


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(LABELS), st.sampled_from([*LABELS, "maybe", ""])),
        min_size=1,
        max_size=30,
    )
)
def test_label_scores_equal_those_of_scikit_learn(pairs):
    metrics = pytest.importorskip("sklearn.metrics")
    gold, predicted = (list(side) for side in zip(*pairs, strict=True))
    found = values(
        classification_scores.score_labels(
            [{"label": label, "labels": LABELS} for label in gold], predicted
        )
    )
    assert found["accuracy"] == pytest.approx(100 * metrics.accuracy_score(gold, predicted))
    expected = metrics.f1_score(gold, predicted, labels=LABELS, average="macro", zero_division=0)
    assert found["macro_f1"] == pytest.approx(100 * expected)
    assert found["invalid"] == pytest.approx(100 * np.mean([p not in LABELS for p in predicted]))


def test_macro_f1_of_t5_is_the_same():
    metrics = pytest.importorskip("t5.evaluation.metrics")
    generator = np.random.default_rng(0)
    gold, predicted = generator.integers(3, size=(2, 40))
    expected = metrics.mean_multiclass_f1(num_classes=3)(gold, predicted)
    found = classification_scores.score_labels(
        [{"label": LABELS[i], "labels": LABELS} for i in gold], [LABELS[i] for i in predicted]
    )
    assert values(found)["macro_f1"] == pytest.approx(next(iter(expected.values())))


def test_answer_scores_equal_those_of_t5():
    metrics = pytest.importorskip("t5.evaluation.metrics")
    answers, predictions = (list(side) for side in zip(*_QUESTIONS, strict=True))
    expected = metrics.squad(answers, predictions)
    golds = [{"answers": a, "normalization": "squad", "lang": "en"} for a in answers]
    scored = answer_scores.score_answers(golds, predictions)
    assert values(scored) == pytest.approx({"exact_match": expected["em"], "f1": expected["f1"]})
    assert [one["exact_match"] for one in scored.details] == [1, 0, 0, 0, 0, 1, 0]


def test_answer_scores_equal_those_of_torchmetrics():
    """But for two texts that are nothing but articles, whose F1 is 1 there, as for SQuAD 2.0."""
    text = pytest.importorskip("torchmetrics.text", reason="the oracle is torchmetrics")
    kept = [one for one in _QUESTIONS if one[1] != "an"]
    texts = [{"prediction_text": found, "id": str(i)} for i, (_, found) in enumerate(kept)]
    wanted = [
        {"answers": {"answer_start": [0] * len(right), "text": right}, "id": str(i)}
        for i, (right, _) in enumerate(kept)
    ]
    expected = {name: float(value) for name, value in text.SQuAD()(texts, wanted).items()}
    golds = [{"answers": right, "normalization": "squad", "lang": "en"} for right, _ in kept]
    scored = answer_scores.score_answers(golds, [found for _, found in kept])
    assert values(scored) == pytest.approx(expected)


@pytest.mark.parametrize(
    "lang, answer, prediction",
    [
        ("en", "kölna city", "köln city"),
        ("es", "casa de pérez", "casa pérez"),
        ("hi", "वह 1990 में", "1990 में"),
        ("vi", "xe hà nội", "xe hà nội"),
        ("de", "stadt kaisers", "stadt kaisers"),
        ("ar", "في مدينة قديمة", "مدينة قديمة"),
        ("zh", "在 1990 年 北 京", "1990 年 北 京 abc def"),
    ],
)
def test_answers_are_normalised_as_by_mlqa(lang, answer, prediction):
    """Expected texts: what the published script `mlqa_evaluation_v1.py` prints for these."""
    found = [answer_scores.normalize_mlqa(text, lang) for text in _MLQA[lang]]
    assert found == [answer, prediction]


def test_languages_of_mlqa_have_several_codes():
    assert answer_scores.mlqa_language("zh-Hans") == "zh"
    assert answer_scores.mlqa_language("arb_Arab") == "ar"
    with pytest.raises(ConfigError, match="lang='sw' has no rules"):
        answer_scores.make_normalize("mlqa", "sw")
    with pytest.raises(ConfigError, match="normalization='bleu'"):
        answer_scores.make_normalize("bleu", "en")


_TAGS = st.sampled_from(["O", "B-PER", "I-PER", "B-LOC", "I-LOC"])


@settings(max_examples=40, deadline=None)
@given(st.lists(_TAGS, max_size=12))
def test_entities_are_those_of_seqeval(tags):
    labeling = pytest.importorskip("seqeval.metrics.sequence_labeling")
    expected = [(kind, start, end + 1) for kind, start, end in labeling.get_entities(tags)]
    assert tagging_scores.bio_spans(tags) == expected


@settings(max_examples=15, deadline=None)
@given(st.lists(st.lists(st.tuples(_TAGS, _TAGS), min_size=1, max_size=8), min_size=1, max_size=6))
def test_entity_f1_of_written_entities_is_that_of_seqeval(sentences):
    metrics = pytest.importorskip("seqeval.metrics")
    golds, texts, gold_tags, predicted_tags = [], [], [], []
    for number, pairs in enumerate(sentences):
        tokens = [f"w{number}_{i}" for i in range(len(pairs))]  # no word occurs twice
        tags, predicted = (list(side) for side in zip(*pairs, strict=True))
        golds.append({"tokens": tokens, "tags": tags})
        texts.append(tagging_scores.write_spans(tokens, predicted))
        gold_tags.append(tags)
        predicted_tags.append(predicted)
    found = values(tagging_scores.score_spans(golds, texts))
    if any(tagging_scores.bio_spans(tags) for tags in (*gold_tags, *predicted_tags)):
        expected = metrics.f1_score(gold_tags, predicted_tags, zero_division=0)
        assert found["entity_f1"] == pytest.approx(100 * expected)
        assert found["span_f1"] == pytest.approx(100 * expected)


def test_written_entities_take_the_first_free_place():
    tokens = ["Paris", "met", "Ada", "in", "Paris"]
    gold = {"tokens": tokens, "tags": ["B-PER", "O", "B-PER", "O", "B-LOC"]}
    text = "PER: Paris $$ LOC: Paris $$ PER: Ada Byron $$ no entity"
    assert tagging_scores.place_spans(text, tokens) == [
        ("PER", 0, 1),
        ("LOC", 4, 5),
        ("PER", -1, -1),
        ("no entity", -1, -1),
    ]
    scored = values(tagging_scores.score_spans([gold], [text]))
    assert scored["entity_f1"] == pytest.approx(100 * 2 * 2 / (4 + 3))
    assert scored["span_f1"] == pytest.approx(100 * 2 * 2 / (3 + 3))  # mT5 drops the last part


def test_tags_are_aligned_word_by_word():
    metrics = pytest.importorskip("sklearn.metrics")
    golds = [{"tags": ["PRON", "VERB", "NOUN"]}, {"tags": ["NOUN", "NOUN"]}]
    scored = tagging_scores.score_tags(golds, ["PRON NOUN", "NOUN NOUN VERB"])
    found = values(scored)
    assert found["tag_accuracy"] == pytest.approx(100 * 3 / 5)
    assert found["exact_match"] == 0
    gold, predicted = ["PRON", "VERB", "NOUN", "NOUN", "NOUN"], ["PRON", "NOUN", "", "NOUN", "NOUN"]
    expected = metrics.f1_score(
        gold, predicted, labels=["NOUN", "PRON", "VERB"], average="macro", zero_division=0
    )
    assert found["tag_macro_f1"] == pytest.approx(100 * expected)
    assert scored.scores[1].sums.shape[0] == 2  # resampled by sentence

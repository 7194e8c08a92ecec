"""Probes are their formulas, written out slowly; the classifier is scikit-learn's."""

import numpy as np
import pytest

from xlingual.data.byte_vocabulary import ByteVocabulary
from xlingual.evaluation.encoding import EncodingOptions
from xlingual.evaluation.probes import (
    RepresentationProbes,
    anisotropy,
    fit_ridge,
    language_probe,
    linear_cka,
    matched_and_random,
    mexa,
)
from xlingual.evaluation.suite import ModelSource
from xlingual.evaluation.text_sets import TextSets

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def sides():
    generator = np.random.default_rng(0)
    first = generator.normal(size=(40, 6)).astype(np.float32) + 0.5
    return first, (first @ np.diag([1, 2, 1, 1, 1, 3]) + 0.9 * generator.normal(size=(40, 6)))


def test_cosines_and_mexa_are_those_of_the_whole_matrix(sides):
    a, b = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in sides)
    cosines = a @ b.T
    off = ~np.eye(40, dtype=bool)
    matched, random = matched_and_random(*sides)
    assert matched == pytest.approx(np.diag(cosines).mean(), abs=1e-6)
    assert random == pytest.approx(cosines[off].mean(), abs=1e-6)
    assert anisotropy(sides[0]) == pytest.approx((a @ a.T)[off].mean(), abs=1e-6)
    wins = [
        cosines[i, i] > max(np.delete(cosines[i], i).max(), np.delete(cosines[:, i], i).max())
        for i in range(40)
    ]
    assert 0 < np.mean(wins) < 1
    assert mexa(*sides) == np.mean(wins)


def test_cka_is_that_of_the_kernels(sides):
    centring = np.eye(40) - 1 / 40
    k, l = (centring @ (v @ v.T) @ centring for v in sides)
    expected = np.trace(k @ l) / np.sqrt(np.trace(k @ k) * np.trace(l @ l))
    assert linear_cka(*sides) == pytest.approx(expected, rel=1e-5)
    turned = np.linalg.qr(np.random.default_rng(1).normal(size=(6, 6)))[0]
    assert linear_cka(sides[0], 3 * sides[0] @ turned + 1) == pytest.approx(1, abs=1e-5)
    assert linear_cka(sides[0], np.ones((40, 2))) == 0


def test_the_probe_is_scikit_learns_ridge_classifier(sides):
    linear_model = pytest.importorskip("sklearn.linear_model", reason="no scikit-learn")
    x = np.concatenate([sides[0], sides[1], sides[0][:, ::-1]])
    y = np.repeat(np.arange(3), 40)
    theirs = linear_model.RidgeClassifier(alpha=0.7).fit(x, y)
    weights, intercept = fit_ridge(x, y, 3, 0.7)
    np.testing.assert_allclose(weights.T, theirs.coef_, atol=1e-8)
    np.testing.assert_allclose(intercept, theirs.intercept_, atol=1e-8)


def test_languages_are_told_apart_where_they_differ_and_not_where_they_do_not():
    generator = np.random.default_rng(2)
    base = generator.normal(size=(300, 8))
    apart = {lang: base + 4 * np.eye(8)[axis] for axis, lang in enumerate(("de", "en", "fr"))}
    assert language_probe(apart) > 0.95
    alike = {lang: generator.normal(size=(300, 8)) for lang in ("de", "en", "fr")}
    assert language_probe(alike) < 0.45


def test_every_layer_has_rows_and_the_same_twice(family, partitioner, tmp_path):
    model, params, converter = family
    words = ["house", "tree", "river", "cloud", "stone"]
    table = tmp_path / "words.tsv"
    table.write_text("en\tde\n" + "".join(f"{w}\t{w.upper()}\n" for w in words))
    evaluator = RepresentationProbes(
        sets=TextSets(tables=(str(table),)),
        encoding=EncodingOptions(max_length=16, batch_size=5),
    )
    source = ModelSource(tokenizer=ByteVocabulary(num_sentinels=10), feature_converter=converter)
    evaluator.prepare(model, partitioner, {}, source)
    evaluation = evaluator(params)
    assert evaluation.rows == evaluator(params).rows
    assert {row["layer"] for row in evaluation.rows} == {0, 1}
    rows = {(r["metric"], r["layer"]): r["value"] for r in evaluation.rows if r["src_lang"]}
    gap = rows["cosine_matched", 1] - rows["cosine_random", 1]
    assert rows["cosine_gap", 1] == pytest.approx(gap)
    assert evaluation.scalars["probes/words/cka"] == pytest.approx(rows["cka", 1])

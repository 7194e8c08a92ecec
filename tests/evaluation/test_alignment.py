"""Alignments are simalign's; errors are counted as by hand; formats are read."""

import json
import pathlib

import numpy as np
import pytest
import scipy.optimize

from xlingual.data.byte_vocabulary import ByteVocabulary
from xlingual.errors import ConfigError
from xlingual.evaluation import alignment
from xlingual.evaluation.alignment import METHODS, Gold, link_counts, parse_links, parse_naacl
from xlingual.evaluation.encoding import EncodingOptions
from xlingual.evaluation.suite import ModelSource
from xlingual.evaluation.word_alignment import AlignedFiles, WordAlignmentEvaluator

_CASES = json.loads(
    (pathlib.Path(__file__).parents[1] / "golden" / "simalign.json").read_text(encoding="utf-8")
)["cases"]


@pytest.mark.parametrize("method", METHODS)
def test_links_are_those_of_simalign(method):
    assert len(_CASES) > 20
    several = 0
    for case in _CASES:
        scores = np.asarray(case["similarity"])
        if case["distortion"]:
            places = [np.linspace(0, 1, n) for n in scores.shape]
            if min(scores.shape) > 1:
                scores = scores * (1 - case["distortion"] * np.subtract.outer(*places) ** 2)
        found = np.argwhere(METHODS[method](scores)).tolist()
        assert found == case[method], (scores.shape, case["distortion"])
        several += found != case["argmax"]
    assert method == "argmax" or several > 5


def test_similarities_are_cosines_in_0_to_1_less_for_other_places():
    generator = np.random.default_rng(0)
    source, target = generator.normal(size=(3, 5)), generator.normal(size=(4, 5))
    plain = alignment.similarity(source, target)
    for i, j in np.ndindex(3, 4):
        cosine = source[i] @ target[j] / np.linalg.norm(source[i]) / np.linalg.norm(target[j])
        assert plain[i, j] == pytest.approx((cosine + 1) / 2, abs=1e-6)
        bent = alignment.similarity(source, target, distortion=0.5)[i, j]
        assert bent == pytest.approx(plain[i, j] * (1 - 0.5 * (i / 2 - j / 3) ** 2))


def test_match_is_a_matching_of_the_largest_total():
    scores = np.random.default_rng(3).random((6, 4))
    links = METHODS["match"](scores)
    assert links.sum() == 4 and links.sum(0).max() == links.sum(1).max() == 1
    best = scores[scipy.optimize.linear_sum_assignment(-scores)].sum()
    assert scores[links].sum() == pytest.approx(best)


def test_errors_are_counted_as_och_and_ney_do():
    gold = Gold(frozenset({(0, 0), (1, 1), (2, 2)}), frozenset({(0, 0), (1, 1), (2, 2), (2, 3)}))
    counts = link_counts({(0, 0), (2, 3), (4, 4)}, gold)
    assert counts == (1, 2, 3, 3)
    scores = alignment.scores_of_counts(np.asarray([counts]))
    assert scores["precision"][0] == pytest.approx(2 / 3)
    assert scores["recall"][0] == pytest.approx(1 / 3)
    assert scores["aer"][0] == pytest.approx(1 - (1 + 2) / (3 + 3))
    assert scores["f1"][0] == pytest.approx(2 * (2 / 3) * (1 / 3) / (2 / 3 + 1 / 3))


def test_formats_of_links():
    pharaoh = parse_links("0-0 1p2 2-1")
    assert pharaoh.sure == {(0, 0), (2, 1)} and pharaoh.possible == pharaoh.sure | {(1, 2)}
    assert parse_links("1-1 2p3 3-2", first_index=1) == pharaoh
    assert parse_links("") == Gold(frozenset(), frozenset())
    naacl = ["1 1 1 S", "0001 2 3 P", "1 3 2", "3 1 2 S 0.5"]
    found = parse_naacl(naacl, 3)
    assert found[0] == pharaoh and not found[1].possible and found[2].sure == {(0, 1)}
    for text in ("0:1", "1-x", "0-1-2"):
        with pytest.raises(ConfigError, match="expected"):
            parse_links(text)
    with pytest.raises(ConfigError, match="numbers from 1"):
        parse_links("0-1", first_index=1)
    with pytest.raises(ConfigError, match="of 2 sentences"):
        parse_naacl(["3 1 1"], 2)


_SENTENCES = [("red house", "house red", "0-1 1-0"), ("a tall tree", "tall tree a", "0-2 1-0 2p1")]


@pytest.mark.parametrize("token_type", ["subword", "word"])
def test_words_of_alike_states_are_aligned(token_type, family, partitioner, tmp_path):
    """In layer 0 a letter is nearest to itself, so that means of words are nearest to theirs."""
    model, params, converter = family
    paths = {}
    for place, name in enumerate(("sources", "targets", "links")):
        paths[name] = str(tmp_path / name)
        (tmp_path / name).write_text("".join(f"{row[place]}\n" for row in _SENTENCES))
    files = AlignedFiles(name="made_up", src_lang="de", tgt_lang="en", **paths)
    evaluator = WordAlignmentEvaluator(
        files=(files,),
        encoding=EncodingOptions(layer=0, max_length=32, batch_size=2),
        token_type=token_type,
        bootstrap_samples=20,
    )
    source = ModelSource(tokenizer=ByteVocabulary(num_sentinels=10), feature_converter=converter)
    evaluator.prepare(model, partitioner, {}, source)
    evaluation = evaluator(params)
    assert evaluation.rows == evaluator(params).rows
    rows = {(row["metric"], row["src_lang"]): row for row in evaluation.rows}
    if token_type == "word":
        assert rows["aer_match", "de"]["value"] <= 0.2
        assert rows["recall_argmax", "de"]["value"] == 1.0
        assert rows["word_retrieval", "de"]["value"] >= 0.75
        assert rows["word_retrieval", "en"]["num_examples"] == 4
    low, high = rows["f1_itermax", "de"]["low"], rows["f1_itermax", "de"]["high"]
    assert 0 <= low <= rows["f1_itermax", "de"]["value"] <= high <= 1


def test_wrong_settings_are_refused(tmp_path, family, partitioner):
    model, _, _ = family
    (tmp_path / "a.tsv").write_text("de\ten\tlinks\n")
    for settings, message in (
        ({}, "no tables"),
        ({"methods": ("giza",)}, "giza"),
        ({"token_type": "char"}, "char"),
        ({"tables": (str(tmp_path / "a.tsv"),)}, "SRC TGT sure possible"),
    ):
        with pytest.raises(ConfigError, match=message):
            WordAlignmentEvaluator(**settings).prepare(model, partitioner, {}, None)

"""Vectors are pooled states, whatever stands beside a text; centring and whitening are exact."""

import jax
import numpy as np
import pytest
import seqio

from xlingual.data.byte_vocabulary import ByteVocabulary
from xlingual.errors import ConfigError
from xlingual.evaluation.decoding_batches import make_decoding_batch
from xlingual.evaluation.encoding import POOLINGS, EncodingOptions, SentenceEncoder, adjust
from xlingual.evaluation.retrieval import RetrievalEvaluator
from xlingual.evaluation.suite import ModelSource
from xlingual.evaluation.text_sets import TextSets

pytestmark = pytest.mark.slow

_TEXTS = ["abc", "", "a rather longer text", "x y"]


@pytest.fixture(scope="module")
def vocabulary():
    return ByteVocabulary(num_sentinels=10)


_SLOW = [pytest.param(p, marks=pytest.mark.slow) for p in POOLINGS if p not in ("mean", "last")]


@pytest.mark.parametrize("pooling", ["mean", "last", *_SLOW])
def test_vectors_are_pooled_over_the_tokens_of_a_text_alone(
    pooling, family, partitioner, vocabulary
):
    model, params, _ = family
    options = EncodingOptions(pooling=pooling, layer=1, batch_size=3, max_length=32)
    encoder = SentenceEncoder(model, partitioner, vocabulary, options, params=params)
    vectors = encoder.encode(_TEXTS)
    assert vectors.shape == (4, 16) and vectors.dtype == np.float32
    np.testing.assert_array_equal(encoder.encode_layers(_TEXTS)[1], vectors)
    assert encoder.num_layers() == len(encoder.encode_layers(_TEXTS[:1])) == 2
    layer_states = jax.jit(model.layer_states)
    for text, vector in zip(_TEXTS, vectors, strict=True):
        ids = np.asarray([*vocabulary.encode(text), vocabulary.eos_id], np.int32)
        batch = make_decoding_batch([ids], batch_size=1, length=24)
        states = np.asarray(layer_states(params, batch)[0][1, 0, : len(ids)], np.float64)
        weights = {
            "mean": np.ones(len(ids)),
            "weighted_mean": np.arange(1, len(ids) + 1),
            "first": np.eye(len(ids))[0],
            "last": np.eye(len(ids))[-1],
        }[pooling]
        np.testing.assert_allclose(vector, weights @ states / weights.sum(), atol=2e-5)


def test_prefixes_name_the_language_and_long_texts_are_cut(family, partitioner, vocabulary):
    model, params, _ = family
    options = EncodingOptions(prefix="{lang}: ", max_length=8, batch_size=2)
    encoder = SentenceEncoder(model, partitioner, vocabulary, options, params=params)
    plain = SentenceEncoder(
        model, partitioner, vocabulary, EncodingOptions(max_length=8, batch_size=2), params=params
    )
    np.testing.assert_allclose(
        encoder.encode(["abcdefghi"], lang="de"), plain.encode(["de: abcdefghi"]), atol=1e-5
    )


@pytest.mark.parametrize("change", [{"pooling": "max"}, {"max_length": 1}])
def test_wrong_options_are_refused(change):
    with pytest.raises(ConfigError, match=next(iter(change))):
        EncodingOptions(**change)


def test_centring_and_whitening():
    generator = np.random.default_rng(0)
    mix = generator.normal(size=(6, 6))
    vectors = {
        lang: (generator.normal(size=(300, 6)) @ mix + shift).astype(np.float32)
        for lang, shift in (("de", 1.0), ("en", -2.0))
    }
    vectors = {lang: np.concatenate([v, v[:, :1]], axis=1) for lang, v in vectors.items()}
    centred = adjust(vectors, centre=True, whiten=False)
    for lang, found in centred.items():
        np.testing.assert_allclose(found, vectors[lang] - vectors[lang].mean(0), atol=1e-5)
    white = np.concatenate(list(adjust(vectors, centre=False, whiten=True).values()))
    assert white.shape == (600, 6)  # the doubled axis has no variance of its own
    np.testing.assert_allclose(np.cov(white, rowvar=False, bias=True), np.eye(6), atol=1e-4)
    same = adjust(vectors, centre=False, whiten=False)
    np.testing.assert_array_equal(same["de"], vectors["de"])


def test_retrieval_from_files_gives_rows_twice_alike(family, partitioner, vocabulary, tmp_path):
    model, params, converter = family
    words = ["house", "tree", "river", "cloud", "stone", "bird", "road", "lamp", "door"]
    lines = [f"{w}\t{w.upper()}\t{w[::-1]}" for w in words]
    table = tmp_path / "words.valid.tsv"
    table.write_text("\n".join(["en\tde\tfr", *lines, "only\t\tempty", lines[0]]) + "\n")
    evaluator = RetrievalEvaluator(
        sets=TextSets(tables=(str(table),), pivot_lang="en"),
        encoding=EncodingOptions(batch_size=4, max_length=16),
        layers=(0, 1),
        criteria=("cosine", "margin_ratio"),
        bootstrap_samples=20,
    )
    source = ModelSource(tokenizer=vocabulary, feature_converter=converter)
    evaluator.prepare(model, partitioner, {}, source)
    evaluation = evaluator(params)
    assert evaluation.rows == evaluator(params).rows
    rows = {(r["metric"], r["layer"], r["src_lang"] or r["lang"], r["tgt_lang"]): r
            for r in evaluation.rows if r["dataset"] == "words.valid"}  # fmt: skip
    # Layer 0 knows no order: a word and its letters turned round have the same mean.
    turned = rows["retrieval_cosine", 0, "fr", "en"]
    assert turned["value"] == 1.0 and turned["num_examples"] == 9
    assert turned["low"] == turned["high"] == 1.0
    assert rows["mining_f1", 0, "fr", "en"]["value"] == 1.0
    assert 0 < rows["mixed_pool_map", 0, "fr", None]["value"] <= 1
    records = evaluation.details["words.valid.fr-en"]
    assert len(records) == 9 and {"gold", "prediction", "correct"} <= set(records[0])
    assert "retrieval/words.valid/retrieval_cosine/layer_0" in evaluation.scalars


def test_files_that_do_not_fit_are_refused(tmp_path):
    (tmp_path / "a.txt").write_text("x\ny\n")
    (tmp_path / "b.txt").write_text("x\n")
    files = {"set": {"de": str(tmp_path / "a.txt"), "en": str(tmp_path / "b.txt")}}
    for settings, message in (
        ({"files": files}, "expected as many"),
        ({"tables": [str(tmp_path / "none.tsv")]}, "does not exist"),
        ({}, "names no tables"),
    ):
        with pytest.raises(ConfigError, match=message):
            TextSets(**settings).load()


def test_tasks_with_a_pivot_become_one_set_of_many_languages(add_task):
    del add_task
    import tasks.toy  # noqa: F401

    names = ("toy_translation_de_en", "toy_translation_fr_en")
    (found,) = TextSets(tasks=names, split="test", num_examples=20).load()
    assert set(found.texts) == {"de", "fr", "en"} and found.size == 20
    assert found.pairs("en") == [("de", "en"), ("fr", "en")]
    assert seqio.TaskRegistry.get(names[0]) is not None

"""MTEB takes the encoder as it is, and scores what our own retrieval scores."""

import warnings

import numpy as np
import pytest

from xlingual.data.byte_vocabulary import ByteVocabulary
from xlingual.errors import ConfigError
from xlingual.evaluation.encoding import EncodingOptions, SentenceEncoder
from xlingual.evaluation.mteb_adapter import MtebEncoder
from xlingual.evaluation.retrieval_scores import retrieve

_WORDS = ["house", "tree", "river", "cloud", "stone", "bird", "road", "lamp"]


@pytest.fixture(scope="module")
def encoder(family, partitioner):
    model, params, _ = family
    sentences = SentenceEncoder(
        model,
        partitioner,
        ByteVocabulary(num_sentinels=10),
        EncodingOptions(batch_size=8, max_length=16),
        params=params,
    )
    return MtebEncoder(encoder=sentences, name="xlingual/test", revision="60")


def test_texts_and_batches_of_texts_give_the_same_vectors(encoder):
    vectors = encoder.encode(_WORDS, task_metadata=None, batch_size=2)
    assert vectors.shape == (8, 16)
    batches = [{"text": _WORDS[:5]}, {"text": _WORDS[5:]}]
    np.testing.assert_array_equal(encoder.encode(batches, hf_split="test"), vectors)
    cosines = encoder.similarity(vectors, vectors)
    np.testing.assert_allclose(np.diag(cosines), 1, atol=1e-6)
    pairwise = encoder.similarity_pairwise(vectors, vectors[::-1])
    np.testing.assert_allclose(pairwise, np.diag(cosines[:, ::-1]), atol=1e-6)
    with pytest.raises(ConfigError, match="organisation/model"):
        MtebEncoder(encoder=encoder.encoder, name="toy")


@pytest.mark.filterwarnings("ignore")
def test_mteb_scores_local_data(encoder, tmp_path, monkeypatch):
    monkeypatch.setenv("MTEB_CACHE", str(tmp_path))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mteb = pytest.importorskip("mteb", reason="mteb is not installed")
        datasets = pytest.importorskip("datasets", reason="datasets is not installed")
        from mteb.abstasks.task_metadata import TaskMetadata
        from mteb.abstasks.text.bitext_mining import AbsTaskBitextMining

    changed = [word[:-1] + "x" for word in _WORDS]

    class Local(AbsTaskBitextMining):
        metadata = TaskMetadata(
            name="LocalBitext",
            description="Words and their misspellings.",
            reference=None,
            dataset={"path": "local/bitext", "revision": "1"},
            type="BitextMining",
            category="t2t",
            modalities=["text"],
            eval_splits=["test"],
            eval_langs=["eng-Latn"],
            main_score="f1",
        )

        def load_data(self, **settings):
            columns = {"sentence1": _WORDS, "sentence2": changed}
            self.dataset = {"test": datasets.Dataset.from_dict(columns)}
            self.data_loaded = True

    found = mteb.evaluate(encoder, Local(), cache=None, co2_tracker=False)
    scores = found.task_results[0].scores["test"][0]
    there, _ = retrieve(encoder.encode(_WORDS), encoder.encode(changed), ["cosine"])["cosine"]
    assert scores["accuracy"] == pytest.approx(np.mean(there == np.arange(8)))

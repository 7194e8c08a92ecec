"""The vocabulary of the toy corpus: trained once, cached, complete, lossless, not at import."""

import os
import pickle
import subprocess
import sys

import pytest

from tasks import toy_corpus, toy_vocabulary, trained_vocabulary
from xlingual.data import vocabularies
from xlingual.errors import ConfigError
from xlingual.objectives import code_whitespace


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(trained_vocabulary.CACHE_VARIABLE, str(folder))
        yield folder


def _languages():
    return [*toy_corpus.NATURAL_LANGUAGES, *toy_corpus.PROGRAMMING_LANGUAGES]


def test_trained_once_with_every_special_piece(cache):
    vocabulary = toy_vocabulary.toy_vocabulary.__wrapped__()
    assert vocabulary.vocab_size == toy_vocabulary.VOCAB_SIZE
    (file,) = cache.glob("*.model")
    assert vocabulary.sentencepiece_model_file == str(file)
    modified = file.stat().st_mtime_ns
    again = toy_vocabulary.toy_vocabulary.__wrapped__()
    assert again.encode("The queen") == vocabulary.encode("The queen")
    assert file.stat().st_mtime_ns == modified
    special = vocabularies.special_tokens(vocabulary)
    assert special.num_sentinels == 100
    assert special.sentinel_start == toy_vocabulary.VOCAB_SIZE - 1
    for language in _languages():
        for name in (f"<2{language}>", f"<lg:{language}>"):
            assert vocabulary.encode(name)[-1] == special.control_id(name)
    for name in (*code_whitespace.WHITESPACE_PIECES, "[NLU]", "[NLG]", "[S2S]", "<mask>", "<sep>"):
        assert vocabulary.encode(name)[-1] == special.control_id(name)


@pytest.mark.parametrize("language", toy_corpus.NATURAL_LANGUAGES)
def test_held_out_texts_have_a_round_trip_and_few_pieces(cache, language):
    vocabulary = toy_vocabulary.toy_vocabulary()
    texts = toy_corpus.texts(language, "test")
    pieces = [vocabulary.encode(text) for text in texts]
    assert [vocabulary.decode(ids) for ids in pieces] == texts
    assert all(vocabulary.unk_id not in ids for ids in pieces)
    assert not any(vocabulary.tokenizer.IsByte(piece) for ids in pieces for piece in ids)
    assert sum(map(len, pieces)) / len(pieces) < 18


@pytest.mark.parametrize("language", toy_corpus.PROGRAMMING_LANGUAGES)
def test_held_out_code_has_a_round_trip(cache, language):
    vocabulary = toy_vocabulary.toy_vocabulary()
    for code in toy_corpus.texts(language, "test"):
        ids = vocabulary.encode(code_whitespace.encode_whitespace(code))
        assert code_whitespace.decode_whitespace(vocabulary.decode(ids)) == code
        assert len(ids) < 80


def test_features_can_be_copied_and_compared(cache):
    vocabulary = toy_vocabulary.toy_vocabulary()
    copy = pickle.loads(pickle.dumps(vocabulary))
    assert copy == vocabulary and hash(copy) == hash(vocabulary)
    assert copy.encode("drei Bücher") == vocabulary.encode("drei Bücher")
    assert vocabulary != vocabularies.load_vocabulary(toy_vocabulary.vocabulary_path())


@pytest.mark.slow
def test_import_neither_trains_nor_renders(tmp_path):
    """A fresh process that imports the tasks leaves no file and builds no corpus."""
    program = (
        "import tasks.toy, tasks.toy_corpus as corpus\n"
        "assert corpus._sentences.cache_info().currsize == 0\n"
        "assert corpus._programs.cache_info().currsize == 0\n"
    )
    environment = os.environ | {trained_vocabulary.CACHE_VARIABLE: str(tmp_path / "cache")}
    subprocess.run([sys.executable, "-c", program], check=True, env=environment)
    assert not (tmp_path / "cache").exists()


def test_unwritable_cache_is_named(tmp_path, monkeypatch):
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv(trained_vocabulary.CACHE_VARIABLE, str(blocked / "cache"))
    with pytest.raises(ConfigError, match=r"cannot write the vocabulary .*XLINGUAL_CACHE"):
        toy_vocabulary.vocabulary_path()

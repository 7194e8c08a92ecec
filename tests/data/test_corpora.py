"""Rows of tasks and of folders, their languages and their text as a tokenizer reads it."""

import gzip
import json

import pytest

from tasks import corpus_folder, toy, toy_corpus
from xlingual.data import corpora
from xlingual.errors import ConfigError


@pytest.fixture
def folder(tmp_path):
    files = {
        "mono/deu_Latn.txt.gz": "Hallo Welt\n\nGuten Tag\n",
        "mono/deu_Latn.valid.txt.gz": "Auf Wiedersehen\n",
        "parallel/multi.train.tsv.gz": "eng_Latn\tdeu_Latn\tace_Arab\nHello\tHallo\t\nBye\t\tx\n",
        "code/small.train.jsonl.gz": json.dumps(
            {"nl": "add", "lang": "eng_Latn", "code": "a\n\tb  <nl>", "pl": "inform7"}
        ),
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(gzip.compress(text.encode()))
    (tmp_path / "languages.tsv").write_text(
        "code\tbcp47\tscript\neng_Latn\ten\tLatn\ndeu_Latn\tde\tLatn\nxxx_Latn\tqq\tLatn\n"
    )
    return tmp_path


def test_a_folder_is_read_by_source_and_split(folder):
    found = corpus_folder.folder_corpora(str(folder), "train")
    assert [one.name for one in found] == ["code/small", "mono/deu_Latn", "parallel/multi"]
    rows = {one.name: list(one.read()) for one in found}
    assert rows["mono/deu_Latn"] == [{"deu_Latn": "Hallo Welt"}, {"deu_Latn": "Guten Tag"}]
    assert rows["parallel/multi"] == [
        {"eng_Latn": "Hello", "deu_Latn": "Hallo"},
        {"eng_Latn": "Bye", "ace_Arab": "x"},
    ]
    assert rows["code/small"] == [{"eng_Latn": "add", "inform7": "a\n\tb  <nl>"}]
    (held_out,) = corpus_folder.folder_corpora(str(folder), "validation")
    assert list(held_out.read()) == [{"deu_Latn": "Auf Wiedersehen"}]
    assert corpus_folder.language_codes(str(folder)) == {"eng_Latn": "en", "deu_Latn": "de"}


def test_code_is_told_from_text_by_the_file(folder):
    code, text, _ = corpus_folder.folder_corpora(str(folder), "train")
    assert code.is_code("inform7") and not code.is_code("eng_Latn")
    assert code.tokenizer_text("inform7", "a\n\tb  <nl>") == "a<nl><tab>b<sp2><\\nl>"
    assert code.tokenizer_text("eng_Latn", "press <tab>") == "press <\\tab>"
    assert not text.is_code("deu_Latn")


@pytest.mark.parametrize(
    ("name", "split", "message"),
    [
        ("nowhere", "train", "no data folder .*nowhere"),
        (".", "test", "split is 'test'; a folder has \\['train', 'validation'\\]"),
        ("mono", "train", "has no files of the split 'train'"),
    ],
)
def test_a_wrong_folder_is_refused(folder, name, split, message):
    with pytest.raises(ConfigError, match=message):
        corpus_folder.folder_corpora(str(folder / name), split)


def test_a_broken_line_is_refused_by_its_number(folder):
    (folder / "parallel/multi.train.tsv.gz").write_bytes(gzip.compress(b"en\tde\na\tb\tc\n"))
    (broken,) = [
        one for one in corpus_folder.folder_corpora(str(folder), "train") if "parallel" in one.name
    ]
    with pytest.raises(ConfigError, match="line 2: 3 cells, expected 2"):
        list(broken.read())


def test_tasks_are_corpora_and_share_their_records():
    names = [toy.task_name("span_corruption", "de"), toy.task_name("causal_lm", "de")]
    (found,) = corpora.task_corpora(names, "train")
    rows = list(found.read())
    assert found.name == names[0] and rows[0] == {"de": toy_corpus.texts("de", "train")[0]}
    assert len(rows) == toy_corpus.num_texts("de", "train")
    (pairs,) = corpora.task_corpora(["toy_translation_de_en"], "train")
    assert set(next(iter(pairs.read()))) == {"de", "en"}
    (english,) = corpora.only_languages([pairs], ["en"])
    assert all(set(row) == {"en"} for row in english.read())
    with pytest.raises(ConfigError, match=r"no task of .* has a split 'nosplit'"):
        corpora.task_corpora(names, "nosplit")

"""Every objective has tasks on the toy corpus, over the records that it takes."""

import collections
import pathlib

import pytest
import seqio

from tasks import toy, toy_corpus, toy_lexicon, toy_objectives, toy_recipes
from xlingual.data import task_registry
from xlingual.objectives import registry

RECIPES = {
    "toy_mt5": {"span_corruption": 1.0},
    "toy_nmt5": {"span_corruption": 0.9, "translation": 0.1},
    "toy_mt6": {"span_corruption": 0.5, "tsc": 0.5},
    "toy_ernie_code": {"span_corruption": 0.5, "ptlm": 0.5},
    "toy_mbart": {"mbart": 1.0},
    "toy_ul2": {"ul2": 1.0},
    "toy_dot_denoise": {"dot_denoise": 1.0},
    "toy_bit": {"bit": 1.0},
    "toy_causal_lm_english": {"causal_lm": 1.0},
}


def records(source, split="validation"):
    return list(source.get_dataset(split, shuffle=False).as_numpy_iterator())


def test_every_objective_has_tasks():
    found = {
        task_registry.task_metadata(name).objective
        for name in seqio.TaskRegistry.names()
        if name.startswith("toy_")
    }
    assert set(registry.objectives()) <= found


def test_registering_again_does_nothing():
    before = list(seqio.TaskRegistry.names()), list(seqio.MixtureRegistry.names())
    toy_objectives.register_tasks()
    toy_recipes.register_mixtures()
    assert before == (list(seqio.TaskRegistry.names()), list(seqio.MixtureRegistry.names()))


@pytest.mark.parametrize("recipe", RECIPES)
def test_recipes_have_the_shares_of_their_papers(recipe):
    shares, unit = task_registry.leaf_shares(recipe)
    assert unit == ("examples" if recipe == "toy_nmt5" else "tokens")
    found = collections.Counter()
    for task, share in shares.items():
        found[task_registry.task_metadata(task).objective] += share
    assert dict(found) == pytest.approx(RECIPES[recipe])


def test_languages_follow_their_sizes():
    shares = task_registry.leaf_shares("toy_mt5")[0]
    sizes = {
        name: seqio.TaskRegistry.get(name).source.num_input_examples("train") for name in shares
    }
    total = sum(size**0.3 for size in sizes.values())
    assert shares == pytest.approx({name: size**0.3 / total for name, size in sizes.items()})


def test_documents_have_several_sentences():
    documents = [r["text"].decode() for r in records(toy_objectives.document_source("ru"))]
    sentences = toy_corpus.texts("ru", "validation")
    assert " ".join(documents) == " ".join(sentences)
    assert len(documents) == len(sentences) / toy_objectives.SENTENCES_PER_DOCUMENT


def test_document_pairs_have_a_sentence_a_line():
    for pair in records(toy_objectives.document_pair_source("hi", "en"))[:20]:
        assert len(pair["src"].splitlines()) == len(pair["tgt"].splitlines()) == 4


def test_triples_say_the_same_in_three_languages():
    found = records(toy_objectives.triple_source("de", "ja"), "train")
    german, english = toy_corpus.pairs("de", "en", "train")
    assert [r["src"].decode() for r in found] == german
    assert [r["pivot"].decode() for r in found] == english
    assert {r["tgt_lang"] for r in found} == {b"ja"}


def test_entities_are_those_of_the_tables():
    for record in records(toy_objectives.entity_source("fr"))[:50]:
        text = record["text"].decode()
        spans = zip(
            *(record[name].tolist() for name in ("starts", "ends", "types", "qids")), strict=True
        )
        expected = toy_lexicon.entities(text, "fr")
        assert [(s, e, t.decode(), q.decode()) for s, e, t, q in spans] == expected


def test_lexicon_files_are_written_once(monkeypatch, tmp_path):
    monkeypatch.setenv("XLINGUAL_CACHE", str(tmp_path))
    first = toy_lexicon.lexicon_files("en")
    assert set(first) == {("en", language) for language in toy.FOREIGN}
    lines = pathlib.Path(first["en", "de"]).read_text(encoding="utf-8").splitlines()
    assert "book\tBuch" in lines
    times = [path.stat().st_mtime_ns for path in tmp_path.rglob("*.tsv")]
    assert toy_lexicon.lexicon_files("en") == first
    assert times == [path.stat().st_mtime_ns for path in tmp_path.rglob("*.tsv")]
    labels = pathlib.Path(toy_lexicon.labels_file()).read_text(encoding="utf-8")
    assert "book\tru\tкнигу\n" in labels

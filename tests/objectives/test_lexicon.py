import gzip
import unicodedata

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from xlingual.errors import ConfigError
from xlingual.objectives import lexicon


@pytest.fixture
def write(tmp_path):
    def apply(text, name="en-de.tsv"):
        path = tmp_path / name
        data = text.encode()
        path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
        return str(path)

    return apply


def look_up(table, source, target, words, seed=0):
    """Returns the drawn translation of each word, None where there is none."""
    count = len(words)
    langs = (tf.fill([count], source), tf.fill([count], target))
    places = table.find(lexicon.lexicon_keys(*langs, tf.constant(words, tf.string)))
    found = np.flatnonzero(places.numpy() >= 0)
    drawn = table.draw(tf.gather(places, found), tf.constant([seed, 0])).numpy()
    results = [None] * count
    for place, value in zip(found, drawn, strict=True):
        results[place] = value.decode()
    return results


def test_pairs_are_normalised_and_identical_ones_dropped(write):
    path = write("cat\tKatze\r\nﬁre\tFeuer\nhand\tHand\nBerlin\tBerlin\ncat\tKatze\ncat\tKater\n\n")
    assert lexicon.read_lexicon(path) == [("cat", "Katze"), ("fire", "Feuer"), ("cat", "Kater")]


def test_a_gzip_file_is_read_and_a_mark_of_byte_order_skipped(write):
    path = write("\ufeffcat\tKatze\n", "lexicon.tsv.gz")
    assert lexicon.read_lexicon(path) == [("cat", "Katze")]


def test_look_up_ignores_case_and_form_and_respects_languages(write):
    files = {
        ("en", "de"): write("cat\tKatze\nstraße\tstreet\n"),
        ("de", "en"): write("Katze\tcat\n", "de-en.tsv"),
        ("en", "fr"): write("cat\tchat\n", "en-fr.tsv"),
    }
    table = lexicon.load_lexicons(files)
    words = ["cat", "CAT", "ｃａｔ", "STRASSE", "Katze", "dog", ""]
    assert look_up(table, "en", "de", words) == [*["Katze"] * 3, "street", None, None, None]
    assert look_up(table, "de", "en", ["Katze", "cat"]) == ["cat", None]
    assert look_up(table, "en", "fr", ["Cat"]) == ["chat"]
    assert look_up(table, "fr", "en", ["chat"]) == [None]


def test_all_translations_are_kept_and_drawn_uniformly(write):
    table = lexicon.load_lexicons({("en", "de"): write("cat\tKatze\ndog\tHund\ncat\tKater\n")})
    drawn = look_up(table, "en", "de", ["cat", "dog"] * 2000)
    assert set(drawn[1::2]) == {"Hund"}
    assert abs(drawn.count("Katze") - 1000) < 4 * np.sqrt(500)
    assert drawn.count("Kater") == 2000 - drawn.count("Katze")
    assert look_up(table, "en", "de", ["cat"] * 50, seed=1) != drawn[0:100:2]


def test_only_the_first_usable_pairs(write):
    path = write("hand\tHand\ncat\tKatze\ndog\tHund\n")
    table = lexicon.load_lexicons({("en", "de"): path}, max_pairs=1)
    assert look_up(table, "en", "de", ["cat", "dog"]) == ["Katze", None]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.text(max_size=4), st.text(max_size=3)), min_size=1, max_size=20))
def test_a_table_finds_its_keys_and_nothing_else(entries):
    table = lexicon.make_table(entries)
    known = dict.fromkeys(key for key, _ in entries)
    wanted = [*known, "\x00absent"]
    places = table.find(tf.constant([key.encode() for key in wanted])).numpy()
    assert places[-1] == -1
    for key, place in zip(known, places, strict=False):
        assert table.keys[place] == key.encode()
        values = table.values[table.splits[place] : table.splits[place + 1]]
        expected = {value.encode() for other, value in entries if other == key}
        assert sorted(values) == sorted(expected)


@pytest.mark.parametrize(
    ("word", "model", "expected"),
    [
        ("Katze", "cat", "Katze"),
        ("katze", "Cat", "Katze"),
        ("katze", "CAT", "KATZE"),
        ("ich", "I", "Ich"),
        ("straße", "ROAD", unicodedata.normalize("NFC", "STRASSE")),
        ("été", "Summer", "Été"),
        ("猫", "Cat", "猫"),
        ("cat", "猫", "cat"),
        ("mc", "McX", "Mc"),
        ("a", "2ND", "a"),
    ],
)
def test_capitalisation_follows_the_word_that_is_replaced(word, model, expected):
    found = lexicon.with_case_of(tf.constant([word]), tf.constant([model])).numpy()[0].decode()
    assert found == expected


def test_bad_files_and_settings_are_refused(write, tmp_path):
    cases = [
        ({}, None, "lexicons is empty"),
        ({("en", "de"): write("cat\tKatze\n")}, 0, "max_pairs is 0"),
        ({("en", "de"): str(tmp_path / "none.tsv")}, None, r"none\.tsv cannot be read"),
        ({("en", "de"): write("", "a.tsv")}, None, r"a\.tsv has no pair"),
        ({("en", "de"): write("hand\tHand\n", "b.tsv")}, None, "no pair of different words"),
        ({("en", "de"): write("cat Katze\ncat\tx\n", "c.tsv")}, None, "1 of 2 lines are not"),
    ]
    for files, max_pairs, words in cases:
        with pytest.raises(ConfigError, match=words):
            lexicon.load_lexicons(files, max_pairs)
    (tmp_path / "latin.tsv").write_bytes(b"caf\xe9\tKaffee\n")
    with pytest.raises(ConfigError, match="not UTF-8"):
        lexicon.read_lexicon(str(tmp_path / "latin.tsv"))


def test_two_keys_with_one_hash_are_refused(monkeypatch):
    monkeypatch.setattr(lexicon, "_NUM_BUCKETS", 1)
    with pytest.raises(ConfigError, match="cannot hold both"):
        lexicon.make_table([("a", "x"), ("b", "y")])


def test_a_few_bad_lines_are_dropped(write, caplog):
    path = write("cat\tKatze\n" + "".join(f"w{i}\tx{i}\n" for i in range(20)) + "broken\n")
    assert len(lexicon.read_lexicon(path)) == 21
    assert "dropped 1 bad lines" in caplog.text

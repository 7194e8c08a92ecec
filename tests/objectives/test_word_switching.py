import re

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import example, given, settings
from hypothesis import strategies as st

from xlingual.errors import ConfigError
from xlingual.objectives import word_switching as ws

SEEDS = tf.constant([[1, 1], [1, 2], [1, 3]])


@pytest.fixture
def files(tmp_path):
    lexicons = {("en", "de"): "cat\tKatze\nmat\tMatte\n", ("en", "fr"): "cat\tchat\n"}
    paths = {}
    for (source, target), text in lexicons.items():
        path = tmp_path / f"{source}-{target}.tsv"
        path.write_text(text)
        paths[source, target] = str(path)
    return paths


def switch(files, texts, langs=None, rate=1.0, seeds=SEEDS):
    apply = ws.make_switcher(files, rate=rate)
    found = apply(tf.constant(texts), tf.constant(langs or ["en"] * len(texts)), seeds)
    assert [t.decode() for t in ws.join_words(found.original).numpy()] == texts
    return [t.decode() for t in ws.join_words(found.read).numpy()], found


def test_words_are_replaced_and_all_else_kept(files):
    german = {("en", "de"): files["en", "de"]}
    texts = ["The  cat's mat,\n(CAT)—mat! catalogue cat2 2cat", "", "Cat", "cat", "no"]
    found, parts = switch(german, texts)
    assert found == [
        "The  Katze's Matte,\n(KATZE)—Matte! catalogue cat2 2cat",
        "",
        "Katze",
        "Katze",
        "no",
    ]
    assert int(np.sum(parts.hit)) == 6


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(), min_size=1, max_size=5))
@example(["\x01", "a\x01\x02b", "\x01\x03cat\x01\x03", "\x01\x01\x03", "नमस्ते, 猫 l'été"])
def test_cutting_is_lossless_and_every_second_part_is_a_word(texts):
    parts = ws.split_words(tf.constant([text.encode() for text in texts]))
    assert ws.join_words(parts).numpy().tolist() == [text.encode() for text in texts]
    for row in parts.to_list():
        for place, part in enumerate(row):
            word = re.fullmatch(r" ?\w[^\s\x00-\x1f]*", part.decode()) and "_" not in part.decode()
            assert bool(word) or place % 2 == 0


def test_one_language_a_text_and_only_those_that_serve_it(files):
    texts = ["cat cat cat mat"] * 300
    found, _ = switch(files, texts)
    counts = {text: found.count(text) for text in set(found)}
    assert set(counts) == {"Katze Katze Katze Matte", "chat chat chat mat"}
    assert abs(counts["chat chat chat mat"] - 150) < 4 * np.sqrt(75)
    for lang in ("de", "xx"):
        assert switch(files, ["cat Katze"], [lang])[0] == ["cat Katze"]


def test_share_of_replaced_words(files):
    texts = ["cat dog " * 10] * 300
    found, parts = switch(files, texts, rate=0.3)
    replaced = int(np.sum(parts.hit))
    assert abs(replaced - 900) < 4 * np.sqrt(3000 * 0.3 * 0.7)
    assert sum(text.count("dog") for text in found) == 3000


def test_bad_rates_are_refused(files):
    for rate in (0.0, 1.1):
        with pytest.raises(ConfigError, match=f"rate is {rate}"):
            ws.make_switcher(files, rate=rate)

import itertools
import random
import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from xlingual.data import pivot_join
from xlingual.data.pivot_join import Group, JoinRules, Link
from xlingual.errors import ConfigError

WORDS = st.text("abcdé猫 ", min_size=1, max_size=4)


def test_keys():
    assert pivot_join.join_key(" The\u00a0 river\tis ｗide. ") == "The river is wide."
    assert pivot_join.join_key("The River is WIDE?! ", loose=True) == "the river is wide"
    assert pivot_join.join_key("Is it C#. ", loose=True) == "is it c"
    assert pivot_join.join_key("...", loose=True) == ""
    # printf 'The river is wide.' | sha1sum
    assert (
        pivot_join.hash_of_key("The river is wide.") == "22b639acb4f124c92d0eba3df3e210ae293aa782"
    )


@pytest.mark.parametrize(
    ("key", "count"),
    [("Yes.", 1), ("The river is wide.", 4), ("河很宽", 3), ("ok 猫 and犬", 4), ("", 0)],
)
def test_tokens_of_keys(key, count):
    assert pivot_join.count_tokens(key) == count


def test_limits_of_keys():
    rules = JoinRules()
    assert not pivot_join.is_joinable("a b c", rules)
    assert pivot_join.is_joinable("a b c d", rules)
    assert pivot_join.is_joinable(" ".join("a" * 250), rules)
    assert not pivot_join.is_joinable(" ".join("a" * 251), rules)


@settings(max_examples=200)
@given(
    st.lists(WORDS, unique=True, max_size=12),
    st.lists(WORDS, unique=True, max_size=12),
    st.integers(1, 6),
)
@example(["a", "b"], ["a", "b"], 1)
def test_smallest_pairs_equal_those_of_all_pairs(xs, ys, count):
    every = [(pivot_join.pair_hash(x, y), x, y) for x in xs for y in ys if x != y]
    assert pivot_join.smallest_pairs(xs, ys, count) == sorted(every)[:count]


def test_a_thousand_translations_are_not_multiplied():
    xs, ys = ([f"{side} {i}" for i in range(1000)] for side in "xy")
    begin = time.process_time()
    found = pivot_join.smallest_pairs(xs, ys, 4)
    seconds = time.process_time() - begin
    assert len(found) == 4
    every = ((pivot_join.pair_hash(x, y), x, y) for x in xs[:40] for y in ys[:40])
    assert found[0] <= min(every)
    many = [[f"{side} {i}" for i in range(20_000)] for side in "xy"]
    begin = time.process_time()
    pivot_join.smallest_pairs(*many, 4)
    # Twenty times the texts: four hundred times the pairs, but not the time.
    assert time.process_time() - begin < 100 * seconds + 1.0


def test_groups_keep_each_text_once_with_its_sources():
    links = [
        Link("The river is wide.", "hi", "h1", "a.tsv"),
        Link("The  river is wide.", "sw", "s1", "b.tsv"),
        Link("The river is wide.", "hi", "h0", "c.tsv"),
        Link("The river is wide.", "hi", "h1", "c.tsv"),
    ]
    for order in itertools.permutations(links):
        group = pivot_join.make_group("k", order)
        assert group.as_record("en") == {
            "id": "k",
            "texts": {"en": "The  river is wide.", "hi": ["h0", "h1"], "sw": ["s1"]},
            "sources": {"hi": [["c.tsv"], ["a.tsv", "c.tsv"]], "sw": [["b.tsv"]]},
        }


def group(**texts):
    sources = {lang: [["f"]] * len(found) for lang, found in texts.items()}
    return Group(id="k", pivot="e", texts=texts, sources=sources)


def test_a_group_of_m_languages_gives_all_ordered_pairs():
    one_each = group(fi=["f1"], hi=["h1"], sw=["s1"])
    pairs = [(s, t, x, y) for s, t, (_, x, y) in pivot_join.pairs_of(one_each, JoinRules())]
    assert sorted(pairs) == sorted(
        (s, t, f"{s[0]}1", f"{t[0]}1") for s, t in itertools.permutations(["fi", "hi", "sw"], 2)
    )
    with_pivot = pivot_join.pairs_of(one_each, JoinRules(include_pivot=True))
    assert len(list(with_pivot)) == 4 * 3


def test_each_direction_has_the_cap_and_the_same_pairs():
    texts = [str(i) for i in range(30)]
    random.Random(0).shuffle(texts)
    found = list(pivot_join.pairs_of(group(hi=texts[:20], sw=texts[10:]), JoinRules()))
    forward = {(x, y) for s, _, (_, x, y) in found if s == "hi"}
    backward = {(y, x) for s, _, (_, x, y) in found if s == "sw"}
    assert forward == backward and len(forward) == 4
    assert all(x != y for x, y in forward)


@pytest.mark.parametrize(
    ("settings_", "words"),
    [
        ({"min_tokens": 0}, "min_tokens=0"),
        ({"min_tokens": 9, "max_tokens": 8}, "max_tokens=8"),
        ({"pairs_per_key": 0}, "pairs_per_key is 0"),
    ],
)
def test_bad_rules_are_refused(settings_, words):
    with pytest.raises(ConfigError, match=words):
        JoinRules(**settings_)

import functools
import re

import pytest
import tensorflow as tf

from xlingual.errors import ConfigError
from xlingual.objectives import code_switching as cs

LENGTHS = {"inputs": 64, "targets": 64}
EOS = 1


@pytest.fixture
def files(tmp_path):
    texts = {
        ("en", "de"): "library\tBibliothek\nriver\tFluss\npark\tPark\ngreen\tgrünen\n",
        ("de", "fr"): "alte\tvieille\n",
    }
    paths = {}
    for (source, target), text in texts.items():
        path = tmp_path / f"{source}-{target}.tsv"
        path.write_text(text)
        paths[source, target] = str(path)
    return paths


def records(**columns):
    return tf.data.Dataset.from_tensor_slices(columns)


def text_pairs(src, tgt, src_lang="en", tgt_lang="de"):
    count = len(src)
    return records(src=src, tgt=tgt, src_lang=[src_lang] * count, tgt_lang=[tgt_lang] * count)


def texts(text, lang="en"):
    return records(text=text, lang=[lang] * len(text))


@pytest.fixture
def make(run, output_features, special, files):
    """Runs an objective of the module; returns its examples."""

    def apply(objective, dataset, *, seed=0, lengths=LENGTHS, **options):
        bound = functools.partial(
            objective,
            sequence_length=lengths,
            output_features=output_features,
            special_tokens=special,
            **{"lexicons": files, **options},
        )
        return run(bound, dataset, seed=seed)

    return apply


@pytest.fixture
def read(vocabulary):
    """Turns ids into text; tags are spelled."""

    def apply(ids):
        assert ids[-1] == EOS
        return vocabulary.decode(ids[:-1])

    return apply


def test_ras_switches_the_source_and_keeps_the_target(make, read):
    dataset = text_pairs(["The old library"], ["Die alte Bibliothek"])
    found = [(read(e["inputs"]), read(e["targets"])) for e in make(cs.ras, dataset, rate=1.0)]
    assert found == [
        ("<2de> The old Bibliothek", "Die alte Bibliothek"),
        ("<2en> Die vieille Bibliothek", "The old library"),
    ]
    forward = make(cs.ras, dataset, rate=1.0, direction="fwd")
    assert [read(e["inputs"]) for e in forward] == ["<2de> The old Bibliothek"]


def test_ras_drops_unchanged_copies(make):
    dataset = text_pairs(["The old", "green river"], ["Das", "Am Fluss"])
    assert len(make(cs.ras, dataset, rate=1.0)) == 1
    # A copy of two words with rate .5 is unchanged one time in four.
    many = text_pairs(["green river"] * 400, ["Am Fluss"] * 400)
    found = make(cs.ras, many, rate=0.5, direction="fwd")
    assert abs(len(found) - 300) < 4 * (400 * 0.25 * 0.75) ** 0.5
    assert len(make(cs.ras, many, rate=1.0, direction="fwd", num_copies=3)) == 1200


def test_ras_in_a_random_direction(make, read):
    dataset = text_pairs(["The library"] * 200, ["Die alte"] * 200)
    found = [read(e["inputs"])[:5] for e in make(cs.ras, dataset, rate=1.0, direction="random")]
    assert len(found) == 200 and 60 < found.count("<2de>") < 140


def test_ras_uses_the_first_pairs_only(make, read):
    dataset = text_pairs(["library river"], ["Bibliothek Fluss"])
    (found,) = make(cs.ras, dataset, rate=1.0, direction="fwd", max_pairs=1)
    assert read(found["inputs"]) == "<2de> Bibliothek river"


def test_restore_gives_back_the_original(make, read):
    originals = [f"The library {i} and the GREEN park" for i in range(400)]
    found = make(cs.cs_restore, texts(originals), rate=0.5)
    assert abs(len(found) - 300) < 4 * (400 * 0.25 * 0.75) ** 0.5  # two words, each with rate .5
    restored = [read(e["targets"]) for e in found]
    assert set(restored) <= set(originals) and len(set(restored)) == len(restored)
    for example, original in zip(found, restored, strict=True):
        switched = read(example["inputs"])
        assert switched != f"<2en> {original}"
        for word, other in (("library", "Bibliothek"), ("GREEN", "GRÜNEN")):
            switched = switched.replace(other, word)
        assert switched == f"<2en> {original}"


def test_restore_takes_both_sides_of_pairs(make, read):
    dataset = text_pairs(["the river"], ["das alte"])
    found = make(cs.cs_restore, dataset, rate=1.0)
    assert [(read(e["inputs"]), read(e["targets"])) for e in found] == [
        ("<2en> the Fluss", "the river"),
        ("<2de> das vieille", "das alte"),
    ]


def test_the_first_piece_alone_is_supervised():
    """The example of the specification: the=10 cat=20 21 sat=30, cat -> 40 41 42."""
    read = tf.ragged.constant([[10], [40, 41, 42], [30]], tf.int32, ragged_rank=1)
    original = tf.ragged.constant([[20, 21]], tf.int32, ragged_rank=1)
    found = cs.supervise_first_pieces(
        read, original, tf.constant([False, True, False]), tf.constant([0, 3], tf.int64)
    )
    assert {name: values.to_list() for name, values in found.items()} == {
        "targets": [[10, 20, 41, 42, 30]],
        "targets_read": [[10, 40, 41, 42, 30]],
        "targets_weights": [[1, 1, 0, 0, 1]],
    }


def test_what_is_read_is_switched_and_what_is_predicted_is_not(make, vocabulary):
    (found,) = make(cs.cs_input_only, texts(["The old library is near"]), rate=1.0)
    assert sorted(found) == ["inputs", "targets", "targets_read", "targets_weights"]
    assert found["inputs"] == []
    assert vocabulary.decode(found["targets_read"][:-1]) == "The old Bibliothek is near"
    before, word = vocabulary.encode("The old"), vocabulary.encode("library")
    pieces, after = vocabulary.encode("Bibliothek"), vocabulary.encode("is near")
    assert found["targets_read"] == [*before, *pieces, *after, EOS]
    assert found["targets"] == [*before, word[0], *pieces[1:], *after, EOS]
    weights = [1] * len(before) + [1] + [0] * (len(pieces) - 1) + [1] * (len(after) + 1)
    assert found["targets_weights"] == weights


@pytest.mark.parametrize("rate", [0.05, 0.5, 1.0])
def test_weights_count_kept_tokens_and_switched_words(make, vocabulary, rate):
    sources = [f"Library {i}, the river, green; park!  river  of" for i in range(40)]
    found = make(cs.cs_input_only, texts(sources), rate=rate)
    assert len(found) == 40
    total = 0
    for example, source in zip(found, sources, strict=True):
        text = vocabulary.decode(example["targets_read"][:-1])
        words = [re.findall(r"\w+", side) for side in (source, text)]
        switched = [new for old, new in zip(*words, strict=True) if old != new]
        assert set(switched) <= {"Bibliothek", "Fluss", "grünen"}
        inside = sum(len(vocabulary.encode(word)) for word in switched)
        kept = len(example["targets_read"]) - 1 - inside
        assert sum(example["targets_weights"]) == kept + len(switched) + 1
        for gold, read, weight in zip(
            *(example[name] for name in ("targets", "targets_read", "targets_weights")),
            strict=True,
        ):
            assert weight or gold == read
        total += len(switched)
    assert abs(total - 160 * rate) <= 4 * (160 * rate * (1 - rate)) ** 0.5


def test_without_a_switch_a_text_is_tokenised_as_a_whole(make, vocabulary):
    source = "Où est le <2fr> tag?\nnext"
    (found,) = make(cs.cs_input_only, texts([source], "fr"))
    assert vocabulary.decode(found["targets"][:-1]) == source.replace("<2fr>", "<\\2fr>")
    assert found["targets"] == found["targets_read"]
    assert found["targets_weights"] == [1] * len(found["targets"])


def test_long_texts_are_cut_and_empty_ones_dropped(make):
    (whole,) = make(cs.cs_input_only, texts(["the library " * 4]), rate=1.0)
    cut = make(cs.cs_input_only, texts(["the library " * 4, ""]), rate=1.0, lengths={"targets": 10})
    assert [len(e["targets"]) for e in cut[:-1]] == [10] * (len(cut) - 1)
    for name in ("targets", "targets_read", "targets_weights"):
        assert [i for e in cut for i in e[name]] == whole[name]


def test_bad_settings_are_refused(make):
    pairs, mono = text_pairs(["a"], ["b"]), texts(["a"])
    for objective, dataset, options, words in (
        (cs.ras, mono, {}, "ras expects src, tgt, src_lang, tgt_lang"),
        (cs.ras, pairs, {"direction": "bwd"}, "direction is 'bwd'"),
        (cs.ras, pairs, {"num_copies": 0}, "num_copies is 0"),
        (cs.ras, pairs, {"rate": 2.0}, r"rate is 2\.0"),
        (cs.ras, pairs, {"lexicons": {}}, "lexicons is empty"),
        (cs.cs_restore, records(x=["a"]), {}, "cs_restore expects .*, or text, lang"),
        (cs.cs_input_only, pairs, {}, "cs_input_only expects text, lang"),
        (cs.cs_input_only, mono, {"lengths": {"targets": 1}}, "too short for cs_input_only"),
    ):
        with pytest.raises(ConfigError, match=words):
            make(objective, dataset, **options)


def test_sentinels_in_text_are_refused(make):
    with pytest.raises(tf.errors.InvalidArgumentError, match="sentinel ids"):
        make(cs.cs_input_only, texts(["the <extra_id_0>"]))

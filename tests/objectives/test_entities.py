import functools
import math

import pytest
import tensorflow as tf

from xlingual.errors import ConfigError
from xlingual.objectives import entities, entity_masking, entity_switching, pieces
from xlingual.objectives.span_corruption import merge_spans

LENGTHS = {"inputs": 64, "targets": 64}
EOS = 1
RIVER = "The [river]N [flows]V to [Lake Victoria]E"
KINDS = {"N": "NOUN", "V": "VERB", "E": "NE", "X": "ADJ"}


def record(marked, lang="en", **qids):
    """Makes a record of text in which `[words]K` is a span of kind K."""
    text, starts, ends, types, items = "", [], [], [], []
    while "[" in marked:
        before, _, rest = marked.partition("[")
        words, _, rest = rest.partition("]")
        text += before
        starts.append(len(text))
        text += words
        ends.append(len(text))
        types.append(KINDS[rest[0]])
        items.append(qids.get(words.replace(" ", "_"), ""))
        marked = rest[1:]
    return {
        "text": text + marked,
        "lang": lang,
        "starts": starts,
        "ends": ends,
        "types": types,
        "qids": items,
    }


def dataset(*records):
    columns = {}
    for name in entities.FIELDS:
        values = [r[name] for r in records]
        if isinstance(values[0], list):
            dtype = tf.string if name in ("types", "qids") else tf.int32
            values = tf.ragged.constant(values, dtype, ragged_rank=1)
        columns[name] = values
    return tf.data.Dataset.from_tensor_slices(columns)


@pytest.fixture
def make(run, output_features, special):
    def apply(objective, data, *, seed=0, lengths=LENGTHS, **options):
        bound = functools.partial(
            objective,
            sequence_length=lengths,
            output_features=output_features,
            special_tokens=special,
            **options,
        )
        return run(bound, data, seed=seed)

    return apply


@pytest.fixture
def labels(tmp_path):
    path = tmp_path / "labels.tsv"
    path.write_text(
        "Q1\ten\tcoral reef\nQ1\tde\tKorallenriff\nQ1\tfr\trécif corallien\n"
        "Q2\ten\tParis\nQ2\tde\tParis an der Seine\nQ2\thi\tपेरिस\n"
    )
    return str(path)


def test_parts_and_their_tokens(vocabulary, special):
    data = [record("an [Korallenriff]E glows"), record("[a][b]".replace("]", "]N")), record("é")]
    ragged = next(iter(dataset(*data).ragged_batch(3)))
    parts = entities.cut_at_spans(ragged["text"], ragged["starts"], ragged["ends"])
    assert [[p.decode() for p in row] for row in parts.to_list()] == [
        ["an", " Korallenriff", " glows"],
        ["", "a", "", "b", ""],
        ["é"],
    ]
    found = entities.encode_spans(parts, pieces.part_encoder(vocabulary, special))
    whole = vocabulary.encode("an Korallenriff glows")
    assert found.tokens.to_list()[0] == whole
    before, inside = len(vocabulary.encode("an")), len(vocabulary.encode("Korallenriff"))
    span = found.span_of_token.numpy().tolist()
    after = len(whole) - before - inside
    assert span[: len(whole)] == [-1] * before + [0] * inside + [-1] * after
    assert -1 not in span[len(whole) : len(whole) + int(sum(found.lengths[1:]))]
    assert found.spans.row_lengths().numpy().tolist() == [1, 2, 0]
    assert vocabulary.decode(found.tokens.to_list()[1]) == "ab"


@pytest.mark.parametrize(
    ("starts", "ends"), [([2, 0], [3, 1]), ([0, 1], [2, 3]), ([1], [1]), ([0], [9]), ([-1], [1])]
)
def test_bad_offsets_are_refused(starts, ends):
    with pytest.raises(tf.errors.InvalidArgumentError, match="not in order, overlap"):
        entities.cut_at_spans(
            tf.constant(["abc d"]),
            tf.ragged.constant([starts], tf.int32),
            tf.ragged.constant([ends], tf.int32),
        )


def test_lem_hides_one_token_of_each_span(make, vocabulary, special):
    seen = set()
    for example in make(entity_masking.lem, dataset(*[record(RIVER)] * 60), noise_density=0.9):
        inputs, targets = example["inputs"], example["targets"]
        text = "The river flows to Lake Victoria"
        assert merge_spans(inputs, targets, special).tolist() == vocabulary.encode(text)
        # Three spans, three runs of one token each, though the first two are neighbours.
        assert targets[0::2] == [special.sentinel_id(k) for k in range(3)] + [EOS]
        hidden = [vocabulary.decode([token]) for token in targets[1::2]]
        assert [h in w for h, w in zip(hidden, ("river", "flows", "Lake Victoria"), strict=True)]
        seen.add(tuple(targets[1::2]))
    words = [len(vocabulary.encode(w)) for w in ("river", "flows", "Lake Victoria")]
    assert len(seen) > min(10, math.prod(words) // 2)


def test_lem_hides_nothing_outside_wanted_spans_and_keeps_the_rate(make, vocabulary, special):
    marked = record("A [b]X [c]N [d]V [e]N [f]N [g]N [h]N [i]N [j]N [k]N [l]N end of it all")
    size = len(vocabulary.encode(marked["text"]))
    found = make(entity_masking.lem, dataset(*[marked] * 50))
    assert len(found) == 50
    for example in found:
        hidden = len(example["targets"]) // 2
        assert hidden == max(1, round(0.15 * size))
        assert not {vocabulary.encode("x b")[-1]} & set(example["targets"])
    verbs = make(entity_masking.lem, dataset(marked, record("[only]N")), types=["VERB"])
    assert len(verbs) == 1 and len(verbs[0]["targets"]) == 3


def test_lem_draws_spans_and_tokens_uniformly(make):
    found = make(entity_masking.lem, dataset(*[record("[aa]N [bb]N of")] * 600), noise_density=0.01)
    counts = {}
    for example in found:
        counts[tuple(example["inputs"])] = counts.get(tuple(example["inputs"]), 0) + 1
    expected = 600 / len(counts)
    assert all(abs(n - expected) < 4 * expected**0.5 + expected * 0.25 for n in counts.values())


def test_switching_uses_languages_that_all_entities_have(make, vocabulary, special, labels):
    both = record("a [coral reef]E in [Paris]E and [it]E", coral_reef="Q1", Paris="Q2")
    one = record("a [coral reef]E glows", coral_reef="Q1")
    none = record("no [entity]E here")
    # Spans outside the entities make noise even where an entity is kept.
    found = make(
        entity_switching.entity_cs, dataset(both, one, none), labels=labels, noise_density=0.9
    )
    texts = [
        vocabulary.decode(merge_spans(e["inputs"], e["targets"], special).tolist()) for e in found
    ]
    assert texts == [
        "a coral reef in Paris and it",
        "a Korallenriff in Paris an der Seine and it",
        "a coral reef glows",
        "a Korallenriff glows",
        "a récif corallien glows",
    ]


def test_whole_entities_become_runs(make, vocabulary, special, labels):
    data = dataset(*[record("a [Korallenriff]E glows", "de", Korallenriff="Q1")] * 200)
    found = make(
        entity_switching.entity_cs, data, labels=labels, num_languages=0, noise_density=0.0
    )
    # Four of five candidates are hidden; a text whose entity is kept has no noise.
    assert abs(len(found) - 160) < 4 * (200 * 0.8 * 0.2) ** 0.5
    s0 = special.sentinel_id(0)
    for example in found:
        assert example["inputs"] == [*vocabulary.encode("a"), s0, *vocabulary.encode("glows"), EOS]
        assert example["targets"] == [s0, *vocabulary.encode("Korallenriff"), EOS]


@pytest.mark.parametrize(
    ("variant", "rate"),
    [("WEP", 0.8), ("PEP-MRS", 0.9), ("PEP-MS", 0.8), ("WEP+MLM", 0.4), ("PEP-MS+MLM", 0.4)],
)
def test_share_of_hidden_entity_tokens(make, special, vocabulary, labels, variant, rate):
    text = record("[Korallenriff]E [Paris]E x", Korallenriff="Q1", Paris="Q2")
    found = make(
        entity_switching.entity_cs,
        dataset(*[text] * 400),
        labels=labels,
        variant=variant,
        noise_density=0.0,
        num_languages=0,
    )
    sizes = [len(vocabulary.encode(w)) for w in ("Korallenriff", "Paris")]
    hidden = sum(sum(token < special.sentinel_end for token in e["targets"]) - 1 for e in found)
    total = 400 * sum(sizes)
    units = sum(n * n for n in sizes) if variant.startswith("WEP") else sum(sizes)
    assert abs(hidden - total * rate) < 4 * (400 * units * rate * (1 - rate)) ** 0.5
    if variant.startswith("WEP"):
        assert {len(e["targets"]) for e in found} <= {2 + sizes[0], 2 + sizes[1], 3 + sum(sizes)}


def test_spans_outside_fill_the_noise_up(make, special, vocabulary, labels):
    words = " ".join(f"w{i}" for i in range(12))
    text = record(f"[Paris]E {words}", Paris="Q2")
    found = make(
        entity_switching.entity_cs,
        dataset(*[text] * 100),
        labels=labels,
        noise_density=0.5,
        num_languages=0,
    )
    size = len(vocabulary.encode(text["text"]))
    assert len(found) == 100
    first = set()
    for example in found:
        merged = merge_spans(example["inputs"], example["targets"], special)
        assert merged.tolist() == vocabulary.encode(text["text"])
        hidden = sum(token < special.sentinel_end for token in example["targets"]) - 1
        assert hidden == round(0.5 * size)
        first.add(tuple(example["targets"]))
    assert len(first) > 50


def test_one_seed_one_result_and_settings_are_checked(make, labels):
    data = dataset(*[record("a [coral reef]E", coral_reef="Q1")] * 5)
    run = functools.partial(make, entity_switching.entity_cs, data, labels=labels)
    assert run() == run() != run(seed=1)
    for options, words in (
        ({"variant": "XEP"}, "variant is 'XEP'; expected one of WEP"),
        ({"noise_density": 1.0}, r"noise_density is 1\.0"),
        ({"num_languages": -1}, "num_languages is -1"),
        ({"languages": ["xx"]}, r"\['xx'\].*has labels in de, en, fr, hi"),
        ({"labels": labels + "x"}, "cannot be read"),
        ({"lengths": {"inputs": 2, "targets": 9}}, "too short for entity_cs"),
    ):
        with pytest.raises(ConfigError, match=words):
            run(**options)
    for options, words in (
        ({"noise_density": 0.0}, r"noise_density is 0\.0"),
        ({"types": []}, "types is empty"),
        ({"lengths": {"inputs": 9, "targets": 2}}, "too short for lem"),
    ):
        with pytest.raises(ConfigError, match=words):
            make(entity_masking.lem, data, **options)
    with pytest.raises(ConfigError, match="lem expects text, lang, starts"):
        make(entity_masking.lem, data.map(lambda r: {"text": r["text"]}))


def test_texts_that_do_not_fit_are_dropped(make):
    data = dataset(record("[a]N b"), record("[a]N " + "b " * 40))
    assert len(make(entity_masking.lem, data, lengths={"inputs": 12, "targets": 12})) == 1

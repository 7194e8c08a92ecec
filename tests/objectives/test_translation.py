import functools

import pytest
import tensorflow as tf

from xlingual.errors import ConfigError
from xlingual.objectives.special_tokens import SpecialTokens
from xlingual.objectives.tokenize import tokenize
from xlingual.objectives.translation import longest_prompt, prompts, translation

SPECIAL = SpecialTokens(
    vocab_size=1000,
    sentinel_start=999,
    control={"<2en>": 800, "<2fr>": 801, "<lg:en>": 802, "<lg:fr>": 803, "<nl>": 804},
)
EOS = 1
LENGTHS = {"inputs": 32, "targets": 24}
NAMES = {"en": "English", "fr": "French", "de": "German", "zh": "Chinese"}
FRENCH = ([41, 42], [51, 52, 53], "fr", "en")


def translate(run, dataset, features, *, special=SPECIAL, lengths=LENGTHS, seed=0, **options):
    objective = functools.partial(
        translation,
        sequence_length=lengths,
        output_features=features,
        special_tokens=special,
        **options,
    )
    return run(objective, dataset, seed=seed)


def test_worked_example_in_both_directions(run, pairs, output_features):
    assert translate(run, pairs([FRENCH]), output_features) == [
        {"inputs": [800, 41, 42, EOS], "targets": [51, 52, 53, EOS]},
        {"inputs": [801, 51, 52, 53, EOS], "targets": [41, 42, EOS]},
    ]


def test_source_and_target_tags(run, pairs, output_features):
    found = translate(run, pairs([FRENCH]), output_features, format="src_tgt", direction="fwd")
    assert found == [{"inputs": [803, 800, 41, 42, EOS], "targets": [51, 52, 53, EOS]}]


def test_every_tag_matches_the_language_of_its_targets(run, pairs, output_features):
    records = [([40 + i], [60 + i], "fr", "en") for i in range(10)]
    records += [([60 + i], [40 + i], "en", "fr") for i in range(10, 20)]
    examples = translate(run, pairs(records), output_features, format="src_tgt")
    assert len(examples) == 40
    languages = {800: "en", 801: "fr", 802: "en", 803: "fr"}
    for example in examples:
        source, target = (languages[i] for i in example["inputs"][:2])
        assert {source, target} == {"en", "fr"}
        assert (example["targets"][0] >= 60) == (target == "en")
        assert (example["inputs"][2] >= 60) == (source == "en")
        assert not set(example["targets"]) & set(SPECIAL.control.values())
        assert sum(i >= 800 for i in example["inputs"]) == 2


def test_prompts_equal_the_encoded_sentence(run, vocabulary, output_features, special):
    pair = {"src": "alte Bibliothek", "tgt": "old library", "src_lang": "de", "tgt_lang": "en"}
    dataset = tokenize(tf.data.Dataset.from_tensors(pair), output_features)
    examples = translate(
        run, dataset, output_features, special=special, format="prompt", language_names=NAMES
    )
    assert [vocabulary.decode(e["inputs"]) for e in examples] == [
        "translate German to English: alte Bibliothek",
        "translate English to German: old library",
    ]
    assert examples[0]["inputs"] == [
        *vocabulary.encode("translate German to English: alte Bibliothek"),
        EOS,
    ]
    assert examples[0]["targets"] == [*vocabulary.encode("old library"), EOS]


def test_the_longest_prompt_is_a_bound(vocabulary):
    most = longest_prompt(NAMES, vocabulary)
    for source in NAMES:
        for target in NAMES:
            found = prompts(tf.constant([source]), tf.constant([target]), NAMES, vocabulary)
            assert int(found.row_lengths()[0]) <= most


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"format": "tags"}, "format is 'tags'; expected one of tag, src_tgt, prompt"),
        ({"direction": "back"}, "direction is 'back'"),
        ({"format": "prompt"}, "language_names is missing"),
        ({"lengths": {"inputs": 2, "targets": 9}}, r"\['inputs'\]=2 is too short.*at least 3"),
        ({"lengths": {"inputs": 9, "targets": 1}}, r"\['targets'\]=1 is too short.*at least 2"),
        (
            {"special": SpecialTokens(vocab_size=1000, sentinel_start=999)},
            "the vocabulary has no <2xx> tags",
        ),
    ],
)
def test_mistakes_are_refused_at_once(run, pairs, output_features, options, message):
    with pytest.raises(ConfigError, match=message):
        translate(run, pairs([FRENCH]), output_features, **options)


def test_a_language_without_tag_or_name_is_named(run, pairs, output_features, special):
    swahili = ([41], [51], "en", "sw")
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"without a <2xx> tag.*sw"):
        translate(run, pairs([FRENCH, swahili]), output_features)
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"without an English name.*sw"):
        translate(
            run,
            pairs([FRENCH, swahili]),
            output_features,
            special=special,
            format="prompt",
            language_names=NAMES,
        )

import collections
import functools
import math

import numpy as np
import pytest
import tensorflow as tf

from xlingual.errors import ConfigError
from xlingual.objectives import multilingual_denoising, sentences, text_infilling, token_noise
from xlingual.objectives.special_tokens import SpecialTokens

EOS = 1
LENGTHS = {"inputs": 64, "targets": 64}
TEXTS = {
    "en": "The library is behind the park. Where is the river? Next to it! It is old.",
    "hi": "पुस्तकालय हरे उद्यान के पीछे है। नदी के पास है। वह कहाँ है?",
    "zh": "旧图书馆在哪里？它在绿色公园后面，靠近河边。",
}


def records(texts, langs):
    return tf.data.Dataset.from_tensor_slices({"text": list(texts), "lang": list(langs)})


@pytest.fixture(scope="module")
def denoise(run, output_features, special):
    def apply(dataset, *, lengths=LENGTHS, seed=0, special=special, **options):
        objective = functools.partial(
            multilingual_denoising.mbart,
            sequence_length=lengths,
            output_features=output_features,
            special_tokens=special,
            **options,
        )
        return run(objective, dataset, seed=seed)

    return apply


def clean_of(text, vocabulary, special):
    ids = []
    for sentence in sentences.split_sentences(tf.constant([text]), "punctuation").to_list()[0]:
        ids += [*vocabulary.encode(sentence.decode()), special.control_id("<sep>")]
    return ids


@pytest.mark.parametrize("tag", multilingual_denoising.TAGS)
def test_targets_are_the_clean_text_behind_a_tag_of_weight_zero(denoise, vocabulary, special, tag):
    langs = list(TEXTS) * 5
    lengths = {"inputs": 200, "targets": 200}
    found = denoise(records([TEXTS[lang] for lang in langs], langs), lengths=lengths, tag=tag)
    assert len(found) == 15
    mask = special.control_id("<mask>")
    for lang, example in zip(langs, found, strict=True):
        clean = clean_of(TEXTS[lang], vocabulary, special)
        tag_id = special.control_id(f"{tag}{lang}>")
        assert example["targets"] == [tag_id, *clean, EOS]
        assert example["targets_weights"] == [0] + [1] * (len(clean) + 1)
        assert example["inputs"][-2:] == [tag_id, EOS]
        kept = collections.Counter(t for t in example["inputs"][:-2] if t != mask)
        assert not kept - collections.Counter(clean), "a token that the text does not have"
        assert mask in example["inputs"][:-2]
    assert len({tuple(e["inputs"]) for e in found}) > 10


def test_worked_example(monkeypatch):
    """A1 A2 A3 / B1 B2 /, permuted, with the spans 2, 0 and 1."""
    sep, mask = 90, 91
    special = SpecialTokens(
        vocab_size=200, sentinel_start=199, control={"<sep>": sep, "<mask>": mask}
    )
    a1, a2, a3, b1, b2 = 11, 12, 13, 21, 22
    drawn = tf.constant([[2, 0, 1]], tf.int64)

    def spans(num_words, rate, mean, *, seed):
        assert math.ceil(rate * int(num_words[0])) == 3
        rows = tf.shape(num_words)[0]
        return tf.tile(drawn, [rows, 1]), tf.fill([rows, 3], True)

    monkeypatch.setattr(text_infilling, "draw_spans", spans)
    context = token_noise.Context(special_tokens=special, delimiter_id=sep)
    tokens = tf.ragged.constant([[a1, a2, a3, sep, b1, b2, sep]] * 5000, tf.int32, ragged_rank=1)
    for step, seed in ((token_noise.PermuteSentences(), 0), (token_noise.InfillSpans(), 1)):
        tokens = step(tokens, context, seed=tf.constant([seed, 0]))
    found = tokens.to_list()
    # One of 2 orders, 42 pairs of starts and 6 places to insert.
    expected = [mask, b2, mask, sep, a1, mask, sep]
    assert abs(found.count(expected) - 5000 / (2 * 42 * 6)) < 4 * math.sqrt(10)
    assert all(1 <= row.count(mask) - 1 <= 2 for row in found)


def test_masks_and_lost_words_stay_within_what_was_drawn(denoise, vocabulary, special):
    """Every token is a word here, so that words can be counted in the output."""
    text = "\n".join(f"the river {i} is old" for i in range(12))
    lengths = {"inputs": 400, "targets": 400}
    found = denoise(
        records([text] * 300, ["en"] * 300),
        lengths=lengths,
        whole_words=False,
        noise=[token_noise.InfillSpans()],
    )
    num_words = len(clean_of(text, vocabulary, special))
    budget = math.ceil(0.35 * num_words)
    mask = special.control_id("<mask>")
    lost = [num_words - sum(t != mask for t in e["inputs"][:-2]) for e in found]
    masks = [e["inputs"].count(mask) for e in found]
    assert max(lost) <= budget
    assert np.mean(lost) / num_words == pytest.approx(0.305, abs=0.012)
    assert max(masks) <= budget and min(masks) >= 1


def test_whole_words_lose_all_their_pieces(denoise, vocabulary, special):
    found = denoise(
        records([TEXTS["en"]] * 50, ["en"] * 50),
        lengths={"inputs": 200, "targets": 200},
        noise=[token_noise.InfillSpans()],
    )
    words = [sentence.split() for sentence in TEXTS["en"].replace("! ", "!\n").split("\n")]
    words = collections.Counter(word for sentence in words for word in sentence)
    mask, sep = special.control_id("<mask>"), special.control_id("<sep>")
    for example in found:
        # Masks may also be inserted inside a word, which stays whole.
        kept = [token for token in example["inputs"][:-2] if token not in (mask, sep)]
        left = collections.Counter(vocabulary.decode(kept).split())
        assert not left - words


def test_long_documents_give_instances_of_whole_sentences(denoise, vocabulary, special):
    text = " ".join(f"The river {i} is behind the old park." for i in range(40))
    found = denoise(records([text], ["en"]), noise=[])
    sep = special.control_id("<sep>")
    joined = [token for e in found for token in e["targets"][1:-1]]
    assert joined == clean_of(text, vocabulary, special)
    assert len(found) > 5
    for example in found:
        assert example["targets"][-2] == sep
        assert len(example["inputs"]) == len(example["targets"]) <= 64


def test_one_seed_one_result(denoise):
    dataset = records([TEXTS["en"]] * 4, ["en"] * 4)
    first, again, other = (denoise(dataset, seed=seed) for seed in (0, 0, 1))
    assert first == again != other
    assert len({tuple(e["inputs"]) for e in first}) == 4


def test_an_empty_text_gives_nothing(denoise):
    assert denoise(records(["", " \n "], ["en", "en"])) == []


def test_examples_that_grow_too_long_are_left_out(denoise, special):
    class Doubled(token_noise.MaskTokens):
        def __call__(self, tokens, context, *, seed):
            return tf.concat([tokens, tokens], axis=1)

    dataset = records(["the river", " ".join(["the river"] * 12)], ["en", "en"])
    lengths = {"inputs": 40, "targets": 40}
    kept = denoise(dataset, lengths=lengths, noise=[])
    doubled = denoise(dataset, lengths=lengths, noise=[Doubled()])
    assert 0 < len(doubled) < len(kept)
    assert all(len(e["inputs"]) <= 40 for e in doubled)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tag": "<to:"}, "tag is '<to:'; expected one of <lg:, <2"),
        ({"sentence_split": "words"}, "sentence_split is 'words'; expected one of punctuation"),
        ({"lengths": {"inputs": 3, "targets": 9}}, r"\['inputs'\]=3 is too short for mbart"),
        ({"lengths": {"inputs": 9, "targets": 3}}, r"\['targets'\]=3 is too short for mbart"),
        ({"delimiter": "<end>"}, "control token <end> is not in the vocabulary"),
        (
            {"special": SpecialTokens(vocab_size=510, sentinel_start=509)},
            "the vocabulary has no <lg:xx> tags",
        ),
    ],
)
def test_mistakes_are_refused_at_once(denoise, options, message):
    with pytest.raises(ConfigError, match=message):
        denoise(records(["a"], ["en"]), **options)


def test_tokenised_records_unknown_languages_and_sentinels_are_refused(denoise, documents):
    with pytest.raises(ConfigError, match=r"lack the fields \['lang', 'text'\]; mbart reads text"):
        denoise(documents([[5]]))
    with pytest.raises(tf.errors.InvalidArgumentError, match="found xx"):
        denoise(records(["a"], ["xx"]))
    with pytest.raises(tf.errors.InvalidArgumentError, match="sentinel ids"):
        denoise(records(["a <extra_id_0>"], ["en"]))

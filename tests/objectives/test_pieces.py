import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from xlingual.errors import ConfigError
from xlingual.objectives import pieces
from xlingual.objectives.special_tokens import SpecialTokens


def encode(vocabulary, special, parts):
    ragged = tf.ragged.constant(parts, tf.string, ragged_rank=1)
    begins = pieces.begins_text(ragged)
    tokens = pieces.part_encoder(vocabulary, special)(ragged.values, begins)
    return pieces.join_parts(tokens, ragged.row_splits).to_list(), tokens.to_list()


def test_a_cut_before_a_space_changes_nothing(vocabulary, special):
    text = "Where is the old library? It is near."
    for cut in [i for i, char in enumerate(text) if char == " "]:
        whole, _ = encode(vocabulary, special, [[text[:cut], text[cut:]]])
        assert whole == [vocabulary.encode(text)]


@settings(max_examples=30, deadline=None)
@given(texts=st.lists(st.lists(st.text("ab é猫<s p", max_size=5), max_size=4), min_size=1))
def test_parts_decode_to_the_text(vocabulary, special, texts):
    whole, _ = encode(vocabulary, special, texts)
    assert [vocabulary.decode(ids) for ids in whole] == ["".join(parts) for parts in texts]


def test_each_part_has_its_own_tokens_and_no_word_boundary_of_its_own(vocabulary, special):
    _, tokens = encode(vocabulary, special, [["un", "", "lock"], ["", "lock"]])
    assert [vocabulary.tokenizer.decode(ids) for ids in tokens] == ["un", "", "lock", "", "lock"]
    inside, first = tokens[2], tokens[4]
    assert first == vocabulary.encode("lock") != inside


def test_control_tokens_in_text_are_escaped(vocabulary, special):
    whole, _ = encode(vocabulary, special, [["a", " <sep> b"]])
    assert special.control_id("<sep>") not in whole[0]
    assert vocabulary.decode(whole[0]) == "a <\\sep> b"


def test_a_vocabulary_without_a_whole_marker_is_refused(vocabulary):
    with pytest.raises(ConfigError, match="control token <sep> is not in the vocabulary"):
        pieces.part_encoder(
            vocabulary, SpecialTokens(vocab_size=10, sentinel_start=9, num_sentinels=1)
        )
    wrong = SpecialTokens(vocab_size=510, sentinel_start=509, control={"<sep>": 5})
    with pytest.raises(ConfigError, match="encodes <sep> as"):
        pieces.part_encoder(vocabulary, wrong)

"""Merging and training from a list: ids stay, new pieces are found, misfits are refused."""

import numpy as np
import pytest
import sentencepiece

from xlingual.data import vocabularies, vocabulary_merging
from xlingual.data.vocabularies import _ModelProto as Model
from xlingual.errors import ConfigError

_WORDS = {
    "en": "pack my box with five dozen liquor jugs how vexingly quick daft zebras jump over lazy "
    "dogs while seven bright wizards juggle frozen kumquats beside the old harbour wall",
    "sw": "mbweha mwepesi wa kahawia anaruka juu ya mbwa mvivu tena na bila kuchoka kisha watoto "
    "wadogo wanacheza mpira uwanjani pamoja wakati jua linazama polepole baharini",
}


def _lines(language):
    generator = np.random.default_rng(0)
    return [" ".join(generator.choice(_WORDS[language].split(), 9)) for _ in range(80)]


ENGLISH, SWAHILI = _lines("en"), _lines("sw")


def _train(path, texts, **settings):
    defaults = {"vocab_size": 312, "control_tokens": ["<sep>", "<2en>"], "num_sentinels": 10}
    vocabularies.train_vocabulary(texts, path, **(defaults | settings))
    return vocabularies.load_vocabulary(path)


@pytest.fixture(scope="module", params=["unigram", "bpe"])
def pair(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("merge")
    one = {"model_type": request.param}
    first = _train(folder / "a.model", ENGLISH, **one)
    second = _train(
        folder / "b.model", SWAHILI, control_tokens=["<sep>", "<2sw>"], num_sentinels=4, **one
    )
    merged = vocabulary_merging.merge_pieces(first, second, folder / "new" / "c.model")
    return first, second, merged


def _pieces(vocabulary):
    return [
        (piece.piece, piece.score, piece.type)
        for piece in Model.FromString(vocabulary.sp_model).pieces
    ]


def test_no_id_moves(pair):
    first, second, merged = pair
    old, new = _pieces(first), _pieces(merged.vocabulary)
    assert new[: len(old)] == old
    names = [name for name, _, _ in new]
    assert len(names) == len(set(names)) == len(old) + merged.added + 1
    text = {name for name, _, kind in _pieces(second) if kind == 1}
    assert text <= set(names) and merged.unreachable == 0
    assert merged.added + merged.shared == len(text)
    special = vocabularies.special_tokens(merged.vocabulary)
    assert special.sentinel_start == len(old) - 1 and special.num_sentinels == 10
    assert special.control == {
        **vocabularies.special_tokens(first).control,
        "<2sw>": len(names) - 1,
    }


def test_the_new_language_gets_shorter_and_everything_survives(pair):
    first, second, merged = pair
    counts = [len(v.encode(SWAHILI[0])) for v in (first, merged.vocabulary, second)]
    assert counts[0] > 1.25 * counts[1] and counts[1] <= 1.2 * counts[2]
    for text in (SWAHILI[0], ENGLISH[0], "<2sw> émoji 🦓"):
        assert merged.vocabulary.decode(merged.vocabulary.encode(text)) == text
    processor = sentencepiece.SentencePieceProcessor(model_proto=merged.vocabulary.sp_model)
    assert processor.EncodeAsIds("<2sw>")[-1] == merged.vocabulary.vocab_size - 1


def test_only_the_best_pieces(pair, tmp_path):
    first, second, _ = pair
    few = vocabulary_merging.merge_pieces(first, second, tmp_path / "few.model", max_pieces=5)
    assert few.added == 5
    added = _pieces(few.vocabulary)[first.vocab_size :][:5]
    known = {name for name, _, _ in _pieces(first)}
    new = [one for one in _pieces(second) if one[2] == 1 and one[0] not in known]
    best = sorted(new, key=lambda one: -one[1])[:5]
    assert {name for name, _, _ in added} == {name for name, _, _ in best}


def test_a_vocabulary_without_bytes_learns_to_spell(tmp_path):
    bare = Model.FromString(_train(tmp_path / "a.model", ENGLISH).sp_model)
    kept = [piece for piece in bare.pieces if piece.type != piece.BYTE]
    copies = [type(piece).FromString(piece.SerializeToString()) for piece in kept]
    del bare.pieces[:]
    bare.pieces.extend(copies)
    bare.trainer_spec.byte_fallback = False
    (tmp_path / "bare.model").write_bytes(bare.SerializeToString())
    first = vocabularies.load_vocabulary(tmp_path / "bare.model")
    assert first.unk_id in first.encode("🦓")
    second = _train(tmp_path / "b.model", SWAHILI)
    merged = vocabulary_merging.merge_pieces(first, second, tmp_path / "c.model").vocabulary
    assert merged.decode(merged.encode("🦓")) == "🦓"
    assert _pieces(merged)[: first.vocab_size] == _pieces(first)


def test_pieces_that_the_normalisation_rewrites_are_left_out(tmp_path):
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(ENGLISH),
        model_prefix=str(tmp_path / "nfkc"),
        vocab_size=60,
        hard_vocab_limit=False,
        minloglevel=3,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
    )
    first = vocabularies.load_vocabulary(tmp_path / "nfkc.model")
    second = _train(tmp_path / "b.model", ["ﬁne ﬁsh and ﬂax ² ﬁve"] * 30, vocab_size=284)
    merged = vocabulary_merging.merge_pieces(first, second, tmp_path / "c.model")
    assert merged.unreachable > 0
    names = {name for name, _, _ in _pieces(merged.vocabulary)}
    assert not any("ﬁ" in name or "²" in name for name in names)


def test_what_does_not_go_together_is_refused(tmp_path, pair):
    first, _, _ = pair
    kind = Model.FromString(first.sp_model).trainer_spec
    other = "bpe" if kind.model_type == kind.UNIGRAM else "unigram"
    second = _train(tmp_path / "b.model", SWAHILI, model_type=other)
    with pytest.raises(ConfigError, match=r"are of the types .* expected the same type"):
        vocabulary_merging.merge_pieces(first, second, tmp_path / "c.model")
    same = "unigram" if other == "bpe" else "bpe"
    more = _train(tmp_path / "d.model", SWAHILI, model_type=same, num_sentinels=20)
    with pytest.raises(ConfigError, match="has 10 sentinels and the other 20"):
        vocabulary_merging.merge_pieces(first, more, tmp_path / "c.model")
    assert not (tmp_path / "c.model").exists()


def test_training_from_a_list_of_pieces(tmp_path):
    listed = ["▁quick", "▁zebras", "jugs", "▁unseen"]
    vocabulary = _train(tmp_path / "a.model", ENGLISH, vocab_size=None, pieces=listed)
    text = [name for name, _, kind in _pieces(vocabulary) if kind == 1]
    longer = {name for name in text if len(name) > 1}
    assert longer == set(listed), "no other piece of two characters or more"
    assert vocabulary.tokenizer.EncodeAsPieces("the quick zebras")[-2:] == ["▁quick", "▁zebras"]
    assert min(_pieces(vocabulary), key=lambda one: one[1])[0] == "▁unseen"
    assert vocabularies.special_tokens(vocabulary).num_sentinels == 10
    with pytest.raises(ConfigError, match="a list of pieces needs 'unigram'"):
        _train(tmp_path / "b.model", ENGLISH, pieces=listed, model_type="bpe")
    with pytest.raises(ConfigError, match="vocab_size is None; expected a number, or a list"):
        _train(tmp_path / "b.model", ENGLISH, vocab_size=None)
    with pytest.raises(ConfigError, match="vocab_size=900 does not fit the text: it yields"):
        _train(tmp_path / "b.model", ENGLISH, pieces=listed, vocab_size=900)


def test_required_characters_get_a_piece_however_rare(tmp_path):
    texts = [*ENGLISH * 25, "ж"]
    rare = {"character_coverage": vocabularies.LEAST_COVERAGE, "vocab_size": 312}
    without = _train(tmp_path / "a.model", texts, **rare)
    required = _train(tmp_path / "b.model", texts, **rare, required_characters="жЯ")
    assert without.tokenizer.PieceToId("ж") == without.unk_id
    assert required.tokenizer.PieceToId("ж") > 258 < required.tokenizer.PieceToId("Я")

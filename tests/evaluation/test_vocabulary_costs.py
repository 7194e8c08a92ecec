"""Token premiums of a vocabulary whose tokens are bytes: known by counting."""

import pytest

from xlingual.data.byte_vocabulary import ByteVocabulary
from xlingual.errors import ConfigError
from xlingual.evaluation.suite import ModelSource
from xlingual.evaluation.text_sets import TextSets
from xlingual.evaluation.vocabulary_costs import VocabularyCosts

_SOURCE = ModelSource(tokenizer=ByteVocabulary(), feature_converter=None)


@pytest.fixture
def sets(tmp_path):
    (tmp_path / "a.tsv").write_text("en\tru\ncat\tкот\nmilk\tмолоко\n", encoding="utf-8")
    (tmp_path / "b.tsv").write_text("en\tde\nhouse\tHaus\nriver\tFluss\n", encoding="utf-8")
    return TextSets(folder=str(tmp_path), tables=("a.tsv", "b.tsv"))


def test_premiums_are_quotients_of_tokens_of_the_same_rows(sets):
    evaluator = VocabularyCosts(sets=sets)
    evaluator.prepare(None, None, {}, _SOURCE)
    found = evaluator({})
    rows = {(row["metric"], row["lang"]): row for row in found.rows}
    assert rows["token_premium", "ru"]["value"] == (6 + 12) / (3 + 4)
    assert rows["token_premium", "de"]["value"] == (4 + 5) / (5 + 5)
    assert rows["token_premium", "en"]["value"] == 1.0
    assert rows["token_premium", "en"]["num_examples"] == 4
    assert rows["characters_per_token", "ru"]["value"] == 0.5
    assert found.scalars["vocabulary/token_premium/ru"] == 18 / 7
    assert {row["dataset"] for row in found.rows} == {"a+b"}


def test_every_set_needs_the_reference(sets):
    with pytest.raises(ConfigError, match=r"reference='ru': b has the languages \['en', 'de'\]"):
        VocabularyCosts(sets=sets, reference="ru").prepare(None, None, {}, _SOURCE)

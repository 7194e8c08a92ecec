import pytest

from xlingual.errors import ConfigError
from xlingual.objectives.special_tokens import SpecialTokens


def make(**changes):
    arguments = {"vocab_size": 200, "sentinel_start": 199, "num_sentinels": 100} | changes
    return SpecialTokens(**arguments)


def test_sentinels_count_down_from_the_top():
    special = make(control={"<2de>": 99})
    assert [special.sentinel_id(k) for k in (0, 1, 99)] == [199, 198, 100]
    assert special.sentinel_end == 100
    assert special.control_id("<2de>") == 99


def test_a_missing_token_is_named():
    with pytest.raises(ConfigError, match=r"<2dee> is not in the vocabulary.*<2de>"):
        make(control={"<2de>": 99}).control_id("<2dee>")
    with pytest.raises(ConfigError, match="sentinel 100 does not exist"):
        make().sentinel_id(100)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sentinel_start": 200}, "sentinel 0 has id 200"),
        ({"num_sentinels": 201}, "sentinel 200 has id -1"),
        ({"num_sentinels": -1}, "num_sentinels is -1"),
        ({"control": {"<a>": 150}}, "<a> has id 150, inside the sentinel range"),
        ({"control": {"<a>": 500}}, "<a> has id 500"),
        ({"control": {"<a>": 5, "<b>": 5}}, "<b> and <a> share the id 5"),
        ({"num_sentinels": 199}, "eos_id has id 1, inside the sentinel range"),
    ],
)
def test_inconsistent_ids_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        make(**changes)

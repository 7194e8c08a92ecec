"""Records hold examples exactly, and a record of another schema is refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xlingual.cache.codec import Feature, decode, decode_columns, encode
from xlingual.errors import ConfigError

SCHEMA = (
    Feature(name="targets"),
    Feature(name="lang", dtype="text"),
    Feature(name="weights", dtype="float32"),
)
_INT32 = st.lists(st.integers(-(2**31), 2**31 - 1), max_size=9)
_FLOAT32 = st.lists(st.floats(width=32, allow_nan=False, allow_subnormal=False), max_size=9)


@given(targets=_INT32, lang=st.text(max_size=9), weights=_FLOAT32)
def test_decode_returns_what_was_encoded(targets, lang, weights):
    example = {
        "targets": np.array(targets, np.int32),
        "lang": lang,
        "weights": np.array(weights, np.float32),
    }
    record = encode(example, SCHEMA)
    assert len(record) % 4 == 0
    found = decode(record, SCHEMA)
    assert list(found) == ["targets", "lang", "weights"] and found["lang"] == lang
    for name in ("targets", "weights"):
        np.testing.assert_array_equal(found[name], example[name])
        assert found[name].dtype == example[name].dtype and not found[name].flags.writeable
    assert encode({**example, "lang": lang.encode()}, SCHEMA) == record


@given(st.lists(st.tuples(_INT32, st.text(max_size=5), _FLOAT32), min_size=1, max_size=5))
def test_records_are_decoded_at_once_as_one_by_one(examples):
    records = [
        encode(
            {
                "targets": np.array(targets, np.int32),
                "lang": lang,
                "weights": np.array(weights, np.float32),
            },
            SCHEMA,
        )
        for targets, lang, weights in examples
    ]
    columns = decode_columns(records, SCHEMA)
    one_by_one = [decode(record, SCHEMA) for record in records]
    assert list(columns) == ["targets", "lang", "weights"]
    assert columns["lang"] == [found["lang"] for found in one_by_one]
    for name in ("targets", "weights"):
        values, lengths = columns[name]
        assert values.dtype == one_by_one[0][name].dtype
        np.testing.assert_array_equal(values, np.concatenate([x[name] for x in one_by_one]))
        np.testing.assert_array_equal(lengths, [len(x[name]) for x in one_by_one])


@given(st.binary(max_size=64), st.integers(0, 3))
def test_foreign_bytes_are_refused_or_decode_to_something_of_the_same_bytes(noise, cut):
    try:
        found = decode(noise, SCHEMA[:cut])
    except (ConfigError, UnicodeDecodeError):
        return
    assert sum(map(len, found.values())) <= len(noise)


def _example(**changes):
    example = {"targets": np.arange(3, dtype=np.int32), "lang": "de", "weights": np.zeros(1, "f4")}
    return {**example, **changes}


@pytest.mark.parametrize("cut", [1, 4, 9])
def test_a_record_cut_short_is_refused(cut):
    with pytest.raises(ConfigError, match="does not fit its header"):
        decode(encode(_example(), SCHEMA)[:-cut], SCHEMA)
    with pytest.raises(ConfigError, match="does not fit its header"):
        decode_columns([encode(_example(), SCHEMA), encode(_example(), SCHEMA)[:-cut]], SCHEMA)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"targets": np.arange(3)}, "'targets' is int64 of rank 1; expected int32 of rank 1"),
        ({"targets": np.zeros([1, 2], np.int32)}, "int32 of rank 2"),
        ({"targets": [1]}, "'targets' is <class 'list'>"),
        ({"lang": np.zeros(2, np.int32)}, "expected a string"),
        ({"other": "x"}, r"has the features .*'other'.*; expected"),
    ],
)
def test_other_examples_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        encode(_example(**changes), SCHEMA)


def test_unknown_dtypes_are_refused():
    with pytest.raises(ConfigError, match="has dtype 'int64'; expected one of int32"):
        Feature(name="x", dtype="int64")

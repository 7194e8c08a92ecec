"""Rows have all keys and finite numbers; hashes tell texts apart."""

import hashlib

import pytest

from xlingual.evaluation.rows import KEYS, hash_texts, make_row, mean_rows


def test_a_row_has_all_keys_and_null_where_one_does_not_apply():
    row = make_row(metric="chrf", value=61, dataset="d", src_lang="de", tgt_lang="", pooling="mean")
    assert {"metric", "value", "dataset", "pooling", *KEYS} == set(row)
    assert (row["value"], row["src_lang"], row["tgt_lang"], row["low"]) == (61.0, "de", None, None)
    assert isinstance(row["value"], float)


@pytest.mark.parametrize("bad", [{"value": float("nan")}, {"value": 1, "high": float("inf")}])
def test_numbers_that_are_not_finite_are_refused(bad):
    with pytest.raises(ValueError, match="chrf of d"):
        make_row(metric="chrf", dataset="d", **bad)


def test_the_hash_is_of_lengths_and_bytes_and_of_their_order():
    written = hashlib.sha256("2:ab3:é.\n1:c\n".encode()).hexdigest()
    assert hash_texts(["ab", "é."], ["c"]) == f"sha256:{written}"
    assert len({hash_texts(["a", "b"]), hash_texts(["b", "a"]), hash_texts(["a"], ["b"])}) == 3


def test_means_are_over_data_sets():
    rows = [make_row(metric="m", value=v, dataset=d) for v, d in ((1, "a"), (2, "b"), (6, "c"))]
    (mean,) = mean_rows(rows, dataset="mean", trained=False)
    assert (mean["value"], mean["dataset"], mean["trained"]) == (3.0, "mean", False)

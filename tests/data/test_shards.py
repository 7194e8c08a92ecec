"""Rows of a batch do not depend on who reads them, and positions move between numbers of hosts."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.data.numbered import NumberedSource
from xlingual.data.arms import ArmsSource
from xlingual.data.members import join_parts
from xlingual.data.shards import ShardedRows, merge_positions
from xlingual.data.staged import Stage, StagedSource
from xlingual.errors import ConfigError

BATCH = 12


class Opened:
    """A source that notes which shards were opened."""

    def __init__(self, num_shards):
        self.source = NumberedSource(batch_size=BATCH, num_shards=num_shards)
        self.shards = []

    def rows(self, rows=None):
        def open_shard(shard):
            self.shards.append(shard)
            return self.source.open_shard(shard)

        return ShardedRows(
            open_shard, num_shards=self.source.num_shards, batch_size=BATCH, rows=rows
        )


def test_a_host_opens_the_shards_of_its_rows_alone():
    opened = Opened(num_shards=4)
    batch = next(opened.rows(np.array([2, 3, 4, 5])))
    assert batch["rows"].ravel().tolist() == [2, 3, 4, 5]
    assert opened.shards == [0, 1]
    scattered = Opened(num_shards=4)
    rows = scattered.rows(np.array([0, 1, 2, 9, 10, 11]))
    next(rows)
    assert next(rows)["rows"].ravel().tolist() == [12, 13, 14, 21, 22, 23]
    assert scattered.shards == [0, 3]


def _staged(num_shards):
    stages = (Stage(mixture="mono", end_step=7, interpolate=True), Stage(mixture="late"))
    return StagedSource(base=NumberedSource(batch_size=BATCH, num_shards=num_shards), stages=stages)


def _arms(num_shards):
    base = NumberedSource(batch_size=BATCH, num_shards=num_shards)
    return ArmsSource(base=base, arms={"one": "mono", "two": "pairs"})


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from([_staged, _arms]),
    st.sampled_from([1, 2, 3, 4, 6, 12]),
    st.permutations([1, 2, 3, 4, 6]),
    st.randoms(use_true_random=False),
)
def test_hosts_come_and_go_and_the_batches_stay_the_same(make, num_shards, counts, random):
    source = make(num_shards)
    whole = source.iterator()
    order = list(range(BATCH))
    random.shuffle(order)
    position = None
    for count in counts:
        mine = [np.sort(rows) for rows in np.split(np.array(order), count)]
        hosts = [source.iterator(rows) for rows in mine]
        if position is not None:
            for host in hosts:
                host.restore(position)
        for _ in range(2):
            expected = next(whole)
            for rows, host in zip(mine, hosts, strict=True):
                found = next(host)
                for name, values in expected.items():
                    np.testing.assert_array_equal(found[name], values[rows])
        position = merge_positions([host.state() for host in hosts])


def test_equal_positions_are_their_own_merge():
    assert merge_positions([b"step 7", b"step 7"]) == b"step 7"


def test_positions_that_name_no_shard_move_to_no_other_number_of_hosts():
    with pytest.raises(ConfigError, match="another kind of data source"):
        merge_positions([b"host 0", b"host 1"])
    parts = [join_parts({"batches": b"host 0"}), join_parts({"batches": b"host 1"})]
    with pytest.raises(ConfigError, match="another kind of data source"):
        merge_positions(parts)


def test_another_number_of_shards_is_refused_by_name():
    position = Opened(num_shards=2).rows().state()
    with pytest.raises(ConfigError, match=r"'shard 1 of 2'\]; expected \['shard 0 of 3"):
        Opened(num_shards=3).rows().restore(position)
    with pytest.raises(ConfigError, match="num_shards=5, batch_size=12"):
        Opened(num_shards=5).rows()

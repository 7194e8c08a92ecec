"""The stages of each named curriculum."""

import pytest

from xlingual.data import curricula
from xlingual.data.mixing_rates import Sizes, Temperature
from xlingual.data.staged import Stage
from xlingual.errors import ConfigError


def test_dot_denoises_a_third_of_the_run_and_may_have_a_stage_of_bit():
    two = curricula.dot(denoising="d", translation="t", steps=900)
    assert two == (Stage(mixture="d", end_step=300), Stage(mixture="t"))
    three = curricula.dot(denoising="d", translation="t", both_directions="b", steps=900)
    assert [(stage.mixture, stage.end_step) for stage in three] == [
        ("d", 300),
        ("b", 600),
        ("t", None),
    ]


@pytest.mark.parametrize(
    ("make", "arguments", "expected"),
    [
        (curricula.mono_then_parallel, {"mono": "a", "parallel": "b"}, 500),
        (curricula.parallel_first, {"parallel": "a", "mono": "b"}, 100),
        (curricula.balanced_then_english, {"balanced": "a", "english": "b"}, 750),
        (curricula.prealign, {"alignment": "a", "switched": "b"}, 50),
    ],
)
def test_two_stages_switch_at_their_part_of_the_run(make, arguments, expected):
    assert make(steps=1000, **arguments) == (
        Stage(mixture="a", end_step=expected),
        Stage(mixture="b"),
    )


def test_anneal_alpha_moves_from_proportional_to_flatter_rates():
    sizes = Sizes(counts={"en": 1e6, "sw": 1e3}, unit="documents")
    first, last = curricula.anneal_alpha(sizes=sizes, steps=1000)
    assert first.mixture == Temperature(alpha=1.0).rates(sizes)
    assert last.mixture == Temperature(alpha=0.3).rates(sizes)
    assert (first.end_step, first.interpolate, last.end_step) == (1000, True, None)


def test_a_part_that_leaves_no_room_is_refused():
    with pytest.raises(ConfigError, match="take the part 1 of the run"):
        curricula.dot(denoising="d", translation="t", steps=9, rho=1.0)

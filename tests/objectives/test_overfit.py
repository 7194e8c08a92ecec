"""Every objective can be learnt: a small model learns some of its examples by heart."""

import pytest

from tests.objectives import cases
from tests.objectives.small_models import FIT_STEPS, LENGTHS, batch_of, fitting, model_of

MAX_STEPS = 500


@pytest.mark.parametrize("case", cases.CASES)
def test_a_small_model_learns_eight_examples_by_heart(case, examples_of):
    family = cases.families_of(case)[0]
    _, params = model_of(family)
    optimizer, fit = fitting(family)
    batch = batch_of(examples_of(case), family, row_lengths=LENGTHS)
    carry = (params, optimizer.init(params))
    for _ in range(MAX_STEPS // FIT_STEPS):
        carry, losses = fit(carry, batch)
        if losses[-1] < 0.1:
            break
    assert losses[-1] < 0.1

"""One batch serves both families: sources padded on the right, prompts behind a start symbol."""

import numpy as np
import pytest

from xlingual.evaluation.decoding_batches import make_decoding_batch


def test_rows_are_padded_and_missing_rows_repeat_the_inputs():
    batch = make_decoding_batch([np.array([7, 8, 1]), np.array([9, 1])], batch_size=3, length=4)
    np.testing.assert_array_equal(
        batch["encoder_input_tokens"], [[7, 8, 1, 0], [9, 1, 0, 0], [7, 8, 1, 0]]
    )
    np.testing.assert_array_equal(
        batch["decoder_prefix_tokens"], [[0, 7, 8, 1, 0], [0, 9, 1, 0, 0], [0, 7, 8, 1, 0]]
    )
    np.testing.assert_array_equal(batch["decoder_prefix_lengths"], [4, 3, 4])
    assert {value.dtype for value in batch.values()} == {np.dtype(np.int32)}


@pytest.mark.parametrize(
    "inputs, message",
    [
        ([], "0 inputs; expected 1 to batch_size=2"),
        ([np.ones(1)] * 3, "3 inputs; expected 1 to batch_size=2"),
        ([np.ones(5)], "inputs of 5 tokens; expected 1 to length=4"),
        ([np.ones(0)], "inputs of 0 tokens; expected 1 to length=4"),
    ],
)
def test_what_does_not_fit_is_refused(inputs, message):
    with pytest.raises(ValueError, match=message):
        make_decoding_batch(inputs, batch_size=2, length=4)

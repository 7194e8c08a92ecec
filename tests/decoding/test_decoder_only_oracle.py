"""Modern decoders write what transformers' `generate` writes, prompts of all lengths in a batch."""

import numpy as np
import pytest

from tests.checkpointing.conftest import theirs  # noqa: F401 (a fixture)
from tests.decoding.transformers_models import quick_jit, torch
from xlingual.decoding.beam_search import beam_search

PROMPT_LENGTHS = (1, 9, 4, 6)
MAX_LENGTH = 12


@pytest.mark.parametrize(("kind", "num_beams"), [("llama", 1), ("qwen3", 3)])
def test_equals_transformers_token_for_token(theirs, kind, num_beams):  # noqa: F811
    """Theirs reads each prompt by itself: no padding on their side."""
    from tests.checkpointing import small_models

    reference, folder = theirs(kind)
    model, params = small_models.load_ours(folder)
    rng = np.random.default_rng(1)
    prompts = rng.integers(2, model.vocab_size, (len(PROMPT_LENGTHS), max(PROMPT_LENGTHS)))
    inside = np.arange(prompts.shape[1]) < np.array(PROMPT_LENGTHS)[:, None]
    prompts = np.where(inside, prompts, 0).astype(np.int32)
    prompts[:, 0] = 0  # where ours reads the start token

    def search(params, tokens, lengths):
        batch = {"decoder_prefix_tokens": tokens, "decoder_prefix_lengths": lengths}
        settings = dict(max_length=MAX_LENGTH, num_beams=num_beams, num_return=num_beams)
        return beam_search(model, params, batch, **settings)

    found = quick_jit(search)(params, prompts, np.array(PROMPT_LENGTHS, np.int32))
    distinct = set()
    for row, length in enumerate(PROMPT_LENGTHS):
        prompt = [[reference.config.bos_token_id, *prompts[row, 1:length]]]
        written = reference.generate(
            torch.tensor(prompt).long(),
            max_new_tokens=MAX_LENGTH,
            num_beams=num_beams,
            num_return_sequences=num_beams,
            do_sample=False,
        )[:, length:].numpy()
        written = np.pad(written, ((0, 0), (0, MAX_LENGTH - written.shape[1])))
        ended = np.cumsum(written == 1, axis=1) - (written == 1) > 0
        np.testing.assert_array_equal(found.tokens[row], np.where(ended, 0, written))
        distinct |= set(written.ravel())
    assert len(distinct) > 5

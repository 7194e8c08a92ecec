"""The benchmark of generation writes what its peer writes and says what it measured."""

import json

import gin
import pytest

from benchmarks import generate

pytestmark = pytest.mark.slow

_SMALL = [
    "--gin_file=benchmarks/mt5_small.gin",
    "--gin.D_MODEL=16",
    "--gin.D_FF=32",
    "--gin.D_KV=8",
    "--gin.NUM_HEADS=2",
    "--gin.NUM_ENCODER_LAYERS=1",
    "--gin.NUM_DECODER_LAYERS=1",
    "--gin.VOCAB_SIZE=128",
    "--batch_size=8",
    "--inputs_length=8",
    "--max_length=5",
    "--runs=1",
    "--threads=1",
    "--texts=11",
    "--eos_scale=4",
]


@pytest.fixture(autouse=True)
def _clean_gin():
    gin.clear_config()
    yield
    gin.clear_config()


def test_both_write_the_same_and_the_numbers_agree(capsys, tmp_path):
    """The peer runs in this process: importing torch once more would take longer than the rest."""
    pytest.importorskip("torch", reason="the peer needs PyTorch (`make oracle`)")
    pytest.importorskip("transformers", reason="the peer is transformers' mT5")
    from benchmarks import peer_generate

    class Here:
        def __init__(self, shape, **_):
            self._write = peer_generate.make_writer(generate.dataclasses.asdict(shape))

        def run(self, count):
            return [2.0] * count or self._write()

        def close(self):
            pass

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(generate, "Peer", Here)
        assert generate.main([*_SMALL, "--peer"]) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert result["same_tokens"] == 1.0 and result["num_beams"] == 1
    assert result["tokens"] == result["peer"]["tokens"] == 8 * 5
    assert result["tokens_per_second"] == pytest.approx(8 * 5 / result["seconds"])
    assert result["peer"]["tokens_per_second"] == pytest.approx(8 * 5 / 2.0)
    assert result["ratio_to_peer"] == pytest.approx(2.0 / result["seconds"])
    texts = result["texts"]
    assert texts["same_tokens"] == 1.0 and texts["num_texts"] == 11
    assert texts["tokens"] == texts["peer"]["tokens"] == texts["sorted"]["peer"]["tokens"]
    assert texts["output_lengths"][0] < 5 and texts["tokens"] < 11 * 5
    assert texts["peer"]["tokens_per_second"] == pytest.approx(texts["tokens"] / 2.0)


@pytest.mark.parametrize(
    "options, message",
    [
        ([], "--gin_file: none given"),
        ([*_SMALL, "--beams=0"], "--beams=0; expected at least 1"),
        ([*_SMALL, "--peer", "--peer_python=/no/python"], "cannot be started"),
        ([*_SMALL, "--peer", "--gin.ACTIVATION_DTYPE='bfloat16'"], "in float32"),
    ],
)
def test_bad_input_ends_with_a_message(capsys, options, message):
    assert generate.main(options) == 2
    assert message in capsys.readouterr().err

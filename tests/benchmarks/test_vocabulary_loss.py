"""The benchmark of the vocabulary loss measures both losses, and says so in one line of JSON."""

import json

import pytest

from benchmarks import vocabulary_loss

TINY = ["--size=tiny", "--batch_size=2", "--inputs_length=8", "--targets_length=6", "--steps=1"]


@pytest.mark.parametrize(
    "more",
    [
        ["--dtype=bfloat16", "--skip_step"],
        pytest.param(["--tied"], marks=pytest.mark.slow),
        pytest.param(["--dtype=bfloat16"], marks=pytest.mark.slow),
    ],
)
def test_the_last_line_is_json_whose_numbers_agree(capsys, more, monkeypatch):
    monkeypatch.setattr(vocabulary_loss, "LARGE", (8, 64, 16))
    assert vocabulary_loss.main([*TINY, "--vocab_size=640", "--token_block=16", *more]) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert ("step" in result) == ("--skip_step" not in more)
    for part in (result["loss"], result.get("step", result["loss"])):
        assert part["ratio"] == part["full"]["seconds"] / part["blockwise"]["seconds"]
        assert part["memory_ratio"] > 0
    assert result.get("ratio") == result.get("step", {}).get("ratio")
    memory = result["memory_at_8x1024x512"]
    assert memory["ratio"] == memory["full"] / memory["blockwise"] > 4


def test_sizes_are_checked(capsys):
    assert vocabulary_loss.main(["--vocab_size=0"]) == 2
    assert "--vocab_size=0; expected at least 1" in capsys.readouterr().err

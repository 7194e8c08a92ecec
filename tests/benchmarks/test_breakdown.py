import json
import pathlib

import pytest

from benchmarks import breakdown

PROGRAM = """HloModule jit_train_step
%fused_computation.1 (p: f32[2]) -> f32[2] {
  %p = f32[2]{0} parameter(0)
  ROOT %d.1 = f32[2]{0} multiply(%p, %p), metadata={op_name="jit(f)/decoder/mlp/wi_0/dot"}
}
ENTRY %main (a: f32[2]) -> f32[2] {
  %a = f32[2]{0} parameter(0)
  %fusion.1 = f32[2]{0} fusion(%a), kind=kCustom, calls=%fused_computation.1
  %all-reduce-start.2 = f32[2]{0} all-reduce-start(%fusion.1), metadata={op_name="jit(f)/loss/add"}
  %dot.3 = f32[2]{0} dot(%a, %a), metadata={op_name="jit(f)/transpose(jvp(loss))/dot"}
  %dot.4 = f32[2]{0} dot(%a, %a), metadata={op_name="jit(f)/encoder/layers_3/attention/query/dot"}
  %while.5 = f32[2]{0} while(%a), metadata={op_name="jit(f)/encoder/while"}
  ROOT %copy.6 = f32[2]{0} copy(%a)
}
"""


def test_operations_belong_to_the_part_they_were_made_from():
    parts = breakdown.parts_of_operations(PROGRAM)
    wanted = {
        "fusion.1": "feed-forward",
        "all-reduce-start.2": "collectives",
        "dot.3": "loss",
        "dot.4": "attention",
        "copy.6": "other",
    }
    assert {name: parts[name] for name in wanted} == wanted
    assert "while.5" not in parts


def test_a_step_of_a_gin_file_is_divided(capsys, clean_gin):
    file = pathlib.Path(__file__).resolve().parents[2] / "benchmarks" / "mt5_small.gin"
    sizes = {"D_MODEL": 16, "D_FF": 32, "D_KV": 8, "NUM_HEADS": 2, "NUM_DECODER_LAYERS": 1}
    sizes |= {"VOCAB_SIZE": 128, "BATCH_SIZE": 8, "NUM_ENCODER_LAYERS": 1}
    lengths = "--gin.TASK_FEATURE_LENGTHS={'inputs': 8, 'targets': 4}"
    status = breakdown.main(
        [f"--gin_file={file}"]
        + [f"--gin.{name}={value}" for name, value in sizes.items()]
        + [lengths, "--steps=2", "--top=3"]
    )
    assert status == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    seconds = result["operation_seconds_by_part"]
    assert {"attention", "feed-forward", "loss", "optimizer", "embedding", "host"} <= {*seconds}
    assert sum(result["shares"].values()) == pytest.approx(1)
    assert 0 < result["busy_seconds_per_step"] < result["seconds_per_step"]

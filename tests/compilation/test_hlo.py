"""Programs are read from their text: shapes, calls, loops, groups of devices, costs."""

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from xlingual.compilation.costs import compute_costs
from xlingual.compilation.hlo import group_members, parse_program

NESTED = """HloModule nested

%inner_body (p: (s32[], f32[8,8])) -> (s32[], f32[8,8]) {
  %p = (s32[], f32[8,8]{1,0:T(8,128)}) parameter(0)
  %i = s32[] get-tuple-element(%p), index=0
  %x = f32[8,8]{1,0} get-tuple-element(%p), index=1
  %two = s32[] constant(2)
  %next = s32[] add(%i, %two)
  %y = f32[8,8]{1,0} dot(%x, %x), lhs_contracting_dims={1}, rhs_contracting_dims={0}
  ROOT %t = (s32[], f32[8,8]{1,0}) tuple(%next, %y)
}

%inner_condition (p: (s32[], f32[8,8])) -> pred[] {
  %q = (s32[], f32[8,8]{1,0}) parameter(0)
  %j = s32[] get-tuple-element(%q), index=0
  %ten = s32[] constant(10)
  ROOT %less = pred[] compare(%j, %ten), direction=LT
}

%all-reduce-scatter (in: bf16[16,4]) -> bf16[4,4] {
  %in = bf16[16,4]{1,0} parameter(0)
  %sum = bf16[16,4]{1,0} all-reduce(%in), channel_id=3, replica_groups={{0,1,2,3}}, to_apply=%add
  ROOT %cut = bf16[4,4]{1,0} dynamic-slice(%sum), dynamic_slice_sizes={4,4}
}

%async_collective_fusion.1 (a: bf16[2,4]) -> bf16[8,4] {
  %a = bf16[2,4]{1,0} parameter(0)
  ROOT %g = bf16[8,4]{1,0} all-gather(%a), channel_id=7, replica_groups=[1,4]<=[4], dimensions={0}
}

%async_collective_fusion.2 (b: bf16[2,4]) -> bf16[8,4] {
  %b = bf16[2,4]{1,0} parameter(0)
  ROOT %h = bf16[8,4]{1,0} all-gather(%b), channel_id=7, replica_groups=[1,4]<=[4], dimensions={0}
}

ENTRY %main (x0: f32[8,8], g0: bf16[16,4], a0: bf16[2,4]) -> f32[8,8] {
  %x0 = f32[8,8]{1,0} parameter(0)
  %g0 = bf16[16,4]{1,0} parameter(1)
  %a0 = bf16[2,4]{1,0} parameter(2)
  %zero = s32[] constant(0)
  %start = (s32[], f32[8,8]{1,0}) tuple(%zero, %x0)
  %loop = (s32[], f32[8,8]{1,0}) while(%start), condition=%inner_condition, body=%inner_body
  %cut = bf16[4,4]{1,0} fusion(%g0), kind=kCustom, calls=%all-reduce-scatter
  %first = bf16[8,4]{1,0} fusion(%a0), kind=kCustom, calls=%async_collective_fusion.1
  %second = bf16[8,4]{1,0} fusion(%a0), kind=kCustom, calls=%async_collective_fusion.2
  ROOT %out = f32[8,8]{1,0} get-tuple-element(%loop), index=1
}
"""


def test_a_loop_counts_as_often_as_it_runs():
    """From 0 to 10 in steps of 2: five products of 8 x 8 x 8."""
    costs = compute_costs(parse_program(NESTED), num_devices=4)
    assert costs.flops == 5 * 2 * 8**3
    assert not costs.unknown_loops


def test_collectives_of_a_tpu_are_recognised():
    """A reduced array that is cut at once; and one gather that goes on in a second fusion."""
    costs = compute_costs(parse_program(NESTED), num_devices=4)
    assert costs.by_kind() == {
        "all-gather": {"count": 1.0, "bytes": 64.0},
        "reduce-scatter": {"count": 1.0, "bytes": 128.0},
    }
    gather = next(one for one in costs.collectives if one.kind == "all-gather")
    assert gather.sent_bytes == 64 * 3 / 4


@pytest.mark.parametrize(
    ("text", "groups"),
    [
        ("replica_groups={{0,1},{2,3}}, x", [[0, 1], [2, 3]]),
        ("replica_groups=[2,2]<=[4], x", [[0, 1], [2, 3]]),
        ("replica_groups=[2,2]<=[2,2]T(1,0), x", [[0, 2], [1, 3]]),
        ("replica_groups=mesh['a'=2,'b'=2] {'b'}, x", [[0, 1], [2, 3]]),
        ("replica_groups=mesh['a'=2,'b'=2] {'a'}, x", [[0, 2], [1, 3]]),
        ("replica_groups=mesh['a'=2,'b'=2] {'a','b'}, x", [[0, 1, 2, 3]]),
        ("replica_groups=mesh['a'=4] {'a':(2)2}, x", [[0, 1], [2, 3]]),
        ("replica_groups=mesh['a'=4] {'a':(1)2}, x", [[0, 2], [1, 3]]),
        ("replica_groups=mesh['a'=2,'b'=2], device_ids=([2,2]T(1,0)) {'b'}, x", [[0, 2], [1, 3]]),
        ("source_target_pairs={{0,1},{1,0}}, x", [[0, 1], [1, 0]]),
        ("replica_groups={}, x", [[0, 1, 2, 3]]),
    ],
)
def test_groups_of_devices(text, groups):
    assert [list(group) for group in group_members(text, 4)] == groups


def test_groups_in_an_unknown_notation_are_refused():
    with pytest.raises(ValueError, match="cannot read the groups"):
        group_members("replica_groups=@later", 4)


def test_compiled_program_counts_its_layers_and_its_gathers():
    """Three layers of a scan, each with a kernel cut over eight devices: checked by hand."""
    mesh = jax.make_mesh((8,), ("fsdp",), axis_types=(AxisType.Auto,))

    def cut(*axes):
        return NamedSharding(mesh, PartitionSpec(*axes))

    def layers(kernels, x):
        return jax.lax.scan(lambda y, kernel: (jnp.tanh(y @ kernel), None), x, kernels)[0]

    kernels = jax.ShapeDtypeStruct((3, 16, 16), jnp.float32, sharding=cut(None, "fsdp", None))
    x = jax.ShapeDtypeStruct((32, 16), jnp.float32, sharding=cut("fsdp", None))
    compiled = jax.jit(layers, out_shardings=cut("fsdp", None)).lower(kernels, x).compile()
    costs = compute_costs(parse_program(compiled.as_text()), num_devices=8)
    assert costs.flops == 3 * 2 * (32 / 8) * 16 * 16
    assert costs.by_kind() == {"all-gather": {"count": 3.0, "bytes": 3.0 * 16 * 16 * 4}}
    assert compiled.cost_analysis()["flops"] < costs.flops, "XLA counts the body once"

"""Rule tables: which mesh axes cut each logical axis.

One table serves parameters and activations. Dimensions are read from the first to the last, and a
mesh axis that an earlier dimension has taken is skipped: an activation `(batch, length, embed)`
gives `fsdp` to the batch, a kernel `(embed, mlp)` gives it to `embed`. So the `fsdp` table is fully
sharded data parallelism (ZeRO stage 3), with no second table.

References:
  Rajbhandari et al. (2020), "ZeRO: Memory Optimizations Toward Training Trillion Parameter Models",
  arXiv:1910.02054. Shoeybi et al. (2019), "Megatron-LM", arXiv:1909.08053, section 3 (tensor axis).
"""

from collections.abc import Iterable, Sequence

from jax.sharding import PartitionSpec

from xlingual.errors import ConfigError
from xlingual.partitioning.axes import LOGICAL_AXES, MESH_AXES, check_logical_axes

MeshAxes = str | tuple[str, ...] | None
Rules = tuple[tuple[str, MeshAxes], ...]
"""Pairs (logical axis, mesh axis or axes or None), every logical axis once."""


_LAST = "length"


def data_parallel() -> Rules:
    """Returns the table that cuts the batch only; every device holds all parameters."""
    return _table(batch=("data",))


def fsdp() -> Rules:
    """Returns the table that cuts the batch over all devices and parameters along `embed`."""
    return _table(batch=("data", "fsdp"), embed=("fsdp",))


def fsdp_tensor() -> Rules:
    """Returns the `fsdp` table with heads, feed-forward width and vocabulary cut over `tensor`."""
    return _table(
        batch=("data", "fsdp"),
        embed=("fsdp",),
        mlp=("tensor",),
        heads=("tensor",),
        kv_heads=("tensor",),
        vocab=("tensor",),
    )


def fsdp_tensor_sequence() -> Rules:
    """Returns the `fsdp_tensor` table with the positions of the residual stream cut over `tensor`.

    Between two layers each device then holds and normalises a part of the positions; what was one
    all-reduce after a layer is a reduce-scatter after it and an all-gather before the next: the
    same traffic, a `tensor`-th of the memory. A length that does not divide stays whole.

    References:
      Korthikanti et al. (2022), "Reducing Activation Recomputation in Large Transformer Models",
      arXiv:2205.05198, section 4.2.2.
    """
    return tuple((name, "tensor" if name == "length" else entry) for name, entry in fsdp_tensor())


def validate_rules(rules: Sequence[tuple[str, MeshAxes]]) -> None:
    """Checks a rule table.

    Args:
      rules: pairs (logical axis, mesh axis or axes or None).

    Raises:
      ConfigError: an axis is unknown, a logical axis is missing or listed twice, or a mesh axis
        occurs twice in one rule.
    """
    names = [name for name, _ in rules]
    if sorted(names) != sorted(LOGICAL_AXES):
        raise ConfigError(
            f"rules name the logical axes {sorted(names)}; expected each of "
            f"{sorted(LOGICAL_AXES)} exactly once"
        )
    for name, mesh_axes in rules:
        axes = _as_tuple(mesh_axes)
        unknown = [axis for axis in axes if axis not in MESH_AXES]
        if unknown:
            raise ConfigError(
                f"the rule of {name!r} names the mesh axes {unknown}; expected some of "
                f"{list(MESH_AXES)}"
            )
        if len(set(axes)) != len(axes):
            raise ConfigError(f"the rule of {name!r} names a mesh axis twice: {axes}")


def used_mesh_axes(rules: Rules) -> frozenset[str]:
    """Returns the mesh axes that at least one rule cuts something over."""
    return frozenset(axis for _, mesh_axes in rules for axis in _as_tuple(mesh_axes))


def mesh_spec(
    axes: Iterable[str | None], rules: Rules, *, first: str | None = None
) -> PartitionSpec:
    """Returns the mesh axes that cut each dimension of an array.

    Args:
      axes: logical axis of each dimension; None for one that is never cut.
      rules: a valid rule table.
      first: logical axis that chooses before the others; None for none.

    Returns:
      A PartitionSpec of mesh axes, one entry a dimension. An earlier dimension wins a mesh axis;
      `length` gets what no other dimension wants: heads and widths are cut before positions.

    Raises:
      ValueError: an axis is unknown.
    """
    axes = tuple(axes)
    check_logical_axes(axes)
    table = dict(rules)
    taken: set[str] = set()
    entries: list[MeshAxes] = [None] * len(axes)
    for dim in sorted(range(len(axes)), key=lambda dim: (axes[dim] != first, axes[dim] == _LAST)):
        name = axes[dim]
        wanted = () if name is None else _as_tuple(table[name])
        free = tuple(axis for axis in wanted if axis not in taken)
        taken.update(free)
        entries[dim] = free if len(free) > 1 else free[0] if free else None
    return PartitionSpec(*entries)


def _table(**cuts: tuple[str, ...]) -> Rules:
    def entry(name: str) -> MeshAxes:
        axes = cuts.get(name, ())
        return axes if len(axes) > 1 else axes[0] if axes else None

    return tuple((name, entry(name)) for name in LOGICAL_AXES)


def _as_tuple(mesh_axes: MeshAxes) -> tuple[str, ...]:
    if mesh_axes is None:
        return ()
    return (mesh_axes,) if isinstance(mesh_axes, str) else tuple(mesh_axes)

"""The names of logical axes and mesh axes: the only ones that may appear in the code.

A logical axis says what a dimension means; a rule table (`rules.py`) says over which mesh axes it
is cut. Models and optimizers know logical axes only.
"""

from collections.abc import Iterable, Mapping

LOGICAL_AXES: Mapping[str, str] = {
    "batch": "rows of a batch",
    "length": "positions of a sequence",
    "embed": "model width, size d_model",
    "mlp": "inner width of the feed-forward layer, size d_ff",
    "heads": "attention heads; heads * d_kv in two-dimensional attention kernels",
    "kv": "width of one attention head, size d_kv",
    "kv_heads": "heads of keys and values, where several query heads share one",
    "vocab": "rows of the embedding, columns of the logits",
    "layers": "stacked layers of a scanned stack; always dimension 0",
    "relpos_buckets": "buckets of the relative position table",
}
"""Logical axis name -> what it means."""

MESH_AXES: tuple[str, ...] = ("data", "fsdp", "tensor")
"""Mesh axes, slowest first: `data` may cross slices, `tensor` joins the nearest devices."""


def check_logical_axes(axes: Iterable[str | None]) -> None:
    """Checks that every name is a logical axis.

    Args:
      axes: logical axis names; None stands for a dimension that is never cut.

    Raises:
      ValueError: a name is not in `LOGICAL_AXES`.
    """
    unknown = [name for name in axes if name is not None and name not in LOGICAL_AXES]
    if unknown:
        raise ValueError(f"unknown logical axes {unknown}; expected some of {sorted(LOGICAL_AXES)}")

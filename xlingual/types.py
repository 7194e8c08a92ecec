"""Names for the types that every package shares."""

from collections.abc import Mapping
from typing import Any

import jax

Array = jax.Array
Batch = Mapping[str, jax.Array]
"""Model features of one global batch: name -> [batch, length] array."""
PRNGKey = jax.Array
PyTree = Any
LogicalAxes = tuple[str | None, ...]
"""Logical axis names of one array, one entry a dimension (`partitioning/axes.py`)."""

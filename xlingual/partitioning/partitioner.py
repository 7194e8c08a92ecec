"""The partitioner: a mesh, a rule table, and `jax.jit` under both."""

import contextlib
import dataclasses
import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from xlingual.errors import ConfigError
from xlingual.partitioning import specs
from xlingual.partitioning.axes import MESH_AXES
from xlingual.partitioning.constraints import use_rules
from xlingual.partitioning.mesh import make_mesh
from xlingual.partitioning.rules import Rules, mesh_spec, used_mesh_axes, validate_rules
from xlingual.types import PyTree


@dataclasses.dataclass(frozen=True, kw_only=True)
class Partitioner:
    """How arrays and computations are spread over devices. Making one touches no device.

    Attributes:
      rules: logical axis -> mesh axes (`rules.py`).
      data: devices along the mesh axis `data`; -1 for all that remain.
      fsdp: devices along `fsdp`.
      tensor: devices along `tensor`.
      devices: the devices to use; None for all devices of all hosts.

    Raises:
      ConfigError: the table is not valid.
    """

    rules: Rules
    data: int = -1
    fsdp: int = 1
    tensor: int = 1
    devices: tuple[jax.Device, ...] | None = None

    def __post_init__(self) -> None:
        validate_rules(self.rules)

    @functools.cached_property
    def mesh(self) -> Mesh:
        """The device mesh, axes `data`, `fsdp`, `tensor`.

        Raises:
          ConfigError: the sizes do not fit the devices, or an axis is longer than 1 and no rule
            cuts anything over it, so that its devices would repeat each other's work.
        """
        devices = jax.devices() if self.devices is None else self.devices
        mesh = make_mesh({axis: getattr(self, axis) for axis in MESH_AXES}, devices)
        for axis, size in mesh.shape.items():
            if size > 1 and axis not in used_mesh_axes(self.rules):
                raise ConfigError(
                    f"mesh axis {axis!r} has size {size} but no rule uses it; expected size 1, or "
                    f"another rule table"
                )
        return mesh

    @functools.cached_property
    def batch_sharding(self) -> NamedSharding:
        """The sharding of every batch feature, `[batch, ...]`: rows are cut, nothing else."""
        return NamedSharding(self.mesh, mesh_spec(("batch",), self.rules))

    @functools.cached_property
    def replicated(self) -> NamedSharding:
        """The sharding of an array that every device holds whole."""
        return NamedSharding(self.mesh, PartitionSpec())

    @functools.cached_property
    def num_batch_shards(self) -> int:
        """Number of parts into which the rows of a batch are cut."""
        entry = self.batch_sharding.spec[0]
        axes = (entry,) if isinstance(entry, str) else entry or ()
        return math.prod(self.mesh.shape[axis] for axis in axes)

    def check_batch_size(self, batch_size: int, num_microbatches: int = 1) -> None:
        """Checks that every device gets the same number of rows.

        Args:
          batch_size: rows of the global batch.
          num_microbatches: equal parts into which the step cuts the batch.

        Raises:
          ConfigError: the rows do not divide.
        """
        parts = self.num_batch_shards * num_microbatches
        if batch_size < 1 or batch_size % parts:
            raise ConfigError(
                f"batch_size={batch_size} does not divide over {self.num_batch_shards} batch "
                f"shards x {num_microbatches} microbatches; expected a positive multiple of {parts}"
            )

    def host_rows(self, batch_size: int) -> np.ndarray:
        """Returns which rows of a global batch this host supplies: [host_batch] int64, ascending.

        Hosts that share rows (a mesh axis other than the batch's spans them) get the same rows. The
        rows of a host need not be neighbours: a mesh follows the links between chips.

        Args:
          batch_size: rows of the global batch.

        Raises:
          ConfigError: the rows do not divide over the mesh.
        """
        self.check_batch_size(batch_size)
        return np.concatenate([np.arange(*part) for part in sorted(self._local_rows(batch_size))])

    @contextlib.contextmanager
    def activate(self) -> Iterator[None]:
        """Sets the mesh and the rules that `constrain` follows; use it outside of `jax.jit`."""
        # Linen unboxes parameters under its own rule table while it initialises them.
        platform = self.mesh.devices.flat[0].platform
        with (
            jax.set_mesh(self.mesh),
            use_rules(self.rules, platform=platform),
            nn.logical_axis_rules(self.rules),
        ):
            yield

    def shard_batch(self, host_batch: Mapping[str, np.ndarray]) -> dict[str, jax.Array]:
        """Returns global arrays made of the rows that each host supplies.

        Args:
          host_batch: name -> [host_batch, ...], the rows `host_rows` of the global batch.

        Returns:
          name -> [batch, ...] global array, rows cut over the mesh.

        Raises:
          ConfigError: the rows do not divide over this host's part of the mesh.
        """
        local_shards = len(self._local_rows(self.num_batch_shards))
        for name, rows in host_batch.items():
            if len(rows) % local_shards:
                raise ConfigError(
                    f"{name} has {len(rows)} rows on this host; expected a multiple of its "
                    f"{local_shards} batch shards"
                )
        # With several processes this counts as an implicit transfer, which the train loop forbids.
        with jax.transfer_guard_host_to_device("allow"):
            return {
                name: jax.make_array_from_process_local_data(self.batch_sharding, np.asarray(rows))
                for name, rows in host_batch.items()
            }

    def shardings(self, axes: PyTree, shapes: PyTree) -> PyTree:
        """Returns the sharding of every array of a tree (`specs.shardings`).

        Args:
          axes: logical axes, the structure of `shapes`; leaves are `PartitionSpec`.
          shapes: arrays or `jax.ShapeDtypeStruct`.

        Raises:
          ConfigError: a dimension of an array that is not small does not divide over the mesh.
        """
        return specs.shardings(axes, shapes, mesh=self.mesh, rules=self.rules)

    def jit(
        self,
        fn: Callable[..., Any],
        *,
        in_shardings: PyTree = None,
        out_shardings: PyTree = None,
        donate_argnums: int | Sequence[int] = (),
        static_argnums: int | Sequence[int] = (),
    ) -> "PartitionedFunction":
        """Returns `fn` compiled for the mesh, traced under `activate()`.

        Args:
          fn: a pure function of positional arguments.
          in_shardings: a tree prefix of shardings of the arguments that are not static; None
            anywhere in it leaves the choice to the argument.
          out_shardings: the same for the results; None leaves the choice to the compiler.
          donate_argnums: arguments whose memory the results may take.
          static_argnums: arguments that are part of the program; they must be hashable.
        """

        # A new function object, so that no trace under other rules is found again.
        @functools.wraps(fn)
        def fresh(*args: Any) -> Any:
            return fn(*args)

        given = {"in_shardings": in_shardings, "out_shardings": out_shardings}
        jitted = jax.jit(
            fresh,
            donate_argnums=donate_argnums,
            static_argnums=static_argnums,
            **{name: tree for name, tree in given.items() if tree is not None},
        )
        return PartitionedFunction(partitioner=self, jitted=jitted)

    def _local_rows(self, batch_size: int) -> set[tuple[int, int]]:
        """Returns the ranges of rows that the devices of this host hold."""
        indices = self.batch_sharding.addressable_devices_indices_map((batch_size,)).values()
        return {index[0].indices(batch_size)[:2] for index in indices if index is not None}


@dataclasses.dataclass(frozen=True, kw_only=True)
class PartitionedFunction:
    """A jitted function that is traced, lowered and run under its partitioner."""

    partitioner: Partitioner
    jitted: Any

    def __call__(self, *args: Any) -> Any:
        """Runs the function."""
        with self.partitioner.activate():
            return self.jitted(*args)

    def lower(self, *args: Any) -> Any:
        """Returns `jax.stages.Lowered` for arguments or their `jax.ShapeDtypeStruct`."""
        with self.partitioner.activate():
            return self.jitted.lower(*args)

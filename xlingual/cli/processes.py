"""One run by several processes: how they find each other, and how they end together.

Every process is told by the cluster, by the environment or by flags where process 0 listens, how
many there are and which one it is. From then on JAX's coordination service hears a heartbeat of
each. A process whose heartbeats stop (a machine lost, a SIGKILL) ends all others within
`heartbeat_timeout_seconds`, and one that fails says so and goes at once, instead of waiting for the
others to reach the end of the run.

References:
  JAX documentation, "Introduction to multi-controller JAX" (`jax.distributed.initialize`).
"""

import argparse
import contextlib
import dataclasses
import os
import sys
import traceback
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

import jax

from xlingual.errors import ConfigError

CLUSTERS = {
    "auto": None,
    "tpu": "gcetpu",
    "gke": "gketpu",
    "slurm": "slurm",
    "ompi": "ompi",
    "address": "deactivate",
}
"""Name of a kind of cluster -> what JAX calls the way to detect it."""

ENVIRONMENT = {
    "coordinator_address": "JAX_COORDINATOR_ADDRESS",
    "num_processes": "JAX_NUM_PROCESSES",
    "process_id": "JAX_PROCESS_ID",
}
"""Field of `Processes` -> environment variable that stands in for it."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Processes:
    """Where the processes of a run meet, and how long they wait for each other.

    Attributes:
      cluster: `auto`, or a name in `CLUSTERS`; `address` takes the three fields below as they are.
      coordinator_address: HOST:PORT where process 0 listens; None asks the cluster.
      num_processes: of the run; None asks the cluster.
      process_id: this one, in [0, num_processes); None asks the cluster.
      start_timeout_seconds: until all processes have come.
      heartbeat_timeout_seconds: without a sign of a process until the others end.
      end_timeout_seconds: until all have come to the end of the run.

    Raises:
      ConfigError: a field is not valid, or only some of address, number and index are given.
    """

    cluster: str = "auto"
    coordinator_address: str | None = None
    num_processes: int | None = None
    process_id: int | None = None
    start_timeout_seconds: int = 300
    heartbeat_timeout_seconds: int = 30
    end_timeout_seconds: int = 300

    def __post_init__(self) -> None:
        if self.cluster not in CLUSTERS:
            raise ConfigError(f"cluster={self.cluster!r}; expected one of {', '.join(CLUSTERS)}")
        for name in ("start", "heartbeat", "end"):
            value = getattr(self, f"{name}_timeout_seconds")
            if value < 1:
                raise ConfigError(f"{name}_timeout_seconds={value}; expected at least 1")
        fields = {name: getattr(self, name) for name in ENVIRONMENT}
        missing = [name for name, value in fields.items() if value is None]
        if missing and (self.cluster == "address" or len(missing) < len(fields)):
            raise ConfigError(
                f"of {', '.join(fields)} the values {missing} are missing; expected all three (or "
                f"in the environment: {', '.join(ENVIRONMENT.values())}), or none and a cluster "
                "that knows them"
            )
        if not missing:
            self._check_place(str(self.coordinator_address))

    def _check_place(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        if not host or not port.isdigit():
            raise ConfigError(f"coordinator_address={address!r}; expected HOST:PORT")
        number, index = self.num_processes or 0, self.process_id or 0
        if not 0 <= index < number:
            raise ConfigError(
                f"process_id={index}, num_processes={number}; expected 0 <= process_id < "
                "num_processes"
            )


def add_process_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options of a verb that can be one process of several."""
    group = parser.add_argument_group("several processes")
    group.add_argument(
        "--multiprocess",
        action="store_true",
        help="this is one process of several (TPU pods, GPU clusters); the options below imply it",
    )
    group.add_argument(
        "--cluster",
        choices=CLUSTERS,
        help="who knows the other processes: TPU VMs, GKE, SLURM, Open MPI or the address; "
        "auto, the default, looks for one",
    )
    for name, kind, text in (
        ("coordinator_address", str, "HOST:PORT where process 0 listens"),
        ("num_processes", int, "number of processes"),
        ("process_id", int, "index of this one"),
    ):
        group.add_argument(f"--{name}", type=kind, help=f"{text}; or {ENVIRONMENT[name]}")
    for name, text in (
        ("start", "until all processes have come"),
        ("heartbeat", "without a sign of a process until all others end"),
        ("end", "until all have come to the end of the run"),
    ):
        field = f"{name}_timeout_seconds"
        default = getattr(Processes, field)
        group.add_argument(f"--{field}", type=int, default=default, help=f"{text} ({default})")


def wanted_processes(
    args: argparse.Namespace, environment: Mapping[str, str] = os.environ
) -> Processes | None:
    """Returns what the options and the environment say; None for a run of one process alone.

    Raises:
      ConfigError: as `Processes`.
    """
    given = from_environment(
        environment, **{name: getattr(args, name) for name in ("cluster", *ENVIRONMENT)}
    )
    asked = {name: value for name, value in given.items() if value is not None}
    if not (args.multiprocess or asked):
        return None
    timeouts = ("start_timeout_seconds", "heartbeat_timeout_seconds", "end_timeout_seconds")
    fields: dict[str, Any] = {**asked, **{name: getattr(args, name) for name in timeouts}}
    return Processes(**fields)


def from_environment(
    environment: Mapping[str, str], **given: str | int | None
) -> dict[str, str | int | None]:
    """Returns arguments of `Processes`: those given, and for None what the environment says.

    Args:
      environment: variables, e.g. `os.environ`.
      **given: arguments of `Processes`.

    Raises:
      ConfigError: a variable that should be a number is none.
    """
    found = dict(given)
    for name, variable in ENVIRONMENT.items():
        value = environment.get(variable)
        if found.get(name) is None and value:
            if name != "coordinator_address" and not value.isdigit():
                raise ConfigError(f"{variable}={value!r}; expected a number")
            found[name] = value if name == "coordinator_address" else int(value)
    return found


@contextlib.contextmanager
def joined(processes: Processes) -> Iterator[None]:
    """Joins the run for the duration of the context.

    An error inside ends this process, without waiting for the others, after its message is written;
    the others, which wait for it in a collective operation or at a barrier, miss its heartbeats.
    The exit status is 2 for a ConfigError, 130 for an interrupt from the keyboard, else 1.

    Raises:
      ConfigError: the processes do not find each other.
    """
    _connect(processes)
    try:
        yield
        jax.distributed.shutdown()
    except BaseException as error:
        _leave(error)


def _connect(processes: Processes) -> None:
    placed = processes.coordinator_address is not None
    try:
        jax.distributed.initialize(
            coordinator_address=processes.coordinator_address,
            num_processes=processes.num_processes,
            process_id=processes.process_id,
            cluster_detection_method=CLUSTERS["address" if placed else processes.cluster],
            initialization_timeout=processes.start_timeout_seconds,
            heartbeat_timeout_seconds=processes.heartbeat_timeout_seconds,
            shutdown_timeout_seconds=processes.end_timeout_seconds,
        )
    except (RuntimeError, ValueError) as error:
        raise ConfigError(
            f"the processes of the run did not find each other (cluster={processes.cluster!r}, "
            f"coordinator_address={processes.coordinator_address!r}): {error}"
        ) from error


def _leave(error: BaseException) -> NoReturn:
    """Writes what went wrong, and ends this process at once."""
    where = f"process {jax.process_index()} of {jax.process_count()}"
    if isinstance(error, ConfigError):
        lines = str(error).splitlines()
        trail = "In call to config"  # which gin appends
        kept = [line for line in lines if not line.lstrip().startswith(trail)]
        reason, status = "error: " + "\n".join(kept), 2
    else:
        reason = "".join(traceback.format_exception(error))
        status = 130 if isinstance(error, KeyboardInterrupt) else 1
    sys.stdout.flush()
    print(f"xlingual: {where} ends, and the run with it: {reason}", file=sys.stderr, flush=True)
    os._exit(status)

"""Does a generated Python function compute what the reference computes? It is run to find out.

Each function runs in a process of its own (`code_runner`): an isolated interpreter in an empty
folder, with limits of time, memory, processes, open files and written bytes, behind a hook that
refuses files, processes, threads and sockets; and, where the system permits it (`unshare`), without
a network and with its own process numbers, so that nothing of it outlives it. That holds off what a
model writes by accident, not an attacker.
"""

import ast
import dataclasses
import functools
import json
import math
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from typing import Any

from xlingual.errors import ConfigError
from xlingual.evaluation import code_runner

STATUSES = (
    "passed", "wrong", "syntax", "error", "timeout", "memory", "forbidden", "exit", "crash"
)  # fmt: skip
"""What can become of a function."""
_MAX_REPORT = 1 << 20
_NAMESPACES = ("--user", "--map-root-user", "--net", "--pid", "--fork", "--kill-child")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Limits:
    """What a function may use.

    Attributes:
      timeout_seconds: of wall-clock time, and of processor time rounded up.
      memory_bytes: of address space.

    Raises:
      ConfigError: a limit leaves no room for the interpreter.
    """

    timeout_seconds: float = 2.0
    memory_bytes: int = 256 << 20

    def __post_init__(self) -> None:
        if self.timeout_seconds <= 0 or self.memory_bytes < 64 << 20:
            raise ConfigError(
                f"timeout_seconds={self.timeout_seconds}, memory_bytes={self.memory_bytes}; "
                f"expected more than 0, and at least {64 << 20}"
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Execution:
    """What became of a function.

    Attributes:
      status: `ran`, or one of `STATUSES`.
      outputs: what it returned for each call, JSON types.
      detail: name of the exception, exit code, signal or what was refused.
    """

    status: str
    outputs: Sequence[Any] = ()
    detail: str = ""


def function_name(code: str) -> str | None:
    """Returns the name of the last function of a program; None without one or if it has errors."""
    try:
        body = ast.parse(code).body
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return None
    names = [node.name for node in body if isinstance(node, ast.FunctionDef)]
    return names[-1] if names else None


def run_function(
    code: str, calls: Sequence[Sequence[Any]], limits: Limits | None = None
) -> Execution:
    """Runs the last function of a program on some arguments, contained.

    Args:
      code: Python.
      calls: arguments of each call, JSON types.
      limits: what it may use; None for the defaults.
    """
    limits = limits or Limits()
    name = function_name(code)
    if name is None:
        return Execution(status="syntax")
    job = {
        "code": code,
        "function": name,
        "calls": [list(arguments) for arguments in calls],
        "limits": _resource_limits(limits),
        "max_report": _MAX_REPORT,
    }
    interpreter = [sys.executable, "-I", "-S", str(pathlib.Path(code_runner.__file__).resolve())]
    with tempfile.TemporaryDirectory(prefix="xlingual_code_") as folder:
        process = subprocess.Popen(
            [*_namespaces(), *interpreter],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=folder,
            env={"PATH": os.defpath},
            start_new_session=True,
        )
        try:
            written, _ = process.communicate(json.dumps(job).encode(), limits.timeout_seconds)
        except subprocess.TimeoutExpired:
            return Execution(status="timeout")
        finally:
            _kill(process)
    return _read_report(written, process.returncode)


def check_function(
    code: str, expected: Execution, calls: Sequence[Sequence[Any]], limits: Limits | None = None
) -> Execution:
    """Runs a function and returns `passed` or `wrong` where it ran.

    Args:
      code: Python.
      expected: of the reference, on the same calls.
      calls: arguments of each call.
      limits: what it may use.
    """
    found = run_function(code, calls, limits)
    if found.status != "ran":
        return found
    same = _same(list(found.outputs), list(expected.outputs))
    return dataclasses.replace(found, status="passed" if same else "wrong")


def _resource_limits(limits: Limits) -> dict[str, int]:
    return {
        "RLIMIT_CPU": math.ceil(limits.timeout_seconds),
        "RLIMIT_AS": limits.memory_bytes,
        "RLIMIT_FSIZE": 0,
        "RLIMIT_CORE": 0,
        "RLIMIT_NOFILE": 16,
        "RLIMIT_NPROC": 0,
    }


@functools.cache
def _namespaces() -> tuple[str, ...]:
    """The command that takes the network away; empty where the system does not permit it."""
    tool = shutil.which("unshare")
    if tool is None:
        return ()
    command = (tool, *_NAMESPACES)
    tried = subprocess.run(
        [*command, "true"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False
    )
    return command if tried.returncode == 0 else ()


def _kill(process: "subprocess.Popen[bytes]") -> None:
    """Ends a process and all that it started in its session."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None and not stream.closed:
            stream.close()


def _read_report(written: bytes, returncode: int) -> Execution:
    try:
        report = json.loads(written)
    except ValueError:
        return _ended(returncode)
    if report["refused"]:
        return Execution(status="forbidden", detail=", ".join(sorted(set(report["refused"]))))
    return Execution(
        status=report["status"],
        outputs=report.get("outputs", ()),
        detail=str(report.get("error", "")),
    )


def _ended(returncode: int) -> Execution:
    """Returns what a process that ended without a report says by its status."""
    number = -returncode if returncode < 0 else returncode - 128  # as unshare passes it on
    if number == signal.SIGXCPU:
        return Execution(status="timeout", detail="processor time")
    if 0 < number < signal.NSIG:
        return Execution(status="crash", detail=f"signal {number}")
    return Execution(status="exit", detail=str(returncode))


def _same(found: Any, expected: Any) -> bool:
    """Whether two results are equal and of one type; NaN equals NaN."""
    if isinstance(found, list) and isinstance(expected, list):
        return len(found) == len(expected) and all(map(_same, found, expected))
    if isinstance(found, float) and isinstance(expected, float):
        return found == expected or (math.isnan(found) and math.isnan(expected))
    return type(found) is type(expected) and bool(found == expected)

"""The program that runs a generated function: alone in its process, behind limits.

It reads a job from standard input, gives up what it does not need, runs the function and writes a
report. It imports nothing of this project, so that the interpreter can start isolated
(`python -I -S`), and it is run by `code_execution`, never imported by it.
"""

import json
import os
import resource
import sys
from typing import Any

_READ_ONLY = ("r", "rb", "rt")
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_HARMLESS = ("os.listdir", "os.scandir", "os.fspath", "os.walk", "os.getxattr")
_FORBIDDEN = (
    "os.", "subprocess.", "socket.", "ctypes.", "shutil.", "pty.", "resource.", "signal.", "fcntl.",
    "tempfile.", "webbrowser.", "urllib.", "http.", "ftplib.", "smtplib.", "sqlite3.", "mmap.",
    "_thread.start_new_thread", "_posixsubprocess", "_winapi.", "gc.", "sys._getframe", "sys.set",
)  # fmt: skip
_FORBIDDEN_MODULES = (
    "ctypes", "_ctypes", "_posixsubprocess", "_socket", "multiprocessing", "threading",
    "concurrent",
)  # fmt: skip


class Guard:
    """An audit hook that refuses files, processes and sockets, and remembers what it refused."""

    def __init__(self) -> None:
        self.refused: list[str] = []
        self._library = os.path.dirname(os.path.realpath(os.__file__))

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Raises PermissionError for what a function of numbers has no use for."""
        if event == "open":
            refused = not self._may_open(*arguments)
        elif event == "import":
            refused = arguments[0].partition(".")[0] in _FORBIDDEN_MODULES
        else:
            refused = event.startswith(_FORBIDDEN) and event not in _HARMLESS
        if refused:
            self.refused.append(event)
            raise PermissionError(f"{event} is not allowed here")

    def _may_open(self, path: Any, mode: Any, flags: Any) -> bool:
        if isinstance(path, int) or (mode is not None and mode not in _READ_ONLY):
            return False
        if isinstance(flags, int) and flags & _WRITING:
            return False
        name = path.decode() if isinstance(path, bytes) else str(path)
        return os.path.realpath(name).startswith(self._library + os.sep)


def main() -> None:
    """Runs the job on standard input."""
    job = json.loads(sys.stdin.read())
    report = os.dup(1)
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nothing, descriptor)
    for name, value in job["limits"].items():
        resource.setrlimit(getattr(resource, name), (value, value))
    guard = Guard()
    sys.addaudithook(guard)
    try:
        found = _run(job["code"], job["function"], job["calls"])
        text = json.dumps({**found, "refused": guard.refused})
    except MemoryError:
        text = json.dumps({"status": "memory", "refused": guard.refused})
    if len(text) > job["max_report"]:
        text = json.dumps({"status": "error", "error": "too much output", "refused": guard.refused})
    os.write(report, text.encode())
    os._exit(0)


def _run(code: str, function: str, calls: list[list[Any]]) -> dict[str, Any]:
    scope: dict[str, Any] = {"__name__": "candidate"}
    try:
        exec(compile(code, "candidate", "exec"), scope)  # the purpose of this program
        outputs = [_plain(scope[function](*arguments)) for arguments in calls]
    except SystemExit as error:
        return {"status": "exit", "error": str(error.code)}
    except MemoryError:
        return {"status": "memory"}
    except BaseException as error:
        return {"status": "error", "error": type(error).__name__}
    return {"status": "ran", "outputs": outputs}


def _plain(value: Any) -> Any:
    """Returns a result as JSON knows it; one of another type by the name of its type."""
    if value is None or type(value) in (bool, int, float, str):
        return value
    if type(value) in (list, tuple):
        return [_plain(item) for item in value]
    if type(value) is dict:
        return {"dict": sorted([repr(key), _plain(item)] for key, item in value.items())}
    return {"type": type(value).__name__}


if __name__ == "__main__":
    main()

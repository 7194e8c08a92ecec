"""Generated functions run contained: whatever they do ends, leaves nothing and is reported."""

import os
import time

import pytest

from xlingual.errors import ConfigError
from xlingual.evaluation import code_execution
from xlingual.evaluation.code_execution import Limits, check_function, run_function

QUICK = Limits(timeout_seconds=3.0, memory_bytes=128 << 20)
CALLS = [[[3, -1, 4]], [[]]]


def result(body, limits=QUICK, calls=([[1]],)):
    lines = "\n".join(f"    {line}" for line in body.split("\n"))
    return run_function(f"def f(x):\n{lines}\n", calls, limits)


def test_a_function_is_compared_with_the_reference():
    reference = "def total(xs):\n    t = 0\n    for x in xs:\n        t += x\n    return t\n"
    expected = run_function(reference, CALLS, QUICK)
    assert (expected.status, list(expected.outputs)) == ("ran", [6, 0])
    found = {
        text: check_function(f"def other(xs):\n    {text}", expected, CALLS, QUICK)
        for text in ("return sum(xs)", "return len(xs)", "return float(sum(xs))", "retrun 1")
    }
    statuses = [one.status for one in found.values()]
    assert statuses == ["passed", "wrong", "wrong", "syntax"]


def test_results_of_several_types_come_back():
    body = "return [None, True, (1, 2.5), 'ü', {2: [x]}, float('inf'), {1}]"
    (output,) = result(body).outputs
    expected = [None, True, [1, 2.5], "ü", {"dict": [["2", [[1]]]]}, float("inf"), {"type": "set"}]
    assert output == expected


@pytest.mark.parametrize(
    "body, status, detail",
    [
        ("return bytearray(10**9)", "memory", ""),
        ("x = []\nwhile True: x.append(' ' * 10**7)", "memory", ""),
        ("import os\nwhile True: os.fork()", "forbidden", "os.fork"),
        ("import subprocess\nsubprocess.run(['true'])", "forbidden", "import"),
        ("open('new', 'w').write('a')", "forbidden", "open"),
        ("return open('/etc/passwd').read()", "forbidden", "open"),
        ("import os\nos.remove('x')", "forbidden", "os.remove"),
        ("import socket", "forbidden", "import"),
        ("import threading\nthreading.Thread(target=print).start()", "forbidden", "import"),
        ("try:\n    open('new', 'w')\nexcept Exception: return 1", "forbidden", "open"),
        ("import sys\nsys.exit(3)", "exit", "3"),
        ("import os\nos._exit(7)", "exit", "7"),
        ("import os\nos.abort()", "crash", "signal"),
        ("return f(x)", "error", "RecursionError"),
        ("return x / 0", "error", "TypeError"),
        ("raise KeyboardInterrupt", "error", "KeyboardInterrupt"),
        ("return 'a' * 10**7", "error", "too much output"),
        ("import math\nprint('x')\nreturn math.gcd(4, 6)", "ran", ""),
    ],
)
def test_what_a_function_does_is_contained_and_reported(body, status, detail):
    found = result(body)
    assert found.status == status, found
    assert found.detail.startswith(detail)


def test_an_endless_loop_ends_and_leaves_no_process():
    start = time.monotonic()
    found = result("while True: pass", Limits(timeout_seconds=0.6))
    assert found.status == "timeout" and time.monotonic() - start < 30
    mine = [pid for pid in os.listdir("/proc") if pid.isdigit()] if os.path.isdir("/proc") else []
    for pid in mine:
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file, open(f"/proc/{pid}/stat") as stat:
                running = b"code_runner.py" in file.read() and f" {os.getpid()} " in stat.read()
        except OSError:
            continue
        assert not running


def test_limits_hold_without_the_namespaces_too(monkeypatch):
    monkeypatch.setattr(code_execution, "_namespaces", lambda: ())
    assert result("return x").outputs == [[1]]
    assert result("import os\nos.fork()").status == "forbidden"
    assert result("import os\nos._exit(7)").detail == "7"
    assert result("while True: pass", Limits(timeout_seconds=0.6)).status == "timeout"


def test_limits_that_leave_no_room_are_refused():
    with pytest.raises(ConfigError, match="memory_bytes=1000"):
        Limits(memory_bytes=1000)
    with pytest.raises(ConfigError, match="timeout_seconds=0"):
        Limits(timeout_seconds=0)

import os
import subprocess
import sys

import pytest

from xlingual.reporting.native_logs import hide_native_logs

_NOISE = [
    "WARNING: All log messages before absl::InitializeLog() is called are written to STDERR\n",
    "I0000 00:00:1795234947.770082   28019 cudart_stub.cc:31] Could not find cuda drivers\n",
    "W0000 00:00:1795234960.131596   28019 type_inference.cc:340] Type inference failed.\n",
    "E0000 00:00:1795234955.039722   28019 cuda_platform.cc:52] failed call to cuInit: 303\n",
]
_KEPT = [
    "E0000 00:00:1795234955.039722   28019 executor.cc:52] out of memory\n",
    "Warning: a task has no validation split\n",
    "WARNING: 3 documents were dropped\n",
]


def test_only_absl_log_lines_are_hidden(capfd):
    with hide_native_logs():
        for noise, kept in zip(_NOISE, [*_KEPT, ""], strict=True):
            os.write(2, noise.encode())
            print(kept, end="", file=sys.stderr, flush=True)
    print("after", file=sys.stderr, flush=True)
    assert capfd.readouterr().err == "".join(_KEPT) + "after\n"


def test_an_exception_passes_and_what_was_written_before_it_is_kept(capfd):
    with pytest.raises(KeyError), hide_native_logs():
        print("about to fail", file=sys.stderr)
        raise KeyError("x")
    assert capfd.readouterr().err == "about to fail\n"


@pytest.mark.slow
def test_importing_tensorflow_inside_it_is_silent():
    code = (
        "from xlingual.reporting.native_logs import hide_native_logs\n"
        "with hide_native_logs():\n"
        "    import tensorflow as tf\n"
        "    tf.config.set_visible_devices([], 'GPU')\n"
        "assert list(tf.data.Dataset.range(2).as_numpy_iterator()) == [0, 1]\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")

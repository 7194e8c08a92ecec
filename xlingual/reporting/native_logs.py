"""Keeps what C++ libraries write while they load out of a run's output.

TensorFlow 2.21 tells every machine without an NVIDIA driver that it has none, straight to file
descriptor 2 and whatever the log level is.
"""

import contextlib
import os
import re
import sys
import tempfile
from collections.abc import Iterator

_NOISE = re.compile(
    rb"WARNING: All log messages before absl::InitializeLog\(\)"
    rb"|[IW]\d{4} \d\d:\d\d:\d\S* +\d+ \S+\.cc:\d+\] "
    rb"|E\d{4} \d\d:\d\d:\d\S* +\d+ cuda_platform\.cc:\d+\] failed call to cuInit"
)


@contextlib.contextmanager
def hide_native_logs() -> Iterator[None]:
    """Holds back standard error inside the block, then writes it without absl's log lines.

    Information and warnings in the format of C++ absl logging go, and so does the failed search
    for a CUDA device; everything else is kept, in order.
    """
    sys.stderr.flush()
    terminal = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(terminal, 2)
            os.close(terminal)
            held.seek(0)
            os.write(2, b"".join(line for line in held if not _NOISE.match(line)))

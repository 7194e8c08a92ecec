"""A disk without room, as a writer sees it."""

import contextlib
import resource
import signal


@contextlib.contextmanager
def full_disk(num_bytes=1 << 16):
    """Lets no file of this process grow beyond `num_bytes`."""
    old_limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    old_handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, old_limit[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old_limit)
        signal.signal(signal.SIGXFSZ, old_handler)

"""Kills a cache job at random points until it is done, over and over; run in a process of its own.

    python -m tests.data.cache_killer FOLDER TASK_OR_MIXTURE NUM_KILLS SEED

Prints one line of JSON: kills, caches finished, and whether all have the bytes of one that was
never disturbed. Every job is a fork of this process, which imports TensorFlow but never runs it.
"""

import hashlib
import json
import os
import pathlib
import random
import signal
import sys
import time
import traceback

from tests.data import cached_tasks
from xlingual.data import cache_job


def _start(root, name):
    """Returns the id of a new process that makes the cache."""
    child = os.fork()
    if not child:
        status = 1
        try:
            cache_job.make_cache(
                cache_job.CacheJob(
                    name=name,
                    output=str(root),
                    splits=("validation",),
                    num_shards=2,
                    row_shapes={"*": {"inputs": 256, "targets": 256}},
                )
            )
            status = 0
        except Exception:
            traceback.print_exc()
        finally:
            os._exit(status)
    return child


def _digest(root):
    files = {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }
    return json.dumps(files)


def main(folder, name, num_kills, seed):
    """Kills `num_kills` times; returns what is printed."""
    cached_tasks.register()
    for kind in ("mono", "pair"):
        cached_tasks.columns("validation", kind)  # once for all jobs
    draw = random.Random(seed)
    begin = time.monotonic()
    undisturbed = folder / "undisturbed"
    assert os.waitpid(_start(undisturbed, name), 0)[1] == 0
    seconds = time.monotonic() - begin
    expected, kills, finished, same = _digest(undisturbed), 0, 0, True
    while kills < num_kills:
        root = folder / f"killed_{finished}"
        status = -1
        while status != 0:
            child = _start(root, name)
            if kills < num_kills:
                time.sleep(draw.uniform(0, seconds))
                os.kill(child, signal.SIGKILL)
            status = os.waitpid(child, 0)[1]
            if os.WIFSIGNALED(status):
                kills += 1
            elif status:
                return {"failed": status, "kills": kills}
        finished += 1
        same = same and _digest(root) == expected
    return {"kills": kills, "finished": finished, "same": same, "files": len(json.loads(expected))}


if __name__ == "__main__":
    folder, name, num_kills, seed = sys.argv[1:]
    print(json.dumps(main(pathlib.Path(folder), name, int(num_kills), int(seed))))

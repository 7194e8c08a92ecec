"""Kills a reader of a cache again and again; prints what a trainer would have seen.

    python reader_killer.py CACHE FOLDER NUM_KILLS NUM_BATCHES SEED

A forked child reads batches, notes the digest of each, and saves its position every few batches,
as a run saves checkpoints. The parent kills it at a random moment; the next child goes on from what
was saved. Notes behind the last position are lost, like the steps behind a checkpoint.
"""

import hashlib
import json
import os
import pathlib
import random
import signal
import sys
import time

import numpy as np

from xlingual.data.cached import CacheSource

SAVE_PERIOD = 3


def read(source, folder, num_batches):
    """Goes on from the saved position to `num_batches`, writing what it sees."""
    state, notes = folder / "position", folder / "notes"
    iterator, seen = source.iterator(), []
    if state.exists():
        saved = json.loads(state.read_text())
        iterator.restore(bytes.fromhex(saved["position"]))
        seen = saved["seen"]
    while len(seen) < num_batches:
        batch = next(iterator)
        digest = hashlib.sha256()
        for name in sorted(batch):
            digest.update(np.ascontiguousarray(batch[name]))
        seen.append(digest.hexdigest())
        notes.write_text(str(len(seen)))
        if len(seen) % SAVE_PERIOD == 0 or len(seen) == num_batches:
            partial = folder / "position.partial"
            partial.write_text(json.dumps({"position": iterator.state().hex(), "seen": seen}))
            partial.replace(state)


def main(cache, folder, num_kills, num_batches, seed):
    """Runs children until one reaches the end."""
    folder = pathlib.Path(folder)
    arguments = {"folder": cache, "batch_size": 8, "batches_ahead": 4, "checksums": False}
    source = CacheSource(**arguments, family="encoder_decoder", host_index=0, host_count=1)
    source.declared_shares(0)  # the manifest is read once
    rng = random.Random(int(seed))
    kills = 0
    while True:
        child = os.fork()
        if not child:
            read(source, folder, int(num_batches))
            os._exit(0)
        if kills < int(num_kills):
            time.sleep(rng.uniform(0.0, 0.4))
            os.kill(child, signal.SIGKILL)
        status = os.waitpid(child, 0)[1]
        kills += os.WIFSIGNALED(status)
        if not os.WIFSIGNALED(status):
            if status or kills >= int(num_kills):
                break
            (folder / "position").unlink()  # it was too quick: again from the beginning
    seen = json.loads((folder / "position").read_text())["seen"]
    print(json.dumps({"kills": kills, "status": status, "seen": seen}))


if __name__ == "__main__":
    main(*sys.argv[1:])

"""The tiny run of `tests/training/fakes.py` as one process of several; see `hosts.py`."""

import argparse
import os
import time

from xlingual.cli import processes


class Slowly:
    """Says which step is done, and fails in a process that is told to."""

    period_steps = 1

    def __init__(self, fail):
        self.fail = fail

    def prepare(self, context):
        pass

    def run(self, context, state):
        import jax

        print(f"step {int(state.step)} is done", flush=True)
        if self.fail == jax.process_index():
            raise RuntimeError(f"process {os.getpid()} fails")
        time.sleep(0.02)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("train_steps", type=int)
    parser.add_argument("--fail", type=int)
    processes.add_process_arguments(parser)
    args = parser.parse_args()
    with processes.joined(processes.wanted_processes(args)):
        from tests.training.fakes import make_arguments
        from xlingual.checkpointing.manager import CheckpointConfig
        from xlingual.training import loop

        changes = {
            "hooks": [Slowly(args.fail)],
            "checkpointer": CheckpointConfig(period_steps=5),
            "log_period_steps": 1,
        }
        loop.train(**make_arguments(args.folder, train_steps=args.train_steps, **changes))


if __name__ == "__main__":
    main()

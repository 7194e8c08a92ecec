"""Runs of transformers' `generate`; started by benchmarks/generate.py, not by hand.

Usage: peer_generate.py SHAPE, with the fields of `generate.GenerationShape` as JSON. Saves random
weights, then reads numbers of runs from stdin, one a line, and answers each with a JSON list of
seconds, or with the tokens of one run where the number is 0. Everything is set as fast as it goes:
inference mode, a cache, attention by the library's default, denormals flushed.
"""

import json
import pathlib
import sys
from collections.abc import Callable
from typing import Any

if not __package__:  # run as a script: the folder above is not on the path yet
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from benchmarks.peer_mt5 import make_model, time_runs


def main() -> None:
    """Serves until stdin ends."""
    write = make_writer(json.loads(sys.argv[1]))
    for line in sys.stdin:
        count = int(line)
        print(json.dumps(time_runs(write, count) if count else write()), flush=True)


def make_writer(shape: dict[str, Any]) -> Callable[[], list[list[int]]]:
    """Returns a function that writes all rows and returns their tokens; saves the weights.

    Args:
      shape: fields of `generate.GenerationShape`.
    """
    model = make_model(shape).eval()
    import torch

    model.save_pretrained(shape["folder"])
    model.generation_config.eos_token_id = None  # no row ends
    longest = max(map(len, shape["inputs"]))
    rows = [[*ids, *[0] * (longest - len(ids))] for ids in shape["inputs"]]
    inputs = torch.tensor(rows)

    def write() -> list[list[int]]:
        with torch.inference_mode():
            found = model.generate(
                input_ids=inputs,
                attention_mask=(inputs > 0).long(),
                max_new_tokens=shape["max_length"],
                num_beams=shape["num_beams"],
                do_sample=False,
            )
        return found[:, 1:].tolist()

    return write


if __name__ == "__main__":
    main()

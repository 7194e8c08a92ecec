"""Runs of transformers' `generate`; started by benchmarks/generate.py, not by hand.

Usage: peer_generate.py SHAPE, with the fields of `generate.GenerationShape` as JSON. Saves random
weights, then reads numbers of runs from stdin, one a line, and answers each with a JSON list of
seconds, or with the tokens of one run where the number is 0. Everything is set as fast as it goes:
inference mode, a cache, attention by the library's default, denormals flushed, and as many threads,
1 or all, as write the first batch faster.
"""

import json
import pathlib
import sys
from collections.abc import Callable
from typing import Any

if not __package__:  # run as a script: the folder above is not on the path yet
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from benchmarks.peer_step import make_model, time_runs

EOS_ID = 1


def main() -> None:
    """Serves until stdin ends."""
    write = make_writer(json.loads(sys.argv[1]))
    for line in sys.stdin:
        count = int(line)
        print(json.dumps(time_runs(write, count) if count else write()), flush=True)


def make_writer(shape: dict[str, Any]) -> Callable[[], dict[str, Any]]:
    """Returns a function that writes all rows, batch after batch; saves the weights.

    It returns `tokens`, those of each row with the EOS, and `threads`, how many it took.

    Args:
      shape: fields of `generate.GenerationShape`.
    """
    model = make_model(shape).eval()
    import torch

    with torch.no_grad():
        model.lm_head.weight[EOS_ID] *= shape["eos_scale"]
    model.save_pretrained(shape["folder"])
    model.to(getattr(torch, shape["dtype"]))
    model.generation_config.eos_token_id = EOS_ID if shape["ends"] else None
    rows, size = shape["inputs"], shape["batch_size"]
    batches = [_padded(torch, rows[i : i + size]) for i in range(0, len(rows), size)]

    def write_batch(inputs: Any) -> list[list[int]]:
        with torch.inference_mode():
            found = model.generate(
                input_ids=inputs,
                attention_mask=(inputs > 0).long(),
                max_new_tokens=shape["max_length"],
                num_beams=shape["num_beams"],
                do_sample=False,
            )
        return [_cut(tokens) if shape["ends"] else tokens for tokens in found[:, 1:].tolist()]

    threads = _best_threads(torch, lambda: write_batch(batches[0]), shape["threads"])

    def write() -> dict[str, Any]:
        tokens = [tokens for inputs in batches for tokens in write_batch(inputs)]
        return {"tokens": tokens, "threads": threads}

    return write


def _padded(torch: Any, rows: list[list[int]]) -> Any:
    longest = max(map(len, rows))
    return torch.tensor([[*ids, *[0] * (longest - len(ids))] for ids in rows])


def _cut(tokens: list[int]) -> list[int]:
    return tokens[: tokens.index(EOS_ID) + 1] if EOS_ID in tokens else tokens


def _best_threads(torch: Any, run: Callable[[], Any], most: int) -> int:
    """1 or `most`, whichever is faster; it stays set."""
    if most == 1:
        return 1
    seconds = {}
    for threads in sorted({1, most}):
        torch.set_num_threads(threads)
        run()
        seconds[threads] = min(time_runs(run, 2))
    best = min(seconds, key=lambda threads: seconds[threads])
    torch.set_num_threads(best)
    return best


if __name__ == "__main__":
    main()

"""Runs of transformers' `generate`; started by benchmarks/generate.py, not by hand.

Usage: peer_generate.py SHAPE, with the fields of `generate.GenerationShape` as JSON. Saves random
weights, then reads numbers of runs from stdin, one a line, and answers each with a JSON list of
seconds, or with the tokens of one run where the number is 0. Everything is set as fast as it goes:
inference mode, a cache, attention by the library's default, denormals flushed.
"""

import json
import sys
import time
from collections.abc import Callable
from typing import Any


def main() -> None:
    """Serves until stdin ends."""
    write = make_writer(json.loads(sys.argv[1]))
    for line in sys.stdin:
        seconds = []
        for _ in range(int(line)):
            start = time.perf_counter()
            write()
            seconds.append(time.perf_counter() - start)
        print(json.dumps(seconds or write()), flush=True)


def make_writer(shape: dict[str, Any]) -> Callable[[], list[list[int]]]:
    """Returns a function that writes all rows and returns their tokens; saves the weights.

    Args:
      shape: fields of `generate.GenerationShape`.
    """
    try:
        import torch
        import transformers
    except ImportError as error:
        sys.exit(f"{error}; install torch and transformers, or name another --peer_python")
    torch.set_num_threads(shape["threads"])
    torch.set_flush_denormal(True)
    torch.manual_seed(0)
    config = transformers.MT5Config(
        vocab_size=shape["vocab_size"],
        d_model=shape["d_model"],
        d_ff=shape["d_ff"],
        d_kv=shape["d_kv"],
        num_heads=shape["num_heads"],
        num_layers=shape["num_encoder_layers"],
        num_decoder_layers=shape["num_decoder_layers"],
        feed_forward_proj="gated-gelu",
        dropout_rate=0.0,
        decoder_start_token_id=0,
    )
    model = transformers.MT5ForConditionalGeneration(config).eval()
    # transformers 5 ties the output layer whatever its arguments say; mT5 has one of its own.
    model.lm_head = torch.nn.Linear(shape["d_model"], shape["vocab_size"], bias=False)
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

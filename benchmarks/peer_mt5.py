"""Steps of MT5ForConditionalGeneration in PyTorch; started by benchmarks/peer.py, not by hand.

Usage: peer_mt5.py SHAPE, with the fields of `peer.PeerShape` as JSON. Reads numbers of steps from
stdin, one a line, and answers each with a JSON list of seconds. Everything is set as fast as it
goes: no dropout, attention by the library's default, denormals flushed, a fused AdamW.
"""

import json
import sys
import time
from collections.abc import Callable
from typing import Any


def main() -> None:
    """Serves until stdin ends."""
    step = make_step(json.loads(sys.argv[1]))
    for line in sys.stdin:
        print(json.dumps(time_runs(step, int(line))), flush=True)


def time_runs(run: Callable[[], Any], count: int) -> list[float]:
    """Returns the seconds of each of `count` runs."""
    seconds = []
    for _ in range(count):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return seconds


def make_model(shape: dict[str, Any]) -> Any:
    """Returns a random MT5ForConditionalGeneration with an output layer of its own.

    Args:
      shape: fields of `peer.PeerModel`.
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
    model = transformers.MT5ForConditionalGeneration(config)
    # transformers 5 ties the output layer whatever its arguments say; mT5 has one of its own.
    model.lm_head = torch.nn.Linear(shape["d_model"], shape["vocab_size"], bias=False)
    return model


def make_step(shape: dict[str, Any]) -> Callable[[], float]:
    """Returns a function that makes one update on a constant random batch and returns the loss.

    Args:
      shape: fields of `peer.PeerShape`.
    """
    model = make_model(shape).train()
    import torch

    make_optimizer = {
        "Adafactor": lambda: torch.optim.Adafactor(model.parameters(), lr=0.01),
        "AdamW": lambda: torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True),
    }
    if shape["optimizer"] not in make_optimizer:
        sys.exit(f"optimizer {shape['optimizer']!r}; the peer has {sorted(make_optimizer)}")
    optimizer = make_optimizer[shape["optimizer"]]()
    size = (shape["batch_size"], shape["inputs_length"])
    inputs = torch.randint(3, shape["vocab_size"], size)
    targets = torch.randint(3, shape["vocab_size"], (size[0], shape["targets_length"]))

    def step() -> float:
        loss = model(input_ids=inputs, labels=targets, use_cache=False).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.item()

    return step


if __name__ == "__main__":
    main()

"""Training steps of a transformers model in PyTorch; started by benchmarks/peer.py, not by hand.

Usage: peer_step.py SHAPE, with the fields of `peer.PeerShape` as JSON. Reads numbers of steps from
stdin, one a line, and answers each with a JSON list of seconds; `memory` with its peak in bytes.
Everything is set as fast as it goes: no dropout, attention by the library's default, denormals
flushed, a fused AdamW.
"""

import json
import resource
import sys
import time
from collections.abc import Callable
from typing import Any


def main() -> None:
    """Serves until stdin ends."""
    shape = json.loads(sys.argv[1])
    step = make_step(shape)
    for line in sys.stdin:
        wants_memory = line.strip() == "memory"
        answer = peak_memory(shape["device"]) if wants_memory else time_runs(step, int(line))
        print(json.dumps(answer), flush=True)


def peak_memory(device: str) -> int:
    """Returns the most bytes held so far, by the device or on a CPU by this process."""
    import torch

    if device == "cuda":
        return int(torch.cuda.max_memory_allocated())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def time_runs(run: Callable[[], Any], count: int) -> list[float]:
    """Returns the seconds of each of `count` runs."""
    seconds = []
    for _ in range(count):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return seconds


def make_model(shape: dict[str, Any]) -> Any:
    """Returns a random model of transformers.

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
    given = {**shape["config"], "dropout_rate": 0.0}
    config = transformers.AutoConfig.for_model(given.pop("model_type"), **given)
    model = getattr(transformers, given["architectures"][0])(config)
    if given["is_encoder_decoder"] and not given["tie_word_embeddings"]:
        # transformers 5 ties the output layer whatever its arguments say; mT5 has one of its own.
        size = given["vocab_size"]
        model.lm_head = torch.nn.Linear(given["d_model"], size, bias=False)
    return model


def make_step(shape: dict[str, Any]) -> Callable[[], float]:
    """Returns a function that makes one update on a constant random batch and returns the loss.

    Args:
      shape: fields of `peer.PeerShape`.
    """
    model = make_model(shape).train()
    import torch

    device = torch.device(shape["device"])
    model.to(device)
    make_optimizer = {
        "Adafactor": lambda: torch.optim.Adafactor(model.parameters(), lr=0.01),
        "AdamW": lambda: torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True),
    }
    if shape["optimizer"] not in make_optimizer:
        sys.exit(f"optimizer {shape['optimizer']!r}; the peer has {sorted(make_optimizer)}")
    optimizer = make_optimizer[shape["optimizer"]]()
    tokens = {
        name: torch.randint(3, shape["config"]["vocab_size"], (shape["batch_size"], length))
        for name, length in (
            ("input_ids", shape["inputs_length"] or shape["targets_length"]),
            ("labels", shape["targets_length"]),
        )
    }
    batch = {name: ids.to(device) for name, ids in tokens.items()}
    run = torch.compile(model) if shape["compiled"] else model
    lower = torch.autocast(device.type, torch.bfloat16, enabled=shape["dtype"] == "bfloat16")

    def step() -> float:
        with lower:
            loss = run(**batch, use_cache=False).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.item()  # waits for the device

    return step


if __name__ == "__main__":
    main()

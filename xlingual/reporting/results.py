"""`results.json`: what a run reached, for programs to read."""

import json
import os
import pathlib
import resource
import sys
from collections.abc import Mapping
from typing import Any

FILE = "results.json"


def write_results(model_dir: pathlib.Path, results: Mapping[str, Any]) -> pathlib.Path:
    """Writes `MODEL_DIR/results.json` whole or not at all, and returns its path.

    Args:
      model_dir: the run's folder.
      results: JSON types.
    """
    path = model_dir / FILE
    partial = path.with_suffix(".json.tmp")
    partial.write_text(json.dumps(results, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(partial, path)
    return path


def peak_rss_bytes() -> int:
    """Returns the largest resident memory of this process so far, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024

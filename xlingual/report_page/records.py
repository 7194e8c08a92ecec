"""Reads the JSON files of a run; what cannot be read is told by file and line, and left out."""

import json
import pathlib
from collections.abc import Callable
from typing import Any

Tell = Callable[[str], None]
"""Takes one line about a file that is not as it should be."""


def read_json_lines(path: pathlib.Path, tell: Tell) -> list[dict[str, Any]]:
    """Returns the objects of a JSON-lines file, in order; none where there is no file.

    Args:
      path: of the file.
      tell: is told of every line that holds no JSON object, by file and line.
    """
    records = []
    for number, line in enumerate(read_text(path, tell).splitlines(), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except ValueError as error:
            tell(f"{path}, line {number}: left out, for it is no JSON ({error}): {_short(line)}")
            continue
        if isinstance(record, dict):
            records.append(record)
        else:
            tell(f"{path}, line {number}: left out, for it is no JSON object: {_short(line)}")
    return records


def read_json(path: pathlib.Path, tell: Tell) -> dict[str, Any]:
    """Returns the object of a JSON file; an empty one where there is no file.

    Args:
      path: of the file.
      tell: is told, by file and line, when it holds no JSON object.
    """
    text = read_text(path, tell)
    if not text.strip():
        return {}
    try:
        found = json.loads(text)
    except json.JSONDecodeError as error:
        tell(f"{path}, line {error.lineno}: the file is left out, for it is no JSON ({error.msg})")
        return {}
    if not isinstance(found, dict):
        tell(f"{path}: left out; found {type(found).__name__}, expected a JSON object")
        return {}
    return found


def read_text(path: pathlib.Path, tell: Tell) -> str:
    """Returns the text of a file; an empty one where there is none.

    Args:
      path: of the file.
      tell: is told when it is there and cannot be read.
    """
    if not path.is_file():
        return ""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        tell(f"{path}: left out, for it cannot be read: {error}")
        return ""


def _short(line: str) -> str:
    return repr(line if len(line) <= 60 else line[:57] + "...")

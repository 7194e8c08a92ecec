"""Records in from text, TSV, JSON lines or stdin; lines out in order, resumable by position."""

import contextlib
import io
import json
import os
import pathlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, TextIO

from xlingual.errors import ConfigError

FORMATS = ("txt", "tsv", "jsonl")
Record = dict[str, Any]
"""Field -> string; a field that occurs several times in a TSV header, or a JSON list -> list."""


def format_of(path: str | None, chosen: str | None, option: str) -> str:
    """Returns the format of a file: as chosen, else by the ending of its name, else `txt`.

    Args:
      path: the file; None for standard input or output.
      chosen: one of `FORMATS`, or None.
      option: for the message.

    Raises:
      ConfigError: the name has another ending.
    """
    if chosen is not None:
        return chosen
    if path is None:
        return "txt"
    ending = pathlib.Path(path).suffix.removeprefix(".")
    if ending not in FORMATS:
        raise ConfigError(f"{option}={path}; expected a name that ends in .txt, .tsv or .jsonl")
    return ending


def read_records(path: str | None, file_format: str, text_field: str = "text") -> Iterator[Record]:
    """Yields the records of a file or of standard input, one a line.

    Args:
      path: UTF-8 file; None for standard input.
      file_format: `txt` (a line is the text), `tsv` (a header names the fields) or `jsonl`.
      text_field: name of the field of a `txt` line, which every record must have.

    Raises:
      ConfigError: the file is missing, or a line is not what the format says.
    """
    name = path or "standard input"
    with _open(path) as lines, _as_config_error(name):
        header: list[str] = []
        for number, raw in enumerate(lines, start=1):
            line = raw.rstrip("\r\n")
            where = f"{name}, line {number}"
            if file_format == "txt":
                yield {text_field: line}
                continue
            if file_format == "jsonl":
                record = _parse_json(line, where)
            elif not header:
                header = line.split("\t")
                if text_field not in header:
                    raise ConfigError(
                        f"{where}: header {header}; expected a column named {text_field!r}"
                    )
                continue
            else:
                record = _columns(header, line.split("\t"), where)
            if not isinstance(record.get(text_field), str):
                raise ConfigError(f"{where}: no text in the field {text_field!r}")
            yield record


def count_records(path: str | None, file_format: str) -> int | None:
    """Returns the number of records of a file; None for standard input."""
    if path is None:
        return None
    with _open(path) as lines:
        return sum(1 for _ in lines) - (file_format == "tsv")


class OrderedOutput:
    """Lines that are appended to a file, which gets its name when it is whole.

    They stand in `OUTPUT.partial` until then, and `OUTPUT.settings.json` says what made them: the
    same command again goes on behind the last whole line.
    """

    def __init__(self, path: str | None, settings: Mapping[str, Any]) -> None:
        """Opens the output.

        Args:
          path: the file; None for standard output, which is never resumed.
          settings: JSON types; all that the lines depend on.

        Raises:
          ConfigError: lines of another job are there.
        """
        self._final = None if path is None else pathlib.Path(path)
        self.position = 0
        """Number of lines that were there already."""
        self._file: TextIO = sys.stdout
        if self._final is None:
            return
        self._final.parent.mkdir(parents=True, exist_ok=True)
        self._partial = self._final.with_name(f"{self._final.name}.partial")
        self._settings = self._final.with_name(f"{self._final.name}.settings.json")
        check_settings(self._settings, settings, f"{self._partial} has lines")
        self.position = _keep_whole_lines(self._partial)
        self._file = open(self._partial, "a", encoding="utf-8", newline="\n")  # noqa: SIM115

    def __enter__(self) -> "OrderedOutput":
        return self

    def write(self, lines: Sequence[str]) -> None:
        """Appends lines, which hold no line breaks; they are in the file when this returns."""
        self._file.write("".join(f"{line}\n" for line in lines))
        self._file.flush()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._final is None:
            return
        self._file.close()
        if kind is None:
            os.replace(self._partial, self._final)
            self._settings.unlink()


def check_settings(path: pathlib.Path, settings: Mapping[str, Any], what: str) -> None:
    """Writes the settings of a job beside its output, or checks that they are those found.

    Args:
      path: JSON file.
      settings: JSON types.
      what: is there already, for the message.

    Raises:
      ConfigError: the file has other settings.
    """
    wanted = json.loads(json.dumps(dict(settings)))
    if not path.exists():
        write_whole(path, json.dumps(wanted, indent=1))
    found = json.loads(path.read_text(encoding="utf-8"))
    if found != wanted:
        names = sorted(n for n in {*wanted, *found} if found.get(n) != wanted.get(n))
        different = ", ".join(f"{n}={found.get(n)!r}, now {wanted.get(n)!r}" for n in names)
        raise ConfigError(
            f"{what} of another job ({different}); finish that job, remove {path} and what is "
            "beside it, or choose another --output"
        )


def write_whole(path: pathlib.Path, text: str) -> None:
    """Writes a file that is either whole or absent, whatever happens."""
    new = path.with_name(f"{path.name}.new")
    new.write_text(text, encoding="utf-8", newline="\n")
    os.replace(new, path)


def one_line(text: str) -> str:
    """Returns a text without tabs and line breaks, for a cell of a table."""
    return " ".join(text.split())


@contextlib.contextmanager
def _open(path: str | None) -> Iterator[TextIO]:
    """A file or standard input as UTF-8, lines cut at line feeds alone."""
    if path is None:
        binary = getattr(sys.stdin, "buffer", None)
        if binary is None:  # a test's text
            yield sys.stdin
            return
        text = io.TextIOWrapper(binary, encoding="utf-8", newline="\n")
        try:
            yield text
        finally:
            text.detach()
        return
    if not pathlib.Path(path).is_file():
        raise ConfigError(f"--input={path} does not exist; expected a file")
    with open(path, encoding="utf-8", newline="\n") as file:
        yield file


@contextlib.contextmanager
def _as_config_error(name: str) -> Iterator[None]:
    try:
        yield
    except UnicodeDecodeError as error:
        raise ConfigError(f"{name} is not UTF-8 ({error}); expected a text file") from error


def _parse_json(line: str, where: str) -> Record:
    try:
        record = json.loads(line)
    except json.JSONDecodeError as error:
        raise ConfigError(f"{where}: not JSON ({error})") from error
    if not isinstance(record, dict):
        raise ConfigError(f"{where}: {type(record).__name__}; expected a JSON object")
    return record


def _columns(header: Sequence[str], cells: Sequence[str], where: str) -> Record:
    if len(cells) != len(header):
        raise ConfigError(f"{where}: {len(cells)} columns; expected {len(header)}: {header}")
    record: Record = {}
    for name in dict.fromkeys(header):
        found = [cell for column, cell in zip(header, cells, strict=True) if column == name]
        record[name] = found[0] if len(found) == 1 else [cell for cell in found if cell]
    return record


def _keep_whole_lines(path: pathlib.Path) -> int:
    """Removes a line that was cut off, and returns the number of whole ones."""
    if not path.exists():
        return 0
    count = size = 0
    with open(path, "r+b") as file:
        for line in file:
            if line.endswith(b"\n"):
                count, size = count + 1, size + len(line)
        file.truncate(size)
    return count

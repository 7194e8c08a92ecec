"""Gin for the command line: search paths, parsing with clear messages, the operative config.

Library code never imports gin. Run files bind plain functions and dataclasses by dynamic
registration; `parse` reads them together with `--gin.NAME=value` overrides.
"""

import ast
import difflib
import pathlib
import re
from collections.abc import Sequence

import gin

from xlingual.errors import ConfigError

_MACRO = re.compile(r"^[A-Z][A-Z0-9_]*$")
_REQUIRED = re.compile(r"^([A-Z][A-Z0-9_]*) = %gin\.REQUIRED", re.MULTILINE)
_DEFINED = re.compile(r"^([A-Z][A-Z0-9_]*) = ", re.MULTILINE)
_REFERENCED = re.compile(r"%([A-Z][A-Z0-9_]*)\b")


def search_paths() -> list[str]:
    """Returns the folders under which a gin file's path is looked up, first match wins.

    The current folder, the source tree (when the package runs from one) and the copy of `gin/`
    that is installed with the package; each also by its `gin/` folder, so that
    `runs/pretrain.gin` and `gin/runs/pretrain.gin` name the same file.
    """
    package = pathlib.Path(__file__).resolve().parent
    roots = [pathlib.Path(), package.parent, package / "configs"]
    return [str(path) for root in roots for path in (root, root / "gin")]


def parse(
    gin_files: Sequence[str],
    overrides: Sequence[tuple[str, str]],
    extra_paths: Sequence[str] = (),
    *,
    may_miss: Sequence[str] = (),
) -> None:
    """Parses gin files, then overrides, and checks the result before anything is built.

    Args:
      gin_files: paths, relative to one of `search_paths()` or absolute.
      overrides: `(name, value)` pairs from `--gin.name=value`; the value is gin syntax, and a
        bare word or path counts as a string.
      extra_paths: further search paths, tried first.
      may_miss: macros that may stay unset although they must be set for a run.

    Raises:
      ConfigError: for a missing file, a syntax error, an unknown configurable, parameter or
        macro, or a macro that must be set and is not.
    """
    gin.clear_config()
    for path in reversed([*extra_paths, *search_paths()]):
        gin.add_config_file_search_path(path)
    bindings = [f"{name} = {_as_gin(value)}" for name, value in overrides]
    try:
        gin.parse_config_files_and_bindings(list(gin_files), bindings, finalize_config=False)
    except OSError as error:
        raise ConfigError(f"gin file not found: {error}") from error
    except (SyntaxError, ValueError, ImportError, AttributeError, NameError, TypeError) as error:
        raise ConfigError(f"gin: {_first_line(error)}") from error
    _check_macros([name for name, _ in overrides], may_miss)
    # Gin's own check knows no exception.
    if not may_miss:
        gin.finalize()


def operative_config() -> str:
    """Returns the parameters that were used so far, as gin text."""
    return gin.operative_config_str()


def full_config() -> str:
    """Returns everything that was parsed, as gin text."""
    return gin.config_str()


def _as_gin(value: str) -> str:
    """Returns `value` as gin syntax; what is not a Python literal or a reference is a string."""
    try:
        ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return value if value[:1] in "@%[({'\"" and value else repr(value)
    return value


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines) if lines else type(error).__name__


def _check_macros(overridden: Sequence[str], may_miss: Sequence[str]) -> None:
    text = gin.config_str(max_line_length=10**6)
    referenced, defined = set(_REFERENCED.findall(text)), set(_DEFINED.findall(text))
    for name in overridden:
        if _MACRO.match(name) and name not in referenced:
            near = difflib.get_close_matches(name, referenced, n=3, cutoff=0.5)
            hint = f"did you mean {' or '.join(near)}?" if near else f"known: {sorted(referenced)}"
            raise ConfigError(f"--gin.{name}: no gin file uses a macro of this name; {hint}")
    missing = sorted(set(_REQUIRED.findall(text)) & referenced)
    missing += sorted(referenced - defined)
    missing = [name for name in missing if name not in may_miss]
    if missing:
        needed = " ".join(f"--gin.{name}=..." for name in missing)
        raise ConfigError(f"values that must be set are not: {', '.join(missing)}; add {needed}")

"""Every command of the quickstart is one that its verb takes, and its gin files exist."""

import argparse
import importlib
import pathlib
import shlex

import pytest

from xlingual.cli import main

ROOT = pathlib.Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "quickstart_import_export.md").read_text(encoding="utf-8")
BLOCKS = [part.split("```")[0] for part in TEXT.split("```bash\n")[1:]]
COMMANDS = [
    line for block in BLOCKS for line in block.replace("\\\n", " ").splitlines() if line.strip()
]


def test_all_five_steps_have_a_command():
    verbs = [shlex.split(command)[1] for command in COMMANDS]
    assert {"train", "import", "export", "generate", "score"} == set(verbs)


@pytest.mark.parametrize("command", COMMANDS)
def test_the_verb_takes_the_command(command):
    program, verb, *arguments = shlex.split(command)
    assert program == "xlingual"
    assert verb in main.verbs()
    module = importlib.import_module(f"xlingual.cli.{main._modules()[verb]}")
    parser = argparse.ArgumentParser(allow_abbrev=False, exit_on_error=False)
    module.add_arguments(parser)
    _, rest = parser.parse_known_args(arguments)
    assert all(argument.startswith("--gin.") for argument in rest)
    for argument in arguments:
        name, _, value = argument.partition("=")
        if name == "--gin_file":
            assert (ROOT / value).is_file()


def test_the_python_block_is_python():
    (block,) = [part.split("```")[0] for part in TEXT.split("```python\n")[1:]]
    compile(block, "quickstart", "exec")

import io
import json
import math

import rich.console

from xlingual.reporting.writers import (
    JsonLinesWriter,
    RunWriter,
    TensorBoardWriter,
    TerminalWriter,
    format_seconds,
)

NUMBERS = {"loss": 2.5, "tokens_per_second": 12345.6, "seconds_per_step": 0.125, "mfu": 0.5}


def _lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_json_lines_are_appended_and_lines_that_a_restart_takes_back_go(tmp_path):
    path = tmp_path / "metrics.jsonl"
    writer = JsonLinesWriter(path, 0)
    for step in (10, 20, 30):
        writer.write(step, {"loss": step / 10, "bad": math.nan})
    writer.close()
    with path.open("a") as file:
        file.write('{"step": 40, "lo')  # a crash cut this line off
    writer = JsonLinesWriter(path, 20)
    writer.write(30, {"loss": 9.0})
    writer.close()
    lines = _lines(path)
    assert [(line["step"], line["loss"]) for line in lines] == [(10, 1.0), (20, 2.0), (30, 9.0)]
    assert lines[0]["bad"] is None
    assert all(line["unix_seconds"] > 1e9 for line in lines)


def test_tensorboard_files_hold_the_finite_numbers(tmp_path):
    writer = TensorBoardWriter(tmp_path, 0)
    writer.write(3, {"loss": 2.5, "bad": math.inf})
    writer.close()
    (file,) = tmp_path.glob("events.*")
    content = file.read_bytes()
    assert b"loss" in content and b"bad" not in content


def _terminal(is_terminal):
    text = io.StringIO()
    console = rich.console.Console(file=text, force_terminal=is_terminal, width=120)
    return TerminalWriter(0, 100, console), text


def test_elsewhere_a_log_period_is_one_plain_line():
    writer, text = _terminal(False)
    for step in range(1, 26):
        writer.advance(step)
    writer.write(25, NUMBERS | {"grad_norm": 1.0})
    writer.write(25, {"heldout_loss/x": 1.0})
    writer.write(25, {"heldout_group/target": 2.5, "heldout_group/replay": 1.25})
    writer.say("[bold]saved[/bold]")
    writer.close()
    first, groups, second = text.getvalue().splitlines()
    assert groups == "step 25/100 held-out loss target 2.5000, replay 1.2500"
    assert first.startswith("step 25/100 loss 2.5000 12,346 tokens/s 0.125 s/step MFU 50.0% ETA 0:")
    assert second == "[bold]saved[/bold]"  # text is never read as markup
    assert "\x1b" not in text.getvalue()


def test_in_a_terminal_there_is_a_bar():
    writer, text = _terminal(True)
    writer.advance(40)
    writer.write(40, NUMBERS)
    writer.close()
    shown = text.getvalue()
    assert "40/100" in shown and "loss 2.5000" in shown and "\x1b" in shown


def test_durations_are_readable():
    assert [format_seconds(s) for s in (0.4, 59.6, 3725, 360000)] == [
        "0:00:00",
        "0:01:00",
        "1:02:05",
        "100:00:00",
    ]


def test_a_run_writes_everywhere_and_closes_once(tmp_path, capsys):
    writer = RunWriter()
    writer.write(0, {"loss": 1.0})  # not open: nowhere to write to
    writer.open(tmp_path, 0, 10)
    writer.advance(1)
    writer.write(1, NUMBERS)
    writer.say("hello")
    writer.configure("train.steps = 10\n")
    writer.configure("")  # of a resumed run that gin did not start
    writer.close()
    writer.close()
    assert [line["step"] for line in _lines(tmp_path / "metrics.jsonl")] == [1]
    (events,) = (tmp_path / "tensorboard").glob("events.*")
    assert b"train.steps = 10" in events.read_bytes()
    assert (tmp_path / "operative_config.gin").read_text() == "train.steps = 10\n"
    shown = capsys.readouterr().out
    assert "hello" in shown and "step 1/10" in shown

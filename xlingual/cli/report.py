"""`xlingual report`: runs as one page, alone or side by side."""

import argparse
import pathlib
import sys

from xlingual.cli import reports
from xlingual.errors import ConfigError
from xlingual.report_page.contents import make_sections
from xlingual.report_page.drawing import draw_png
from xlingual.report_page.page import make_page
from xlingual.report_page.runs import load_runs

HELP = "write one HTML page of a run, or of several side by side: curves, directions, samples"
EXAMPLE = "xlingual report runs/toy runs/toy_decoder --output=report --png"
PAGE, PICTURES = "report.html", "pictures"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options of the verb."""
    parser.add_argument(
        "runs", nargs="+", metavar="RUN", help="folders of runs; others are compared with the first"
    )
    parser.add_argument(
        "--output", metavar="FOLDER", help="where to write (default: the folder report of the run)"
    )
    parser.add_argument("--png", action="store_true", help="also write every chart as PNG")
    parser.add_argument(
        "--vocab_report", action="append", default=[], metavar="FILE",
        help="what `xlingual vocab report --json` wrote; once for all runs, or once for each "
        "(default: vocab_report.json of each run)",
    )  # fmt: skip


def main(args: argparse.Namespace) -> int:
    """Reads, draws and writes; returns 0.

    Raises:
      ConfigError: a folder is no run, matplotlib is missing, or a file cannot be written.
    """
    if args.output is None and len(args.runs) > 1:
        raise ConfigError(f"--output is missing; expected a folder for the {len(args.runs)} runs")
    folder = pathlib.Path(args.output or pathlib.Path(args.runs[0]) / "report")
    runs = load_runs(args.runs, args.vocab_report)
    sections = make_sections(runs)
    page = make_page(runs, sections)
    pictures = {chart.name: chart for section in sections for chart in section.charts()}
    try:
        (folder / PICTURES if args.png else folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"--output={folder} cannot be made: {error}") from error
    reports.write_file("--output", str(folder / PAGE), page.encode("utf-8"))
    for name, chart in pictures.items() if args.png else ():
        reports.write_file("--output", str(folder / PICTURES / f"{name}.png"), draw_png(chart))
    for problem in dict.fromkeys(problem for run in runs for problem in run.problems):
        print(f"xlingual report: warning: {problem}", file=sys.stderr)
    print(f"report: {folder / PAGE}" + (f", {len(pictures)} pictures" if args.png else ""))
    return 0

"""The page as a whole: the right numbers, nothing missing without a word, nothing from outside."""

import json
import re
from xml.etree import ElementTree

import pytest

from tests.report_page.conftest import append
from xlingual.cli import main
from xlingual.evaluation.rows import make_row
from xlingual.evaluation.scores import score_corpus
from xlingual.outputs import Evaluation, Sample
from xlingual.report_page.contents import make_sections
from xlingual.report_page.runs import load_runs
from xlingual.reporting.evaluations import append_evaluation

pytest.importorskip("matplotlib", reason="matplotlib is not installed")
SECTIONS = [
    "summary", "training", "losses", "shares", "directions", "retrieval", "layers", "premium",
    "samples", "others", "settings", "files",
]  # fmt: skip


@pytest.fixture(scope="module")
def page(run_folders, tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    assert main.main(["report", *run_folders, f"--output={folder}"]) == 0
    assert [path.name for path in folder.iterdir()] == ["report.html"]
    return (folder / "report.html").read_text(encoding="utf-8")


def test_the_page_has_all_sections_and_loads_nothing(page):
    assert re.findall(r'<section id="([a-z]+)"', page) == SECTIONS
    links = re.findall(r'(?:src|href|xlink:href)="([^"]*)"', page)
    assert all(link.startswith("#") for link in links)
    assert not re.search(r"@import|url\((?!#)|https?://(?!www\.w3\.org/2000/svg)", page)
    assert 'class="missing"' not in page
    assert len(page) < 600_000


def test_the_page_has_the_numbers_of_the_runs(page, run_folders):
    run = load_runs(run_folders)[1]
    for row in run.latest_rows():
        if row["metric"] == "chrf":
            records = run.details(row)
            texts = ([r[name] for r in records] for name in ("prediction", "reference"))
            assert f"{score_corpus(*texts).chrf:.1f} [" in page
    words = " ".join(re.sub(r"<[^>]+>", " ", page).split())
    assert "Training loss 3.000 2.000" in words and "Wall time 1:02:05 1:02:05" in words
    assert "Peak memory 2.0 GiB" in words and "MFU 25% 25%" in words
    assert "de 76% 75% 76% 75%" in words, "realised and declared share of each run"
    assert "-SEED = 0" in words and "+SEED = 1" in words
    assert "ar 1.90 1.40" in words, "token premium"


def test_texts_run_in_their_own_direction(page):
    assert re.search(
        r'<p class="foreign" dir="auto" lang="ar">القطة تنام على 3 كراسي \d+</p>', page
    )
    assert re.search(r'<div class="foreign" dir="ltr">for cat in cats:', page)


def test_zero_shot_directions_are_outlined(run_folders):
    sections = {s.name: s for s in make_sections(load_runs(run_folders))}
    matrices = sections["directions"].charts()
    assert [chart.title for chart in matrices] == [
        "chrF, first",
        "chrF, second",
        "second less first",
    ]
    for chart in matrices:
        assert {pair for pair, cell in chart.cells.items() if cell.outlined} == {
            pair for pair in chart.cells if "en" not in pair
        }
    assert all(cell.starred and cell.value > 0 for cell in matrices[2].cells.values())


def test_layers_are_means_over_languages_and_retrieval_is_by_language(run_folders):
    sections = {s.name: s for s in make_sections(load_runs(run_folders))}
    (layers,) = sections["layers"].charts()
    assert layers.lines[0].xs == [0, 1, 2, 3]
    assert layers.lines[0].ys == pytest.approx([0.0, 0.3, 0.6, 0.9])
    (retrieval,) = sections["retrieval"].charts()
    assert [(label, [dot.value for dot in dots]) for label, dots in retrieval.rows] == [
        ("de", [0.75, 0.75]), ("ar", [0.25, 0.25]),
    ]  # fmt: skip


def test_what_is_missing_is_said_with_the_command_that_makes_it(tmp_path, capsys):
    line = json.dumps({"step": 1, "loss": 2.0})
    (tmp_path / "metrics.jsonl").write_text(f'{line}\n{{"step": 2, "lo')
    assert main.main(["report", str(tmp_path)]) == 0
    page = (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
    assert re.findall(r'<section id="([a-z]+)"', page) == SECTIONS
    assert page.count("xlingual evaluate --gin_file=") == 6
    assert f"{tmp_path / 'metrics.jsonl'}, line 2: left out" in capsys.readouterr().err
    assert "metrics.jsonl, line 2: left out" in page


def test_a_run_of_today_shows_the_directions_of_its_results(tmp_path):
    scores = {"trained": False, "chrf": 12.5, "bleu": 3.0, "task": "toy_translation_de_fr"}
    (tmp_path / "results.json").write_text(json.dumps({"directions": {"de-fr": scores}}))
    sections = {s.name: s for s in make_sections(load_runs([str(tmp_path)]))}
    (matrix,) = sections["directions"].charts()
    assert matrix.cells["de", "fr"].value == 12.5 and matrix.cells["de", "fr"].outlined


def test_pictures_are_written_beside_the_page(close_folders, tmp_path, capsys):
    argv = ["report", close_folders[0], f"--output={tmp_path}", "--png"]
    assert main.main(argv) == 0
    written = {path.stem for path in (tmp_path / "pictures").glob("*.png")}
    assert {"directions-0-a", "retrieval-accuracy", "layers-probes-cosine"} == written
    assert f"{len(written)} pictures" in capsys.readouterr().out


def test_several_runs_need_a_folder(run_folders, capsys):
    assert main.main(["report", *run_folders]) == 2
    assert "--output is missing" in capsys.readouterr().err


def test_samples_and_premiums_of_a_run_without_other_files_are_shown(tmp_path):
    rows = [
        make_row(metric="token_premium", value=value, dataset="toy", lang=code, signature=signature)
        for code, value, signature in (("ar", 1.75, "reference:en"), ("en", 1.0, "reference:en"))
    ]
    append(tmp_path, "vocabulary", 5, rows)
    answers = [make_row(metric="accuracy", value=50.0, dataset="topics_ar", lang="ar")]
    for step in (3, 5):
        sample = Sample(
            task="topics_ar", source="القطة", target="pets", prediction=f"written at {step}"
        )
        evaluation = Evaluation(scalars={}, rows=answers, samples=[sample])
        header = {"evaluator": "understanding", "step": step}
        append_evaluation(tmp_path, evaluation, header=header)
    sections = {s.name: s for s in make_sections(load_runs([str(tmp_path)]))}
    (premium,) = sections["premium"].charts()
    assert premium.unit == "tokens, en = 1"
    assert [(label, dots[0].value) for label, dots in premium.rows] == [("ar", 1.75), ("en", 1.0)]
    (shown,) = sections["samples"].body
    words = "".join(shown.itertext())
    assert "topics_ar" in words and "written at 5" in words and "written at 3" not in words
    assert 'lang="ar"' in ElementTree.tostring(shown, "unicode")

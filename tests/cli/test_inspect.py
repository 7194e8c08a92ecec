"""What the report shows, for both families, every kind of task, and on a page of its own."""

import html.parser
import re

import numpy as np
import pytest
from rich.console import Console

from tasks import toy, toy_corpus, toy_vocabulary
from xlingual.cli import inspect, inspection, main
from xlingual.data.base import TaskInfo
from xlingual.data.staged import Stage
from xlingual.data.task_statistics import TaskStatistics
from xlingual.errors import ConfigError

PACKED = {
    "encoder_input_tokens": np.array([[7, 8, 1, 5, 1, 0]]),
    "encoder_segment_ids": np.array([[1, 1, 1, 2, 2, 0]]),
    "decoder_target_tokens": np.array([[3, 9, 1, 4, 1, 0]]),
    "decoder_input_tokens": np.array([[0, 3, 9, 0, 6, 0]]),
    "decoder_loss_weights": np.array([[1.0, 0.0, 0.5, 1.0, 1.0, 0.0]]),
    "decoder_segment_ids": np.array([[1, 1, 1, 2, 2, 0]]),
    "decoder_task_ids": np.array([[2, 2, 2, 1, 1, 0]]),
}
JOINED = {
    "decoder_target_tokens": np.array([[5, 6, 1, 7, 8, 1, 9, 1, 0]]),
    "decoder_input_tokens": np.array([[0, 5, 6, 1, 7, 8, 0, 9, 0]]),
    "decoder_loss_weights": np.array([[0.0, 0, 0, 1, 1, 1, 1, 1, 0]]),
    "decoder_segment_ids": np.array([[1, 1, 1, 1, 1, 1, 2, 2, 0]]),
    "decoder_task_ids": np.array([[1, 1, 1, 1, 1, 1, 1, 1, 0]]),
    "decoder_causal_attention": np.array([[1, 1, 1, 1, 0, 0, 1, 0, 0]]),
}


@pytest.fixture
def report(capsys):
    def apply(*arguments):
        assert main.main(["inspect", *arguments]) == 0
        return capsys.readouterr().out

    return apply


def plain(renderable):
    console = Console(width=200, color_system=None)
    with console.capture() as capture:
        console.print(renderable)
    return capture.get()


def test_examples_of_rows_of_an_encoder_decoder():
    first, second = inspection.examples_of([PACKED])
    assert (first.task_id, first.place) == (2, (0, 0, 1))
    assert first.inputs.tolist() == [7, 8, 1] and first.targets.tolist() == [3, 9, 1]
    assert first.weights.tolist() == [1.0, 0.0, 0.5] and first.read.tolist() == [3, 9]
    assert second.read.tolist() == [6] and second.targets.tolist() == [4, 1]


def test_examples_of_rows_of_a_decoder_are_cut_in_two():
    first, second = inspection.examples_of([JOINED])
    assert first.inputs.tolist() == [5, 6, 1] and first.targets.tolist() == [7, 8, 1]
    assert first.weights.tolist() == [1, 1, 1] and first.read.tolist() == [7, 8]
    assert second.inputs.size == 0 and second.targets.tolist() == [9, 1]


def test_inputs_stand_above_targets_and_what_is_read_is_told():
    vocabulary = toy_vocabulary.toy_vocabulary()
    special = toy_vocabulary.toy_special_tokens()
    batch = {name: value.copy() for name, value in PACKED.items()}
    batch["encoder_input_tokens"][0, 0] = special.control_id("<mask>")
    batch["decoder_target_tokens"][0, 0] = special.sentinel_id(0)
    batch["decoder_input_tokens"][0, 1] = special.sentinel_id(0)
    painter = inspection.Painter(vocabulary, [TaskInfo(name="a[b]"), TaskInfo(name="other")])
    first, second = (painter.paint(e) for e in inspection.examples_of([batch]))
    lines = plain(first).splitlines()
    assert lines[0].startswith("other") and "row 0, segment 1" in lines[0]
    assert [line.split()[0] for line in lines[1:]] == ["inputs", "targets"]
    assert "<mask>" in lines[1] and "<extra_id_0>" in lines[2]
    assert plain(second).startswith("a[b]") and "  read" in plain(second)
    styles = {str(s.style) for line in first.renderables[1:] for s in line.spans}
    assert {"magenta", "cyan bold reverse", "cyan bold underline"} & styles == {
        "cyan bold reverse",
        "cyan bold underline",
    }
    assert {"cyan dim strike", "cyan italic", "cyan"} <= styles
    assert {str(s.style) for s in second.renderables[1].spans} == {"magenta"}


def test_examples_of_many_tasks_come_first():
    shown = list(inspection.examples_of([PACKED, PACKED, JOINED]))
    chosen = inspection.choose(shown, 3)
    assert [e.place for e in chosen] == [(0, 0, 1), (0, 0, 2), (1, 0, 1)]
    assert inspection.choose(shown, 99) == shown
    assert inspection.choose(shown, 0) == []


def test_what_lengths_cost():
    def statistics(examples):
        return TaskStatistics(
            num_records=9,
            sampled_records=9,
            sampled_examples=examples,
            mean_input_tokens=1.0,
            mean_target_tokens=1.0,
            mean_weighted_targets=1.0,
        )

    dropped = inspection.Loss.between(statistics(6), statistics(8))
    assert (dropped.dropped, dropped.parts) == (0.25, 1.0)
    cut = inspection.Loss.between(statistics(6), statistics(2))
    assert (cut.dropped, cut.parts) == (0.0, 3.0)


def test_short_lengths_drop_pairs_and_the_table_says_how_many(report):
    sources, targets = toy_corpus.pairs("de", "fr", "test")
    encode = toy_vocabulary.toy_vocabulary().encode
    sizes = [
        (len(encode(s)) + 2, len(encode(t)) + 1) for s, t in zip(sources, targets, strict=True)
    ]
    dropped = sum(i > 14 or t > 16 for i, t in sizes) / len(sizes)
    assert 0.05 < dropped < 0.95
    printed = report(
        "toy_translation_de_fr", "--split=test", "--inputs=14", "--targets=16", "--num_examples=0"
    )
    assert f"{dropped:.1%}" in printed


@pytest.mark.parametrize("family", ["encoder_decoder", "decoder_only"])
@pytest.mark.parametrize(
    "name",
    [
        "toy_translation_de_en",
        "toy_ptlm_de_python",  # zero-shot: no train split
        "toy_span_corruption_zh",
        "toy_prefix_lm_ar",
        "toy_causal_lm_python",
        "toy_dot_denoise_hi",
        "toy_code_zero_shot",
    ],
)
def test_every_kind_of_task_is_shown(report, name, family):
    printed = report(name, f"--family={family}", "--num_examples=3")
    assert printed.count("  targets ") == 3
    assert "fill over 128 rows" in printed and "legend:" in printed
    split = (
        "train"
        if "train"
        in toy.task_registry.get_mixture_or_task(
            next(iter(toy.task_registry.leaf_shares(name)[0]))
        ).splits
        else "validation"
    )
    assert f"{name}, split {split}" in re.sub(r"\s+", " ", printed)
    assert ("  inputs " in printed) == ("causal_lm" not in name)


def test_lengths_that_a_task_cannot_be_compared_at_give_a_question_mark(report):
    # Eight times these inputs need more sentinels than there are.
    printed = report("toy_span_corruption_en", "--inputs=512", "--targets=128", "--num_examples=0")
    (row,) = [line for line in printed.splitlines() if "toy_span_corruption_en │" in line]
    assert row.rstrip(" │").endswith("?")


def test_a_page_is_whole_and_escaped(report, tmp_path):
    path = tmp_path / "report.html"
    report("toy_dot_denoise_de", "--num_examples=4", f"--html={path}")
    page = path.read_text(encoding="utf-8")
    assert "&lt;mask&gt;" in page and "<mask>" not in page
    assert not re.search(r"https?:|<script|src=|@import", page)
    texts, tags = [], []
    parser = html.parser.HTMLParser()
    parser.handle_data = texts.append
    parser.handle_starttag = lambda tag, attributes: tags.append(tag)
    parser.feed(page)
    shown = "".join(texts)
    for words in ("xlingual inspect toy_dot_denoise_de", "dropped", "legend:", "  targets "):
        assert words in shown
    assert set(tags) <= {"html", "head", "title", "meta", "style", "body", "pre", "code", "span"}


def test_stages_are_told_with_their_steps():
    stages = [
        Stage(mixture="a[b]", end_step=1000),
        Stage(mixture={"a": 0.25, "b": 0.75}, end_step=1500, interpolate=True),
        Stage(mixture="last"),
    ]
    rows = [
        line.strip("│").split("│") for line in plain(inspection.stage_table(stages)).split("\n")
    ]
    cells = [[cell.strip() for cell in row] for row in rows if row[0].strip().startswith("stage ")]
    assert cells == [
        ["stage 1", "a[b]", "1", "1,000", "stage 2"],
        ["stage 2", "0.25 a + 0.75 b", "1,001", "1,500", "has moved to stage 3 step by step"],
        ["stage 3", "last", "1,501", "", "goes on as long as the run"],
    ]
    bounded = plain(inspection.stage_table([Stage(mixture="only", end_step=5)]))
    assert "the run ends" in bounded


SHORT = ("--gin.MODEL_DIR=unused", "--gin.BATCH_SIZE=32", "--num_examples=1")
LENGTHS = "--gin.TASK_FEATURE_LENGTHS={'inputs': 64, 'targets': 64}"


def test_the_stages_of_an_experiment_are_shown_in_turn(report, tmp_path, clean_gin):
    page = tmp_path / "dot.html"
    printed = report(
        "--gin_file=gin/experiments/dot.gin",
        *SHORT,
        LENGTHS,
        "--gin.curricula.dot.denoising=toy_dot_denoise_de",
        "--gin.curricula.dot.translation={'toy_translation_de_en': 3, 'toy_translation_en_de': 1}",
        f"--html={page}",
    )
    assert re.search(r"stage 1 +│ toy_dot_denoise_de +│ +1 │ +100,000 │", printed)
    first, second = re.sub(r"\s+", " ", printed).split("stage 2: ")
    assert "stage 1: toy_dot_denoise_de, split train, inputs 64, targets 64" in first
    assert second.startswith("3 toy_translation_de_en + 1 toy_translation_en_de, split train")
    assert re.search(r"toy_translation_de_en │ +0\.7500 ", second)
    assert [part.count(" targets ▁") for part in (first, second)] == [1, 1]
    assert "xlingual inspect gin/experiments/dot.gin" in page.read_text(encoding="utf-8")


def test_the_arms_of_an_experiment_are_shown_in_turn(report, clean_gin):
    printed = report(
        "--gin_file=gin/experiments/xlsup.gin",
        *SHORT,
        LENGTHS,
        "--gin.ARMS={'lm': 'toy_causal_lm_de', 'mt': 'toy_translation_de_en'}",
    )
    assert re.search(r"│ lm +│ toy_causal_lm_de +│\n│ mt +│ toy_translation_de_en +│", printed)
    _, *parts = re.split(r"(?:lm|mt): toy_", printed)
    assert ["fill over 128 rows: decoder" in part for part in parts] == [True, True]
    assert ["  inputs " in part for part in parts] == [False, True]


@pytest.fixture
def by_examples():
    name = "inspect_by_examples"
    toy.task_registry.register_mixture(name, {"toy_translation_de_en": 1.0}, share_unit="examples")
    yield name
    toy.task_registry.unregister(name)


def test_stages_that_do_not_fit_together_are_refused(capsys, clean_gin, by_examples):
    stages = f"--gin.STAGES=[(9, '{by_examples}'), (None, 'toy_dot_denoise_de')]"
    arguments = ["--gin_file=gin/experiments/dot.gin", *SHORT, LENGTHS, stages]
    assert main.main(["inspect", *arguments]) == 2
    assert "declare shares in ['examples', 'tokens']" in capsys.readouterr().err


def test_a_source_of_another_kind_is_refused():
    with pytest.raises(ConfigError, match="the data source is int; inspect shows SeqioSource"):
        inspect.report(3, 0)


def test_the_family_follows_the_objective(report):
    printed = report("toy_translation_lm_de_en", "--module=tasks.toy_recipes", "--num_examples=0")
    assert "rows: decoder" in printed


@pytest.mark.slow
@pytest.mark.slow
def test_an_experiment_is_shown(report):
    printed = report(
        "--gin_file=gin/experiments/toy.gin", "--gin.MODEL_DIR=unused", "--num_examples=1"
    )
    assert "toy_pretrain, split train, inputs 128, targets 128" in printed


def test_bad_input_is_refused(capsys, tmp_path):
    for arguments, words in (
        ([], "no task or mixture named"),
        (["toy_pretrain", "--gin_file=a.gin"], "both 'toy_pretrain' and --gin_file"),
        (["toy_pretrian"], "toy_pretrain"),
        (["toy_causal_lm_de", "--split=tset"], "no split 'tset'"),
        (["toy_causal_lm_de", "--num_examples=-1"], "--num_examples=-1"),
        (["toy_causal_lm_de", f"--html={tmp_path / 'none' / 'x.html'}"], "cannot be written"),
        (["toy_translation_de_en", "--inputs=3", "--targets=2"], "too short"),
    ):
        assert main.main(["inspect", *arguments]) == 2
        assert words in capsys.readouterr().err

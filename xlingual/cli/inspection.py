"""What `xlingual inspect` finds in a stream of batches, and how it is shown.

First the examples of packed rows as plain data, then tables and coloured text of them; the same
renderables go to a terminal and to an HTML page.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import seqio
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from xlingual.cli.reports import table_of
from xlingual.data import vocabularies
from xlingual.data.base import TaskInfo
from xlingual.data.byte_vocabulary import ByteVocabulary
from xlingual.data.staged import Stage
from xlingual.data.task_statistics import TaskStatistics
from xlingual.data.tokenizer_vocabulary import TokenizerVocabulary
from xlingual.errors import ConfigError

Batch = Mapping[str, np.ndarray]

_COLOURS = ("cyan", "magenta", "green", "yellow", "blue")
_SENTINEL, _CONTROL, _UNWEIGHTED, _HALF = "bold reverse", "bold underline", "dim strike", "italic"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shown:
    """One example of a packed row.

    Attributes:
      task_id: index of its task plus one.
      place: batch, row and segment, counted from 0, 0 and 1.
      inputs: [length] int; empty if there are none.
      targets: [length] int.
      weights: [length] float, the loss weights of `targets`.
      read: [length] int, what the decoder reads before each target, without the leading start.
    """

    task_id: int
    place: tuple[int, int, int]
    inputs: np.ndarray
    targets: np.ndarray
    weights: np.ndarray
    read: np.ndarray


@dataclasses.dataclass(frozen=True, kw_only=True)
class Loss:
    """What the task feature lengths do to a task, against lengths eight times as long.

    Attributes:
      dropped: share of examples that do not exist at these lengths.
      parts: examples that one example of the longer lengths becomes, at least 1.
    """

    dropped: float
    parts: float

    @classmethod
    def between(cls, here: TaskStatistics, longer: TaskStatistics) -> "Loss":
        """Returns the loss from statistics of the same records at both lengths."""
        ratio = here.sampled_examples / max(longer.sampled_examples, 1)
        return cls(dropped=max(0.0, 1.0 - ratio), parts=max(1.0, ratio))


def examples_of(batches: Sequence[Batch]) -> Iterator[Shown]:
    """Yields the examples of packed rows, row by row."""
    for number, batch in enumerate(batches):
        for row in range(len(batch["decoder_target_tokens"])):
            one = {name: value[row] for name, value in batch.items()}
            for segment in range(1, int(one["decoder_segment_ids"].max()) + 1):
                yield _example(one, (number, row, segment))


def choose(examples: Sequence[Shown], count: int) -> list[Shown]:
    """Returns `count` examples of as many tasks as possible, in the order of the stream."""
    seen: dict[int, int] = {}
    turns = []
    for example in examples:
        seen[example.task_id] = seen.get(example.task_id, 0) + 1
        turns.append(seen[example.task_id])
    order = sorted(range(len(examples)), key=lambda i: (turns[i], i))
    return [examples[i] for i in sorted(order[:count])]


def mixture_text(mixture: str | Mapping[str, float]) -> str:
    """Returns a registered name, or names with their shares, in one line."""
    if isinstance(mixture, str):
        return mixture
    return " + ".join(f"{share:.4g} {name}" for name, share in mixture.items())


def stage_table(stages: Sequence[Stage]) -> Table:
    """Returns one row a stage: what it trains on, from which step to which, and how it ends."""
    table = table_of("stages", ("stage", "mixture"), ("first step", "last step"))
    table.add_column("then", overflow="fold")
    begin = 0
    for number, stage in enumerate(stages, start=1):
        then = "the run ends"
        if stage.interpolate:
            then = f"has moved to stage {number + 1} step by step"
        elif number < len(stages):
            then = f"stage {number + 1}"
        elif stage.end_step is None:
            then = "goes on as long as the run"
        last = "" if stage.end_step is None else f"{stage.end_step:,}"
        table.add_row(
            f"stage {number}", Text(mixture_text(stage.mixture)), f"{begin + 1:,}", last, then
        )
        begin = stage.end_step or begin
    return table


def arm_table(arms: Mapping[str, str | Mapping[str, float]]) -> Table:
    """Returns one row an arm: what it trains on."""
    table = table_of("arms, one a step; how often each is drawn is learned", ("arm", "mixture"))
    for name, mixture in arms.items():
        table.add_row(Text(name), Text(mixture_text(mixture)))
    return table


def task_table(
    title: str,
    tasks: Sequence[TaskInfo],
    rates: Mapping[str, float],
    statistics: Mapping[str, TaskStatistics],
    losses: Mapping[str, Loss | None],
    batches: Sequence[Batch],
) -> Table:
    """Returns one row a task: shares and rates, sizes, and what the lengths cost."""
    columns = ("declared", "rate", "realised", "inputs", "targets", "seen", "an epoch", "dropped")
    table = table_of(title, ("task",), (*columns, "parts"))
    weights = np.concatenate([b["decoder_loss_weights"].ravel() for b in batches])
    ids = np.concatenate([b["decoder_task_ids"].ravel() for b in batches])
    sums = np.bincount(ids, weights, minlength=len(tasks) + 1)[1:]
    counts = np.bincount(
        [example.task_id for example in examples_of(batches)], minlength=len(tasks) + 1
    )[1:]
    for info, realised, count in zip(tasks, sums / max(sums.sum(), 1e-9), counts, strict=True):
        measured, loss = statistics[info.name], losses[info.name]
        epoch = info.examples_per_epoch
        table.add_row(
            Text(info.name),
            f"{info.share:.4f}",
            f"{rates[info.name]:.4f}",
            f"{realised:.4f}",
            f"{measured.mean_input_tokens:.1f}",
            f"{measured.mean_target_tokens:.1f}",
            f"{count:,}",
            "?" if epoch is None else f"{epoch:,.0f}",
            "?" if loss is None else f"{loss.dropped:.1%}",
            "?" if loss is None else f"{loss.parts:.2f}",
        )
    return table


def column_notes(share_unit: str) -> Text:
    """Returns what the columns of `task_table` mean."""
    return Text(
        f"declared, realised: shares of {share_unit} and of weighted targets; rate: of examples; "
        "inputs, targets: mean tokens of an example; seen: examples in the batches read; dropped: "
        "examples lost to the lengths; parts: examples that a longer one is cut into (both against "
        "lengths eight times as long; ? where a task does not run at those).",
        style="dim",
    )


def fill_line(batches: Sequence[Batch]) -> Text:
    """Returns the share of positions that are not padding, per stack."""
    parts = []
    for name in batches[0]:
        if name.endswith("_segment_ids"):
            filled = np.mean([np.mean(batch[name] > 0) for batch in batches])
            segments = np.mean([batch[name].max(axis=1).mean() for batch in batches])
            stack = name.removesuffix("_segment_ids")
            parts.append(f"{stack} {filled:.3f} ({segments:.1f} examples a row)")
    rows = sum(len(batch["decoder_target_tokens"]) for batch in batches)
    return Text(f"fill over {rows} rows: " + ", ".join(parts))


def legend() -> Text:
    """Returns the legend of `Painter.paint`."""
    text = Text("legend: ")
    for index, colour in enumerate(_COLOURS):
        text.append(f"segment {index + 1}", colour)
        text.append(" ")
    for words, style in (
        ("sentinel", _SENTINEL),
        ("control token", _CONTROL),
        ("weight 0", _UNWEIGHTED),
        ("weight 1/2", _HALF),
    ):
        text.append(words, style)
        text.append(" ")
    text.append("(colours repeat after five segments; ▁ is a space)", "dim")
    return text


class Painter:
    """Shows examples as coloured text."""

    def __init__(self, vocabulary: seqio.Vocabulary, tasks: Sequence[TaskInfo]):
        """Reads the special ids of the vocabulary, where it has the ids that objectives need."""
        self._vocabulary, self._tasks = vocabulary, tasks
        self._sentinels: range = range(0)
        self._control: frozenset[int] = frozenset()
        if isinstance(vocabulary, seqio.SentencePieceVocabulary):
            try:
                special = vocabularies.special_tokens(vocabulary)
            except ConfigError:  # a vocabulary of another layout is shown without them
                return
            self._sentinels = range(special.sentinel_end, special.sentinel_start + 1)
            self._control = frozenset(special.control.values())

    def paint(self, example: Shown) -> RenderableType:
        """Returns an example: its task, inputs above targets, and what is read if it differs."""
        batch, row, segment = example.place
        head = Text(self._tasks[example.task_id - 1].name, style="bold")
        head.append(f"  batch {batch}, row {row}, segment {segment}", "not bold dim")
        lines = [head]
        if len(example.inputs):
            lines.append(self._line("inputs", example.inputs, None, segment))
        lines.append(self._line("targets", example.targets, example.weights, segment))
        if not np.array_equal(example.read, example.targets[: len(example.read)]):
            lines.append(self._line("read", example.read, None, segment))
        return Group(*lines)

    def _line(
        self, name: str, tokens: np.ndarray, weights: np.ndarray | None, segment: int
    ) -> Text:
        text = Text(f"  {name:<8}", style="default")
        colour = _COLOURS[(segment - 1) % len(_COLOURS)]
        for place, token in enumerate(tokens.tolist()):
            style = colour
            if token in self._sentinels:
                style += f" {_SENTINEL}"
            elif token in self._control:
                style += f" {_CONTROL}"
            weight = 1.0 if weights is None else float(weights[place])
            if weight != 1.0:
                style += f" {_HALF if weight else _UNWEIGHTED}"
            text.append(piece_of(self._vocabulary, token), style)
            text.append(" ")
        return text


def piece_of(vocabulary: seqio.Vocabulary, token: int) -> str:
    """Returns how one id is shown."""
    if isinstance(vocabulary, seqio.SentencePieceVocabulary):
        return str(vocabulary.tokenizer.id_to_piece(token))
    if isinstance(vocabulary, ByteVocabulary | TokenizerVocabulary):
        return vocabulary.id_to_piece(token)
    return str(vocabulary.decode([token]))


def _example(row: Batch, place: tuple[int, int, int]) -> Shown:
    chosen = row["decoder_segment_ids"] == place[2]
    tokens, weights = row["decoder_target_tokens"][chosen], row["decoder_loss_weights"][chosen]
    read = row["decoder_input_tokens"][chosen][1:]
    if "encoder_input_tokens" in row:
        inputs = row["encoder_input_tokens"][row["encoder_segment_ids"] == place[2]]
        first = 0
    else:
        # The inputs are marked, and one place more, for decoder inputs are shifted by one.
        first = max(int(row["decoder_causal_attention"][chosen].sum()) - 1, 0)
        inputs = tokens[:first]
    return Shown(
        task_id=int(row["decoder_task_ids"][chosen][0]),
        place=place,
        inputs=inputs,
        targets=tokens[first:],
        weights=weights[first:],
        read=read[first:],
    )

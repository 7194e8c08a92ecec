"""The train loop: validate, build, restore, compile, then steps.

One step: dispatch step n; read the metrics of step n - 1, so that the device never waits for the
host; save and run hooks if they are due; fetch the next batch while the device works. Before a
checkpoint or a hook the metrics of step n are read as well, so that neither ever sees a state that
is not finite.
"""

import contextlib
import dataclasses
import pathlib
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax

from xlingual.checkpointing.manager import CheckpointConfig, CheckpointManager
from xlingual.data.base import BatchSource, batch_specs
from xlingual.errors import ConfigError
from xlingual.losses.base import Loss
from xlingual.models.base import Model
from xlingual.optimizers.factory import Optimizer
from xlingual.partitioning.partitioner import Partitioner
from xlingual.reporting.results import peak_rss_bytes, write_results
from xlingual.reporting.table import print_report
from xlingual.training import startup
from xlingual.training.compiled import StepOfShape
from xlingual.training.curriculum import Curriculum, Feed, SourceOrder
from xlingual.training.fingerprint import check_allow_changes, make_fingerprint
from xlingual.training.hooks import Hook, HookContext, is_due
from xlingual.training.interruption import Interruption
from xlingual.training.profiling import Profiler, parse_profile_steps
from xlingual.training.programs import TrainProgram
from xlingual.training.recorder import Recorder
from xlingual.training.snapshots import Snapshots
from xlingual.training.start_clock import StartClock
from xlingual.training.starting_point import StartingPoint
from xlingual.training.state import BatchSpec, StateLayout, TrainState, make_state, plan_state
from xlingual.training.step import TrainStep
from xlingual.training.throughput import Throughput


def train(
    *,
    model_dir: str,
    model: Model,
    source: BatchSource,
    losses: Mapping[str, Loss],
    optimizer: Optimizer,
    partitioner: Partitioner,
    train_steps: int,
    initial_weights: str | None = None,
    reset_optimizer: bool = True,
    curriculum: Curriculum | None = None,
    num_microbatches: int = 1,
    seed: int = 0,
    log_period_steps: int = 100,
    checkpointer: CheckpointConfig | None = None,
    hooks: Sequence[Hook] = (),
    allow_changes: Sequence[str] = (),
    executable: str | None = None,
    profile_steps: str | None = None,
    begun_unix_seconds: float | None = None,
    config_text: str | Callable[[], str] = "",
) -> TrainState:
    """Trains, or goes on from the latest checkpoint of `model_dir`; returns the last state.

    Stop and resume give the arrays of an uninterrupted run, bit for bit, on the same devices.
    SIGTERM saves and returns early; SIGINT saves and raises KeyboardInterrupt.

    Args:
      model_dir: for checkpoints, `metrics.jsonl`, `tensorboard/`, `operative_config.gin` and
        `results.json`.
      model: the model.
      source: the training data.
      losses: loss name -> loss.
      optimizer: the optimizer.
      partitioner: mesh and rules.
      train_steps: updates at the end of the run, those before a restart included.
      initial_weights: where a fresh run takes its parameters from (`StartingPoint`); None makes
        random ones.
      reset_optimizer: False takes the optimizer's statistics from there as well.
      curriculum: how batches are chosen; None for the order of `source`.
      num_microbatches: parts of a batch that are computed one after the other.
      seed: parameters and dropout depend on it.
      log_period_steps: steps between log lines.
      checkpointer: when to save and what to keep; None for the defaults.
      hooks: what else happens every N steps.
      allow_changes: intended differences to the checkpoint (`fingerprint.check_fingerprint`).
      executable: folder of the train step that `xlingual compile --save` compiled for this very
        job and these devices; None compiles here.
      profile_steps: `FIRST:LAST`, steps of which a trace for XProf and Perfetto is written to
        `profile/`, both included; None for no trace.
      begun_unix_seconds: when the command was given; the log says where the time from then to the
        first step went. None for now.
      config_text: the operative configuration or what returns it; logged, and saved with every
        checkpoint.

    Raises:
      ConfigError: a bad argument, before the first step; a loss, norm or parameter that is not
        finite; data that end early.
    """
    clock = StartClock(begun_unix_seconds)
    clock.mark("imports and configuration")
    profile = None if profile_steps is None else parse_profile_steps(profile_steps)
    run = _Run(
        context=HookContext(
            model_dir=pathlib.Path(model_dir),
            model=model,
            partitioner=partitioner,
            losses=losses,
            source=source,
            seed=seed,
        ),
        optimizer=optimizer,
        start=StartingPoint(weights=initial_weights, reset_optimizer=reset_optimizer),
        hooks=tuple(hooks),
        curriculum=curriculum or SourceOrder(),
        num_microbatches=num_microbatches,
        log_period_steps=log_period_steps,
        last_step=train_steps,
        executable=executable,
        clock=clock,
        profiler=Profiler(profile, pathlib.Path(model_dir)),
    )
    layout, fingerprint = run.validate(allow_changes)
    clock.mark("data and checks")
    with CheckpointManager(model_dir, checkpointer or CheckpointConfig()) as manager:
        feed = run.curriculum.open(run.context, layout)
        snapshots = Snapshots(manager, fingerprint, source, feed, config_text)
        return run.execute(layout, feed, snapshots, allow_changes)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Run:
    """The phases of `train`, in the order in which they run."""

    context: HookContext
    optimizer: Optimizer
    start: StartingPoint
    hooks: tuple[Hook, ...]
    curriculum: Curriculum
    num_microbatches: int
    log_period_steps: int
    last_step: int
    executable: str | None
    clock: StartClock
    profiler: Profiler

    def validate(self, allow_changes: Sequence[str]) -> tuple[StateLayout, dict[str, Any]]:
        """Returns the layout of the state and the run's fingerprint, or finds what is wrong."""
        context = self.context
        startup.check_numbers(
            train_steps=self.last_step,
            num_microbatches=self.num_microbatches,
            log_period_steps=self.log_period_steps,
        )
        startup.check_data(
            context.source, context.model, context.partitioner, self.num_microbatches
        )
        startup.check_executable(self.executable, batch_specs(context.source))
        layout = plan_state(
            context.model,
            self.optimizer,
            context.partitioner,
            context.source.spec,
            context.losses,
        )
        startup.check_losses_of(context.model, context.losses, layout, context.source)
        fingerprint = make_fingerprint(
            data={**context.source.fingerprint(), "curriculum": self.curriculum},
            model=context.model,
            losses=context.losses,
            optimizer=self.optimizer,
            seed=context.seed,
        )
        fingerprint |= self.start.fingerprint()
        check_allow_changes(allow_changes, fingerprint)
        if self.start.applies_to(context.model_dir):
            self.start.check(layout)
        for hook in self.hooks:
            hook.prepare(context)
        startup.check_model_dir(context.model_dir)
        return layout, fingerprint

    def execute(
        self,
        layout: StateLayout,
        feed: Feed,
        snapshots: Snapshots,
        allow_changes: Sequence[str],
    ) -> TrainState:
        """Restores or makes the state, compiles, takes the steps and reports."""
        context = self.context
        state = snapshots.restore(layout, allow_changes)
        if state is None:
            state = self.first_state(layout)
        first_step = int(jax.device_get(state.step))
        self.clock.mark("parameters")
        context.writer.open(context.model_dir, first_step, self.last_step)
        with (
            contextlib.closing(context.writer),
            contextlib.closing(self.profiler),
            Interruption() as interruption,
        ):
            context.writer.say(_describe(context, layout, first_step, self.start))
            if advice := startup.describe_reading(context.source, jax.process_count()):
                context.writer.say(advice)
            train_step = self.compile(layout)
            self.clock.mark("compiling")
            context.writer.configure(snapshots.config_text())
            recorder = Recorder(
                snapshots.book,
                context.writer,
                log_period_steps=self.log_period_steps,
                throughput=Throughput(
                    context.model, context.source.spec, list(context.partitioner.mesh.devices.flat)
                ),
                more_numbers=feed.numbers,
            )
            try:
                state = self.take_steps(
                    state, first_step, train_step, feed, snapshots, recorder, interruption
                )
            except FloatingPointError as error:
                raise ConfigError(f"{error}; {snapshots.describe_latest()}") from error
            self.finish(snapshots, interruption)
        return state

    def first_state(self, layout: StateLayout) -> TrainState:
        """Returns the state of a run that has no checkpoint."""
        context = self.context
        if self.start.weights is not None:
            return self.start.load(layout, context.partitioner)
        return make_state(
            context.model, layout, context.partitioner, context.source.spec, context.seed
        )

    def compile(self, layout: StateLayout) -> StepOfShape:
        """Returns the step, compiled or loaded for every row shape; it donates the state."""
        context, begun = self.context, time.monotonic()

        def compile_for(spec: BatchSpec) -> jax.stages.Compiled:
            program = TrainProgram(
                model=context.model,
                losses=context.losses,
                optimizer=self.optimizer,
                partitioner=context.partitioner,
                layout=layout,
                spec=spec,
                num_tasks=len(context.source.tasks),
                num_microbatches=self.num_microbatches,
                seed=context.seed,
            )
            return program.compile() if self.executable is None else program.load(self.executable)

        compiled = StepOfShape(batch_specs(context.source), compile_for)
        verb = "compiled" if self.executable is None else f"loaded from {self.executable}"
        context.writer.say(f"{verb} in {time.monotonic() - begun:.1f} s")
        return compiled

    def take_steps(
        self,
        state: TrainState,
        first_step: int,
        train_step: TrainStep,
        feed: Feed,
        snapshots: Snapshots,
        recorder: Recorder,
        interruption: Interruption,
    ) -> TrainState:
        """Returns the state after the last step, or after the step at which a signal came."""
        if first_step >= self.last_step:
            self.run_hooks(self.hooks, state, recorder)
            return state
        recorder.start()
        batch = _next_batch(feed, first_step)
        self.clock.mark("first batch")
        for step in range(first_step + 1, self.last_step + 1):
            self.start_trace(step, recorder)
            with jax.transfer_guard("disallow"), self.profiler.step(step):
                feed.before_update(state)
                state, metrics = train_step(state, batch)
                recorder.push(step, metrics, batch)
                feed.after_update(state)
            if step == first_step + 2:  # the metrics of the first have just been read
                self.clock.mark("first step")
                self.context.writer.say(self.clock.describe())
            self.stop_trace(step, recorder)
            stop = interruption.stop_requested(step)
            due = () if stop else self.due_hooks(step)
            save = stop or step == self.last_step or snapshots.is_due(step)
            if save or due:
                recorder.flush()
            if save:
                snapshots.save(step, state)
            self.run_hooks(due, state, recorder)
            if stop:
                break
            if step < self.last_step:
                batch = _next_batch(feed, step)
        recorder.log()
        return state

    def start_trace(self, step: int, recorder: Recorder) -> None:
        """Begins the trace, if this is its first step."""
        if self.profiler.is_first(step):
            recorder.flush()
            with recorder.paused():
                self.profiler.start()

    def stop_trace(self, step: int, recorder: Recorder) -> None:
        """Writes the trace, if this is its last step."""
        if self.profiler.is_last(step):
            recorder.flush()
            with recorder.paused():
                self.profiler.close()
            self.context.writer.say(f"trace of the steps until {step}: {self.profiler.folder}")

    def due_hooks(self, step: int) -> tuple[Hook, ...]:
        """Returns the hooks that run after `step` updates."""
        return tuple(hook for hook in self.hooks if is_due(hook, step, self.last_step))

    def run_hooks(self, hooks: Sequence[Hook], state: TrainState, recorder: Recorder) -> None:
        """Runs hooks; their time counts for no step."""
        with recorder.paused():
            for hook in hooks:
                hook.run(self.context, state)

    def finish(self, snapshots: Snapshots, interruption: Interruption) -> None:
        """Waits for the checkpoint; then reports, or says how to go on after a signal."""
        where = snapshots.describe_latest()
        if interruption.stopped:
            self.context.writer.say(f"stopped by a signal; {where}; the same command goes on")
            if interruption.received == signal.SIGINT:
                raise KeyboardInterrupt
            return
        snapshots.count_time()
        counters = snapshots.book.counters
        results = self.context.results | {
            "steps": counters.steps,
            "seconds": counters.wall_seconds,
            "tokens_per_second": counters.tokens_per_second,
            "peak_rss_bytes": peak_rss_bytes(),
        }
        self.context.writer.close()
        if jax.process_index() == 0:
            path = write_results(self.context.model_dir, results)
            print_report(results, [s for group in self.context.samples.values() for s in group])
            print(f"{self.last_step} steps done; results: {path}; {where}")


def _next_batch(feed: Feed, step: int) -> dict[str, jax.Array]:
    try:
        with jax.transfer_guard("disallow"):
            return feed.next_batch(step + 1)
    except StopIteration:
        raise ConfigError(
            f"the data end after step {step}; expected an endless stream (num_epochs=None), or "
            f"train_steps of at most {step}"
        ) from None


def _describe(
    context: HookContext, layout: StateLayout, first_step: int, start: StartingPoint
) -> str:
    """Returns one line about the run for people."""
    size = sum(leaf.size for leaf in jax.tree.leaves(layout.shapes.params))
    trained = sum(
        leaf.size for leaf in jax.tree.leaves(layout.select_trained(layout.shapes.params))
    )
    frozen = f" ({trained:,} of them trained)" if trained < size else ""
    mesh = context.partitioner.mesh
    axes = ", ".join(f"{axis}={n}" for axis, n in mesh.shape.items())
    begin = f"going on after step {first_step}" if first_step else "starting"
    if not first_step and start.weights is not None:
        begin = f"starting from the weights in {start.weights}"
    return (
        f"{context.model.family}, {size:,} parameters{frozen}, {mesh.size} x "
        f"{mesh.devices.flat[0].device_kind} ({axes}), {context.model_dir}: {begin}"
    )

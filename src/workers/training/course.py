"""The way through one training: where it begins, what it has recorded, and the resume points that it leaves.

A training that was killed and goes on ends as the uninterrupted one: rate and batch follow from the step alone, and
weights, moments, random numbers and rows come from the resume point.
"""

from collections.abc import Generator, Iterator, Mapping
from functools import partial

import torch

from workers.contract.layout import StoreLayout
from workers.contract.outcome import Progress
from workers.contract.trial import TrainingRecipe
from workers.models.engine import Engine
from workers.store.checkpoints import Checkpoint, Checkpoints, Origin
from workers.training.diagnostics import Measurement, TrainingDiagnostics
from workers.training.steps import FIRST_STEP, Start, StepRecord
from workers.work.bench import PROGRESS_EVERY_S, Work
from workers.work.faults import TrialTimeout

# What the driver writes, or `sweep stop --save`.
SAVE = "SAVE"
HISTORY, DIAGNOSTICS = "history", "diagnostics"
HOST_RANDOM, DEVICE_RANDOM = "random.cpu", "random.cuda"


class Course:
    """One training under way; a step is in `history` once it is done."""

    def __init__(self, work: Work, recipe: TrainingRecipe, diagnosis: TrainingDiagnostics | None = None) -> None:
        self.history: list[StepRecord] = []
        self._work = work
        self._recipe = recipe
        self._diagnosis = diagnosis
        self._saved_at_s = work.group.told(work.cadence.clock)
        self._saved_step = 0

    def begin(self, engine: Engine) -> Start:
        """Take over the newest resume point that fits, and say where the steps go on; without one, before the first."""
        group = self._work.group
        found = group.told(lambda: self._checkpoints(engine).newest(partial(_fit_all, engine, group.size)))
        meter = self._work.meter
        meter.n_checkpoints_skipped = found.n_skipped
        skipped = f", {found.n_skipped} that could not be used passed over" if found.n_skipped else ""
        if found.checkpoint is None:
            self._work.log.say(f"training from the first of {self._recipe.steps} steps, no resume point{skipped}")
            if self._diagnosis is not None:
                self._diagnosis.after(0)
            return FIRST_STEP
        self._take_over(found.checkpoint, engine)
        meter.resumed_from_step = found.checkpoint.step
        self._work.log.say(
            f"training resumed from step {found.checkpoint.step} of {self._recipe.steps}{skipped or ', the newest'}"
        )
        return Start(step=found.checkpoint.step, wall_s=self.history[-1].wall_s)

    def follow(self, steps: Iterator[StepRecord], engine: Engine) -> Generator[Progress, None, None]:
        """Take all steps, leaving resume points; yields about once a second."""
        reported_s, is_saved = self._saved_at_s, False
        for record in steps:
            self.history.append(record)
            if self._diagnosis is not None:
                self._diagnosis.after(record.step)
            now_s = self._work.group.told(self._work.cadence.clock)
            if now_s - self._saved_at_s >= self._work.cadence.every_s:
                self._save(record.step, engine)
                self._saved_at_s = self._work.group.told(self._work.cadence.clock)
            if now_s - reported_s >= PROGRESS_EVERY_S:
                reported_s = now_s
                if not is_saved and self._work.group.told(partial(_is_to_save, self._work.layout)):
                    self._save(record.step, engine)
                    is_saved = True
                progress = Progress(
                    phase="training", done=record.step, total=self._recipe.steps, loss=record.loss,
                    is_saved=is_saved, saved_step=self._saved_step,
                )  # fmt: skip
                self._work.log.progress(progress)
                late = None
                try:
                    yield progress
                except TrialTimeout as error:
                    late = error
                if self._work.group.told(partial(bool, late)):  # what was done up to here is not lost
                    self._save(record.step, engine)
                if late is not None:
                    raise late
        if self._saved_step > 0:  # long enough that scoring, where it fails, should not cost the training
            self._save(self.history[-1].step, engine)

    def _checkpoints(self, engine: Engine) -> Checkpoints:
        training_id = self._work.spec.training_id
        origin = Origin.here(training_id, world_size=engine.world_size)
        return Checkpoints(self._work.layout.checkpoints(training_id), origin)

    def _save(self, step: int, engine: Engine) -> None:
        if step == self._saved_step:
            return
        rows = {HISTORY: [vars(record) for record in self.history]}
        if self._diagnosis is not None:
            rows[DIAGNOSTICS] = [vars(measurement) for measurement in self._diagnosis.rows]
        states = self._work.group.gathered(engine.state())
        self._saved_step = step
        if not self._work.group.writes:
            return
        tensors = _random_state(engine.device)
        for rank, state in enumerate(states):
            tensors |= {f"{_prefix(rank)}{name}": tensor for name, tensor in state.items()}
        try:
            self._checkpoints(engine).save(Checkpoint(step, tensors, rows), device=engine.device.type)
        except OSError:  # a full disk: a training without resume points is better than none
            self._work.meter.n_checkpoints_failed += 1
            self._work.log.say(f"no resume point at step {step}: it could not be written")

    def _take_over(self, checkpoint: Checkpoint, engine: Engine) -> None:
        engine.restore(_state_of(self._work.group.rank, checkpoint.tensors))
        self.history = [StepRecord(**row) for row in checkpoint.rows[HISTORY]]
        self._saved_step = checkpoint.step
        if self._diagnosis is not None:
            self._diagnosis.rows = [Measurement(**row) for row in checkpoint.rows[DIAGNOSTICS]]
        torch.set_rng_state(checkpoint.tensors[HOST_RANDOM])
        if engine.device.type == "cuda" and DEVICE_RANDOM in checkpoint.tensors:
            torch.cuda.set_rng_state(checkpoint.tensors[DEVICE_RANDOM], engine.device)


def _prefix(rank: int) -> str:
    """What stands before the names of a rank's tensors."""
    return f"rank{rank}." if rank else ""


def _state_of(rank: int, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    prefix = _prefix(rank)
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _fit_all(engine: Engine, n_ranks: int, tensors: Mapping[str, torch.Tensor]) -> bool:
    """Whether every rank can go on from a resume point: their parts are of one shape."""
    return all(engine.fits(_state_of(rank, tensors)) for rank in range(n_ranks))


def _is_to_save(layout: StoreLayout) -> bool:
    """Whether the driver asked that what trains leaves a resume point at once."""
    try:
        return layout.stop_request.read_text().partition(" ")[0] == SAVE
    except (OSError, UnicodeDecodeError):
        return False


def _random_state(device: torch.device) -> dict[str, torch.Tensor]:
    state = {HOST_RANDOM: torch.get_rng_state()}
    return state | {DEVICE_RANDOM: torch.cuda.get_rng_state(device)} if device.type == "cuda" else state

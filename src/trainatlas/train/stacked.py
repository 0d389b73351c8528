"""The stacked trainer: a stack run to the end of its budget, and what is recorded on the way."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import partial
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from trainatlas.optim.regularisation import largest_loss_of, patience_of
from trainatlas.study.config import Probes
from trainatlas.study.progress import Watch, unwatched
from trainatlas.study.trial import Trial
from trainatlas.train.examples import ExampleStore
from trainatlas.train.records import SPLITS, kept_steps
from trainatlas.train.signals import Distribution
from trainatlas.train.stack import Evaluation, Movement, Stack
from trainatlas.train.work import Ceilings

LayerStatistics = dict[str, dict[str, Tensor]]
Signals = dict[str, dict[str, Distribution]]


@dataclass
class TrialResult:
    """What training one trial yielded.

    Attributes
    ----------
    steps_per_epoch
        Optimizer steps of one epoch.
    curve
        (step, split, loss, accuracy, learning rate) in the order of CURVE_COLUMNS's step and SPLITS.
    layers
        (step, layer, depth, statistics by column name).
    histograms
        (step, layer, depth, quantity, low, high, share), in the order of HISTOGRAM_COLUMNS.
    metrics
        Cells of trials.csv by column name; a loss may be not finite.
    rate
        Learning rate of the step taken last.
    step_seconds
        Least time of a step by the roofline; 0 where that is not known.
    best_loss, epochs_without_gain
        Validation loss that early stopping asks to be improved on, and for how long it has not been.
    """

    trial: Trial
    status: str = "ok"
    error: str = ""
    steps_run: int = 0
    epochs_run: int = 0
    parameters: int = 0
    steps_per_epoch: int = 1
    curve: list[tuple[int, str, float | None, float | None, float]] = field(default_factory=list)
    layers: list[tuple[int, str, int, dict[str, float]]] = field(default_factory=list)
    histograms: list[tuple[int, str, int, str, float, float, float]] = field(default_factory=list)
    metrics: dict[str, float | None] = field(default_factory=dict)
    rate: float = 0.0
    step_seconds: float = 0.0
    best_loss: float = math.inf
    epochs_without_gain: int = 0

    def loses_patience(self, validation_loss: float) -> bool:
        """Take note of an epoch's validation loss; return whether training stops early here, and say so in `status`."""
        patience = patience_of(self.trial.regularisation)
        if patience is None:
            return False
        if validation_loss < self.best_loss - patience.least_gain:
            self.best_loss, self.epochs_without_gain = validation_loss, 0
        else:
            self.epochs_without_gain += 1
        if self.epochs_without_gain < patience.epochs or self.epochs_run == self.trial.last_epoch:
            return False
        self.status = "stopped_early"
        return True

    def explodes(self, losses: list[float]) -> bool:
        """Take note of an epoch's minibatch losses; return whether the trial asks to stop after such, and say so in `status`."""
        ratio = largest_loss_of(self.trial.regularisation)
        first = self.metrics["first_train_loss"]
        if (
            ratio is None
            or first is None
            or not max(losses) > ratio * first
            or self.epochs_run == self.trial.last_epoch
        ):
            return False
        self.status = "stopped_early"
        return True

    def state(self) -> dict[str, Any]:
        """Return everything but the trial, as JSON can hold it."""
        return {each.name: getattr(self, each.name) for each in fields(self) if each.name != "trial"}

    @classmethod
    def of_state(cls, trial: Trial, state: Mapping[str, Any]) -> TrialResult:
        """Return the result that gave `state`, after its way through JSON."""
        rows = {name: [tuple(row) for row in value] for name, value in state.items() if isinstance(value, list)}
        return cls(trial, **{**state, **rows})


@dataclass(frozen=True)
class Moment:
    """All that is needed to go on with a stack from the end of an epoch.

    Attributes
    ----------
    epoch
        The last one trained, counted from 1.
    live
        Places, in the stack as it was formed, of the trials that are still in training.
    results
        `TrialResult.state` of every trial of the stack.
    arrays
        `Stack.state`.
    """

    epoch: int
    live: list[int]
    results: list[dict[str, Any]]
    arrays: dict[str, NDArray[Any]]


class Course:
    """The course of a stack's training, as `train_stack` tells it to whoever wants to know; this one keeps nothing."""

    def begin(self) -> Moment | None:
        """Return where training goes on from; None for the start."""
        return None

    def after_step(self) -> None:
        """Take note of a step; may raise to end training here."""

    def end_epoch(self, moment: Callable[[], Moment]) -> None:
        """Take note of the end of every epoch but the last; may raise to end training here.

        What `moment` returns shares memory with the stack and holds until the next step.
        """

    def end_epochs(self, moment: Callable[[], Moment]) -> None:
        """Take note of the end of the last epoch, before what is measured at the end only; `moment` as above."""


def train_stack(
    trials: Sequence[Trial],
    store: ExampleStore,
    device: torch.device,
    probes: Probes = "standard",
    dtype: torch.dtype = torch.float32,
    course: Course | None = None,
    progress: Watch = unwatched,
    ceilings: Ceilings | None = None,
) -> list[TrialResult]:
    """Train a stack to the end of its budget.

    Parameters
    ----------
    trials
        As for `Stack`.
    probes
        As for `Pack`.
    course
        Where to go on from, and whom to tell of every step and epoch.
    progress
        Told of all the stack's trials at the end of every epoch.
    ceilings
        What the device does at best, for the results' `step_seconds`.

    Returns
    -------
    list[TrialResult]
        One per trial, in the order given. A trial whose loss stops being finite leaves the stack at
        the end of that epoch with status "diverged", one whose patience ends with status "stopped_early";
        its neighbours do not notice.
    """
    course = course or Course()
    begun = course.begin()
    stack = Stack(trials, store, device, dtype)
    recorder = _Recorder(stack, probes, 0.0 if ceilings is None else ceilings.seconds(stack.step_work))
    if begun is None:
        recorder.untrained()
    else:
        recorder.restore(begun)
    last_epoch, per_epoch = trials[0].last_epoch, stack.steps_per_epoch
    kept = kept_steps(trials[0].epochs * per_epoch)
    for epoch in range(1 if begun is None else begun.epoch + 1, last_epoch + 1):
        rates = torch.from_numpy(stack.rates(epoch))
        losses, first, last = stack.train_epoch(epoch, course.after_step)
        step = epoch * per_epoch
        if epoch == 1:  # before the losses say who diverged: what was measured of the untrained network stays
            recorder.first_step(first)
        recorder.minibatches(step - per_epoch, losses.cpu(), rates, kept)
        recorder.end_of_epoch(step, last)
        if epoch == last_epoch:
            course.end_epochs(partial(recorder.moment, epoch))
        recorder.last_look(step, last, everyone=epoch == last_epoch)
        staying = recorder.retire(everyone=epoch == last_epoch)
        progress(recorder.results)
        if not staying:
            break
        course.end_epoch(partial(recorder.moment, epoch))
    return recorder.results


class _Recorder:
    """Turns what a stack measures into one result per trial.

    `_live` holds, for each trial still in the stack, its place in `results`.
    """

    def __init__(self, stack: Stack, probes: Probes, step_seconds: float) -> None:
        self._stack = stack
        self._probes = probes
        self._live = list(range(len(stack.trials)))
        self.results = [
            TrialResult(
                trial,
                parameters=stack.parameter_count,
                steps_per_epoch=stack.steps_per_epoch,
                metrics={"retained_variance": retained},
                rate=rate,
                step_seconds=step_seconds,
            )
            for trial, retained, rate in zip(
                stack.trials, stack.examples.retained_variance, stack.rates(1)[0].tolist(), strict=True
            )
        ]
        self._depth = {layer.name: depth for depth, layer in enumerate(stack.layers, 1)}
        self._untrained: LayerStatistics = {}
        self._untrained_signals: Signals = {}

    def moment(self, epoch: int) -> Moment:
        """Return the moment at the end of an epoch."""
        return Moment(epoch, self._live, [result.state() for result in self.results], self._stack.state())

    def restore(self, moment: Moment) -> None:
        """Go on from a moment of the same stack, which has just been formed."""
        self.results = [
            TrialResult.of_state(result.trial, state)
            for result, state in zip(self.results, moment.results, strict=True)
        ]
        self._live = moment.live
        self._stack.keep(moment.live)
        self._stack.restore(moment.arrays)

    def _each(self, positions: list[int] | None = None) -> list[tuple[int, int, TrialResult]]:
        """Return (row, position in the stack, result) of the trials at `positions` that have not diverged."""
        chosen = list(range(len(self._live))) if positions is None else positions
        members = [(row, i, self.results[self._live[i]]) for row, i in enumerate(chosen)]
        return [member for member in members if member[2].status != "diverged"]

    def untrained(self) -> None:
        """Measure the networks before any step."""
        if self._probes != "off":
            evaluation, self._untrained = self._stack.probe(untrained=True)
            self._note(0, "train", evaluation)
            self._dead_units("initial_dead_fraction", self._untrained)
        if self._probes == "full":
            self._untrained_signals = self._stack.signals(untrained=True)
        self._note(0, "validation", self._stack.evaluate("validation"))
        for result, penalty in zip(self.results, self._stack.penalties().tolist(), strict=True):
            result.metrics["first_penalty"] = penalty

    def first_step(self, movement: Movement) -> None:
        """Complete the statistics of the untrained layers with what the first step did to them."""
        self._layers(0, self._untrained, movement)
        self._signals(0, self._untrained_signals)

    def minibatches(self, before: int, losses: Tensor, rates: Tensor, kept: Sequence[int]) -> None:
        """Record an epoch's minibatch losses and rates, (steps, trials), the first taken at step `before` + 1."""
        finite = losses.isfinite()
        sound = finite.cumprod(0).sum(0).tolist()
        columns, rate_columns = losses.T.tolist(), rates.T.tolist()
        steps = [step for step in kept if before < step <= before + len(losses)]
        for _, i, result in self._each():
            result.epochs_run += 1
            result.steps_run = before + int(sound[i])
            result.rate = rate_columns[i][-1]
            if before == 0:
                result.metrics["first_train_loss"] = columns[i][0]
            for step in steps:
                if step <= result.steps_run:
                    row = step - before - 1
                    result.curve.append((step, "train_batch", columns[i][row], None, rate_columns[i][row]))
            if sound[i] < len(losses):
                result.status = "diverged"
            else:
                result.explodes(columns[i])

    def end_of_epoch(self, step: int, movement: Movement) -> None:
        """Evaluate on validation data and, where probes ask for it, on training data, layer by layer."""
        validation = self._stack.evaluate("validation")
        self._note(step, "validation", validation)
        self._stack.observe(validation)
        for _, i, result in self._each():
            loss, accuracy = validation.loss[i].item(), validation.accuracy[i].item()
            metrics = result.metrics
            metrics["best_validation_loss"] = _least(metrics.get("best_validation_loss"), loss)
            metrics["best_validation_accuracy"] = max(metrics.get("best_validation_accuracy") or 0.0, accuracy)
            if result.status == "ok":
                result.loses_patience(loss)
        if self._probes in ("standard", "full"):
            self._look(step, movement, None)

    def last_look(self, step: int, movement: Movement, everyone: bool) -> None:
        """Measure what is measured at the end only, of the trials that stop here, or of all."""
        stopping = [i for _, i, result in self._each() if result.status == "stopped_early"]
        if not everyone and not stopping:
            return
        positions = None if everyone else stopping
        if self._probes == "light":
            self._look(step, movement, positions)
        if self._probes == "full":
            self._signals(step, self._stack.signals(positions=positions), positions)

    def _look(self, step: int, movement: Movement, positions: list[int] | None) -> None:
        evaluation, layers = self._stack.probe(positions=positions)
        self._note(step, "train", evaluation, positions)
        self._dead_units("final_dead_fraction", layers, positions)
        self._layers(step, layers, movement, positions)

    def retire(self, everyone: bool) -> bool:
        """Look at the test data of the trials that leave: all of them, or those that diverged or stopped.

        Returns whether any trial stays.
        """
        leaving = [i for i, place in enumerate(self._live) if everyone or self.results[place].status != "ok"]
        if not leaving:
            return True
        evaluations = {part: self._stack.evaluate(part, leaving) for part in ("train", "validation", "test")}
        for row, i in enumerate(leaving):
            result = self.results[self._live[i]]
            for part, evaluation in evaluations.items():
                loss, accuracy = evaluation.loss[row].item(), evaluation.accuracy[row].item()
                prefix = "test" if part == "test" else f"final_{part}"
                result.metrics |= {f"{prefix}_loss": loss, f"{prefix}_accuracy": accuracy}
                if part == "train" and self._probes == "off" and not math.isfinite(loss):
                    result.status = "diverged"
                if part == "test" or (part == "train" and self._probes == "off" and result.status != "diverged"):
                    result.curve.append((result.steps_run, part, loss, accuracy, result.rate))
            result.curve.sort(key=lambda row: (row[0], SPLITS.index(row[1])))
        staying = [i for i in range(len(self._live)) if i not in set(leaving)]
        self._live = [self._live[i] for i in staying]
        if staying:
            self._stack.keep(staying)
        return bool(staying)

    def _note(self, step: int, split: str, evaluation: Evaluation, positions: list[int] | None = None) -> None:
        losses, accuracies = evaluation.loss.tolist(), evaluation.accuracy.tolist()
        finite = evaluation.loss.isfinite().tolist()
        for row, _, result in self._each(positions):
            if finite[row]:
                result.curve.append((step, split, losses[row], accuracies[row], result.rate))
            else:
                result.status = "diverged"

    def _layers(
        self, step: int, statistics: LayerStatistics, movement: Movement, positions: list[int] | None = None
    ) -> None:
        """Record layer statistics, one row a trial at `positions`, and what a step did to the stack's layers."""
        for layer, columns in statistics.items():
            values = {key: tensor.tolist() for key, tensor in columns.items()}
            moved = {
                "gradient_norm": movement.gradient_norm[layer].tolist(),
                "update_to_weight_ratio": movement.update_to_weight_ratio[layer].tolist(),
            }
            for row, i, result in self._each(positions):
                cells = {key: column[row] for key, column in values.items()}
                cells |= {key: column[i] for key, column in moved.items()}
                result.layers.append((step, layer, self._depth[layer], cells))

    def _signals(self, step: int, found: Signals, positions: list[int] | None = None) -> None:
        """Add to a step's layer statistics, and to the histograms, how signals are distributed."""
        for row, _, result in self._each(positions):
            statistics = {layer: cells for at, layer, _, cells in result.layers if at == step}
            for layer, quantities in found.items():
                statistics[layer]["backward_std"] = quantities["gradient"].std[row].item()
                for quantity, distribution in quantities.items():
                    bins = distribution.bins(row)
                    result.histograms += [(step, layer, self._depth[layer], quantity, *each) for each in bins]

    def _dead_units(self, column: str, layers: LayerStatistics, positions: list[int] | None = None) -> None:
        """Note the dead share of all hidden units; hidden layers of unlike width count by their units."""
        hidden = [name for name, statistics in layers.items() if "dead_fraction" in statistics]
        if not hidden:  # a network of the user's own, without modules named activation
            return
        units = [self._stack.units[name] for name in hidden]
        dead = sum(layers[name]["dead_fraction"] * number for name, number in zip(hidden, units, strict=True))
        assert isinstance(dead, Tensor)
        for row, _, result in self._each(positions):
            result.metrics[column] = dead[row].item() / sum(units)


def _least(best: float | None, loss: float) -> float:
    return loss if best is None else min(best, loss)

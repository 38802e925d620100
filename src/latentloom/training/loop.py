"""The one training loop: accumulation, averaging, schedules, logging, checkpoints, exact resume.

A `Task` says what is trained and on what; the loop says when. Everything random is a function of (seed, step), so that
a run killed anywhere and started again with the same command ends with the same bits (tests/faults/test_resume.py).
"""

import math
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, Protocol, runtime_checkable

import torch
from accelerate import Accelerator
from accelerate.utils import send_to_device
from diffusers.training_utils import EMAModel
from torch import Tensor, nn
from torch.optim import Optimizer

from latentloom.allocator import keep_freed_memory
from latentloom.locks import locked
from latentloom.precision import autocast, preferred_dtype
from latentloom.seeds import seed_of
from latentloom.training import checkpoint as checkpoints
from latentloom.training.order import DrawOrder, Items, batches
from latentloom.training.run_folder import RunLog, agree_on_config

_NO_EFFECT: dict[str, Any] = {"affects_result": False}


@dataclass(frozen=True, kw_only=True)
class LoopConfig:
    """How long and how often; the fields without effect on the weights may change when a run continues.

    The learning rate rises linearly over ``warmup_steps``, stays, and falls to zero over the last ``decay_fraction``.
    """

    steps: int
    batch_size: int
    accumulation: int = 1
    seed: int = 0
    dtype: str = "auto"
    ema_decay: float = 0.999
    warmup_steps: int = 50
    decay_fraction: float = 0.3
    max_grad_norm: float = 1.0
    max_bad_steps: int = 10
    workers: int = field(default=0, metadata=_NO_EFFECT)
    checkpoint_minutes: float = field(default=3.0, metadata=_NO_EFFECT)
    checkpoint_steps: int = field(default=0, metadata=_NO_EFFECT)
    preview_steps: int = field(default=0, metadata=_NO_EFFECT)
    log_steps: int = field(default=10, metadata=_NO_EFFECT)
    tensorboard: bool = field(default=False, metadata=_NO_EFFECT)

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "accumulation"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; expected at least 1")

    def rate(self, step: int) -> float:
        """The factor of every learning rate at step 0..steps-1."""
        warm = min(1.0, (step + 1) / max(1, self.warmup_steps))
        decay = max(1.0, self.decay_fraction * self.steps)
        return warm * min(1.0, (self.steps - step) / decay)


@dataclass(kw_only=True)
class Player:
    """A network and the loss it minimises. A GAN has two, which move in turn within a step.

    ``objective(batch, generator)`` is a module (so that DDP can wrap it) that returns the loss and what to log;
    ``trained`` the module whose parameters that require gradients are optimised, averaged and saved.
    """

    name: str
    objective: nn.Module
    trained: nn.Module
    optimizers: Sequence[Optimizer]
    average: bool = True

    @property
    def parameters(self) -> list[nn.Parameter]:
        return [parameter for parameter in self.trained.parameters() if parameter.requires_grad]


@runtime_checkable
class Task(Protocol):
    """What is trained, and on what."""

    @property
    def players(self) -> Sequence[Player]: ...
    @property
    def items(self) -> Items: ...
    @property
    def weights(self) -> Sequence[float] | None: ...
    def to(self, device: torch.device) -> None:
        """Move all networks that a step or a preview runs."""
        ...

    def begin_step(self, step: int) -> Sequence[Player]:
        """Get ready for step 0..steps-1; returns the players that move in it, in order (a prefix of ``players``)."""
        ...

    def preview(self, path: Path, generator: torch.Generator) -> dict[str, float]: ...


@dataclass(frozen=True, kw_only=True)
class Progress:
    """What a caller is told after each step."""

    step: int
    steps: int
    values: dict[str, float]


class Stopped(SystemExit):
    """The run was asked to stop by a signal and has saved; exit code 128 + signal."""


@contextmanager
def _stop_flag() -> Iterator[list[int]]:
    """A list that receives SIGTERM or SIGINT; the step in progress is finished first."""
    received: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        received.append(number)

    try:
        previous = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT)}
    except ValueError:  # not in the main thread: signals are the caller's
        yield received
        return
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


class Loop:
    """One run of a task in a folder. `run` returns when ``config.steps`` are done; the averages are in the networks."""

    def __init__(self, task: Task, config: LoopConfig, output: Path, report: Callable[[Progress], None] | None = None):
        self.task, self.config, self.output, self.report = task, config, output, report
        self.accelerator = Accelerator(cpu=not torch.cuda.is_available())  # left alone it would choose Apple's mps too
        self.device = self.accelerator.device
        self.dtype = preferred_dtype(self.device, config.dtype)
        if self.device.type == "cpu":
            keep_freed_memory()
        task.to(self.device)
        self.objectives = {p.name: self.accelerator.prepare(p.objective) for p in task.players}
        self.averages = {p.name: EMAModel(p.parameters, decay=config.ema_decay) for p in task.players if p.average}
        self.order = DrawOrder(
            len(task.items), config.batch_size * self.accelerator.num_processes, config.seed, task.weights
        )
        self.base_rates = {p.name: [[g["lr"] for g in o.param_groups] for o in p.optimizers] for p in task.players}
        self.step, self.bad_steps, self.bad_in_a_row = 0, 0, 0

    @property
    def bfloat16_on_cpu(self) -> bool:
        """Whether the steps compute in bfloat16 on a CPU, where other kernels are the fast ones."""
        return self.dtype == torch.bfloat16 and self.device.type == "cpu"

    def autocast(self) -> torch.autocast:
        """The context of every forward pass; weights stay float32."""
        return autocast(self.device, self.dtype)

    def run(self, settings: dict[str, Any]) -> None:
        """Train to the end, from the newest checkpoint of the folder if there is one.

        Args:
            settings: everything that determines the result, as plain values; written to and compared with config.json,
                with the dtype that the machine chose.

        Raises:
            ValueError: the folder is in use, cannot be written, or was begun with other settings; or the loss was not
                finite ``max_bad_steps`` times in a row.
            Stopped: a signal asked for the end; everything is saved.
        """
        with locked(self.output) if self.accelerator.is_main_process else nullcontext(), _stop_flag() as stop:
            agree_on_config(self.output, {**settings, "loop.dtype": str(self.dtype).removeprefix("torch.")})
            self._restore()
            log = RunLog(self.output, self.step, self.config.tensorboard)
            try:
                self._train(log, stop)
            finally:
                log.close()
        self.use_averages()
        for player in self.task.players:
            player.trained.eval()

    def use_averages(self) -> None:
        """Copy the averaged weights into the trained networks."""
        for player in self.task.players:
            if player.average:
                self.averages[player.name].copy_to(player.parameters)

    # ---- one step ----

    def _train(self, log: RunLog, stop: list[int]) -> None:
        config, saved_at = self.config, time.monotonic()
        per_step = config.accumulation
        share = (self.accelerator.process_index, self.accelerator.num_processes)
        stream = batches(
            self.task.items,
            self.order,
            self.step * per_step,
            config.steps * per_step,
            workers=config.workers,
            share=share,
        )
        while self.step < config.steps:
            began = time.process_time(), time.perf_counter()
            values = self._one_step([next(stream) for _ in range(per_step)])
            self.step += 1
            values |= {"core_seconds": time.process_time() - began[0], "seconds": time.perf_counter() - began[1]}
            last = self.step == config.steps
            if self.report is not None:
                self.report(Progress(step=self.step, steps=config.steps, values=values))
            if config.preview_steps and (self.step % config.preview_steps == 0 or last):
                values |= self._preview()
            if self.step % config.log_steps == 0 or last or not math.isfinite(values["loss"]):
                log.write(self.step, values)
            due = config.checkpoint_steps and self.step % config.checkpoint_steps == 0
            if last or stop or due or time.monotonic() - saved_at > 60 * config.checkpoint_minutes:
                self._save()
                saved_at = time.monotonic()
            if stop and not last:
                raise Stopped(128 + stop[0])

    def _one_step(self, micro_batches: list[dict[str, Any]]) -> dict[str, float]:
        """Each player of this step takes one optimiser step; one whose loss or gradient is not finite is skipped."""
        values: dict[str, float] = {}
        whole = True
        for number, player in enumerate(self.task.begin_step(self.step)):
            loss, logged = self._accumulate(player, number, micro_batches)
            norm = nn.utils.clip_grad_norm_(player.parameters, self.config.max_grad_norm)
            values |= {**logged, "loss" if number == 0 else f"loss_{player.name}": loss}
            values["grad_norm" if number == 0 else f"grad_norm_{player.name}"] = float(norm)
            if math.isfinite(loss) and torch.isfinite(norm):
                self._update(player)
            else:
                whole = False
            for optimizer in player.optimizers:
                optimizer.zero_grad(set_to_none=True)
        if whole:
            self.bad_in_a_row = 0
        else:
            self._count_bad(micro_batches)
        return values

    def _accumulate(self, player: Player, number: int, micro_batches: list[dict[str, Any]]) -> tuple[float, dict]:
        """Gradients of the mean loss over the micro-batches; the last one synchronises the processes."""
        total, logged = 0.0, {}
        objective = self.objectives[player.name]
        player.trained.train()  # what is frozen beside it stays in eval mode
        for index, batch in enumerate(micro_batches):
            position = self.step * len(micro_batches) + index
            seed = seed_of(self.config.seed, 4, position, self.accelerator.process_index)
            torch.manual_seed(seed)  # dropout draws from the global generator
            generator = torch.Generator(self.device).manual_seed(seed_of(seed, number))
            batch = send_to_device(batch, self.device)
            with nullcontext() if index == len(micro_batches) - 1 else self.accelerator.no_sync(objective):
                with self.autocast():
                    loss, logged = objective(batch, generator)
                self.accelerator.backward(loss / len(micro_batches))
            total += loss.item() / len(micro_batches)
        return total, logged

    def _update(self, player: Player) -> None:
        factor = self.config.rate(self.step)
        for optimizer, rates in zip(player.optimizers, self.base_rates[player.name], strict=True):
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * factor
            optimizer.step()
        if player.average:
            self.averages[player.name].step(player.parameters)

    def _count_bad(self, micro_batches: list[dict[str, Any]]) -> None:
        self.bad_steps += 1
        self.bad_in_a_row += 1
        if self.bad_in_a_row >= self.config.max_bad_steps:
            ids = [str(i) for batch in micro_batches for i in batch.get("id", [])]
            raise ValueError(
                f"the loss was not finite {self.bad_in_a_row} times in a row at step {self.step}; last samples: "
                f"{', '.join(ids[:8])}; lower the learning rate or look at these samples"
            )

    def _preview(self) -> dict[str, float]:
        """Let the task draw a sheet with the averaged weights."""
        for player in self.task.players:
            player.trained.eval()
            if player.average:
                self.averages[player.name].store(player.parameters)
        self.use_averages()
        folder = self.output / "samples"
        folder.mkdir(exist_ok=True)
        generator = torch.Generator(self.device).manual_seed(self.config.seed)
        with self.autocast():
            values = self.task.preview(folder / f"step-{self.step:08d}.png", generator)
        for player in self.task.players:
            if player.average:
                self.averages[player.name].restore(player.parameters)
        return values

    # ---- checkpoints ----

    def _tensors(self) -> dict[str, dict[str, Tensor]]:
        tensors: dict[str, dict[str, Tensor]] = {}
        for player in self.task.players:
            trained: dict[str, Tensor] = {n: p for n, p in player.trained.named_parameters() if p.requires_grad}
            tensors[f"{player.name}.weights"] = trained
            if player.average:
                shadows = self.averages[player.name].shadow_params
                tensors[f"{player.name}.average"] = dict(zip(trained, shadows, strict=True))
            for index, optimizer in enumerate(player.optimizers):
                state = optimizer.state_dict()["state"]
                tensors[f"{player.name}.optimizer{index}"] = {
                    f"{key}.{name}": value for key, entry in state.items() for name, value in entry.items()
                }
        return tensors

    def _save(self) -> None:
        if self.accelerator.is_main_process:
            counters = {name: ema.optimization_step for name, ema in self.averages.items()}
            state = {"bad_steps": self.bad_steps, "bad_in_a_row": self.bad_in_a_row, "average_steps": counters}
            checkpoints.save_checkpoint(self.output / "checkpoints", self.step, self._tensors(), state)
        self.accelerator.wait_for_everyone()

    def _restore(self) -> None:
        found = checkpoints.load_latest(self.output / "checkpoints")
        if found is None:
            return
        self.step = found.step
        self.bad_steps, self.bad_in_a_row = found.state["bad_steps"], found.state["bad_in_a_row"]
        for player in self.task.players:
            self._restore_player(player, found)

    def _restore_player(self, player: Player, found: checkpoints.Checkpoint) -> None:
        weights = {n: p for n, p in player.trained.named_parameters() if p.requires_grad}
        with torch.no_grad():
            for name, parameter in weights.items():
                parameter.copy_(found.tensors[f"{player.name}.weights"][name])
        if player.average:
            average = self.averages[player.name]
            average.shadow_params = [found.tensors[f"{player.name}.average"][name] for name in weights]
            average.optimization_step = found.state["average_steps"][player.name]
            average.to(self.device)
        for index, optimizer in enumerate(player.optimizers):
            state: dict[int, dict[str, Tensor]] = {}
            for key, value in found.tensors.get(f"{player.name}.optimizer{index}", {}).items():
                number, name = key.split(".", 1)
                state.setdefault(int(number), {})[name] = value
            optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})

"""Single operations behind the layout choices: which dtype and which formulation this CPU runs fastest.

    python benchmarks/operations.py        # about 10 core-seconds

Products and convolutions in fp32 and bf16; the temporal convolution as ``Conv3d`` (3, 1, 1) and as ``Conv2d`` (3, 1);
attention as SDPA and as plain products, over t (one pixel's frames) and over space. Core-milliseconds, best of five,
forward and forward + backward; written to ``benchmarks/results/DATE-operations-CPU.md``.
"""

import re
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from machine import ROOT, core_seconds, describe_machine
from torch import Tensor

Call = Callable[..., Tensor]
CHANNELS, FRAMES, PIXELS, HEADS = 128, 16, 512, 2


def products(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention as two products; ``n heads tokens d``."""
    return (q * q.shape[-1] ** -0.5 @ k.transpose(-1, -2)).softmax(-1) @ v


def time_conv_2d(x: Tensor, weight: Tensor) -> Tensor:
    """``b c t h w`` with h = 1; weight ``c c 3 1 1``."""
    return F.conv2d(x.flatten(3), weight.flatten(3), padding=(1, 0)).unsqueeze(3)


def operations() -> dict[str, tuple[Call, tuple[tuple[int, ...], ...]]]:
    """Name to function and shapes of its arguments."""
    width = CHANNELS // HEADS
    over_time = ((PIXELS, HEADS, FRAMES, width),) * 3
    over_space = ((FRAMES, HEADS, PIXELS, width),) * 3
    video = ((1, CHANNELS, FRAMES, 1, PIXELS), (CHANNELS, CHANNELS, 3, 1, 1))
    return {
        "linear 8192x128x512": (F.linear, ((FRAMES * PIXELS, CHANNELS), (4 * CHANNELS, CHANNELS))),
        "conv 3x3": (lambda x, w: F.conv2d(x, w, padding=1), ((FRAMES, CHANNELS, 16, 32), (CHANNELS, CHANNELS, 3, 3))),
        "time conv, Conv3d": (lambda x, w: F.conv3d(x, w, padding=(1, 0, 0)), video),
        "time conv, Conv2d": (time_conv_2d, video),
        "attention over t, SDPA": (F.scaled_dot_product_attention, over_time),
        "attention over t, products": (products, over_time),
        "attention over space, SDPA": (F.scaled_dot_product_attention, over_space),
        "attention over space, products": (products, over_space),
    }


def milliseconds(call: Call, shapes: tuple[tuple[int, ...], ...], dtype: torch.dtype) -> tuple[float, float]:
    """(forward, forward + backward), best of five."""
    tensors = [torch.randn(shape).to(dtype).requires_grad_() for shape in shapes]
    gradient = torch.ones_like(call(*tensors))

    def forward() -> None:
        with torch.no_grad():
            call(*tensors)

    def both() -> None:
        call(*tensors).backward(gradient)

    both()
    forward_time, both_time = (min(core_seconds(run) for _ in range(5)) * 1e3 for run in (forward, both))
    return round(forward_time, 2), round(both_time, 2)


def main() -> None:
    """Measure all operations in both dtypes with one thread."""
    torch.set_num_threads(1)
    machine = describe_machine()
    lines = ["# Single operations, core-ms, forward / forward + backward", ""]
    lines += [", ".join(f"{key} {value}" for key, value in machine.items()), ""]
    lines += ["| operation | fp32 | bf16 |", "|---|---|---|"]
    for name, (call, shapes) in operations().items():
        cells = ["{} / {}".format(*milliseconds(call, shapes, dtype)) for dtype in (torch.float32, torch.bfloat16)]
        lines.append(f"| {name} | {' | '.join(cells)} |")
        print(lines[-1], flush=True)
    cpu = re.sub(r"[^a-z0-9]+", "-", machine["cpu"].lower()).strip("-")
    path = Path(ROOT, "benchmarks", "results", f"{machine['date']}-operations-{cpu}.md")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

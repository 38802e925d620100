"""A generation made to fit into memory: smaller pieces where its plan is too large, the same video where that can be.

First, on a GPU, networks that do not work leave it; then the stage that needs most is cut. Fewer frames decoded at
once, tiles of the pixel upsampler, and portions of frames that are enlarged each for itself change rounding only;
smaller portions of an upsampler with temporal layers, and tiles of one that looks at whole frames, make another
picture. The receipt says what was done.
"""

from dataclasses import replace

from latentloom.generation.videos import Generation
from latentloom.plan import Plan, plan_of
from latentloom.stack import Stack
from latentloom.stages.request import UpsamplingRequest

STEP = 20_000_000  # bytes
LEAST_TILE = 64  # small pixels: below, what a tile sees around itself costs more than it saves


def fitted(generation: Generation, memory: int) -> tuple[Generation, Plan]:
    """``generation`` in pieces whose plan needs at most ``memory`` bytes at once, and that plan.

    Needs count in steps of ``STEP``: what a process holds differs by a little from run to run, and the same command
    must be cut in the same way.

    Raises:
        ValueError: it cannot be made to fit; says what is needed at least.
    """
    while True:
        plan = plan_of(generation, measure_speed=False)
        if -(-plan.memory // STEP) * STEP <= memory:
            return generation, plan
        smaller = _smaller(generation, plan)
        if smaller is None:
            raise ValueError(
                f"this video needs {plan.memory / 1e6:,.0f} MB at least, --max-memory allows {memory / 1e6:,.0f};"
                f" most of it goes to {plan.largest.stage}: lower --size, or choose a smaller model"
            )
        generation = smaller


def _smaller(generation: Generation, plan: Plan) -> Generation | None:
    """The next smaller way; None where there is none."""
    if generation.stack.device.type != "cpu" and not generation.stack.offloads:
        return replace(generation, stack=_offloading(generation.stack))
    stage = plan.largest.stage
    if stage == "decoding" and generation.decoded_at_once > 1:
        return replace(generation, decoded_at_once=generation.decoded_at_once // 2)
    if stage == "upsampling":
        upsampling = _smaller_upsampling(generation)
        if upsampling is not None:
            return replace(generation, asked=replace(generation.asked, upsampling=upsampling))
    return None


def _smaller_upsampling(generation: Generation) -> UpsamplingRequest | None:
    request, clip = generation.asked.upsampling, generation.request.clip
    assert request is not None
    rows, columns = request.tile or (clip.height, clip.width)
    rows, columns = min(rows, clip.height), min(columns, clip.width)
    if max(rows, columns) > LEAST_TILE:  # the longer side first: squares see the least around themselves
        tile = (rows // 2, columns) if rows >= columns else (rows, columns // 2)
        return replace(request, tile=tile)
    if request.portion > request.overlap + 1:
        return replace(request, portion=max(request.overlap + 1, request.portion // 2))
    return None


def _offloading(stack: Stack) -> Stack:
    """The stack, its networks in the computer's memory while they do not work."""
    changed = stack.replace()
    changed.offloads = True
    changed.bring()
    return changed

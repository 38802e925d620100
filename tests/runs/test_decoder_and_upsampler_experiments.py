"""The experiments on decoder and upsampler: what is compared differs in one thing, and costs are counted rightly."""

import json
import math
import re
from typing import ClassVar

import pytest
import torch
import torch.nn.functional as F
from runs.experiments import decoder, reconstruction, results, upsampler, upsampler_cost
from runs.experiments.reconstruction import (
    Judge,
    Piece,
    add_pieces,
    clip_file,
    difference_table,
    in_parts,
    kept_clips,
)
from runs.experiments.results import PAGES
from runs.experiments.trials import Trial, named
from runs.experiments.upsampler_cost import Size, cheapest, exponents
from runs.experiments.upsampler_counting import Case, Cost, Counted, seen_sizes

from latentloom.data.latents import LatentCache
from latentloom.data.manifest import Dataset, DatasetWriter

pytestmark = pytest.mark.filterwarnings("ignore:a Frechet distance of")


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(60, 200, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


# ---- clips and their judge ----


def test_pieces_share_no_frame_even_where_more_are_wanted(tmp_path):
    frames = torch.arange(40, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 8, 8, 3).contiguous()
    with DatasetWriter(tmp_path / "drives", {}) as writer:
        writer.add("lake_a", frames, fps=6.5)
        writer.add("lake_b", frames, fps=6.5, split="val")
    with DatasetWriter(tmp_path / "pieces", {}) as writer:
        add_pieces(writer, Dataset.load(tmp_path / "drives"), {"lake": 6}, split="train", num_frames=8, fps=6.5)
    pieces = Dataset.load(tmp_path / "pieces")
    shown = [pieces.frames(record, range(8))[:, 0, 0, 0].tolist() for record in pieces.records]
    assert shown == [list(range(first, first + 8)) for first in (0, 8, 16, 24, 32)]
    assert {record.split for record in pieces.records} == {"train"}


def test_the_judge_tells_flicker_from_a_constant_error():
    real = noise(8, 32, 64, 3)
    judge = Judge([Piece(kind="lake", frames=real), Piece(kind="world", frames=real.flip(0))], (16, 32))
    equal = judge.figures([real, real.flip(0)])
    lighter = judge.figures([real + 8, real.flip(0) + 8])
    grain = [(real.int() + torch.randint(-8, 9, real.shape)).byte() for _ in range(2)]
    grainy = judge.figures([grain[0], grain[1].flip(0)])
    assert equal["learned"] < 1e-4 < lighter["learned"]
    assert equal["flicker"] == 0 and math.isinf(equal["psnr"]) and equal["frechet_clip"] < 1e-6
    assert lighter["flicker"] == 0 and lighter["psnr world"] == pytest.approx(20 * math.log10(255 / 8), abs=1e-3)
    assert grainy["flicker"] > 4 and grainy["warp"] > judge.real_row[0]["warp"]
    assert equal["warp"] == pytest.approx(judge.real_row[0]["warp"])


def test_parts_are_the_frame_cut_side_by_side():
    clip = noise(2, 4, 6, 3)
    parts = in_parts(clip, (2, 3))
    assert parts.shape == (4, 2, 2, 3, 3)
    assert torch.equal(parts[1], clip[:, :2, 3:]) and torch.equal(parts[2], clip[:, 2:, :3])


def test_differences_are_of_the_seeds_that_both_have():
    figures = dict.fromkeys(reconstruction.COLUMNS, 1.0)
    found = {
        "image": dict.fromkeys(range(3), figures),
        "video": {seed: figures | dict.fromkeys(("psnr", "learned"), 2.0 + 0.01 * seed) for seed in range(3)},
        "once": {1: figures | {"psnr": 4.0}},
    }
    rows = difference_table(found, [("video", "image"), ("once", "image")]).splitlines()[2:]
    assert rows[0].startswith("| video − image | 1.01 ± 0.02 | 0.000 ± 0.000 |")
    assert rows[0].endswith("| **1.010 ± 0.025** |")
    assert rows[1].startswith("| once − image | 3.00 |")


class Real:
    """A judge of whom only the row of real clips is asked."""

    real_row: ClassVar = {0: {"warp": 1.0}}


def told_page(folder, monkeypatch, name, modules):
    """The page of docs/results, its tables empty, in a folder of its own."""
    text = re.sub(r"(<!-- table .*? -->\n).*?(<!-- end -->)", r"\1\2", (PAGES / name).read_text(), flags=re.DOTALL)
    (folder / name).write_text(text)
    for module in (results, *modules):
        monkeypatch.setattr(module, "PAGES", folder)
    return folder / name


def some_figures(*variants):
    row = dict.fromkeys((*reconstruction.COLUMNS, "psnr lake", "flicker lake"), 1.0)
    return {variant: {seed: {f: x + seed for f, x in row.items()} for seed in range(3)} for variant in variants}


def test_the_pages_of_decoder_and_upsampler_have_a_place_for_every_table(tmp_path, monkeypatch):
    page = told_page(tmp_path, monkeypatch, "decoder.md", [decoder])
    found = some_figures(decoder.IMAGE, *decoder.WAYS, decoder.SHIPPED)
    decoder.tell({decoder.CLEAN: found, decoder.NOISY: found}, dict.fromkeys((decoder.CLEAN, decoder.NOISY), Real), {})
    assert all(f"<!-- table {table} -->\n| " in page.read_text() for table in decoder.TABLES)
    assert json.loads((tmp_path / "decoder.json").read_text())["seeds"][decoder.PLAIN]["2"]["psnr"] == 3
    page = told_page(tmp_path, monkeypatch, "upsampler.md", [upsampler])
    upsampler.tell(some_figures(*upsampler.SEEDED, *upsampler.ONCE), Real, {})
    assert all(f"<!-- table {table} -->\n| " in page.read_text() for table in upsampler.TABLES)
    results.check_page("upsampler", upsampler_cost.TABLES, whole=False)
    with pytest.raises(SystemExit, match="no place for 'another'"):
        results.check_page("upsampler", ["another"], whole=False)


# ---- the decoder ----


def test_the_ways_of_a_decoder_differ_in_the_discriminator_alone(tmp_path):
    size = decoder.Size()
    configs = {
        name: decoder.training(size, Trial(variant=name, seed=1, folder=tmp_path))
        for name in (decoder.START, *decoder.WAYS)
    }
    start, plain, clips, frames, denoising = configs.values()
    assert denoising == plain and plain.loop == clips.loop == frames.loop and plain.loop.seed != start.loop.seed
    assert (plain.adversarial_start, clips.adversarial_start, frames.adversarial_start) == (None, 0, 0)
    assert (clips.discriminator, frames.discriminator) == ("video", "frame")
    assert (start.loop.steps, plain.loop.steps) == (size.start_steps, size.steps)
    other = decoder.training(size, Trial(variant=decoder.START, seed=2, folder=tmp_path))
    assert other.loop.seed not in {start.loop.seed, plain.loop.seed}


def test_noise_on_latents_is_that_of_the_window_and_frames_differ_in_it(tmp_path):
    with DatasetWriter(tmp_path, {}) as writer:
        record = writer.add("lake_a", noise(8, 8, 8, 3), fps=6.5)
    clean = LatentCache(Dataset.load(tmp_path), "key")
    clean.fill(lambda frames: torch.zeros(len(frames), 4, 8, 8))
    noisy = decoder.NoisyLatents(clean, 0.2)
    first, again, later = (noisy.latents(record, frames) for frames in (range(4), range(4), range(1, 5)))
    assert torch.equal(first, again) and not torch.equal(first[1:], later[:3])
    assert not torch.equal(first[0], first[1]) and first.std().item() == pytest.approx(0.2, rel=0.1)
    assert noisy.key != clean.key


@pytest.mark.slow
def test_the_tiny_decoder_experiment_ends_with_figures_and_goes_on_where_it_was(tmp_path, capsys, monkeypatch):
    decoder.main([str(tmp_path), "--tiny"])
    told = capsys.readouterr().out
    assert f"| {decoder.CLIPS} |" in told and f"| {decoder.SHIPPED} |" in told
    made = {
        way: kept_clips(tmp_path / "made" / named(way) / "seed-0" / clip_file(decoder.NOISY))
        for way in (decoder.IMAGE, *decoder.WAYS)
    }
    assert all(clips.shape == (1, 8, 32, 64, 3) for clips in made.values())
    # the same noise on all: layers that have hardly learned change little
    assert (made[decoder.PLAIN].int() - made[decoder.IMAGE].int()).abs().float().mean() < 1
    assert not torch.equal(made[decoder.CLIPS], made[decoder.FRAMES])
    assert len(list((tmp_path / "sheets").glob("*.png"))) == 3
    monkeypatch.setattr(decoder, "train_decoder", None)
    decoder.main([str(tmp_path), "--tiny"])


def test_without_drives_the_decoder_experiment_says_what_to_give(tmp_path):
    with pytest.raises(SystemExit, match="--clips"):
        decoder.main([str(tmp_path)])


# ---- the upsampler ----


def test_small_frames_come_back_at_their_size_and_bicubic_keeps_what_is_flat():
    flat = torch.full((2, 32, 64, 3), 90, dtype=torch.uint8)
    small = upsampler.shrunk(flat)
    assert small.shape == (2, 8, 16, 3)
    assert torch.equal(upsampler.bicubic(small), flat)


@pytest.mark.slow
def test_the_tiny_upsampler_experiment_gives_both_ways_the_same_noise(tmp_path, capsys):
    upsampler.main([str(tmp_path), "--tiny"])
    assert f"| {upsampler.TEMPORAL} |" in capsys.readouterr().out
    made = {
        way: kept_clips(tmp_path / "made" / named(way) / "seed-0" / clip_file(upsampler.CLIPS)).int()
        for way in upsampler.SEEDED
    }
    image, temporal, still = made.values()
    assert torch.equal(image[:, 0], still[:, 0]) and not torch.equal(image[:, 1], still[:, 1])
    assert (image - temporal).abs().float().mean() < (image - still)[:, 1:].abs().float().mean()


# ---- what upsampling costs ----


def test_tiles_are_counted_with_all_that_the_network_sees_around_them():
    case = Case(size=(32, 64), frames=2, tile=32)
    assert seen_sizes(Case(size=(32, 64), frames=2), 8, 2) == [(32, 64)]
    assert seen_sizes(case, 8, 2) == [(32, 40), (32, 40)]
    assert seen_sizes(case, None, 8) == [(32, 32)] * 3  # overlapping by a quarter


def test_operations_grow_with_tiles_and_memory_is_that_of_operators_as_they_run():
    weight = torch.zeros(4, 3, 1, 1)

    def evaluate(frames: int, rows: int, columns: int) -> torch.Tensor:
        # taken apart for counting, an enlargement holds its result twice
        return F.interpolate(F.conv2d(torch.zeros(frames, 3, rows, columns), weight), scale_factor=2.0)

    counted = Counted(lambda: (evaluate, 48), None, 8)
    whole = counted.cost(Case(size=(32, 64), frames=2))
    tiles = counted.cost(Case(size=(32, 64), frames=2, tile=32))
    assert whole.operations == 2 * 2 * 32 * 64 * 3 * 4
    assert tiles.operations == 1.5 * whole.operations and tiles.live == whole.live / 2
    convolved = 2 * 4 * 32 * 64 * 4
    assert whole.live == 5 * convolved


def costs(*rows: tuple[int, int | None, float, int]) -> list[Cost]:
    return [
        Cost(case=Case(size=(8, 8), frames=frames, tile=tile), operations=operations, live=live)
        for frames, tile, operations, live in rows
    ]


def test_the_cheapest_portion_fits_with_its_weights_and_makes_new_frames():
    size = Size(size=(8, 8), sizes=(), frames=(), tiles=())
    found = costs((2, None, 1.0, 1), (4, None, 40.0, 40), (8, None, 80.0, 80), (8, 4, 100.0, 40))
    chosen = [cheapest(found, size, 10, limit) for limit in (45, 50, 90)]
    assert chosen[0] is None
    assert chosen[1] is not None and (chosen[1].case.frames, chosen[1].case.tile) == (8, 4)
    assert chosen[2] is not None and (chosen[2].case.frames, chosen[2].case.tile) == (8, None)


def test_exponents_are_the_powers_of_pixels_and_of_frames():
    size = Size(size=(8, 8), sizes=((4, 4),), frames=(2, 4), tiles=(None,), portion=4)
    found = [
        Cost(case=Case(size=(side, side), frames=frames), operations=frames * side**4, live=frames**2 * side**2)
        for side, frames in ((8, 2), (8, 4), (4, 4))
    ]
    powers = exponents(found, size)
    assert powers["pixels"] == pytest.approx({"operations": 2, "live": 1})
    assert powers["frames"] == pytest.approx({"operations": 1, "live": 2})


@pytest.mark.slow
def test_the_tiny_cost_experiment_counts_both_upsamplers_and_measures_one(tmp_path, capsys):
    upsampler_cost.main([str(tmp_path), "--tiny"])
    assert "SD x4 upscaler, with frames" in capsys.readouterr().out
    pixel, latent = json.loads((tmp_path / "upsampler_cost.json").read_text())["subjects"]
    assert sum(cost["seconds"] is not None for cost in pixel["costs"]) == 3
    assert all(cost["seconds"] is None for cost in latent["costs"])
    assert (tmp_path / "upsampler_cost_pixel.png").is_file()

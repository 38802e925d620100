"""Given frames and numbers: what the layers make of them, and what they must not (paper, Sec. 3.2; spec, section 4)."""

import pytest
import torch
from tests.small_networks import awake, awake_video, clip_inputs, small_unet
from torch import Tensor

from latentloom.align import TemporalLayers, attach
from latentloom.conditions import Conditions
from latentloom.diffusion.masks import first_frames_mask, masked_context
from latentloom.layers.context import ContextSpec
from latentloom.layers.layer_set import LayerSet

MOVING = LayerSet.driving().with_context(ContextSpec(motion=8))
SETS = [LayerSet.driving().with_context(), LayerSet.text().with_context(), MOVING]
MAPS_ALONE = LayerSet.driving().with_context(ContextSpec(own_step=False, first_guess=0))


def context(num_given: int, *, batch: int = 2, num_frames: int = 3, seed: int = 7) -> Tensor:
    latents = torch.randn(batch, num_frames, 4, 4, 8, generator=torch.Generator().manual_seed(seed))
    return masked_context(latents, first_frames_mask(torch.full((batch,), num_given), num_frames))


@pytest.mark.parametrize("layer_set", SETS)
def test_without_given_frames_the_context_is_ignored_bit_for_bit(layer_set):
    video = awake_video(layer_set)
    free = video(*clip_inputs()).sample
    for seed in (7, 8):
        assert torch.equal(video(*clip_inputs(), context=context(0, seed=seed)).sample, free)


@pytest.mark.parametrize("num_given", [1, 2])
def test_given_frames_change_every_frame_and_other_contents_change_it_otherwise(num_given):
    video = awake_video(SETS[0])
    free, first, second = (
        video(*clip_inputs(), context=given).sample
        for given in (None, context(num_given, seed=7), context(num_given, seed=8))
    )
    for one, other in ((free, first), (first, second)):
        assert bool(((one - other).abs().amax(dim=(2, 3, 4)) > 1e-4).all())


def test_what_lies_behind_the_mask_does_not_get_in():
    video = awake_video(SETS[0])
    latents = torch.randn(2, 3, 4, 4, 8)
    mask = first_frames_mask(torch.tensor([1, 1]), 3)
    changed = torch.cat([latents[:, :1], torch.randn(2, 2, 4, 4, 8)], 1)
    ours, theirs = (video(*clip_inputs(), context=masked_context(x, mask)).sample for x in (latents, changed))
    assert torch.equal(ours, theirs)


def test_given_frames_stand_in_the_input_as_they_are_given_at_their_own_step():
    video = awake_video(SETS[0])
    sample, timestep, text = clip_inputs()
    given, levels = context(1), torch.tensor([30.0, 0.0])
    told = Conditions(text=text, context=given, numbers={"context_noise": levels})
    made = video.predict(sample, timestep, told)
    other = torch.cat([torch.randn_like(sample[:, :1]), sample[:, 1:]], 1)
    assert torch.equal(video.predict(other, timestep, told), made), "whatever the noisy input holds there"
    shown = torch.cat([given[:, :1, :-1], sample[:, 1:]], 1)
    steps = torch.stack([levels.long(), timestep, timestep], 1)
    by_maps = awake_video(MAPS_ALONE)
    by_maps.layers.load_state_dict({name: video.layers.state_dict()[name] for name in by_maps.layers.state_dict()})
    alone = by_maps(shown, steps, text, context=given, numbers={"context_noise": levels}).sample
    assert video.layers.guess is not None
    assert torch.equal(made, video.layers.guess(alone, shown, given, steps))
    assert torch.equal(video(sample, timestep, text, context=given, numbers={"context_noise": levels}).sample, made)
    image = video(sample, timestep, text, context=given, numbers={"context_noise": levels}, alpha=1.0).sample
    assert torch.equal(image, video(sample, timestep, text, alpha=1.0).sample), "the image model knows of no frames"
    nothing = Conditions(text=text, context=context(0))
    assert torch.equal(video.predict(sample, timestep, nothing), video.predict(sample, timestep, Conditions(text=text)))


def test_the_papers_maps_alone_leave_the_input_as_it_is():
    video = awake_video(MAPS_ALONE)
    assert video.layers.guess is None
    sample, timestep, text = clip_inputs()
    other = torch.cat([torch.randn_like(sample[:, :1]), sample[:, 1:]], 1)
    one, two = (video(x, timestep, text, context=context(1)).sample for x in (sample, other))
    assert not torch.allclose(one[:, 0], two[:, 0], atol=1e-3), "what the noisy input holds of a given frame is seen"


def test_layers_without_context_refuse_given_frames():
    with pytest.raises(ValueError, match="take no given frames"):
        awake_video()(*clip_inputs(), context=context(1))


def test_a_number_that_is_not_known_is_one_that_was_not_given():
    video = awake_video(SETS[0])
    unknown = torch.full((2,), torch.nan)
    free = video(*clip_inputs()).sample
    assert torch.equal(video(*clip_inputs(), numbers={"speed": unknown}).sample, free)
    mixed = video(*clip_inputs(), numbers={"speed": torch.tensor([torch.nan, 9.0])}).sample
    assert torch.equal(mixed[0], free[0])
    assert not torch.allclose(mixed[1], free[1], atol=1e-4)


def test_numbers_may_change_from_frame_to_frame():
    video = awake_video(SETS[0])
    left, right = torch.tensor([[-0.5, -0.5, 0.5]] * 2), torch.tensor([[-0.5, -0.5, -0.5]] * 2)
    turned, straight = (video(*clip_inputs(), numbers={"steering": x}).sample for x in (left, right))
    assert not torch.allclose(turned, straight, atol=1e-4)
    constant = video(*clip_inputs(), numbers={"steering": torch.tensor([-0.5, -0.5])}).sample
    torch.testing.assert_close(straight, constant)


def test_a_number_of_another_name_is_refused_with_those_that_are_known():
    with pytest.raises(ValueError, match=r"take no altitude.*fps, context_noise, rate, steering, speed"):
        awake_video(SETS[0])(*clip_inputs(), numbers={"altitude": torch.ones(2)})


@pytest.mark.parametrize(("layer_set", "given"), [(MAPS_ALONE, 2), (SETS[0], 0)])
def test_layers_extended_by_context_compute_what_they_did_before(layer_set, given, tmp_path):
    unet = small_unet()
    plain = awake(TemporalLayers.for_network(unet, LayerSet.driving()))
    wider = plain.extended(unet, layer_set)
    expected = attach(small_unet(), plain)(*clip_inputs(), fps=6).sample
    assert torch.equal(attach(small_unet(), wider)(*clip_inputs(), fps=6, context=context(given)).sample, expected)
    wider.save_pretrained(tmp_path)
    video = attach(unet, TemporalLayers.from_pretrained(tmp_path))
    assert torch.equal(video(*clip_inputs(), fps=6, context=context(given)).sample, expected)


def test_layers_cannot_be_extended_to_a_set_that_lacks_a_part_of_theirs():
    unet = small_unet()
    with pytest.raises(ValueError, match="which the layer set"):
        TemporalLayers.for_network(unet, LayerSet.text()).extended(unet, LayerSet.driving())


def test_every_parameter_of_numbers_and_context_learns():
    unet = small_unet()
    video = attach(unet, awake(TemporalLayers.for_network(unet, SETS[0])))
    numbers = {name: torch.tensor([1.0, 2.0]) for name in video.layers.number_names}
    sample, timestep, text = clip_inputs()
    told = Conditions(text=text, context=context(1), numbers=numbers)
    video.predict(sample, timestep, told).square().mean().backward()
    assert all(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in video.layers.parameters())

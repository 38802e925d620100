import jaxtyping
import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline, EulerDiscreteScheduler
from PIL import Image
from tests.tiny import moving_layers, tiny_stack

import latentloom
from latentloom.align import TemporalLayers
from latentloom.layers.layer_set import LayerSet
from latentloom.models.upsampler import PixelUpsampler
from latentloom.pipeline import VideoLDMPipeline
from latentloom.stack import Stack


@pytest.fixture(scope="module")
def pipeline(saved_stack_folder) -> VideoLDMPipeline:
    pipeline = VideoLDMPipeline.from_pretrained(saved_stack_folder)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def latents(pipeline, prompt="a road", **options) -> torch.Tensor:
    return pipeline(prompt, output_type="latent", **({"generator": generator()} | options)).frames


def test_the_public_names_are_there_and_are_what_they_say():
    for name in latentloom.__all__:
        assert getattr(latentloom, name).__name__ == name
    assert set(latentloom.__all__) <= set(dir(latentloom))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = latentloom.nothing


def test_every_output_type_has_the_shape_that_diffusers_users_expect(pipeline):
    pil = pipeline("a road", generator=generator()).frames
    array = pipeline("a road", generator=generator(), output_type="np").frames
    tensor = pipeline("a road", generator=generator(), output_type="pt").frames
    assert [len(pil), len(pil[0]), pil[0][0].size] == [1, 4, (64, 32)]
    assert isinstance(pil[0][0], Image.Image)
    assert array.shape == (1, 4, 32, 64, 3)
    assert tensor.shape == (1, 4, 3, 32, 64)
    assert 0 <= array.min() < array.max() <= 1
    assert np.array_equal(array, tensor.movedim(2, -1).numpy())
    assert np.abs(np.stack([np.asarray(image) for image in pil[0]]) / 255 - array[0]).max() <= 0.5 / 255 + 1e-6
    assert latents(pipeline).shape == (1, 4, 8, 4, 8)


def test_a_tuple_comes_back_where_it_is_asked_for(pipeline):
    assert torch.equal(
        latents(pipeline),
        pipeline("a road", None, None, None, None, None, None, 1, 0.0, generator(), None, "latent", False)[0],
    )


def test_clips_of_a_list_are_the_clips_made_alone(pipeline):
    prompts, negatives = ["a road", "a lake"], ["night", "day"]
    both = latents(pipeline, prompts, negative_prompt=negatives, generator=[generator(0), generator(1)])
    second = latents(pipeline, "a lake", negative_prompt="day", generator=generator(1))
    assert both.shape[0] == 2
    assert torch.equal(both[1:], second)


def test_several_videos_per_prompt_follow_one_another(pipeline):
    clips = latents(pipeline, ["a road", "a lake"], num_videos_per_prompt=2)
    assert clips.shape[0] == 4
    assert not torch.equal(clips[0], clips[1])
    assert torch.equal(clips[:2], latents(pipeline, "a road", num_videos_per_prompt=2))


def test_given_noise_is_used_and_the_generator_then_is_not(pipeline):
    noise = torch.randn(1, 4, 8, 4, 8, generator=generator())
    assert torch.equal(latents(pipeline, latents=noise, generator=None), latents(pipeline))


def test_the_callback_has_diffusers_signature_and_may_replace_latents(pipeline):
    seen = []

    def callback(pipe, step, timestep, tensors):
        assert pipe is pipeline
        seen.append((step, tensors["latents"].shape))
        return {"latents": torch.zeros_like(tensors["latents"])} if step == 2 else {}

    assert not latents(pipeline, callback_on_step_end=callback).any()
    assert seen == [(step, (1, 4, 8, 4, 8)) for step in range(3)]


def test_the_scheduler_can_be_exchanged_from_config(saved_stack_folder, pipeline):
    other = VideoLDMPipeline.from_pretrained(saved_stack_folder)
    other.set_progress_bar_config(disable=True)
    other.scheduler = EulerDiscreteScheduler.from_config(other.scheduler.config)
    assert not torch.equal(latents(other), latents(pipeline))


def test_members_can_be_given_instead_of_the_folders(saved_stack_folder, pipeline):
    other = VideoLDMPipeline.from_pretrained(saved_stack_folder, vae=pipeline.vae, dtype=torch.bfloat16)
    assert other.vae is pipeline.vae
    assert other.unet.dtype == other.temporal.dtype == torch.bfloat16


def test_saving_and_loading_gives_the_same_clip_and_a_stack(pipeline, tmp_path):
    pipeline.save_pretrained(tmp_path / "saved")
    again = VideoLDMPipeline.from_pretrained(str(tmp_path / "saved"))
    again.set_progress_bar_config(disable=True)
    assert torch.equal(latents(again), latents(pipeline))
    assert again.info == pipeline.info
    assert "temporal/keyframes" in Stack.load(tmp_path / "saved").members


def test_the_generic_pipeline_of_diffusers_loads_the_image_model_of_the_folder(saved_stack_folder):
    assert type(DiffusionPipeline.from_pretrained(saved_stack_folder)).__name__ == "StableDiffusionPipeline"


def test_slicing_and_tiling_of_the_autoencoder_can_be_switched(pipeline):
    pipeline.vae.enable_slicing()
    sliced = pipeline("a road", generator=generator(), output_type="pt").frames
    pipeline.vae.disable_slicing()
    whole = pipeline("a road", generator=generator(), output_type="pt").frames
    assert (sliced - whole).abs().max() < 1e-5


def test_the_size_without_a_description_is_the_networks_own(pipeline):
    bare = VideoLDMPipeline(**pipeline.components)
    bare.set_progress_bar_config(disable=True)
    assert latents(bare, num_frames=2, num_inference_steps=1).shape == (1, 2, 8, 4, 8)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prompt": None}, "prompt is a NoneType"),
        ({"prompt": []}, "empty list"),
        ({"prompt": ["a road", 3]}, "prompt is a int"),
        ({"num_frames": 0}, "num_frames is 0"),
        ({"num_frames": 10**9}, "num_frames is 1000000000"),
        ({"height": 40}, "not a multiple of 16"),
        ({"num_inference_steps": -1}, "num_inference_steps is -1"),
        ({"guidance_scale": float("inf")}, "guidance_scale is inf"),
        ({"temporal_strength": 2.0}, "temporal_strength is 2.0"),
        ({"output_type": "gif"}, "output_type is 'gif'"),
        ({"decode_chunk_size": 0}, "decode_chunk_size is 0"),
        ({"num_videos_per_prompt": 0}, "num_videos_per_prompt is 0"),
        ({"negative_prompt": ["a", "b"]}, "negative_prompt lists 2 values for 1 clips"),
        ({"generator": [generator(), generator()]}, "generator lists 2 values for 1 clips"),
        ({"latents": torch.zeros(2, 4, 8, 4, 8)}, "latents lists 2 values for 1 clips"),
    ],
)
def test_bad_calls_are_refused_before_any_network_runs(pipeline, options, message):
    def never(*_):
        raise AssertionError("a network ran")

    handles = [network.register_forward_pre_hook(never) for network in (pipeline.unet, pipeline.text_encoder)]
    jaxtyping.config.update("jaxtyping_disable", True)  # as users run it: the type checks of testing would answer first
    try:
        with pytest.raises(ValueError, match=message):
            pipeline(**({"prompt": "a road", "output_type": "latent"} | options))
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)
        for handle in handles:
            handle.remove()


def test_loading_and_sampling_open_no_socket(saved_stack_folder, monkeypatch):
    def refuse(*_):
        raise AssertionError("a socket was opened")

    monkeypatch.setattr("socket.socket.connect", refuse)
    monkeypatch.setattr("socket.getaddrinfo", refuse)
    offline = VideoLDMPipeline.from_pretrained(saved_stack_folder)
    offline.set_progress_bar_config(disable=True)
    assert latents(offline).shape == (1, 4, 8, 4, 8)


@pytest.mark.parametrize("options", [{"variant": "fp16"}, {"trust_remote_code": True}])
def test_options_that_would_be_ignored_are_refused(saved_stack_folder, options):
    with pytest.raises(ValueError, match="from_pretrained does not take"):
        VideoLDMPipeline.from_pretrained(saved_stack_folder, **options)


def test_a_temporal_decoder_decodes_and_every_other_member_is_saved_too(tmp_path):
    whole = tiny_stack(layer_set=LayerSet.driving().with_context(), sets=("keyframes", "prediction"))
    decoder = TemporalLayers.for_network(whole.vae, LayerSet.decoder()).eval()
    with torch.no_grad():
        for parameter in decoder.parameters():
            parameter.add_(0.05)
    whole.replace(decoder_temporal=decoder, upsampler=PixelUpsampler(2, (8, 16), groups=4)).save(tmp_path / "stack")
    pipeline = VideoLDMPipeline.from_pretrained(tmp_path / "stack")
    pipeline.set_progress_bar_config(disable=True)
    made = pipeline("a road", generator=generator(), output_type="latent").frames
    frames = pipeline("a road", generator=generator(), output_type="pt").frames
    expected = Stack.load(tmp_path / "stack").autoencoder.decode(made, 8)
    torch.testing.assert_close(frames, expected.div(2).add(0.5).clamp(0, 1), atol=1e-4, rtol=1e-4)
    by_frame = VideoLDMPipeline.from_pretrained(tmp_path / "stack")
    by_frame.decoder_temporal = None
    by_frame.set_progress_bar_config(disable=True)
    assert not torch.allclose(by_frame("a road", generator=generator(), output_type="pt").frames, frames, atol=1e-3)
    pipeline.save_pretrained(tmp_path / "saved")
    assert Stack.load(tmp_path / "saved").members == Stack.load(tmp_path / "stack").members


def test_other_layers_do_not_take_the_place_of_those_that_predict(tmp_path):
    """A stack whose key frames prediction makes: layers given for the key frames are saved beside it."""
    layer_set = LayerSet.driving().with_context()
    tiny_stack(layer_set=layer_set, sets=("prediction",)).save(tmp_path / "stack")
    own = VideoLDMPipeline.from_pretrained(tmp_path / "stack")
    own.save_pretrained(tmp_path / "same")
    assert Stack.load(tmp_path / "same").members == Stack.load(tmp_path / "stack").members
    mine = moving_layers(own.unet, LayerSet.driving(), seed=5)
    VideoLDMPipeline.from_pretrained(tmp_path / "stack", temporal=mine).save_pretrained(tmp_path / "saved")
    saved = Stack.load(tmp_path / "saved")
    assert {"temporal/keyframes", "temporal/prediction"} <= set(saved.members)
    before = Stack.load(tmp_path / "stack").temporal_layers("prediction").state_dict()
    assert all(
        torch.equal(value, before[name]) for name, value in saved.temporal_layers("prediction").state_dict().items()
    )
    assert saved.temporal_layers("keyframes").layer_set.context is None

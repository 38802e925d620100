"""diffusers' switches on ``VideoLDMPipeline``: offloading, slicing, tiling, attention, FreeU, LoRA."""

import pytest
import torch
from diffusers import StableDiffusionPipeline
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from tests.small_networks import awake
from tests.tiny import tiny_stack
from tests.video_pipeline import STEPS, call, quiet, saved_video_stack

from latentloom.models.autoencoder import VideoAutoencoder
from latentloom.pipeline import VideoLDMPipeline


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return saved_video_stack(tmp_path_factory.mktemp("switches") / "stack")


@pytest.fixture
def pipeline(folder) -> VideoLDMPipeline:
    """A new one, to be changed by a test."""
    return quiet(VideoLDMPipeline.from_pretrained(folder))


# Offloading


@pytest.mark.skipif(torch.accelerator.is_available(), reason="says what is missing only where something is")
@pytest.mark.parametrize("method", ["enable_model_cpu_offload", "enable_sequential_cpu_offload"])
def test_offloading_without_an_accelerator_says_what_is_missing(pipeline, method):
    with pytest.raises(RuntimeError, match="requires accelerator"):
        getattr(pipeline, method)()


def test_offloading_leaves_layers_whose_parts_are_called_singly_where_they_compute(pipeline):
    """The CPU stands for the accelerator."""
    plain = call(pipeline, output_type="pt")
    pipeline.enable_model_cpu_offload(device="cpu")
    assert {name for name, x in pipeline.components.items() if hasattr(x, "_hf_hook")} == {
        "unet",
        "vae",
        "text_encoder",
    }
    assert torch.equal(call(pipeline, output_type="pt"), plain)
    assert torch.equal(call(pipeline, output_type="pt"), plain), "again, after the networks were freed"
    assert pipeline.execution_device.type == "cpu"


def test_offloading_weight_by_weight_takes_the_stock_networks_only(pipeline):
    """Not run: on a CPU accelerate fails on stock pipelines as well."""
    pipeline.enable_sequential_cpu_offload(device="cpu")
    places = {name: x.device.type for name, x in pipeline.components.items() if isinstance(x, torch.nn.Module)}
    assert {name for name, place in places.items() if place == "meta"} == {"unet", "vae", "text_encoder"}
    assert pipeline.execution_device.type == "cpu"


def test_an_own_text_encoder_of_the_temporal_layers_is_offloaded_in_its_turn(pipeline):
    pipeline.temporal_text_encoder = tiny_stack().text_encoder
    plain = call(pipeline)
    pipeline.enable_model_cpu_offload(device="cpu")
    assert [hook.model for hook in pipeline._all_hooks] == [
        pipeline.text_encoder,
        pipeline.temporal_text_encoder,
        pipeline.unet,
        pipeline.vae,
    ]
    assert torch.equal(call(pipeline), plain)


@pytest.mark.parametrize("kind", ["block_level", "leaf_level"])
def test_a_pipeline_offloaded_in_groups_makes_the_same_clip(pipeline, kind, tmp_path):
    """What is offloaded to disk is garbage in memory: layers that are not brought back would show."""
    plain = call(pipeline, output_type="pt")
    cpu = torch.device("cpu")
    for name in ("temporal", "decoder_temporal"):
        options = {"offload_type": kind, "num_blocks_per_group": 1, "offload_to_disk_path": str(tmp_path / name)}
        getattr(pipeline, name).enable_group_offload(cpu, cpu, **options)
    rest = {"exclude_modules": ["temporal", "decoder_temporal"], "num_blocks_per_group": 1}
    pipeline.enable_group_offload(cpu, cpu, offload_type=kind, **rest)
    assert torch.equal(call(pipeline, output_type="pt"), plain)


# Switches


@pytest.mark.parametrize("chunk", [1, 3, None])
def test_slicing_of_the_autoencoder_changes_nothing_with_temporal_layers_in_its_decoder(pipeline, chunk):
    options = {"output_type": "pt", "decode_chunk_size": chunk}
    plain = call(pipeline, **options)
    pipeline.vae.enable_slicing()
    assert torch.equal(call(pipeline, **options), plain)
    assert pipeline.vae.use_slicing


def test_a_tile_of_the_autoencoder_is_what_the_temporal_layers_make_of_it_alone(pipeline):
    size = {"width": 96, "output_type": "pt"}
    latents, whole = call(pipeline, width=96), call(pipeline, **size)
    autoencoder = VideoAutoencoder(pipeline.vae, pipeline.decoder_temporal)
    tile = autoencoder.decode(latents[..., :8]).div(2).add(0.5).clamp(0, 1)
    pipeline.vae.enable_tiling()
    pipeline.vae.tile_latent_min_size, pipeline.vae.tile_sample_min_size = 8, 64
    tiled = call(pipeline, **size)
    assert tiled.shape == whole.shape and not torch.equal(tiled, whole)
    assert torch.allclose(tiled[..., :48], tile[..., :48], atol=1e-5), "beyond 48 pixels it fades into the next"
    assert torch.equal(tiled, call(pipeline, decode_chunk_size=1, **size))


@pytest.mark.parametrize("switch", ["attention_slicing", "fused_qkv", "default_processors"])
def test_switches_of_the_stock_network_leave_the_clip_as_it_is(pipeline, switch):
    plain = call(pipeline)
    if switch == "attention_slicing":
        pipeline.enable_attention_slicing("max")
    elif switch == "fused_qkv":
        pipeline.fuse_qkv_projections()
    else:
        pipeline.unet.set_default_attn_processor()
    switched = call(pipeline)
    assert (switched - plain).abs().max() < 1e-4 * plain.abs().max()
    names = {type(processor).__name__ for processor in pipeline.unet.attn_processors.values()}
    expected = {"attention_slicing": "SlicedAttnProcessor", "fused_qkv": "FusedAttnProcessor2_0"}
    assert len(names) == 1 and names <= {expected.get(switch), "AttnProcessor", "AttnProcessor2_0"}
    assert switch == "default_processors" or names == {expected[switch]}


def test_freeu_acts_and_can_be_taken_back(pipeline):
    plain = call(pipeline)
    pipeline.enable_freeu(s1=0.2, s2=0.2, b1=1.5, b2=1.6)
    changed = call(pipeline)
    pipeline.disable_freeu()
    assert changed.isfinite().all() and torch.equal(call(pipeline), plain)


# LoRA


@pytest.fixture(scope="module")
def lora(tmp_path_factory):
    """Weights for the image network and the text encoder, as diffusers' training scripts save them."""
    stack, path = tiny_stack("epsilon"), tmp_path_factory.mktemp("lora")
    parts = {}
    for name, targets in (("unet", ["to_q", "to_v", "conv1"]), ("text_encoder", ["q_proj", "v_proj"])):
        network = getattr(stack, name)
        network.add_adapter(LoraConfig(r=2, lora_alpha=4, target_modules=targets))
        awake(torch.nn.ParameterList(p for n, p in network.named_parameters() if "lora" in n), seed=2)
        parts[f"{name}_lora_layers"] = get_peft_model_state_dict(network)
    StableDiffusionPipeline.save_lora_weights(path, **parts)
    return path


@pytest.fixture
def both():
    """The video pipeline and diffusers' own, with networks of equal weights."""
    stack, other = tiny_stack("epsilon"), tiny_stack("epsilon")
    names = ("unet", "vae", "text_encoder", "tokenizer", "scheduler")
    layers = stack.temporal["keyframes"]
    video = VideoLDMPipeline(**{name: getattr(stack, name) for name in names}, temporal=layers, info=stack.info)
    nothing = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
    return quiet(video), quiet(StableDiffusionPipeline(**{name: getattr(other, name) for name in names}, **nothing))


def images(pipeline, **options) -> torch.Tensor:
    """The clip without its temporal layers, or diffusers' pictures, from the same noise."""
    noise = torch.randn(1, 4, 8, 4, 8, generator=torch.Generator().manual_seed(3))
    options |= {"num_inference_steps": STEPS, "guidance_scale": 2.0, "height": 32, "width": 64, "output_type": "latent"}
    if isinstance(pipeline, StableDiffusionPipeline):
        return pipeline("a road", latents=noise[0], num_images_per_prompt=4, **options).images
    return pipeline("a road", num_frames=4, latents=noise, temporal_strength=0.0, **options).frames[0]


def test_lora_weights_do_what_they_do_in_diffusers_own_pipeline(both, lora):
    video, image = both
    plain, moving = images(video), call(video)
    for pipeline in both:
        pipeline.load_lora_weights(lora, adapter_name="snow")
    assert not torch.allclose(images(video), plain, atol=1e-2)
    assert not torch.allclose(call(video), moving, atol=1e-2)

    def equal(**options) -> torch.Tensor:
        ours, theirs = images(video, **options), images(image, **options)
        torch.testing.assert_close(ours, theirs, atol=2e-5, rtol=1e-4)
        return ours

    full = equal()
    half = equal(cross_attention_kwargs={"scale": 0.5})
    assert not torch.allclose(half, full, atol=1e-3)
    assert torch.equal(equal(), full), "the scale was of one call"
    assert torch.allclose(equal(cross_attention_kwargs={"scale": 0.0}), plain, atol=1e-5)
    for pipeline in both:
        pipeline.set_adapters(["snow"], [0.5])
    assert torch.allclose(equal(), half, atol=1e-5)
    for pipeline in both:
        pipeline.set_adapters(["snow"], [1.0])
        pipeline.fuse_lora()
    torch.testing.assert_close(equal(), full, atol=1e-4, rtol=1e-3)
    for pipeline in both:
        pipeline.unfuse_lora()
        pipeline.unload_lora_weights()
    torch.testing.assert_close(equal(), plain, atol=1e-4, rtol=1e-3)
    assert video.get_active_adapters() == [] and not any("lora" in name for name in video.unet.state_dict())


def test_the_scale_of_a_call_is_taken_back_when_the_call_fails(both, lora):
    video, _ = both
    video.load_lora_weights(lora)
    plain = images(video)

    def fail(*_):
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        images(video, cross_attention_kwargs={"scale": 0.5}, callback_on_step_end=fail)
    assert torch.equal(images(video), plain)


def test_options_of_attention_other_than_the_scale_are_refused(pipeline):
    with pytest.raises(ValueError, match="cross_attention_kwargs has 'ip_adapter_masks', expected nothing but 'scale'"):
        call(pipeline, cross_attention_kwargs={"ip_adapter_masks": 1.0})

"""What diffusers asks of its own model classes (its ``ModelTesterMixin``), asked of ours."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from diffusers import DDPMScheduler
from diffusers.training_utils import EMAModel
from safetensors.torch import load_file
from tests.small_networks import awake, awake_video, clip_inputs, small_unet, small_upsampler, small_vae
from torch import Tensor, nn

from latentloom.align import Aligned, TemporalLayers, attach
from latentloom.layers.context import ContextSpec
from latentloom.layers.layer_set import LayerSet
from latentloom.layers.scene import PLACE
from latentloom.models.scenes import SceneEncoder
from latentloom.models.upsampler import PixelUpsampler
from latentloom.scenes import SceneTensors

FLOAT8, CPU = torch.float8_e4m3fn, torch.device("cpu")
WEIGHTS = "diffusion_pytorch_model.safetensors"


@dataclass(frozen=True)
class Case:
    """A class of ours, made as after training, and what it computes from inputs that are always the same."""

    make: Callable[[], Any]
    run: Callable[[Any], Tensor]


def given_frames() -> Tensor:
    """The first of three frames, ``b t c+1 h w``."""
    mask = torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1, 1).expand(2, 3, 1, 4, 8)
    return torch.cat([clip_inputs(seed=5)[0] * mask, mask], 2)


def temporal(layer_set: LayerSet, **conditions: Any) -> Case:
    """Layers of a set, on a network of the same dtype."""

    def run(layers: TemporalLayers) -> Tensor:
        video = attach(small_unet().to(layers.dtype), layers)
        sample, steps, text = clip_inputs()
        told = {name: x.to(layers.dtype) if isinstance(x, Tensor) else x for name, x in conditions.items()}
        return video(sample.to(layers.dtype), steps, text.to(layers.dtype), **told).sample

    return Case(lambda: awake(TemporalLayers.for_network(small_unet(), layer_set).eval()), run)


def decoding(layers: TemporalLayers) -> Tensor:
    latents = torch.randn(2, 3, 4, 4, 6, generator=torch.Generator().manual_seed(0)).to(layers.dtype)
    return attach(small_vae().to(layers.dtype), layers).decode(latents).sample


def upsampling(network: PixelUpsampler) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    cells, small = (torch.randn(1, 2, c, 4, 6, generator=generator).to(network.dtype) for c in (12, 3))
    return network.predict(cells, torch.tensor(300), small, torch.tensor([20.0]))


def encoding(encoder: SceneEncoder) -> Tensor:
    rows = [[0.2, 0.3, 0.6, 0.7, 0.0], [0.1, 0.1, 0.3, 0.2, 1.0]]
    return encoder(SceneTensors.of(rows, night=1.0).batch(encoder.device))


def new_encoder() -> SceneEncoder:
    torch.manual_seed(0)
    return awake(SceneEncoder(16, 6).eval())


ACTING = LayerSet.driving().with_context(ContextSpec(width=8, first_guess=8, motion=8))
TEMPORAL = {
    "text": temporal(LayerSet.text()),
    "context": temporal(ACTING, context=given_frames(), fps=6.0, numbers={"steering": torch.tensor([0.1, -0.2])}),
    "motion modules": temporal(LayerSet.motion_modules()),
    "scene": temporal(
        LayerSet.scene(width=16),
        temporal_hidden_states=torch.randn(2, 5, 16 + PLACE, generator=torch.Generator().manual_seed(1)),
    ),
    "decoder": Case(lambda: awake(TemporalLayers.for_network(small_vae(), LayerSet.decoder()).eval()), decoding),
}
CASES = TEMPORAL | {
    "upsampler": Case(lambda: small_upsampler().requires_grad_(True), upsampling),
    "scene encoder": Case(new_encoder, encoding),
}
every_class = pytest.mark.parametrize("case", CASES.values(), ids=CASES)
every_layer_set = pytest.mark.parametrize("case", TEMPORAL.values(), ids=TEMPORAL)


def same_tensors(first: nn.Module, second: nn.Module) -> bool:
    ours, theirs = first.state_dict(), second.state_dict()
    return list(ours) == list(theirs) and all(torch.equal(x, theirs[name]) for name, x in ours.items())


def plain_config(model: Any) -> dict[str, Any]:
    return {name: value for name, value in model.config.items() if not name.startswith("_")}


# Saving and loading


@every_class
@torch.no_grad()
def test_a_saved_model_loads_with_its_config_its_bits_and_its_output(case, tmp_path):
    model = case.make()
    model.save_pretrained(tmp_path)
    for options in ({}, {"low_cpu_mem_usage": False}, {"device_map": "cpu"}, {"disable_mmap": True}):
        loaded = type(model).from_pretrained(tmp_path, **options)
        assert not loaded.training and same_tensors(loaded, model), options
    loaded.save_pretrained(tmp_path / "again")
    assert (tmp_path / "again" / WEIGHTS).read_bytes() == (tmp_path / WEIGHTS).read_bytes()
    assert torch.equal(case.run(loaded), case.run(model))
    assert torch.equal(case.run(loaded), case.run(loaded)), "determinism"


@every_class
def test_a_config_alone_makes_the_same_model_before_training(case, tmp_path):
    model = case.make()
    model.save_config(tmp_path)
    fresh = type(model).from_config(type(model).load_config(tmp_path))
    again = type(model).from_config(fresh.config)
    shapes = {name: x.shape for name, x in model.state_dict().items()}
    assert {name: x.shape for name, x in fresh.state_dict().items()} == shapes
    assert {name: x.shape for name, x in again.state_dict().items()} == shapes
    assert plain_config(fresh) == plain_config(again)
    assert fresh.num_parameters() == sum(parameter.numel() for parameter in model.parameters())


@every_class
@torch.no_grad()
def test_a_model_can_be_saved_in_shards(case, tmp_path):
    model = case.make()
    model.save_pretrained(tmp_path, max_shard_size="8KB")
    assert len(list(tmp_path.glob("diffusion_pytorch_model-*-of-*.safetensors"))) > 1
    assert (tmp_path / f"{WEIGHTS}.index.json").exists() and not (tmp_path / WEIGHTS).exists()
    loaded = type(model).from_pretrained(tmp_path)
    assert same_tensors(loaded, model) and torch.equal(case.run(loaded), case.run(model))


@every_class
def test_a_variant_is_found_by_its_name_only(case, tmp_path):
    model = case.make()
    nn.Module.to(case.make(), torch.float16).save_pretrained(tmp_path, variant="fp16")
    assert {x.dtype for x in load_file(tmp_path / "diffusion_pytorch_model.fp16.safetensors").values()} == {
        torch.float16
    }
    with pytest.raises((OSError, ValueError), match="diffusion_pytorch_model"):
        type(model).from_pretrained(tmp_path)
    loaded = type(model).from_pretrained(tmp_path, variant="fp16", torch_dtype=torch.float32)
    for (name, x), y in zip(model.named_parameters(), loaded.parameters(), strict=True):
        assert torch.equal(x.half().float(), y), name


@every_class
@torch.no_grad()
@pytest.mark.parametrize("argument", ["torch_dtype", "dtype"])
def test_a_model_loads_and_computes_in_the_dtype_asked_for(case, tmp_path, argument):
    model = case.make()
    model.save_pretrained(tmp_path)
    rounded = type(model).from_pretrained(tmp_path, **{argument: torch.bfloat16})
    assert {parameter.dtype for parameter in rounded.parameters()} == {rounded.dtype} == {torch.bfloat16}
    assert same_tensors(rounded, nn.Module.to(case.make(), torch.bfloat16))
    exact, close = case.run(model), case.run(rounded)
    assert close.dtype == torch.bfloat16 or case is CASES["scene encoder"]
    assert (close.float() - exact).norm() < 0.1 * exact.norm()
    assert nn.Module.to(rounded, torch.float32).dtype == torch.float32


# Training


def train(case: Case, model: Any, steps: int = 3) -> list[float]:
    """Losses of a few steps of AdamW toward a fixed target."""
    optimizer, losses = torch.optim.AdamW(model.parameters(), lr=1e-3), []
    for _ in range(steps):
        loss = (case.run(model) - 1).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@every_class
def test_a_few_steps_of_training_reach_every_parameter_and_lower_the_loss(case):
    model = case.make().train()
    before = {name: x.clone() for name, x in model.named_parameters()}
    losses = train(case, model)
    assert losses == sorted(losses, reverse=True) and losses[-1] < losses[0]
    # what is not told here (the second pass of interpolation, speed), and what another loss teaches
    silent = ("numbers.embeddings.rate", "numbers.embeddings.speed", "numbers.embeddings.context_noise", "guess.motion")
    unmoved = {name for name, x in model.named_parameters() if torch.equal(x, before[name])}
    assert {name for name in unmoved if not name.startswith(silent)} == set()


def gradients(case: Case, model: Any) -> dict[str, Tensor]:
    model.zero_grad()
    case.run(model).square().mean().backward()
    return {name: x.grad.clone() for name, x in model.named_parameters() if x.grad is not None}


@pytest.mark.parametrize("name", [*TEMPORAL, "upsampler"])
def test_gradients_with_checkpointing_are_those_without(name):
    case = CASES[name]
    model = case.make().train()
    assert not model.is_gradient_checkpointing
    plain = gradients(case, model)
    model.enable_gradient_checkpointing()
    assert model.is_gradient_checkpointing
    checkpointed = gradients(case, model)
    assert plain.keys() == checkpointed.keys()
    assert all(torch.equal(x, checkpointed[name]) for name, x in plain.items())
    calls = count_calls(model)
    gradients(case, model)
    again = len(calls)
    model.disable_gradient_checkpointing()
    calls.clear()
    gradients(case, model)
    assert not model.is_gradient_checkpointing
    assert again > len(calls) > 0, "nothing was computed again"


def count_calls(model: nn.Module) -> list[int]:
    """Filled by each call of a convolution or linear map, whoever calls it."""
    calls: list[int] = []
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_pre_hook(lambda *_: calls.append(1))
    return calls


def test_a_class_without_checkpointing_says_so():
    with pytest.raises(ValueError, match="SceneEncoder does not support gradient checkpointing"):
        new_encoder().enable_gradient_checkpointing()


@every_class
def test_a_running_average_of_diffusers_follows_swaps_and_survives_saving(case, tmp_path):
    model = case.make().train()
    config = plain_config(model)  # diffusers takes arguments given by position for defaults, and notes so in the config
    average = EMAModel(model.parameters(), decay=0.5, model_cls=type(model), model_config=config)
    start = [x.clone() for x in model.parameters()]
    train(case, model, steps=1)
    average.step(model.parameters())  # decay of the first step is (1 + 1) / (10 + 1) at most
    share = 1 - average.get_decay(average.optimization_step)
    trained = [x.clone() for x in model.parameters()]
    for shadow, a, b in zip(average.shadow_params, start, trained, strict=True):
        torch.testing.assert_close(shadow, torch.lerp(a, b, share))
    average.save_pretrained(tmp_path)
    again = EMAModel.from_pretrained(tmp_path, type(model))
    assert all(torch.equal(x, y) for x, y in zip(again.shadow_params, average.shadow_params, strict=True))
    average.store(model.parameters())
    average.copy_to(model.parameters())
    assert same_tensors(model, type(model).from_pretrained(tmp_path))
    average.restore(model.parameters())
    assert all(torch.equal(x, y) for x, y in zip(model.parameters(), trained, strict=True))


def test_a_training_step_as_in_diffusers_scripts_trains_the_layers_and_not_the_network():
    video, scheduler = awake_video(), DDPMScheduler()
    frozen = {name: x.clone() for name, x in video.network.state_dict().items()}
    optimizer = torch.optim.AdamW(video.layers.parameters(), lr=1e-2)
    clean, steps, text = clip_inputs()
    noise = torch.randn_like(clean)
    losses = []
    for _ in range(3):
        loss = nn.functional.mse_loss(video(scheduler.add_noise(clean, noise, steps), steps, text)[0], noise)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(video.layers.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[2] < losses[0]
    assert all(torch.equal(x, frozen[name]) for name, x in video.network.state_dict().items())


# Memory


@every_class
@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_weights_stored_in_eight_bits_compute_about_the_same(case, dtype):
    model = nn.Module.to(case.make(), dtype)
    exact, size = case.run(model), model.get_memory_footprint()
    model.enable_layerwise_casting(storage_dtype=FLOAT8, compute_dtype=dtype)
    cast = [case.run(model) for _ in range(2)]
    assert torch.equal(*cast) and cast[0].dtype == exact.dtype and model.dtype == dtype
    assert 0 < (cast[0] - exact).norm() < 0.25 * exact.norm()
    assert model.get_memory_footprint() < 0.9 * size


@torch.no_grad()
def test_layers_act_on_a_network_whose_weights_are_stored_in_eight_bits():
    inputs, stock = clip_inputs(), small_unet()
    stock.enable_layerwise_casting(storage_dtype=FLOAT8, compute_dtype=torch.float32)
    video = awake_video()
    plain = video(*inputs).sample
    video.network.enable_layerwise_casting(storage_dtype=FLOAT8, compute_dtype=torch.float32)
    rows = [x.repeat_interleave(3, 0) for x in inputs[1:]]
    images = stock(inputs[0].flatten(0, 1), *rows).sample
    assert torch.equal(video(*inputs, alpha=1.0).sample.flatten(0, 1), images)
    assert 0 < (video(*inputs).sample - plain).norm() < 0.3 * plain.norm()
    assert not torch.allclose(video(*inputs).sample.flatten(0, 1), images, atol=1e-2)


@pytest.mark.parametrize("kind", ["block_level", "leaf_level"])
@every_class
@torch.no_grad()
def test_a_model_offloaded_in_groups_computes_the_same(case, kind, tmp_path):
    """What is offloaded to disk is garbage in memory: a part that is not brought back in time would show."""
    model = case.make()
    expected = case.run(model)
    model.enable_group_offload(CPU, CPU, offload_type=kind, num_blocks_per_group=1, offload_to_disk_path=str(tmp_path))
    assert list(tmp_path.iterdir())
    for _ in range(2):  # small products round by where their operands lie in memory
        torch.testing.assert_close(case.run(model), expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_a_first_guess_of_layers_offloaded_in_groups_is_the_same(tmp_path):
    layers, context = TEMPORAL["context"].make(), given_frames()
    numbers = {"steering": torch.tensor([0.1, -0.2]), "speed": torch.tensor([8.0, 9.0])}
    expected = layers.first_guess(context, numbers)
    layers.enable_group_offload(CPU, CPU, offload_to_disk_path=str(tmp_path))
    assert torch.equal(layers.first_guess(context, numbers), expected)


@torch.no_grad()
def test_a_network_offloaded_in_groups_carries_its_layers(tmp_path):
    video = awake_video()
    expected = video(*clip_inputs()).sample
    options = {"offload_type": "leaf_level", "offload_to_disk_path": str(tmp_path)}
    video.network.enable_group_offload(CPU, CPU, **options)
    assert torch.equal(video(*clip_inputs()).sample, expected)


# The video model


def test_the_video_model_is_a_module_like_any_other():
    video = awake_video()
    assert isinstance(video, Aligned)
    out = video(*clip_inputs())
    assert torch.equal(out[0], out.sample) and out.to_tuple()[0] is out.sample
    names = set(video.state_dict())
    assert names == {f"network.{name}" for name in small_unet().state_dict()} | {
        f"layers.{name}" for name in video.layers.state_dict()
    }
    other = attach(small_unet(seed=4), TemporalLayers.for_network(small_unet(), LayerSet.text()))
    other.load_state_dict(video.state_dict())
    assert torch.equal(other(*clip_inputs()).sample, out.sample)
    assert {x.dtype for x in video.to(torch.float64).parameters()} == {torch.float64}

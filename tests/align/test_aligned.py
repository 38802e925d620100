"""Attaching, detaching, saving, transferring; the four traps of hooks."""

import copy
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from peft import LoraConfig
from safetensors.torch import load_file, save_file
from tests.small_networks import awake, awake_video, clip_inputs, small_unet, small_vae
from torch import Tensor

from latentloom.align import Aligned, TemporalLayers, attach, check_transfer
from latentloom.layers.layer_set import LayerSet

WEIGHTS = "diffusion_pytorch_model.safetensors"


def gradients(video: Aligned, loss: Tensor) -> list[Tensor]:
    """Gradients of all temporal parameters that the loss reaches, by site order."""
    video.zero_grad()
    loss.backward()
    return [parameter.grad.clone() for parameter in video.layers.parameters() if parameter.grad is not None]


def output(video: Aligned, seed: int = 2) -> Tensor:
    return video(*clip_inputs(seed=seed)).sample


# Attaching and detaching


def test_attaching_changes_no_name_and_no_tensor_of_the_network():
    unet = small_unet()
    before = {name: tensor.clone() for name, tensor in unet.state_dict().items()}
    attach(unet, awake(TemporalLayers.for_network(unet, LayerSet.text())))
    assert list(unet.state_dict()) == list(before)
    assert all(torch.equal(tensor, before[name]) for name, tensor in unet.state_dict().items())


def test_the_network_by_itself_stays_the_image_model_while_attached():
    video = awake_video()
    sample, timesteps, text = clip_inputs(num_frames=1)
    expected = small_unet()(sample[:, 0], timesteps, text).sample
    assert torch.equal(video.network(sample[:, 0], timesteps, text).sample, expected)
    output(video).square().mean().backward()  # also after a training step
    assert torch.equal(video.network(sample[:, 0], timesteps, text).sample, expected)


def test_detach_gives_back_the_stock_network():
    video, stock = awake_video(), small_unet()
    video.network.enable_gradient_checkpointing()
    output(video).square().mean().backward()
    network = video.detach()
    assert not any(module._forward_hooks for module in network.modules())
    assert not any("Clip" in type(getattr(m, "_gradient_checkpointing_func", None)).__name__ for m in network.modules())
    sample, timesteps, text = clip_inputs(num_frames=1)
    assert torch.equal(network(sample[:, 0], timesteps, text).sample, stock(sample[:, 0], timesteps, text).sample)
    with pytest.raises(ValueError, match="taken off"):
        output(video)


def test_two_sets_of_layers_share_one_network_without_meeting():
    unet = small_unet()
    first, second = (
        attach(unet, awake(TemporalLayers.for_network(unet, LayerSet.text()), seed=seed)) for seed in (1, 2)
    )
    alone = output(first)
    assert not torch.allclose(output(second), alone, atol=1e-3)
    second.detach()
    assert torch.equal(output(first), alone)


def test_the_table_lists_sites_in_the_order_of_the_network():
    video = awake_video()
    rows = video.table()
    assert len(rows) == len(video.layers.sites)
    assert (rows[0].site, rows[0].layer, rows[0].channels) == ("down_blocks.0.resnets.0", "TemporalResBlock", 16)
    assert rows[-1].site.startswith("up_blocks.1")
    assert sum(row.parameters for row in rows) == sum(p.numel() for p in video.layers.parameters())
    assert all(0 < row.alpha < 1 for row in rows)


# The four traps


def test_a_deep_copy_calls_its_own_layers():
    video = awake_video()
    before = output(video)
    twin = copy.deepcopy(video)
    with torch.no_grad():
        for parameter in twin.layers.parameters():
            parameter.zero_()
    assert torch.equal(output(video), before)
    assert not torch.allclose(output(twin), before, atol=1e-3)
    assert torch.equal(output(twin), twin(*clip_inputs(), alpha=1.0).sample)


@pytest.mark.parametrize("layer_set", [LayerSet.text(), LayerSet.driving()])
@pytest.mark.parametrize("switch", ["network", "aligned", "layers only"])
def test_checkpointing_leaves_gradients_as_they_are(layer_set, switch):
    video = awake_video(layer_set)
    plain = gradients(video, output(video).square().mean())
    if switch == "network":
        video.network.enable_gradient_checkpointing()
    else:
        video.enable_gradient_checkpointing(spatial=switch == "aligned")
    checkpointed = gradients(video, output(video).square().mean())
    assert all(torch.equal(a, b) for a, b in zip(plain, checkpointed, strict=True))


def test_the_clip_stays_bound_until_backward_even_when_another_clip_came_between():
    video = awake_video()
    plain = gradients(video, output(video, seed=2).square().mean() + output(video, seed=3).square().mean())
    video.enable_gradient_checkpointing()
    first, second = output(video, seed=2).square().mean(), output(video, seed=3).square().mean()
    video.network(torch.randn(1, 4, 4, 8), torch.tensor(3), torch.randn(1, 5, 24))  # an image, unbound
    checkpointed = gradients(video, first + second)
    for a, b in zip(plain, checkpointed, strict=True):
        torch.testing.assert_close(a, b, atol=1e-7, rtol=1e-5)


def test_layers_are_built_in_an_order_that_survives_sorted_json(tmp_path):
    layers = TemporalLayers.for_network(small_unet(), LayerSet.text())
    layers.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    shuffled = dict(reversed(config["sites"].items()))
    again = TemporalLayers(layer_set=config["layer_set"], sites=shuffled)
    assert [name for name, _ in again.named_parameters()] == [name for name, _ in layers.named_parameters()]


def saved_bytes(video: Aligned) -> int:
    """Bytes of activations kept for backward, each tensor's memory once."""
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = output(video).square().mean()
    del loss
    return sum(kept.values())


def test_every_temporal_layer_recomputes_when_checkpointing_is_on():
    video = awake_video()
    everything = saved_bytes(video)
    video.enable_gradient_checkpointing(spatial=False)
    temporal_only = saved_bytes(video)
    calls = []
    for layer in video.layers.layers.values():
        layer.register_forward_pre_hook(lambda *_: calls.append(1))
    output(video).square().mean().backward()
    assert len(calls) == 2 * len(video.layers.sites)
    calls.clear()
    video.network.enable_gradient_checkpointing()
    output(video).square().mean().backward()
    assert len(calls) == 2 * len(video.layers.sites)  # not thrice where a spatial block recomputes as well
    assert saved_bytes(video) < temporal_only < 0.7 * everything


# Saving, loading, transferring


@pytest.mark.parametrize("layer_set", [LayerSet.text(), LayerSet.driving()])
def test_layers_saved_from_one_network_and_loaded_onto_another_have_the_same_bits(layer_set, tmp_path):
    video = awake_video(layer_set)
    video.layers.save_pretrained(tmp_path)
    loaded = TemporalLayers.from_pretrained(tmp_path)
    assert loaded.fingerprint == video.layers.fingerprint
    assert list(loaded.state_dict()) == list(video.layers.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(loaded.parameters(), video.layers.parameters(), strict=True))
    assert torch.equal(output(attach(small_unet(), loaded)), output(video))


def test_a_network_with_other_channels_is_refused_naming_the_first_site_and_its_channels():
    layers = TemporalLayers.for_network(small_unet(), LayerSet.text())
    check_transfer(layers, small_unet(seed=7))
    with pytest.raises(ValueError, match=r"down_blocks.1.resnets.0 .*channels 40.* has down_blocks.1.*channels 48"):
        attach(small_unet(widths=(16, 48)), layers)


def test_a_network_with_another_context_width_is_refused_by_text_layers():
    layers = TemporalLayers.for_network(small_unet(), LayerSet.text())
    with pytest.raises(ValueError, match=r"attentions.*context_width 24.*context_width 32"):
        attach(small_unet(context=32), layers)


def test_a_network_of_another_class_is_refused():
    with pytest.raises(ValueError, match=r"decoder\.mid_block\.resnets\.0"):
        attach(small_vae(), TemporalLayers.for_network(small_unet(), LayerSet.text()))
    with pytest.raises(ValueError, match="has no site"):
        TemporalLayers.for_network(small_unet(), LayerSet())


def test_other_sites_have_another_fingerprint():
    ours = TemporalLayers.for_network(small_unet(), LayerSet.text())
    assert ours.fingerprint == TemporalLayers.for_network(small_unet(seed=5), LayerSet.text()).fingerprint
    assert ours.fingerprint != TemporalLayers.for_network(small_unet(widths=(16, 48)), LayerSet.text()).fingerprint
    assert ours.fingerprint == TemporalLayers.for_network(small_unet(), LayerSet.driving()).fingerprint


@pytest.mark.parametrize("damage", ["missing", "unexpected", "not finite"])
def test_damaged_weights_are_refused_naming_the_first_five_tensors(damage, tmp_path):
    TemporalLayers.for_network(small_unet(), LayerSet.driving()).save_pretrained(tmp_path)
    tensors = load_file(tmp_path / WEIGHTS)
    names = sorted(tensors)[:7]
    for name in names:
        if damage == "missing":
            del tensors[name]
        elif damage == "unexpected":
            tensors[f"{name}.other"] = torch.zeros(1)
        else:
            tensors[name] = torch.full_like(tensors[name], torch.nan)
    save_file(tensors, tmp_path / WEIGHTS, metadata={"format": "pt"})
    with pytest.raises(ValueError, match=damage) as refusal:
        TemporalLayers.from_pretrained(tmp_path)
    text = str(refusal.value)
    assert all(name in text for name in names[:5])
    assert names[6] not in text


def test_a_tensor_of_another_shape_is_refused_by_name(tmp_path):
    TemporalLayers.for_network(small_unet(), LayerSet.driving()).save_pretrained(tmp_path)
    tensors = load_file(tmp_path / WEIGHTS) | {"numbers.embeddings.fps.linear1.bias": torch.zeros(2, 2, 2)}
    save_file(tensors, tmp_path / WEIGHTS, metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"fps.linear1.bias expected shape"):
        TemporalLayers.from_pretrained(tmp_path)


def test_a_file_cut_short_is_refused(tmp_path):
    TemporalLayers.for_network(small_unet(), LayerSet.driving()).save_pretrained(tmp_path)
    whole = (tmp_path / WEIGHTS).read_bytes()
    (tmp_path / WEIGHTS).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="safetensors"):
        TemporalLayers.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    "damage",
    [
        {"sites": 3},
        {"sites": {"a": {"kind": "nonsense", "channels": 8}}},
        {"sites": {"a": {"kind": "res_block"}}},
        {"sites": {"a": {"kind": "res_block", "channels": 8, "num_groups": 3}}},
        {"layer_set": [1]},
        {"layer_set": {}},
    ],
)
def test_a_config_that_describes_no_layers_is_refused(damage, tmp_path):
    TemporalLayers.for_network(small_unet(), LayerSet.driving()).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text()) | damage
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"expected a folder|num_groups|does not go with"):
        TemporalLayers.from_pretrained(tmp_path)


def test_a_folder_without_layers_is_refused(tmp_path):
    with pytest.raises(ValueError, match="expected a folder"):
        TemporalLayers.from_pretrained(tmp_path / "nothing")


# Conditions


def test_fps_changes_the_video_where_the_set_embeds_it_and_is_refused_elsewhere():
    video = awake_video(LayerSet.driving())
    inputs = clip_inputs()
    slow, fast = video(*inputs, fps=4).sample, video(*inputs, fps=24.0).sample
    assert not torch.allclose(slow, fast, atol=1e-4)
    both = video(*inputs, fps=torch.tensor([4.0, 24.0])).sample
    torch.testing.assert_close(both, torch.stack([slow[0], fast[1]]), atol=1e-5, rtol=1e-4)
    with pytest.raises(ValueError, match="take no fps"):
        awake_video()(*inputs, fps=4)


def test_a_fresh_fps_embedding_is_neutral():
    unet = small_unet()
    video = attach(unet, TemporalLayers.for_network(unet, LayerSet.driving()))
    with torch.no_grad():
        for layer in video.layers.layers.values():
            for parameter in layer.parameters():
                parameter.add_(0.1)
    inputs = clip_inputs()
    assert torch.equal(video(*inputs, fps=4).sample, video(*inputs).sample)


def test_temporal_text_reaches_only_the_temporal_layers():
    video, (sample, timesteps, text) = awake_video(), clip_inputs()
    other = video(sample, timesteps, text, temporal_hidden_states=text.flip(0)).sample
    assert not torch.allclose(other, video(sample, timesteps, text).sample, atol=1e-4)
    both = {"temporal_hidden_states": text.flip(0), "alpha": 1.0}
    assert torch.equal(video(sample, timesteps, text, **both).sample, video(sample, timesteps, text, alpha=1.0).sample)


@pytest.mark.parametrize(
    ("timestep", "text_rows", "message"),
    [(torch.tensor([1, 2, 3]), 2, "timestep has 3 values for 2 clips"), (7, 6, "6 rows for 2 clips")],
)
def test_conditions_that_do_not_fit_the_batch_are_refused(timestep, text_rows, message):
    sample, _, text = clip_inputs()
    with pytest.raises(ValueError, match=message):
        awake_video()(sample, timestep, text.repeat(3, 1, 1)[:text_rows])


def test_mixing_parameters_are_the_alphas_one_per_layer():
    layers = TemporalLayers.for_network(small_unet(), LayerSet.text())
    logits = list(layers.mixing_parameters())
    assert len(logits) == len(layers.sites)
    assert all(logit.shape == (1,) and logit.item() == 0.0 for logit in logits)
    assert {id(logit) for logit in logits} < {id(parameter) for parameter in layers.parameters()}


def test_lora_on_the_network_keeps_its_names_and_trains_beside_attached_layers():
    stock, video = small_unet(), awake_video()
    lora = LoraConfig(r=2, target_modules=["to_q", "conv1"])
    stock.add_adapter(lora)
    video.network.add_adapter(lora)
    assert list(video.network.state_dict()) == list(stock.state_dict())
    before = output(video)
    output(video).square().mean().backward()
    with torch.no_grad():
        for name, parameter in video.network.named_parameters():
            if "lora" in name:
                parameter.add_(0.1)
    assert not torch.allclose(output(video), before, atol=1e-4)
    assert any(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in video.network.parameters())


# The decoder


def test_the_decoders_layers_change_nothing_at_start_and_mix_frames_when_awake():
    vae, latents = small_vae(), torch.randn(2, 3, 4, 4, 6)
    stock = vae.decode(latents.flatten(0, 1)).sample.unflatten(0, (2, 3))
    video = attach(vae, TemporalLayers.for_network(vae, LayerSet.decoder()))
    assert torch.equal(video.decode(latents).sample, stock)
    awake(video.layers)
    changed = latents.clone()
    changed[:, 1] += 1.0
    difference = (video.decode(changed).sample - video.decode(latents).sample).abs().amax(dim=(2, 3, 4))
    assert (difference > 1e-4).all()
    assert torch.equal(video.decode(latents, alpha=1.0).sample, stock)
    with pytest.raises(ValueError, match="needs layers on an AutoencoderKL"):
        awake_video().decode(latents)


COMPILE = """
import torch
from tests.small_networks import awake_video, clip_inputs

graphs = []
video, inputs = awake_video(), clip_inputs()
compiled = torch.compile(video, backend=lambda graph, _: graphs.append(graph) or graph, fullgraph=True)
with torch.no_grad():
    torch.testing.assert_close(compiled(*inputs).sample, video(*inputs).sample)
assert len(graphs) == 1
"""


@pytest.mark.slow
def test_the_whole_video_model_is_one_graph_for_the_compiler():
    root = Path(__file__).resolve().parent.parent
    paths = {"PYTHONPATH": os.pathsep.join([str(root), str(root / "src")])}
    # Another process, because the run-time shape checks of this one cannot be traced.
    subprocess.run([sys.executable, "-c", COMPILE], check=True, cwd=root, env=os.environ | paths)

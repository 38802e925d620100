import copy

import pytest
import torch
from diffusers import StableDiffusionPipeline
from tests.stable_diffusion import stable_diffusion
from tests.tiny import tiny_stack

from latentloom.models.image_ldm import ImageLDM
from latentloom.models.lora import FILE, add_adapters, fuse_adapters, fuse_file, save_adapters


def image_model(pipeline: StableDiffusionPipeline) -> ImageLDM:
    names = ("vae", "unet", "text_encoder", "tokenizer", "scheduler")
    return ImageLDM(**{name: pipeline.components[name] for name in names})


def answer(model: ImageLDM) -> torch.Tensor:
    ids = torch.arange(77)[None] % 100
    text = model.text_encoder(ids)[0]
    torch.manual_seed(0)
    return model.unet(torch.randn(1, 4, 8, 8), 10, text).sample.detach()


@pytest.fixture
def trained(tmp_path):
    """A model with adapters that do something, and the file they were written to."""
    model = image_model(stable_diffusion("1.5"))
    plain = answer(model)
    parameters = add_adapters(model, 2)
    torch.testing.assert_close(answer(model), plain, msg="new adapters change nothing")
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in parameters:
            parameter.add_(0.1 * torch.randn_like(parameter))
    save_adapters(model, tmp_path)
    return model, plain, tmp_path / FILE


def test_adapters_alone_learn(trained):
    model, _, _ = trained
    named = [
        name
        for network in (model.unet, model.text_encoder)
        for name, parameter in network.named_parameters()
        if parameter.requires_grad
    ]
    assert named and all("lora" in name for name in named)


def test_fused_the_model_is_stock_again_and_answers_as_with_adapters(trained):
    model, plain, _ = trained
    names = set(stable_diffusion("1.5").unet.state_dict())
    with_adapters = answer(model)
    fuse_adapters(model)
    assert set(model.unet.state_dict()) == names
    torch.testing.assert_close(answer(model), with_adapters, atol=1e-5, rtol=1e-4)
    assert not torch.allclose(with_adapters, plain, atol=1e-3)


@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_a_file_is_what_diffusers_makes_of_it(trained, scale):
    _, _, path = trained
    theirs = stable_diffusion("1.5")
    theirs.load_lora_weights(str(path.parent), weight_name=path.name)
    theirs.fuse_lora(lora_scale=scale)
    ours = image_model(stable_diffusion("1.5"))
    fuse_file(ours, path, scale)
    torch.testing.assert_close(answer(ours), answer(image_model(theirs)), atol=1e-6, rtol=1e-5)


def test_scale_zero_is_the_model_of_before(trained):
    _, plain, path = trained
    model = image_model(stable_diffusion("1.5"))
    fuse_file(model, path, 0.0)
    torch.testing.assert_close(answer(model), plain)


def test_a_lora_of_another_model_is_refused_and_what_is_none_too(trained, tmp_path):
    _, _, path = trained
    stack = tiny_stack()
    other = ImageLDM(
        vae=stack.vae,
        unet=copy.deepcopy(stack.unet),
        text_encoder=stack.text_encoder,
        tokenizer=stack.tokenizer,
        scheduler=stack.scheduler,
    )
    with pytest.raises(ValueError, match="no LoRA for this model"):
        fuse_file(other, path)
    from safetensors.torch import save_file

    save_file({"something": torch.zeros(3)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="LoRA"):
        fuse_file(image_model(stable_diffusion("1.5")), tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match=r"no \.safetensors file"):
        fuse_file(other, tmp_path / "missing.ckpt")
    with pytest.raises(ValueError, match="at least 1"):
        add_adapters(other, 0)

import math

import pytest
import torch
from tests.evaluation.stand_ins import tiny_clip
from torchmetrics.functional.multimodal.clip_score import _clip_score_update
from transformers import CLIPImageProcessorPil

from latentloom.evaluation.clipsim import ClipNetwork, clip_input, clip_similarity

TEXTS = ["driving on the lake track", "a red bridge at night"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_clip(tmp_path_factory.mktemp("clip"), TEXTS)


@pytest.fixture(scope="module")
def clip(folder):
    return ClipNetwork.load(folder)


def noise(count: int = 3, height: int = 40, width: int = 64) -> torch.Tensor:
    shape = (count, height, width, 3)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_it_is_the_mean_cosine_over_frames_whatever_the_lengths():
    text = torch.tensor([2.0, 0.0])
    frames = torch.tensor([[3.0, 0.0], [0.0, 1.0], [5.0, 5.0], [-1.0, 0.0]])
    assert clip_similarity(frames, text) == pytest.approx((1 + 0 + math.sqrt(0.5) - 1) / 4)
    assert clip_similarity(frames[:1], text) == pytest.approx(1)


def test_embeddings_that_do_not_go_together_are_refused():
    with pytest.raises(ValueError, match="expected t d and d"):
        clip_similarity(torch.zeros(2, 3), torch.zeros(2))
    with pytest.raises(ValueError, match="expected t d and d"):
        clip_similarity(torch.zeros(0, 3), torch.zeros(3))
    with pytest.raises(ValueError, match="not finite"):
        clip_similarity(torch.full((2, 3), torch.nan), torch.ones(3))


def test_frames_and_texts_are_embedded_as_transformers_does(clip):
    frames = noise()
    outputs = clip.model(pixel_values=clip_input(frames, 32), **clip.tokenizer([TEXTS[0]], return_tensors="pt"))
    ours = clip_similarity(clip.frames(frames), clip.text(TEXTS[0]))
    theirs = (outputs.image_embeds @ outputs.text_embeds.T).mean().item()
    assert ours == pytest.approx(theirs, abs=1e-6)
    assert ours != pytest.approx(clip_similarity(clip.frames(frames), clip.text(TEXTS[1])), abs=1e-4)


def test_it_equals_torchmetrics_clip_score_of_the_same_embeddings(clip):
    """Its network and processor are left out; it scores frame by frame, in percent."""
    frames = noise(4)

    class Model(torch.nn.Module):
        config = None

        def get_image_features(self, pictures):
            return clip.frames(frames)

        def get_text_features(self, tokens, mask):
            return torch.stack([clip.text(TEXTS[1])] * 4)

    def processor(images=None, text=None, **more):
        blank = torch.zeros(4, 1)
        return {"pixel_values": blank} if text is None else {"input_ids": blank, "attention_mask": blank}

    scores, count = _clip_score_update(list(frames.movedim(-1, 1)), [TEXTS[1]] * 4, Model(), processor)
    assert count == 4
    ours = clip_similarity(clip.frames(frames), clip.text(TEXTS[1]))
    assert 100 * ours == pytest.approx(scores.mean().item(), rel=1e-5)


def test_any_batch_size_gives_the_same_embeddings_and_long_texts_are_cut(clip):
    torch.testing.assert_close(clip.frames(noise(5), 2), clip.frames(noise(5)), atol=1e-6, rtol=1e-5)
    assert clip.text("the lake " * 500).isfinite().all()


@pytest.mark.parametrize("size", [(40, 64), (64, 40), (20, 33), (32, 32)])
def test_frames_are_prepared_as_transformers_does(size):
    processor = CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    frames = noise(2, *size)
    theirs = processor([frame.numpy() for frame in frames], return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(clip_input(frames, 32), theirs, atol=1e-5, rtol=1e-5)


def test_folders_that_hold_no_clip_are_refused(folder, tmp_path):
    with pytest.raises(ValueError, match=r"no config\.json"):
        ClipNetwork.load(tmp_path)
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    with pytest.raises(ValueError, match="pickles are not read"):
        ClipNetwork.load(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(ValueError, match="no readable CLIP"):
        ClipNetwork.load(tmp_path)

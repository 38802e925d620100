"""What diffusers asks of its own pipelines (its ``PipelineTesterMixin``), asked of ``VideoLDMPipeline``."""

import inspect
import json
import sys
from pathlib import Path

import jaxtyping
import numpy as np
import pytest
import torch
from diffusers import (
    AnimateDiffPipeline,
    DiffusionPipeline,
    EulerDiscreteScheduler,
    StableDiffusionPipeline,
    StableVideoDiffusionPipeline,
)
from diffusers.callbacks import PipelineCallback, SDCFGCutoffCallback
from diffusers.utils import dynamic_modules_utils, logging
from tests.tiny import moving_layers
from tests.video_pipeline import STEPS, call, quiet, saved_video_stack

from latentloom.layers.layer_set import LayerSet
from latentloom.pipeline import VideoLDMPipeline
from latentloom.stack import Stack


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return saved_video_stack(tmp_path_factory.mktemp("conformance") / "stack")


@pytest.fixture
def pipeline(folder) -> VideoLDMPipeline:
    """A new one, to be changed by a test."""
    return quiet(VideoLDMPipeline.from_pretrained(folder))


@pytest.fixture
def warnings(monkeypatch, caplog):
    """What diffusers logs."""
    monkeypatch.setattr(logging.get_logger("diffusers"), "propagate", True)
    return caplog


# The folder


@pytest.fixture
def dynamic(monkeypatch, tmp_path):
    """Code of folders goes into a cache of this test's own."""
    monkeypatch.setattr(dynamic_modules_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.startswith("diffusers_modules"):
            del sys.modules[name]


@pytest.mark.parametrize("custom", ["folder", "pipeline"])
def test_the_generic_pipeline_loads_the_video_model_by_the_code_of_the_folder(
    folder, pipeline, dynamic, custom, warnings
):
    options = {"custom_pipeline": str(folder) if custom == "folder" else custom, "trust_remote_code": True}
    loaded = quiet(DiffusionPipeline.from_pretrained(str(folder), **options))
    assert type(loaded) is VideoLDMPipeline
    assert loaded.info == pipeline.info
    assert torch.equal(call(loaded, output_type="pt"), call(pipeline, output_type="pt"))
    assert warnings.messages == []


def test_the_code_of_a_folder_is_not_run_unless_it_is_trusted(folder, dynamic):
    with pytest.raises(ValueError, match="trust_remote_code"):
        DiffusionPipeline.from_pretrained(str(folder), custom_pipeline=str(folder))


def test_latentloom_itself_runs_no_code_of_a_folder_and_copies_none(saved_stack_folder, stack_folder, tmp_path):
    (stack_folder / "pipeline.py").write_text("raise SystemExit('code of a stranger')")
    VideoLDMPipeline.from_pretrained(stack_folder).save_pretrained(tmp_path / "copy")
    assert (tmp_path / "copy" / "pipeline.py").read_text() == (saved_stack_folder / "pipeline.py").read_text()


def test_members_dtypes_and_defaults_given_to_the_generic_pipeline_are_kept(folder, dynamic, tmp_path):
    options = {"custom_pipeline": str(folder), "trust_remote_code": True}
    dtypes = {"unet": torch.bfloat16, "default": torch.float32}
    mine = moving_layers(Stack.load(folder).unet, LayerSet.text(), seed=5)
    loaded = DiffusionPipeline.from_pretrained(str(folder), torch_dtype=dtypes, **options)
    own = DiffusionPipeline.from_pretrained(str(folder), temporal=mine, **options)
    assert (loaded.unet.dtype, loaded.temporal.dtype) == (torch.bfloat16, torch.bfloat16)
    assert (loaded.vae.dtype, loaded.decoder_temporal.dtype) == (torch.float32, torch.float32)
    assert own.temporal is mine
    loaded.save_pretrained(tmp_path / "saved")
    assert Stack.load(tmp_path / "saved").members == Stack.load(folder).members


def test_a_folder_without_temporal_layers_is_refused_by_the_generic_pipeline_too(folder, dynamic, tmp_path):
    Stack.load(folder).without("temporal/prediction").save(tmp_path / "image")
    options = {"custom_pipeline": str(tmp_path / "image"), "trust_remote_code": True}
    with pytest.raises(ValueError, match="image model without temporal layers"):
        DiffusionPipeline.from_pretrained(str(tmp_path / "image"), **options)


def test_the_stock_image_pipeline_loads_the_folder_and_warns_of_nothing(folder, warnings):
    image = StableDiffusionPipeline.from_pretrained(folder)
    assert {name for name, member in image.components.items() if member is None} == {
        "feature_extractor",
        "image_encoder",
        "safety_checker",
    }
    index = json.loads((folder / "model_index.json").read_text())
    assert {entry[0] for entry in index.values() if isinstance(entry, list)} == {"diffusers", "transformers", None}
    assert warnings.messages == []


# The call


def test_the_names_of_the_call_are_those_of_the_video_pipelines_of_diffusers():
    ours = list(inspect.signature(VideoLDMPipeline.__call__).parameters)
    animate = list(inspect.signature(AnimateDiffPipeline.__call__).parameters)
    later = set(inspect.signature(StableVideoDiffusionPipeline.__call__).parameters)
    shared = [name for name in ours if name in animate]
    assert shared == [name for name in animate if name in ours], "the order of AnimateDiff"
    assert set(ours) - set(animate) - later == {"temporal_strength"}
    assert set(animate) - set(ours) == {
        "prompt_embeds",
        "negative_prompt_embeds",
        "ip_adapter_image",
        "ip_adapter_image_embeds",
        "clip_skip",
        "kwargs",
    }


def test_a_callback_is_told_the_tensors_it_asks_for_and_nothing_else(pipeline):
    seen = []

    def callback(pipe, step, timestep, tensors):
        seen.append((step, pipe.num_timesteps, sorted(tensors)))
        return tensors

    plain = call(pipeline)
    for names in (["latents"], []):
        told = call(pipeline, callback_on_step_end=callback, callback_on_step_end_tensor_inputs=names)
        assert torch.equal(told, plain)
    assert seen == [(step, STEPS, names) for names in (["latents"], []) for step in range(STEPS)]


def test_a_tensor_that_no_callback_can_be_told_is_refused_naming_those_that_can(pipeline):
    options = {"callback_on_step_end_tensor_inputs": ["latents", "prompt_embeds"]}
    with pytest.raises(ValueError, match=r"names 'prompt_embeds', expected some of: latents"):
        call(pipeline, callback_on_step_end=lambda *_: {}, **options)
    with pytest.raises(ValueError, match="prompt_embeds"):  # diffusers' own say themselves what they need
        call(pipeline, callback_on_step_end=SDCFGCutoffCallback(cutoff_step_ratio=0.5))


def test_a_callback_of_diffusers_own_kind_may_change_the_last_latents(pipeline):
    class Zeros(PipelineCallback):
        tensor_inputs = ["latents"]  # noqa: RUF012

        def callback_fn(self, pipeline, step_index, timesteps, callback_kwargs):
            if step_index == pipeline.num_timesteps - 1:
                callback_kwargs["latents"] = torch.zeros_like(callback_kwargs["latents"])
            return callback_kwargs

    assert call(pipeline).any()
    assert not call(pipeline, callback_on_step_end=Zeros()).any()


def test_an_interrupted_call_gives_the_latents_of_the_last_step_taken(pipeline):
    steps = []

    def callback(pipe, step, timestep, tensors):
        steps.append(tensors["latents"])
        pipe._interrupt = step == 1
        return tensors

    shown = call(pipeline, ["a road", "a lake"], callback_on_step_end=callback)
    assert len(steps) == 2 and pipeline.interrupt
    assert torch.equal(shown, steps[1]), "the clip in progress as it is, and no other"
    assert len(call(pipeline, ["a road", "a lake"])) == 2, "the next call is whole"
    assert not pipeline.interrupt


def test_a_clip_does_not_depend_on_the_others_of_its_call(pipeline):
    both = call(pipeline, ["a road", "a lake"], generator=[torch.Generator().manual_seed(seed) for seed in (0, 1)])
    assert torch.equal(both[:1], call(pipeline))
    assert torch.equal(both[1:], call(pipeline, "a lake", generator=torch.Generator().manual_seed(1)))


def test_both_forms_of_the_result_and_both_kinds_of_arrays_agree(pipeline):
    array, tensor = call(pipeline, output_type="np"), call(pipeline, output_type="pt")
    as_tuple = pipeline("a road", output_type="np", generator=torch.Generator().manual_seed(0), return_dict=False)
    assert isinstance(as_tuple, tuple) and np.array_equal(as_tuple[0], array)
    assert np.array_equal(array, tensor.movedim(2, -1).numpy())


# Dtypes and components


def test_each_component_may_have_a_dtype_of_its_own(folder, pipeline):
    dtypes = {"unet": torch.bfloat16, "text_encoder": torch.float64, "default": torch.float32}
    mixed = quiet(VideoLDMPipeline.from_pretrained(folder, torch_dtype=dtypes))
    found = {name: member.dtype for name, member in mixed.components.items() if isinstance(member, torch.nn.Module)}
    assert found == {
        "unet": torch.bfloat16,
        "temporal": torch.bfloat16,
        "text_encoder": torch.float64,
        "vae": torch.float32,
        "decoder_temporal": torch.float32,
    }
    frames, plain = (call(pipe, output_type="pt") for pipe in (mixed, pipeline))
    assert frames.shape == plain.shape and (frames - plain).abs().mean() < 0.05


@pytest.mark.parametrize(
    ("dtypes", "message"),
    [
        ({"network": torch.float32}, "'network'.*expected a torch.dtype for unet"),
        ({"unet": "float16"}, "'unet': 'float16'"),
        ({"temporal": torch.bfloat16}, "bfloat16 for temporal, expected that of unet"),
        ({"vae": torch.bfloat16, "decoder_temporal": torch.float32}, "for decoder_temporal, expected that of vae"),
    ],
)
def test_dtypes_that_name_nothing_or_cannot_compute_are_refused(folder, dtypes, message):
    jaxtyping.config.update("jaxtyping_disable", True)  # as users run it: the type checks of testing would answer first
    try:
        with pytest.raises(ValueError, match=message):
            VideoLDMPipeline.from_pretrained(folder, dtype=dtypes)
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)


def test_a_pipeline_moved_to_a_dtype_is_the_one_loaded_in_it(folder, pipeline):
    pipeline.to(torch.bfloat16)
    assert {x.dtype for x in pipeline.components.values() if isinstance(x, torch.nn.Module)} == {torch.bfloat16}
    loaded = quiet(VideoLDMPipeline.from_pretrained(folder, dtype=torch.bfloat16))
    assert torch.equal(call(pipeline, output_type="pt"), call(loaded, output_type="pt"))


def test_the_components_of_one_pipeline_make_another_and_a_stock_one(pipeline):
    twin = quiet(VideoLDMPipeline(**pipeline.components, info=pipeline.info))
    assert torch.equal(call(twin), call(pipeline))
    nothing = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
    parts = {name: member for name, member in pipeline.components.items() if "temporal" not in name}
    image = StableDiffusionPipeline(**parts, **nothing)
    video = quiet(VideoLDMPipeline.from_pipe(image, temporal=pipeline.temporal, info=pipeline.info))
    assert video.unet is pipeline.unet and video.decoder_temporal is None
    assert torch.equal(call(video), call(pipeline))
    with pytest.raises(ValueError, match="expected"):
        VideoLDMPipeline.from_pipe(image)


def test_exchanging_a_component_exchanges_what_is_computed_and_saved(pipeline, tmp_path):
    before = call(pipeline)
    pipeline.temporal = moving_layers(pipeline.unet, LayerSet.text(), seed=9)
    pipeline.scheduler = EulerDiscreteScheduler.from_config(pipeline.scheduler.config)
    after = call(pipeline)
    assert not torch.allclose(before, after, atol=1e-3)
    pipeline.save_pretrained(tmp_path / "saved")
    assert torch.equal(call(quiet(VideoLDMPipeline.from_pretrained(tmp_path / "saved"))), after)

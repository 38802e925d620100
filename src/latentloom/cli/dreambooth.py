"""``latentloom train dreambooth``: one subject from a few photos, and the temporal layers as they are."""

import copy
from dataclasses import replace
from pathlib import Path

import torch

from latentloom.adapted import image_model, text_as_before
from latentloom.cli.training_runs import cached_latents, save_once, training_progress
from latentloom.models.text import learn_words
from latentloom.stack import Stack
from latentloom.stack_folder import TEMPORAL
from latentloom.training.image import ImageTraining, train_image
from latentloom.training.subject import SHARES, Subject, subject_dataset


def run_dreambooth(config: ImageTraining, subject: Subject, output: Path, source: str) -> None:
    """Train UNet and text encoder of a stack on a subject; write RUN/stack, its temporal layers byte for byte.

    A LoRA goes into RUN/lora, where other programs take it from, and into the weights of RUN/stack. The temporal
    cross-attention goes on reading the text encoder of before (spec, section 9).

    Raises:
        ValueError: what ``subject_dataset`` and training refuse.
    """
    stack = Stack.load(source)
    model = image_model(stack)
    torch.manual_seed(config.loop.seed)
    if new := learn_words(model.tokenizer, model.text_encoder, [subject.prompt, subject.class_prompt]):
        print(f"new words: {', '.join(new)}")
    original = copy.deepcopy(model.text_encoder).eval()
    with torch.random.fork_rng():
        dataset = subject_dataset(subject, model, output / "pictures", stack.info.size, config.loop.seed)
    cache = cached_latents(dataset, stack.vae)
    config = replace(config, source_weights=config.source_weights or SHARES, caption_dropout=0.0)
    with training_progress("dreambooth") as report:
        model = train_image(config, dataset, cache, output, model=model, report=report)
    if config.lora_rank is not None:
        from latentloom.models.lora import FILE, fuse_adapters, save_adapters  # peft is no dependency of the core

        save_adapters(model, output / "lora")
        print(f"for any Stable Diffusion of this kind: {output / 'lora' / FILE}")
        fuse_adapters(model)
    members = {"unet": model.unet, "text_encoder": model.text_encoder}
    if new:
        members |= {"tokenizer": model.tokenizer}
    members |= text_as_before(stack, original)
    info = replace(stack.info, name=output.resolve().name, note=f"{subject.prompt}: made of {stack.info.name}.")
    save_once(stack.replace(info, **members), output / "stack")
    kept = [name for name in stack.members if name.startswith(f"{TEMPORAL}/")]
    print(f"done: {output / 'stack'}; as they were: {', '.join(kept) or 'no temporal layers'}")

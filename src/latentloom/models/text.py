"""Text conditioning: a word-level tokenizer, a small CLIP text encoder, and the encoding both share with diffusers.

Captions of a small world need a few hundred words, not a 49,408-piece vocabulary. Tokenizer and encoder are stock
transformers classes, so that stock pipelines load them from a folder; ``encode_text`` serves Stable Diffusion's too.
"""

import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import cast

import torch
from jaxtyping import Float
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, PreTrainedTokenizerBase, PreTrainedTokenizerFast

logger = logging.getLogger(__name__)

# The end of text must not have id 2: transformers' CLIP takes that id for a checkpoint from before a fix and then pools
# at the largest token id instead (modeling_clip.py, "eos_token_id == 2").
SPECIAL_TOKENS = ("<pad>", "<unk>", "<bos>", "<eos>")
PAD_ID, UNK_ID, BOS_ID, EOS_ID = range(4)


def train_tokenizer(captions: Iterable[str], max_length: int = 32) -> PreTrainedTokenizerFast:
    """A tokenizer whose vocabulary is every word and punctuation mark of ``captions``, lower case.

    Ids go by frequency, then alphabet, so the same captions in any order give the same tokenizer.

    Args:
        max_length: tokens per prompt including begin and end; longer prompts are cut.

    Raises:
        ValueError: no word in any caption, or ``max_length`` below 3.
    """
    if max_length < 3:
        raise ValueError(f"max_length {max_length} leaves no room for a word between begin and end, give 3 or more")
    splitter = _word_tokenizer(SPECIAL_TOKENS)
    counts = Counter(word for caption in captions for word in _split(splitter, caption))
    if not counts:
        raise ValueError("the captions hold no word to learn from, give at least one caption that is not empty")
    words = sorted(counts, key=lambda word: (-counts[word], word))
    return PreTrainedTokenizerFast(
        tokenizer_object=_word_tokenizer((*SPECIAL_TOKENS, *words)),
        model_max_length=max_length,
        pad_token="<pad>",
        unk_token="<unk>",
        bos_token="<bos>",
        eos_token="<eos>",
        model_input_names=["input_ids", "attention_mask"],
    )


def text_encoder(
    vocabulary_size: int, *, max_length: int = 32, width: int = 128, num_layers: int = 2, num_heads: int = 4
) -> CLIPTextModel:
    """A small untrained ``CLIPTextModel`` for a tokenizer of ``train_tokenizer``; hidden states ``b max_length width``.

    Raises:
        ValueError: ``width`` is not a multiple of ``num_heads``.
    """
    if width % num_heads:
        raise ValueError(f"width {width} is not a multiple of num_heads {num_heads}")
    config = CLIPTextConfig(
        vocab_size=vocabulary_size,
        hidden_size=width,
        intermediate_size=4 * width,
        projection_dim=width,
        num_hidden_layers=num_layers,
        num_attention_heads=num_heads,
        max_position_embeddings=max_length,
        pad_token_id=PAD_ID,
        bos_token_id=BOS_ID,
        eos_token_id=EOS_ID,
    )
    return CLIPTextModel(config)


def encode_text(
    tokenizer: PreTrainedTokenizerBase,
    text_encoder: CLIPTextModel,
    prompts: Sequence[str],
    device: torch.device | str | None = None,
) -> Float[Tensor, "b n d"]:
    """Hidden states of every token, padded to the tokenizer's length, as ``StableDiffusionPipeline`` computes them.

    Differentiable: the caller decides about ``no_grad``. Words outside a word-level vocabulary are left out, because no
    embedding was ever learnt for them; ``warn_about_losses`` tells what a prompt loses on the way.

    Args:
        device: where the encoder computes, its own place unless it is offloaded.

    Raises:
        ValueError: ``prompts`` is empty or a single string, or the tokenizer is made for a larger encoder.
    """
    if isinstance(prompts, str) or not len(prompts):
        raise ValueError(f"prompts must be a sequence of at least one string, given {prompts!r}")
    config = text_encoder.config
    if len(tokenizer) > config.vocab_size or tokenizer.model_max_length > config.max_position_embeddings:
        raise ValueError(
            f"the tokenizer has {len(tokenizer)} words and prompts of {tokenizer.model_max_length} tokens, the text"
            f" encoder {config.vocab_size} and {config.max_position_embeddings}; they belong to different models"
        )
    tokens = tokenizer(
        [_known_part(tokenizer, prompt) for prompt in prompts],
        padding="max_length",
        max_length=tokenizer.model_max_length,
        truncation=True,
        return_tensors="pt",
    )
    # diffusers passes the mask only to encoders that say so; CLIP's causal mask hides the padding from the words anyway
    masked = getattr(config, "use_attention_mask", False)
    device = text_encoder.device if device is None else device
    attention_mask = tokens["attention_mask"].to(device) if masked else None
    return text_encoder(tokens["input_ids"].to(device), attention_mask=attention_mask)[0]


def unknown_words(tokenizer: PreTrainedTokenizerBase, prompt: str) -> list[str]:
    """The words of ``prompt`` outside a word-level vocabulary, in order, each once; empty for subword tokenizers."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if not isinstance(backend, Tokenizer) or not isinstance(backend.model, models.WordLevel):
        return []
    words = dict.fromkeys(_split(backend, prompt))
    return [word for word in words if backend.token_to_id(word) is None]


@torch.no_grad()
def learn_words(tokenizer: PreTrainedTokenizerBase, text_encoder: CLIPTextModel, prompts: Iterable[str]) -> list[str]:
    """Add the words of ``prompts`` that a word-level vocabulary lacks, in place; each begins as the mean of all words.

    Returns them in order; nothing is new to a subword tokenizer.
    """
    new = list(dict.fromkeys(word for prompt in prompts for word in unknown_words(tokenizer, prompt)))
    if new:
        tokenizer.add_tokens(new)
        make_room(text_encoder, len(tokenizer))
    return new


@torch.no_grad()
def make_room(text_encoder: CLIPTextModel, vocabulary_size: int) -> None:
    """Embeddings for a vocabulary that has grown, in place; each new one is the mean of all words before."""
    words = cast(nn.Embedding, text_encoder.get_input_embeddings()).weight
    mean, known = words[len(SPECIAL_TOKENS) :].mean(0), len(words)  # transformers resizes ``words`` itself
    rows = text_encoder.resize_token_embeddings(vocabulary_size, mean_resizing=False).weight
    rows[known:] = mean


def _known_part(tokenizer: PreTrainedTokenizerBase, prompt: str) -> str:
    unknown = set(unknown_words(tokenizer, prompt))
    if not unknown:
        return prompt
    backend = cast(Tokenizer, tokenizer.backend_tokenizer)
    return " ".join(word for word in _split(backend, prompt) if word not in unknown)


def warn_about_losses(tokenizer: PreTrainedTokenizerBase, prompts: Sequence[str]) -> None:
    """Log what the encoder will not see of each prompt: words it never learnt and words beyond its length."""
    for prompt in dict.fromkeys(prompts):
        if unknown := unknown_words(tokenizer, prompt):
            logger.warning("words the text encoder never saw: %s", ", ".join(unknown[:8]))
        length = len(tokenizer(prompt, verbose=False)["input_ids"])
        if length > tokenizer.model_max_length:
            logger.warning("a prompt of %d tokens is cut to %d", length, tokenizer.model_max_length)


def _split(tokenizer: Tokenizer, text: str) -> list[str]:
    if tokenizer.normalizer is not None:
        text = tokenizer.normalizer.normalize_str(text)
    if tokenizer.pre_tokenizer is None:
        return text.split()
    return [word for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(text)]


def _word_tokenizer(vocabulary: Sequence[str]) -> Tokenizer:
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(vocabulary)}, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation()])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A <eos>", special_tokens=[("<bos>", BOS_ID), ("<eos>", EOS_ID)]
    )
    return tokenizer

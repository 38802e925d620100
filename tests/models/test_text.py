import logging

import pytest
import torch
from transformers import AutoTokenizer, CLIPTextModel, PreTrainedTokenizerFast

from latentloom.models.text import (
    EOS_ID,
    encode_text,
    text_encoder,
    train_tokenizer,
    unknown_words,
    warn_about_losses,
)

CAPTIONS = ["A road at night, turning left.", "a lake at night"]


def small(max_length: int = 10):
    tokenizer = train_tokenizer(CAPTIONS, max_length=max_length)
    torch.manual_seed(0)
    return tokenizer, text_encoder(len(tokenizer), max_length=max_length, width=16, num_heads=2).eval()


def test_words_are_lower_case_and_punctuation_stands_alone():
    tokens = train_tokenizer(CAPTIONS).tokenize("A Road,turning LEFT.")
    assert tokens == ["a", "road", ",", "turning", "left", "."]


def test_a_prompt_is_framed_by_begin_and_end_and_padded():
    tokenizer = train_tokenizer(CAPTIONS)
    encoded = tokenizer("a road", padding="max_length", max_length=6, truncation=True)
    assert tokenizer.convert_ids_to_tokens(encoded["input_ids"]) == ["<bos>", "a", "road", "<eos>", "<pad>", "<pad>"]


def test_the_order_of_captions_does_not_change_the_vocabulary():
    assert train_tokenizer(CAPTIONS).get_vocab() == train_tokenizer(CAPTIONS[::-1]).get_vocab()


def test_words_like_the_special_tokens_do_not_take_their_ids():
    vocabulary = train_tokenizer(["pad eos < pad >"]).get_vocab()
    assert vocabulary["<pad>"] == 0
    assert len(set(vocabulary.values())) == len(vocabulary)


@pytest.mark.parametrize("captions", [[], ["", "  "]])
def test_captions_without_a_word_are_refused(captions):
    with pytest.raises(ValueError, match="no word"):
        train_tokenizer(captions)


@pytest.mark.parametrize("kind", [AutoTokenizer, PreTrainedTokenizerFast])
def test_stock_transformers_loads_the_tokenizer_from_a_folder(tmp_path, kind):
    tokenizer = train_tokenizer(CAPTIONS, max_length=10)
    tokenizer.save_pretrained(tmp_path)
    loaded = kind.from_pretrained(tmp_path)
    prompt = "A Road, zebra at NIGHT"
    assert (
        loaded(prompt, padding="max_length", truncation=True)["input_ids"]
        == (tokenizer(prompt, padding="max_length", truncation=True)["input_ids"])
    )
    assert loaded.model_max_length == 10


def test_the_encoder_pools_at_the_end_of_the_text():
    """The trap of id 2: transformers would pool at the largest id instead, here the last word."""
    tokenizer, encoder = small()
    ids = tokenizer(["a road left"], padding="max_length", return_tensors="pt")["input_ids"]
    output = encoder(ids)
    end = ids[0].tolist().index(EOS_ID)
    assert torch.equal(output.pooler_output[0], output.last_hidden_state[0, end])


def test_encoding_gives_every_token_of_every_prompt_and_is_differentiable():
    tokenizer, encoder = small()
    hidden = encode_text(tokenizer, encoder, ["a road", ""])
    assert hidden.shape == (2, 10, 16)
    assert not torch.equal(hidden[0], hidden[1])
    hidden.sum().backward()
    assert any(parameter.grad is not None for parameter in encoder.parameters())


def test_a_prompt_longer_than_the_encoder_is_cut_not_crashed_on():
    tokenizer, encoder = small()
    hidden = encode_text(tokenizer, encoder, ["road " * 100_000])
    assert torch.equal(hidden, encode_text(tokenizer, encoder, ["road " * 8]))


@pytest.mark.parametrize("prompts", [[], "a road"])
def test_no_prompt_or_a_bare_string_is_refused(prompts):
    with pytest.raises(ValueError, match="at least one string"):
        encode_text(*small(), prompts)


def test_a_tokenizer_of_another_model_is_refused_before_an_index_error():
    tokenizer, _ = small()
    with pytest.raises(ValueError, match="different models"):
        encode_text(tokenizer, text_encoder(5, max_length=10, width=16, num_heads=2), ["a road"])
    with pytest.raises(ValueError, match="different models"):
        encode_text(tokenizer, text_encoder(len(tokenizer), max_length=4, width=16, num_heads=2), ["a road"])


def test_the_encoder_survives_saving_and_loading(tmp_path):
    tokenizer, encoder = small()
    encoder.save_pretrained(tmp_path)
    loaded = CLIPTextModel.from_pretrained(tmp_path)
    assert torch.equal(encode_text(tokenizer, loaded, ["a lake"]), encode_text(tokenizer, encoder, ["a lake"]))


def test_unknown_words_are_named_once_in_order():
    assert unknown_words(train_tokenizer(CAPTIONS), "Zebra road, lion zebra!") == ["zebra", "lion", "!"]
    assert unknown_words(train_tokenizer(CAPTIONS), "") == []


def test_what_a_prompt_loses_is_told(caplog):
    tokenizer, _ = small()
    with caplog.at_level(logging.WARNING):
        warn_about_losses(tokenizer, ["a zebra " + "road " * 20])
    assert "never saw: zebra" in caplog.text
    assert "24 tokens is cut to 10" in caplog.text


def test_a_width_that_the_heads_cannot_share_is_refused():
    with pytest.raises(ValueError, match="not a multiple of num_heads 4"):
        text_encoder(10, width=18)


def test_unknown_words_change_nothing_but_a_warning():
    tokenizer = train_tokenizer(CAPTIONS)
    torch.manual_seed(0)
    encoder = text_encoder(len(tokenizer)).eval()
    known, mixed = encode_text(tokenizer, encoder, [CAPTIONS[0], f"Zebra {CAPTIONS[0]} lion"])
    assert torch.equal(known, mixed)

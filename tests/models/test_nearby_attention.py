import pytest
import torch
from diffusers.models.attention_processor import AttnProcessor2_0
from tests.tiny import tiny_vae

from latentloom.models.nearby_attention import NearbyAttention, attending_nearby
from latentloom.operations import operations_of


@pytest.fixture
def vae():
    return tiny_vae()


def decoded(vae, latents):
    with torch.no_grad():
        return vae.decode(latents).sample


def test_a_reach_of_the_whole_frame_is_the_stock_decoder(vae):
    latents = torch.randn(2, 8, 12, 20)
    stock = decoded(vae, latents)
    for tile in (5, 64):
        processors = {name: NearbyAttention(20, tile) for name in vae.attn_processors}
        vae.set_attn_processor(processors)
        torch.testing.assert_close(decoded(vae, latents), stock, atol=1e-5, rtol=1e-4)
    vae.set_attn_processor(AttnProcessor2_0())
    assert torch.equal(decoded(vae, latents), stock)


def test_a_query_sees_its_reach_and_nothing_beyond():
    attn = tiny_vae().decoder.mid_block.attentions[0]
    near = NearbyAttention(reach=3, tile=4)
    attn.group_norm = None  # which looks at the whole frame
    attn.set_processor(near)
    plain = torch.randn(1, 16, 16, 16)
    moved = plain.clone()
    moved[..., 14] += 1
    with torch.no_grad():
        changed = (attn(moved) - attn(plain)).abs().amax((0, 1, 2)) > 1e-7
    assert changed.nonzero().flatten().tolist() == list(range(8, 16)), "those of tiles 8-11 and 12-15 reach column 14"


def test_only_the_decoder_changes_within_the_block_and_operations_grow_with_the_area(vae):
    operations, attn = [], vae.decoder.mid_block.attentions[0]

    def count(side: int) -> float:
        with torch.no_grad():
            return operations_of(lambda: attn(torch.zeros(1, 16, side, side)))

    with attending_nearby(vae, 8):
        assert {name.split(".")[0]: type(x) for name, x in vae.attn_processors.items()} == {
            "encoder": AttnProcessor2_0,
            "decoder": NearbyAttention,
        }
        operations = [count(128), count(256)]
    assert operations[1] / operations[0] < 4.6, "all to all would be sixteen times as many"
    assert {type(x) for x in vae.attn_processors.values()} == {AttnProcessor2_0}
    assert count(128) > 3 * operations[0]
    with attending_nearby(vae, None):
        assert {type(x) for x in vae.attn_processors.values()} == {AttnProcessor2_0}


def test_a_reach_of_nothing_is_refused(vae):
    with pytest.raises(ValueError, match="at least 1"), attending_nearby(vae, 0):
        pass

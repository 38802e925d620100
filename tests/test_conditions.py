import torch

from latentloom.conditions import Conditions, concatenate

TEXT = torch.randn(2, 3, 4)


def test_what_only_some_parts_hold_is_absent_for_the_others():
    context = torch.randn(2, 5, 9, 4, 8)
    given = Conditions(text=TEXT, context=context, numbers={"fps": torch.tensor([6.0, 7.0])})
    both = concatenate([Conditions(text=TEXT), given])
    assert len(both) == 4
    assert both.context is not None and not both.context[:2].any() and torch.equal(both.context[2:], context)
    assert both.numbers["fps"][:2].isnan().all() and both.numbers["fps"][2:].tolist() == [6.0, 7.0]


def test_numbers_per_clip_and_per_frame_meet_per_frame():
    one = Conditions(text=TEXT, numbers={"speed": torch.tensor([1.0, 2.0])})
    other = Conditions(text=TEXT, numbers={"speed": torch.arange(6.0).reshape(2, 3)})
    speed = concatenate([one, other]).numbers["speed"]
    assert speed.tolist() == [[1, 1, 1], [2, 2, 2], [0, 1, 2], [3, 4, 5]]


def test_another_text_speaks_in_both_attentions():
    two = Conditions(text=TEXT, temporal_text=TEXT + 1)
    assert two.with_text(TEXT * 2).temporal_text is None
    joined = concatenate([two, Conditions(text=TEXT)])
    assert joined.temporal_text is not None
    assert torch.equal(joined.temporal_text, torch.cat([TEXT + 1, TEXT]))


def test_nothing_is_made_up_where_no_part_holds_it():
    joined = concatenate([Conditions(text=TEXT)] * 2)
    assert joined.context is None and joined.temporal_text is None and not joined.numbers

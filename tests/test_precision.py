"""The dtype comes from the machine, and asking against it warns."""

import pytest
import torch

from latentloom import precision
from latentloom.precision import preferred_dtype


@pytest.mark.parametrize(("fast", "dtype"), [(True, torch.bfloat16), (False, torch.float32)])
def test_the_machine_decides(monkeypatch: pytest.MonkeyPatch, fast: bool, dtype: torch.dtype) -> None:
    monkeypatch.setattr(precision, "bfloat16_is_fast", lambda device="cpu": fast)
    assert preferred_dtype() == preferred_dtype(name="auto") == dtype
    assert preferred_dtype(name="fp32") == torch.float32


def test_bf16_against_the_machine_warns_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "bfloat16_is_fast", lambda device="cpu": False)
    with pytest.warns(UserWarning, match="no bfloat16 instructions"):
        assert preferred_dtype(name="bf16") == torch.bfloat16


def test_an_unknown_dtype_is_refused() -> None:
    with pytest.raises(ValueError, match="'fp8' is not known"):
        preferred_dtype(name="fp8")

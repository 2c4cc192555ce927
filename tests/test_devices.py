import torch

from headstart import devices
from headstart.devices import BFLOAT16, fast_bfloat16, require_fast
from refusals import refused

CPU = torch.device("cpu")


def test_bf16_is_refused_where_it_is_slow(monkeypatch):
    monkeypatch.setattr(devices, "fast_bfloat16", lambda device: False)
    with refused("device.bfloat16_slow"):
        require_fast("bf16", CPU)
    require_fast("fp32", CPU)


def test_bf16_is_taken_where_it_is_fast(monkeypatch):
    monkeypatch.setattr(devices, "fast_bfloat16", lambda device: True)
    require_fast("bf16", CPU)


def test_bfloat16_can_be_switched_off(monkeypatch):
    monkeypatch.setenv(BFLOAT16, "off")
    assert not fast_bfloat16(CPU)
    with refused("device.bfloat16_slow"):
        require_fast("bf16", CPU)

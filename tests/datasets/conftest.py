"""The hub as datasets see it: one that refuses, and one that is a folder."""

import io

import pytest

from hub_files import FakeHub


@pytest.fixture
def no_hub(monkeypatch, tmp_path):
    """A hub that refuses, and a cache of downloads of our own, whatever the environment says."""
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "downloads"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)


@pytest.fixture
def hub(monkeypatch, tmp_path, no_hub) -> FakeHub:
    """A hub whose repositories are all one folder."""
    fake = FakeHub(tmp_path / "hub", tmp_path / "downloads")
    monkeypatch.setattr("urllib.request.urlopen", lambda *_, **__: io.BytesIO())
    monkeypatch.setattr("huggingface_hub.HfApi", lambda endpoint: fake)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", fake.download)
    return fake

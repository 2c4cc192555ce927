import pytest

from headstart.features.inference import Extractor


@pytest.fixture
def calls_of_16_images(monkeypatch):
    """Features are computed, and kept, 16 images at a time with any number of threads."""
    size = property(lambda _: 16, lambda _, size: None)
    monkeypatch.setattr(Extractor, "batch_size", size, raising=False)

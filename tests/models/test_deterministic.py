"""A network that is random in evaluation is refused, and what is random is named."""

import itertools

import pytest
import torch
from torch import nn
from torch.nn import functional

from headstart import models
from headstart.models.model_source import Head
from headstart.models.proof import prove
from networks import load, seeded
from refusals import refused

SEEDS = itertools.count(1000)


class Dropped(nn.Module):
    """Dropout that nobody switches off."""

    def forward(self, x):
        return functional.dropout(x, 0.5, training=True)


class Masked(nn.Module):
    def forward(self, x):
        return x * (torch.rand(x.shape) > 0.75)


class Sampled(nn.Module):
    def forward(self, x):
        return x + torch.randn_like(x)


class Shuffled(nn.Module):
    """The sum stays the same, the places do not."""

    def forward(self, x):
        return x[:, torch.randperm(x.shape[1])]


class Scaled(nn.Module):
    """Nothing random: only training would count."""

    def __init__(self):
        super().__init__()
        self.dropout = nn.Dropout(0.5)

    def forward(self, x):
        return self.dropout(x) + x


class Rounded(nn.Module):
    """Differs as sums in another order do."""

    def __init__(self):
        super().__init__()
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        return x * (1 + 1e-7 * self.calls)


def network_of(part):
    with seeded():
        layers = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 8), part, nn.Linear(8, 3))
    return layers, Head.at("3"), ()


@pytest.fixture
def model():
    """One that no other test has proven."""
    found = models.find(f"timm:resnet18?weights=random&size=16&seed={next(SEEDS)}")
    return found.model_copy(update={"name": "theirs"})


@pytest.mark.parametrize("part", [Dropped, Masked, Sampled, Shuffled])
def test_what_is_random_is_named(part, model):
    with refused("model.random", part=f"2 ({part.__name__})") as error:
        prove(*network_of(part()), model)
    assert error.value.values["difference"] > 0


@pytest.mark.parametrize("part", [Scaled, Rounded, nn.Identity, lambda: batch_norm()])
def test_rounding_and_what_is_switched_off_pass(part, model):
    prove(*network_of(part()), model)


def test_the_generator_of_the_caller_is_left_alone(model):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    prove(*network_of(nn.Identity()), model)
    assert torch.equal(torch.rand(3), expected)


def test_a_network_is_run_once_per_process(model):
    counted = Rounded()
    prove(*network_of(counted), model)
    # As it was built, its features of two images, and of the first beside itself.
    assert counted.calls == 3
    prove(*network_of(counted), model)
    assert counted.calls == 3


class OfBatch(nn.Module):
    """A part that compares an image with the others of its batch."""

    def forward(self, x):
        return x - x.mean(0)


def batch_norm(**options):
    return nn.BatchNorm1d(8, **options).eval()


@pytest.mark.parametrize(("part", "parts"), [
    (OfBatch(), []),
    (batch_norm(track_running_stats=False), ["2"]),
])  # fmt: skip
def test_features_that_depend_on_the_batch_are_refused(part, parts, model):
    with refused("model.batch", parts=parts):
        prove(*network_of(part), model)


def test_a_network_that_works_on_its_images_in_place_is_not_random(model):
    class InPlace(nn.Flatten):
        def forward(self, images):
            return super().forward(images.sub_(0.5).div_(0.2))

    with torch.random.fork_rng(devices=[]):
        layers = nn.Sequential(InPlace(), nn.Linear(3 * 16 * 16, 8), nn.Linear(8, 3))
    prove(layers, Head.at("2"), (), model)


def test_a_network_that_fails_says_the_size(model):
    with refused("model.forward", size=20):
        prove(*network_of(nn.Identity()), model.model_copy(update={"input_size": 20}))


NOISY = """
import torch
from torch import nn

class Noisy(nn.Module):
    def forward(self, x):
        return x + torch.rand_like(x)

def build():
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 8), Noisy(), nn.Linear(8, 3))
"""


def test_a_function_of_a_users_own(own_cache, tmp_path):
    (tmp_path / "net.py").write_text(NOISY)
    with refused("model.random") as error:
        load(f"{tmp_path / 'net.py'}:build?size=16")
    assert "Noisy" in error.value.values["part"]


def test_masked_autoencoders_see_all_patches(own_cache, tmp_path):
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
             "intermediate_size": 32, "image_size": 32, "patch_size": 8}  # fmt: skip
    decoder = {"decoder_hidden_size": 16, "decoder_num_hidden_layers": 1,
               "decoder_num_attention_heads": 2, "decoder_intermediate_size": 16}  # fmt: skip
    with seeded():
        config = transformers.ViTMAEConfig(**sizes, **decoder)
        transformers.ViTMAEForPreTraining(config).save_pretrained(tmp_path)
    model = models.find(f"hf:{tmp_path}")
    assert "mask_ratio 0.75" in model.tags["switched_off"]
    assert any("mask_ratio 0.75" in line for line in models.remarks(model))
    network = models.load(model)
    whole = transformers.ViTMAEModel.from_pretrained(tmp_path, mask_ratio=0.0).eval()
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        once, twice = network.penultimate(images), network.penultimate(images)
        expected = whole(images).last_hidden_state
    assert torch.equal(once, twice)
    torch.testing.assert_close(once, expected[:, 0])
    mean = models.load(models.find(f"hf:{tmp_path}?pool=mean"))
    with torch.inference_mode():
        torch.testing.assert_close(mean.penultimate(images), expected[:, 1:].mean(1))

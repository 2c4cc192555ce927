"""Which layer classifies, what the feature is, and that it is the same each time: by running it."""

import itertools
import warnings

import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional
from torch.testing import assert_close

from headstart import models
from headstart.models.model_source import Head
from headstart.models.proof import prove
from networks import load, seeded
from refusals import refused

NETWORKS = """
import timm
import torchvision
from torch import nn


def backbone():
    network = torchvision.models.resnet18()
    network.fc = nn.Identity()
    return network


def no_classes_conv_head():  # its last layer with weights is a 1x1 convolution
    return timm.create_model("mobilenetv3_small_050", num_classes=0)


def no_classes_linear_inside():  # squeeze and excitation
    return timm.create_model("seresnet18", num_classes=0)


def no_classes_transformer():
    return timm.create_model("vit_tiny_patch16_224", num_classes=0, img_size=32)


def maps():
    return nn.Conv2d(3, 8, 3, padding=1)


class Ends(nn.Module):  # a body of layers, and what is done with what the classifier gives
    def __init__(self, end):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 8, 4, 4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
        )
        self.head, self.end = nn.Linear(8, 5), end

    def forward(self, images):
        return self.end(self.head(self.layers(images)))


def softmax():
    return Ends(nn.Softmax(1))


def log_softmax():
    return Ends(nn.LogSoftmax(1))


def in_place():
    return Ends(nn.ReLU(inplace=True))


def answers_twice():
    class Two(Ends):
        def forward(self, images):
            features = self.layers(images)
            return self.head(features), features

    return Two(None)


class Unused(Ends):
    def __init__(self):
        super().__init__(nn.Identity())
        self.projection = nn.Linear(8, 4)


def unused_last():
    return Unused()


class TwoHeads(Ends):
    def __init__(self):
        super().__init__(nn.Identity())
        self.other = nn.Linear(8, 3)

    def forward(self, images):
        import torch

        features = self.layers(images)
        return torch.cat([self.head(features), self.other(features)], 1)


def two_heads():
    return TwoHeads()


class MeanOfHeads(TwoHeads):  # as distilled transformers have it
    def __init__(self, weight=0.5):
        super().__init__()
        self.other, self.weight = nn.Linear(8, 5), weight

    def forward(self, images):
        features = self.layers(images)
        return (self.head(features) + self.other(features.square())) * self.weight


def mean_of_heads():
    return MeanOfHeads()


def residual():  # a sum, no mean: a backbone
    return MeanOfHeads(1)


def pyramid():
    return timm.create_model("resnet10t", features_only=True)


def temperature():
    return Ends(lambda logits: logits / 0.07)


def lengths_of_one():  # an embedding: no multiple of what its last layer gives
    return Ends(lambda values: nn.functional.normalize(values, dim=1))


def called_logits():
    return Ends(lambda logits: {"logits": logits, "hidden": None})


def mean_of_tokens():
    network = Ends(lambda logits: logits.mean((1, 2)))
    network.layers = Last(network.layers[0])
    return network


class Last(nn.Module):  # channels last, as of ConvNeXt and Swin
    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, images):
        return self.layer(images).permute(0, 2, 3, 1)


def in_parallel():
    return nn.DataParallel(called_logits())


def compiled():
    import torch

    return torch.compile(called_logits())


def as_script(*layers):
    import warnings

    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.jit.script(nn.Sequential(nn.Conv2d(3, 8, 4, 4), *layers))


def scripted():
    return as_script(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5))


def scripted_backbone():
    return as_script(nn.BatchNorm2d(8), nn.AdaptiveAvgPool2d(1), nn.Flatten())


def tokens():
    return nn.Sequential(nn.Conv2d(3, 8, 4), nn.Flatten(2))


def named():
    class Named(nn.Module):
        def forward(self, images):
            return {"features": images}

    return Named()


def fixed_size():
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 4))
"""
SIZE = 32


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    file = tmp_path_factory.mktemp("networks") / "networks.py"
    file.write_text(NETWORKS)
    return file


def built(name: str) -> nn.Module:
    """The network as the function gives it, with the same random weights."""
    namespace = {}
    exec(NETWORKS, namespace)
    with seeded():
        return namespace[name]().eval()


def images(size: int = SIZE) -> torch.Tensor:
    return torch.randn(3, 3, size, size, generator=torch.Generator().manual_seed(1))


def whole(network, x):
    return network(x)


def layers(network, x):
    return network.layers(x)


@pytest.mark.parametrize(("function", "feature"), [
    ("backbone", whole), ("no_classes_conv_head", whole), ("no_classes_linear_inside", whole),
    ("no_classes_transformer", whole), ("scripted_backbone", whole), ("lengths_of_one", whole),
    ("softmax", layers), ("log_softmax", layers), ("in_place", layers), ("answers_twice", layers),
    ("unused_last", layers), ("temperature", layers), ("called_logits", layers),
    ("two_heads?head=head", layers), ("two_heads?head=other", layers),
    ("mean_of_heads?head=head", layers), ("residual", whole),
    ("maps", lambda network, x: network(x).mean((2, 3))),
    ("mean_of_tokens", lambda network, x: network.layers(x).mean((1, 2))),
    ("in_parallel", lambda network, x: network.module.layers(x)),
    ("compiled", lambda network, x: network._orig_mod.layers(x)),
])  # fmt: skip
def test_the_feature_is_the_classifiers_input_or_a_backbones_output(file, function, feature):
    mark = "&" if "?" in function else "?"
    model = models.find(f"{file}:{function}{mark}size={SIZE}")
    network = models.load(model)
    with torch.no_grad():
        expected = feature(built(function.partition("?")[0]), images())
        assert_close(network.penultimate(images()), expected)
    assert model.feature_dim == network.feature_dim == expected.shape[1]
    # A fresh classifier on it, as fine-tuning puts there, and its gradient.
    network.with_head(2, seed=0)(images()).sum().backward()


def test_only_a_classifier_that_gives_the_output_counts_as_trained(file):
    names = ("unused_last", "backbone", "softmax", "two_heads?head=head")
    networks = [load(f"{file}:{n}{'&' if '?' in n else '?'}size={SIZE}")
                for n in names]  # fmt: skip
    assert [network.trained_classifier for network in networks] == [True, False, False, False]


@pytest.mark.parametrize(("name", "code", "values"), [
    (f"two_heads?size={SIZE}", "model.several_heads", {"heads": ["head", "other"]}),
    (f"mean_of_heads?size={SIZE}", "model.several_heads", {"heads": ["head", "other"]}),
    (f"pyramid?size={SIZE}", "model.answer",
     {"found": "5 maps of 16 x 16, 8 x 8, 4 x 4, 2 x 2, 1 x 1 places"}),
    (f"tokens?size={SIZE}", "model.answer", {"found": "shape (2, 8, 841)"}),
    (f"named?size={SIZE}", "model.answer", {"found": "dict"}),
    (f"scripted?size={SIZE}", "model.scripted", {}),
    (f"fixed_size?size={SIZE}", "model.forward", {"size": SIZE}),
    ("no_classes_transformer", "model.forward", {"size": 224}),
])  # fmt: skip
def test_outputs_that_are_no_features_are_refused(file, name, code, values):
    with refused(code) as error:
        models.find(f"{file}:{name}")
    assert error.value.values.items() >= values.items()


@pytest.mark.parametrize(("name", "values"), [
    ("backbone", 512), ("lengths_of_one", 5), ("temperature", None),
])  # fmt: skip
def test_a_backbone_is_said_to_be_one(file, name, values):
    notes = []
    load(f"{file}:{name}?size={SIZE}&name={name}, once", note=notes.append)
    assert [f"({values} values)" in note for note in notes] == ([True] if values else [])


def test_weights_of_a_backbone_alone(file, tmp_path):
    torch.save(built("backbone").state_dict(), tmp_path / "w.pth")
    network = load(f"{file}:backbone?size={SIZE}&weights={tmp_path / 'w.pth'}")
    with torch.no_grad():
        assert_close(network.penultimate(images()), built("backbone")(images()))


def test_a_library_whose_classifier_is_elsewhere_is_found_out(monkeypatch):
    from headstart.models.sources.timm_networks import Timm

    # A layer inside, with as many inputs as the real classifier has; then one of tokens.
    for name, path, code in (
        ("timm:seresnet18?weights=random", "layer4.1.se.fc1", "model.head"),
        ("timm:vit_tiny_patch16_224?weights=random", "blocks.11.mlp.fc1", "model.answer"),
    ):
        model = models.find(name)
        with monkeypatch.context() as patch:
            patch.setattr(Timm, "head", lambda *_, path=path: Head.at(path))
            with refused(code, head=path):
                models.load(model)


@pytest.mark.parametrize(("name", "size", "small", "resampled"), [
    ("timm:vit_tiny_patch16_224", 96, {"depth": 1, "embed_dim": 24}, "pos_embed"),
    ("timm:swin_tiny_patch4_window7_224", 192, {"depths": (1, 1, 1, 1), "embed_dim": 12},
     "relative_position"),
])  # fmt: skip
def test_transformers_of_timm_for_images_of_another_size(
    name, size, small, resampled, tmp_path, own_cache, monkeypatch
):
    """As the library builds its own, but for fewer and narrower layers."""
    architecture, whole = name.partition(":")[2], timm.create_model
    monkeypatch.setattr(
        timm, "create_model", lambda *a, **options: whole(*a, **{**options, **small})
    )
    built = timm.create_model
    with seeded(3):
        published = built(architecture).state_dict()
        ours = built(architecture, img_size=size).eval()
    save_file(published, tmp_path / "w.safetensors")
    module = __import__(type(ours).__module__, fromlist=["checkpoint_filter_fn"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # timm's own, of speed
        ours.load_state_dict(module.checkpoint_filter_fn(dict(published), ours))
    model = models.find(f"{name}?weights={tmp_path / 'w.safetensors'}&size={size}")
    assert model.input_size == size
    assert resampled in model.tags["resampled"]
    with torch.no_grad():
        assert_close(models.load(model)(images(size)), ours(images(size)))
    # As many parameters as the library counts, less the classifier's.
    n = sum(p.numel() for p in ours.parameters()) - sum(
        p.numel() for p in ours.get_classifier().parameters()
    )
    assert model.parameters == n
    assert "resampled" not in models.find(name).tags


def test_a_transformer_of_torchvision_for_images_of_another_size(tmp_path, own_cache, monkeypatch):
    """As the library builds its own, but for one narrow layer."""
    from torchvision.models import vision_transformer

    small = {"num_layers": 1, "num_heads": 2, "hidden_dim": 16, "mlp_dim": 16}
    whole = vision_transformer._vision_transformer
    monkeypatch.setattr(
        vision_transformer, "_vision_transformer", lambda **options: whole(**{**options, **small})
    )
    interpolate_embeddings = vision_transformer.interpolate_embeddings
    with seeded(3):
        published = torchvision.models.vit_b_32()
        nn.init.normal_(published.heads.head.weight)
        state = published.state_dict()
        ours = torchvision.models.vit_b_32(image_size=96).eval()
    ours.load_state_dict(interpolate_embeddings(96, 32, dict(state)))
    save_file(state, tmp_path / "w.safetensors")
    model = models.find(f"torchvision:vit_b_32?weights={tmp_path / 'w.safetensors'}&size=96")
    assert "pos_embedding" in model.tags["resampled"]
    with torch.no_grad():
        assert_close(models.load(model)(images(96)), ours(images(96)))


def test_names_and_families_of_ones_own(tmp_path):
    named = models.find("efficientnet_lite0?name=ours&family=lite&size=64")
    assert (named.name, named.tags["family"]) == ("ours", "lite")
    plain = models.find("efficientnet_lite0?size=64")
    # A name changes no number.
    assert named.identity == plain.identity
    assert models.find("efficientnet_lite0?size=64&family=lite").name == plain.name
    (tmp_path / "run7").mkdir()
    for file in ("run7/best.pth", "run7/ours.pth"):
        torch.save(torchvision.models.resnet18().state_dict(), tmp_path / file)
    checkpoint = f"checkpoint:{tmp_path}/run7/{{}}?arch=torchvision:resnet18"
    ours = checkpoint.format("ours.pth")
    found = [ours, checkpoint.format("best.pth"), f"{ours}&size=64", f"{ours}&name=x"]
    names = [models.find(name).name for name in found]
    assert names == ["ours", "run7/best", "ours?size=64", "x"]


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

    with seeded():
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

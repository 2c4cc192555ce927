"""`headstart upstream`: top-1 accuracy on the upstream task, measured here."""

import json

import numpy as np
import pytest
from PIL import Image

import headstart as hs
from headstart import models
from headstart.datasets.naming import output_order
from headstart.errors import DatasetError
from headstart.features.preprocess import imagenet_crop
from headstart.upstream import compared, read_validation
from refusals import ended

# Tells a red image from a green and a blue one, and has nothing to learn.
NET = """
import torch
from torch import nn


def colours():
    network = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 3))
    network[2].weight.data = torch.eye(3)
    network[2].bias.data.zero_()
    return network


def nothing():
    network = colours()
    network[2].bias.data[:] = float("nan")
    return network
"""
CLASSES = ("n01", "n02", "n03")


@pytest.fixture
def colours(tmp_path, own_cache):
    (tmp_path / "net.py").write_text(NET)
    return f"{tmp_path / 'net.py'}:colours?size=16&mean=0,0,0&std=1,1,1"


@pytest.fixture
def imagenet(tmp_path):
    """Four images a class; one of them lies in the wrong class."""
    folder = tmp_path / "imagenet"
    for label, name in enumerate(CLASSES):
        (folder / name).mkdir(parents=True)
        for i in range(4):
            pixels = np.zeros((20, 30, 3), np.uint8)
            pixels[..., label if (label, i) != (0, 0) else 2] = 200
            Image.fromarray(pixels).save(folder / name / f"{i}.png")
    return folder


def test_top_1_is_measured_kept_and_put_first(cli, colours, imagenet, own_cache):
    outcome = cli("upstream", "--imagenet", imagenet, "--models", colours)
    assert outcome.code == 0, outcome.err
    header, row = outcome.out.strip().splitlines()[-2:]
    assert header.split()[:3] == ["model", "top-1", "%"]
    assert row.split()[-5:] == ["91.67", "64.6", "to", "98.5", "12"]
    (kept,) = json.loads((own_cache / "models" / "upstream.json").read_text()).values()
    assert kept == {"value": 11 / 12, "n": 12, "model": colours}
    model = models.find(colours)
    assert model.upstream_accuracy == 11 / 12
    assert model.upstream[0].source == "measured by headstart upstream on 12 images"
    # Another input is another network; what the user says counts more.
    assert models.find(colours.replace("size=16", "size=32")).upstream == ()
    assert models.find(f"{colours}&upstream=0.5").upstream_accuracy == 0.5


def test_the_analysis_uses_it(cli, colours, imagenet, tmp_path):
    cli("upstream", "--imagenet", imagenet, "--models", colours)
    run = ("run", "--models", colours, "--datasets", "digits", "--limit", 60)
    assert cli(*run, "--store", tmp_path / "r.db").code == 0
    assert hs.results(tmp_path / "r.db")["upstream_accuracy"].tolist() == [11 / 12]


def test_a_limit_draws_the_same_images_again(cli, colours, imagenet):
    arguments = ("upstream", "--imagenet", imagenet, "--models", colours, "--limit", 11)
    first, second = (cli(*arguments).out.splitlines()[-1] for _ in range(2))
    assert first.split()[-1] == "11"
    assert second.split()[1:4] == first.split()[1:4]


def test_all_right_is_shown_and_not_kept(cli, colours, imagenet, own_cache):
    (imagenet / "n01" / "0.png").unlink()
    outcome = cli("upstream", "--imagenet", imagenet, "--models", colours)
    assert "100.00" in outcome.out
    assert f"not kept: {colours}: none or all of the images right" in outcome.out
    assert models.find(colours).upstream == ()


@pytest.fixture
def numbered(tmp_path, colours):
    """Twelve classes by the brightness of red: the network's outputs are in their order."""
    (tmp_path / "net.py").write_text(
        NET
        + """

def levels():
    network = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 12))
    level = torch.arange(12) / 12
    network[2].weight.data = 20 * level[:, None] * torch.tensor([[1.0, 0, 0]])
    network[2].bias.data = -10 * level**2
    return network
"""
    )

    def write(folder, name):
        for label in range(12):
            (tmp_path / folder / name(label)).mkdir(parents=True)
            for i in range(5):
                pixels = np.zeros((20, 20, 3), np.uint8)
                pixels[..., 0], pixels[..., 1] = round(255 * label / 12), i
                Image.fromarray(pixels).save(tmp_path / folder / name(label) / f"{i}.png")
        # One in the wrong class: an accuracy of 100 % has no odds and is not kept.
        (tmp_path / folder / name(3) / "0.png").rename(tmp_path / folder / name(4) / "x.png")
        return tmp_path / folder

    return write


@pytest.mark.parametrize("name", [str, "{:03d}".format, "class_{}".format, "n{:08d}".format])
def test_numbered_folders_are_in_the_order_of_numbers(cli, colours, numbered, name):
    folder, model = numbered("photos", name), colours.replace("colours", "levels")
    outcome = cli("upstream", "--imagenet", folder, "--models", model)
    assert outcome.code == 0, outcome.err
    assert models.find(model).upstream_accuracy == 59 / 60


def test_folders_without_an_order_need_one(cli, colours, numbered, tmp_path):
    names = [chr(ord("a") + (5 * label) % 12) for label in range(12)]
    folder, model = numbered("photos", names.__getitem__), colours.replace("colours", "levels")
    arguments = ("upstream", "--imagenet", folder, "--models", model)
    ended(cli(*arguments), "dataset.class_order")
    # In another order it is measured, not kept, and said.
    (tmp_path / "sorted.txt").write_text("\n".join(sorted(names)))
    outcome = cli(*arguments, "--classes", tmp_path / "sorted.txt")
    assert models.find(model).upstream == ()
    assert "98.33 % with the classes in another order" in outcome.out
    # A network that was trained here has its order with it.
    assert read_validation(folder, known=tuple(names))[0] == tuple(names)
    (tmp_path / "order.txt").write_text("\n".join(names) + "\n")
    cli(*arguments, "--classes", tmp_path / "order.txt")
    assert models.find(model).upstream_accuracy == 59 / 60


@pytest.mark.parametrize("change", [
    lambda names: names[1:], lambda names: [*names, "more"], lambda names: [names[1], *names[1:]],
    lambda names: [*names, names[0]],
])  # fmt: skip
def test_an_order_names_each_folder_once(numbered, tmp_path, change):
    folder = numbered("photos", str)
    (tmp_path / "order.txt").write_text("\n".join(change([str(n) for n in range(12)])))
    with pytest.raises(DatasetError) as error:
        read_validation(folder, order=tmp_path / "order.txt")
    assert error.value.code == "dataset.class_order"


def test_what_is_near_chance_is_not_kept():
    """Against the closed forms: the diagonal, and the best assignment of a permuted one."""
    random = np.random.RandomState(0)
    labels = np.repeat(np.arange(10), 30)
    guessed = compared(labels, random.randint(0, 10, 300), 10)
    assert guessed.matched is None
    assert "chance 10.00 %" in guessed.doubt
    order = np.array([0, 1, *np.roll(np.arange(2, 10), 1)])
    other = compared(labels, order[labels], 10)
    assert (other.value, other.matched) == (0.2, 1.0)
    assert other.doubt
    # Weak is not wrong: errors all over, or a sound half.
    weak = np.where(random.rand(300) < 0.3, labels, random.randint(0, 10, 300))
    assert compared(labels, weak, 10).doubt == ""
    assert compared(labels[::30], labels[::30], 10).doubt


def test_what_was_measured_before_a_failure_is_kept(cli, colours, imagenet, tmp_path):
    bad = colours.replace("colours", "nothing")
    outcome = cli("upstream", "--imagenet", imagenet, "--models", f"{colours},{bad}")
    ended(outcome, "features.not_finite", model=bad)
    assert "91.67" in outcome.out
    assert models.find(colours).upstream_accuracy == 11 / 12


@pytest.mark.parametrize(("change", "code", "values"), [
    ({"--models": "efficientnet_lite0"}, "dataset.classes_differ", {"found": 3, "expected": 1000}),
    ({"--models": "timm:resnet18?weights=random"}, "model.untrained", {}),
    ({"--limit": "0"}, "upstream.limit_invalid", {"limit": 0}),
])  # fmt: skip
def test_bad_input_is_one_line(cli, colours, imagenet, change, code, values):
    given = {"--imagenet": imagenet, "--models": colours, **change}
    ended(cli("upstream", *(part for pair in given.items() for part in pair)), code, **values)


def test_folders_without_images_and_broken_images(cli, colours, imagenet, tmp_path):
    (tmp_path / "empty").mkdir()
    outcome = cli("upstream", "--imagenet", tmp_path / "empty", "--models", colours)
    ended(outcome, "dataset.empty", folder=str(tmp_path / "empty"))
    (imagenet / "n02" / "0.png").write_bytes(b"no image")
    outcome = cli("upstream", "--imagenet", imagenet, "--models", colours)
    ended(outcome, "image.broken", where=f"{imagenet}/n02/0.png")


def test_weights_without_a_classifier(cli, colours, imagenet, tmp_path):
    import timm
    import torch

    body = timm.create_model("resnet18", num_classes=0).state_dict()
    torch.save(body, tmp_path / "w.pth")
    name = f"checkpoint:{tmp_path / 'w.pth'}?arch=timm:resnet18"
    outcome = cli("upstream", "--imagenet", imagenet, "--models", name)
    ended(outcome, "model.classifier_untrained", model="w")


def test_a_damaged_file_of_accuracies(cli, colours, own_cache):
    (own_cache / "models").mkdir(parents=True)
    (own_cache / "models" / "upstream.json").write_text("{")
    ended(cli("models", "show", colours), "upstream.damaged")


@pytest.mark.parametrize("shape", [(40, 40), (40, 60), (61, 47), (500, 333), (224, 224)])
@pytest.mark.parametrize("size", [32, 224])
def test_the_crop_is_torchvisions(shape, size):
    from torchvision import transforms

    pixels = np.random.RandomState(0).randint(0, 256, (*shape, 3), np.uint8)
    image = Image.fromarray(pixels)
    theirs = transforms.Compose([
        transforms.Resize(int(size / 0.875), transforms.InterpolationMode.BICUBIC),
        transforms.CenterCrop(size),
    ])  # fmt: skip
    assert np.array_equal(imagenet_crop(image, size, "bicubic"), theirs(image))


@pytest.mark.parametrize("names", [
    ("-1", "0", "1"), ("c-1", "c-2", "c-10"), ("class_0", "class_2", "class_10"), ("9", "10"),
    ("n01440764", "n01443537", "n15075141"),
])  # fmt: skip
def test_classes_in_the_order_of_the_numbers_in_their_names(names):
    """A sign between a word and a number is no minus."""
    assert output_order(reversed(names), "photos") == names

"""Mangled configurations of repositories: one line of ours, and never much memory or time."""

import contextlib
import json
import random
import resource
import warnings
from copy import deepcopy

import pytest

from headstart import models
from headstart.errors import HeadstartError
from networks import VIT, seeded

transformers = pytest.importorskip("transformers")

SEED, ROUNDS = 7, 25
# Values that stand where another kind of value should.
STRANGE = (
    None, True, False, 0, 1, -1, 3, 2**31, 10**12, 10**30, 0.5, -0.5, 1e300, "", "224", "gelu", "é",
    "\x00", "../..", [], [0], [1, 2], [[[[]]]], ["a"] * 50, {}, {"a": {"b": [1]}},
    {"height": 32}, {"height": 32, "width": -1},
)  # fmt: skip
KINDS = {
    "ViTForImageClassification": ("ViTConfig", VIT),
    "ViTModel": ("ViTConfig", VIT),
    "CLIPModel": ("CLIPConfig", {"vision_config": VIT, "text_config": {
        **VIT, "vocab_size": 32, "max_position_embeddings": 8}, "projection_dim": 8}),
    "ConvNextForImageClassification": ("ConvNextConfig", {
        "hidden_sizes": [8, 8, 8, 8], "depths": [1, 1, 1, 1]}),
}  # fmt: skip
PREPARED = {
    "crop_size": {"height": 32, "width": 32}, "do_center_crop": True, "do_convert_rgb": True,
    "do_normalize": True, "do_rescale": True, "do_resize": True, "do_flip_channel_order": False,
    "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5],
    "image_processor_type": "CLIPImageProcessor", "resample": 3, "rescale_factor": 1 / 255,
    "size": {"shortest_edge": 32},
}  # fmt: skip
TIMM = {
    "architecture": "resnet10t", "num_classes": 3, "num_features": 512, "global_pool": "avg",
    "model_args": {"in_chans": 3},
    "pretrained_cfg": {"input_size": [3, 32, 32], "interpolation": "bicubic", "crop_pct": 0.9,
                       "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "num_classes": 3},
}  # fmt: skip


def repository(folder, kind):
    """Save a repository as its library does: its configuration, and its weights."""
    if kind == "timm":
        (folder / "config.json").write_text(json.dumps(TIMM))
        return
    name, fields = KINDS[kind]
    with warnings.catch_warnings(), seeded():
        warnings.simplefilter("ignore")
        network = getattr(transformers, kind)(getattr(transformers, name)(**fields))
        network.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(PREPARED))


def places(value, path=()):
    """List all paths of a JSON value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value)
    for name, below in inner:
        yield (*path, name)
        if isinstance(below, dict | list):
            yield from places(below, (*path, name))


def mangled(value, draw):
    """Change a JSON value in one to three places: lost, of another type, huge; or its text."""
    copy = json.loads(json.dumps(value))
    for _ in range(draw.randint(1, 3)):
        path = draw.choice(list(places(copy)) or [()])
        if not path:
            return deepcopy(draw.choice(STRANGE))
        inside = copy
        for name in path[:-1]:
            inside = inside[name]
        if draw.random() < 0.25 and isinstance(inside, dict):
            del inside[path[-1]]
        else:
            inside[path[-1]] = deepcopy(draw.choice(STRANGE))
    return copy


def text_of(value, draw):
    text = json.dumps(value).encode()
    if draw.random() < 0.15:
        cut = draw.randrange(len(text) + 1)
        return text[:cut] + draw.choice((b"", b"\x00\xff", b"NaN", b"}")) + text[cut + 1 :]
    return text


@contextlib.contextmanager
def bounded():
    """Fail rather than take much memory: 4 GB more than now."""
    with open("/proc/self/statm") as file:
        now = int(file.read().split()[0]) * resource.getpagesize()
    limits = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (now + 4 * 2**30, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)


@pytest.mark.parametrize("kind", [*KINDS, "timm"])
def test_only_our_own_errors_come_of_mangled_files(kind, own_cache, tmp_path, capfd):
    repository(tmp_path, kind)
    files = [tmp_path / "config.json", tmp_path / "preprocessor_config.json"]
    originals = {file: json.loads(file.read_text()) for file in files if file.exists()}
    draw = random.Random(f"{SEED} {kind}")
    refused, messages = 0, []
    capfd.readouterr()
    for _ in range(ROUNDS):
        file = draw.choice(list(originals))
        content = text_of(mangled(originals[file], draw), draw)
        file.write_bytes(content)
        try:
            with bounded():
                model = models.find(f"hf:{tmp_path}")
                if model.weights.sha256:
                    models.load(model)
        except HeadstartError as error:
            refused += 1
            messages.append(str(error))
        except Exception as error:
            raise AssertionError(f"{file.name}: {content!r}") from error
        file.write_text(json.dumps(originals[file]))
    assert not [message for message in messages if "\n" in message]
    # Neither all of it, nor nothing, was understood; and the libraries said nothing.
    assert 0 < refused < ROUNDS
    assert capfd.readouterr() == ("", "")

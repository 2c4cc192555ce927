"""Texts beside an exported network: its card with numbers, an example that runs, timm's file."""

from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

from headstart.deploy.final_network import FinalNetwork, validation_score
from headstart.deploy.runners import Comparison
from headstart.models import choice_text, licence_of
from headstart.models.saved_networks import card_front_matter
from headstart.shown_text import markdown
from headstart.spec import Model, Result, Trial
from headstart.spec.formatting import count, first_few
from headstart.stats import wilson_interval

__all__ = ["example", "model_card", "packages", "timm_config", "weights_licence"]

SHOWN_CLASSES = 100
# What runs an exported folder, beside NumPy and Pillow.
PACKAGES = {
    "onnx": ("torch", "onnx", "onnxruntime", "onnxscript"),
    "torch": ("torch",),
    "timm": ("torch", "timm"),
}
# As the Hugging Face hub names what loads a folder.
LIBRARIES = {"onnx": "onnx", "torch": "pytorch", "timm": "timm"}
# timm's names of how a part of an image is resized: (crop_pct, crop_mode).
CROPS = {
    "whole": (1.0, "squash"),
    "full": (1.0, "squash"),
    "central": (0.875, "squash"),
    "center-crop": (1.0, "center"),
}
POOLING = {"token": "token", "mean": "avg"}
NEEDS = {
    "onnx": "onnxruntime, NumPy and Pillow",
    "torch": "torch, NumPy and Pillow",
    "timm": "timm, torch and Pillow",
}


def packages(form: str) -> dict[str, str]:
    """Return the versions of the packages that wrote and checked this form."""
    return {name: version(name) for name in PACKAGES[form]}


def model_card(
    result: Result,
    final: FinalNetwork,
    form: str,
    measured: Sequence[Comparison],
    chosen_by: str,
) -> str:
    """Return the text of ``README.md``: how to run it, numbers, data, choices, licence."""
    trial, dataset = result.trial, result.trial.dataset
    name = f"{trial.model.name} {trial.setting.name} {dataset.name}"
    classes = [markdown(one) for one in final.classes]
    several = " Each probability is a class's own (sigmoid)." if final.several else ""
    measured_by = result.provenance.get("versions", {})
    exported_by = {"headstart": version("headstart"), **packages(form)}

    def listed(versions: dict[str, str]) -> str:
        return ", ".join(f"{package} {number}" for package, number in versions.items())

    sections = {
        "Use": [
            f"`python example.py IMAGE` classifies an image; it needs {NEEDS[form]}, and nothing "
            f"of headstart.{several}",
            "With headstart: `headstart predict FOLDER IMAGE...`, or "
            "`headstart.load(FOLDER)(images)`.",
        ],
        "Numbers": _numbers(result, measured),
        "Data": _data(result),
        "How it was chosen": _choice(result, final, chosen_by),
        "Input": [f"{final.preprocessing.text[:1].upper()}{final.preprocessing.text[1:]}."],
        "Classes": [
            f"{len(classes):,} (`classes.json`, in the order of the outputs): "
            f"{first_few(classes, SHOWN_CLASSES)}."
        ],
        "Licence": _licence(trial),
        "Versions": [f"Measured with {listed(measured_by)}. Exported with {listed(exported_by)}."],
    }
    body = "\n\n".join(f"## {title}\n\n" + "\n".join(lines) for title, lines in sections.items())
    front = card_front_matter(result, name, weights_licence(trial), LIBRARIES[form])
    return f"{front}\n\n# {markdown(name)}\n\n{body}\n"


def _numbers(result: Result, measured: Sequence[Comparison]) -> list[str]:
    metric = result.trial.dataset.metric
    accuracy, n = result.metrics[metric], result.n_test
    interval = ""
    if metric == "top-1":
        found = wilson_interval(accuracy, n)
        interval = f" (95 % interval {100 * found.low:.2f} to {100 * found.high:.2f} %)"
    beside = ""
    if (loss := result.metrics.get("log-loss")) is not None:
        beside += f"; log loss {loss:.4f} nats"
    if (error := result.metrics.get("calibration-error")) is not None:
        beside += f"{',' if beside else ';'} expected calibration error {100 * error:.2f} %"
    return [
        f"{metric} {100 * accuracy:.2f} %{interval} on {n:,} test images, measured once{beside}.",
        "",
        "On the same images, beside the probabilities that were stored with the result:",
        "",
        f"| run by | {metric} | 95 % interval | other predictions | largest difference | "
        "ms per image (95th percentile) | MB |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        *(_row(one) for one in measured),
        "",
        "Milliseconds are of one image on the CPU of the machine that exported, preprocessing "
        "included.",
    ]


def _row(one: Comparison) -> str:
    interval = times = "-"
    if one.low is not None and one.high is not None:
        interval = f"{100 * one.low:.2f} to {100 * one.high:.2f}"
    if one.milliseconds is not None:
        times = f"{one.milliseconds:.1f} ({one.slow_milliseconds:.1f})"
    size = f"{one.n_bytes / 1e6:.1f}" if one.n_bytes else "-"
    return (
        f"| {one.name} | {100 * one.score:.2f} | {interval} | {one.changed:,} of {one.n:,} | "
        f"{one.largest:.1e} | {times} | {size} |"
    )


def _data(result: Result) -> list[str]:
    dataset, used = result.trial.dataset, result.trial.dataset.used_sizes
    limited = f", at most {dataset.limit:,} images per split" if dataset.limit else ""
    rule = f" Splits: {markdown(dataset.split_rule.rstrip('.'))}." if dataset.split_rule else ""
    skipped = len(result.provenance.get("skipped_images", ()))
    left_out = f" Left out: {count(skipped, 'image')} that could not be decoded." if skipped else ""
    return [
        f"{markdown(dataset.name)}, revision `{dataset.revision[:16]}`: {used.train:,} training, "
        f"{used.validation:,} validation and {used.test:,} test images{limited}.{rule}{left_out}"
    ]


def _choice(result: Result, final: FinalNetwork, chosen_by: str) -> list[str]:
    trial, selection = result.trial, result.selection
    chosen = selection.chosen if selection else {}
    values = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in chosen.items())
    network = {
        "kept": "The network is the one that scored the test images.",
        "fitted again": "The classifier was fitted again to the same features with these values.",
    }[final.origin]
    return [
        *([choice_text(final.choice), ""] if final.choice else []),
        f"Result {trial.key[:12]}, {markdown(chosen_by)}. Setting `{trial.setting.name}`, protocol "
        f"{trial.setting.protocol}, seed {trial.seed}; on validation "
        f"({100 * validation_score(result):.2f} %) were chosen: {values}. {network}",
    ]


def weights_licence(trial: Trial) -> str | None:
    """Return the licence of the weights that the network began with; None if unknown or random."""
    return licence_of(trial.model) if trial.uses_weights else None


def _licence(trial: Trial) -> list[str]:
    model = trial.model
    if not trial.uses_weights:
        return [
            "The network began with random weights: no licence of published weights applies. "
            "The licence of the images may bind."
        ]
    known = weights_licence(trial)
    found = f"{known} (as timm names it)" if known else "unknown here: ask where they come from"
    return [
        f"The weights that training began with ({model.weights_name} of {model.name}): {found}. "
        "The licence of the images may bind, too."
    ]


START = """import json, sys
from pathlib import Path
import {imports}
from PIL import Image, ImageOps

if len(sys.argv) != 2:
    sys.exit(__doc__)
folder = Path(__file__).resolve().parent
classes = json.loads((folder / "classes.json").read_text(encoding="utf-8"))
"""
IMAGE = """image = ImageOps.exif_transpose(Image.open(sys.argv[1]))
if image.mode[0] in "IF":
    sys.exit(f"{sys.argv[1]}: more than 8 bits per sample: convert it to 8 bits")
image = image.convert("RGBA")
image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
"""
# Of datasets that are decoded as torchvision decodes.
PLAIN_IMAGE = 'image = Image.open(sys.argv[1]).convert("RGB")\n'
# What each form imports, and how it classifies an image.
RUNS = {
    "onnx": (
        "numpy as np, onnxruntime",
        """session = onnxruntime.InferenceSession(folder / "model.onnx", \
providers=["CPUExecutionProvider"])
probabilities = session.run(None, {"pixels": np.asarray(image)[None]})[0][0]
""",
    ),
    "torch": (
        "numpy as np, torch",
        """network = torch.export.load(folder / "model.pt2").module()
probabilities = network(torch.from_numpy(np.array(image))[None])[0].detach().numpy()
""",
    ),
    "timm": (
        "timm, torch",
        """network = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
transform = timm.data.create_transform(**timm.data.resolve_model_data_config(network))
with torch.inference_mode():
    probabilities = network(transform(image)[None])[0].ACTIVATION.numpy()
""",
    ),
}
END = """found = zip(probabilities.tolist(), classes, strict=True)
for probability, name in sorted(found, key=lambda pair: -pair[0])[:5]:
    print(f"{100 * probability:6.2f} %  {name}")
"""


def example(form: str, final: FinalNetwork) -> str:
    """Return a script of about ten lines that classifies an image with this folder alone."""
    imports, run = RUNS[form]
    start, image = START.replace("{imports}", imports), IMAGE
    if final.preprocessing.decoding.like == "torchvision":
        start, image = start.replace(", ImageOps", ""), PLAIN_IMAGE
    run = run.replace("ACTIVATION", "sigmoid()" if final.several else "softmax(0)")
    title = f"Classify an image: python example.py IMAGE (needs {NEEDS[form]})."
    return f'"""{title}"""\n\n{start}{image}{run}{END}'


def timm_config(trial: Trial, final: FinalNetwork) -> dict[str, Any]:
    """Return the content of ``config.json``, as ``timm.create_model("local-dir:...")`` reads it."""
    model, preprocessing = trial.model, final.preprocessing
    crop_pct, crop_mode = CROPS[preprocessing.view]
    size = [3, preprocessing.size, preprocessing.size]
    config: dict[str, Any] = {
        "architecture": model.architecture,
        "num_classes": len(final.classes),
        "num_features": model.feature_dim,
        "label_names": list(final.classes),
        "model_args": _timm_arguments(model),
        "pretrained_cfg": {
            "input_size": size,
            "interpolation": preprocessing.interpolation,
            "crop_pct": crop_pct,
            "crop_mode": crop_mode,
            "mean": list(preprocessing.mean),
            "std": list(preprocessing.std),
            "num_classes": len(final.classes),
            "first_conv": None,
            "classifier": None,
        },
    }
    if licence := weights_licence(trial):
        config["pretrained_cfg"]["license"] = licence
    return config


def _timm_arguments(model: Model) -> dict[str, Any]:
    """Return the arguments of its constructor that are not as usual."""
    import timm
    import torch

    found: dict[str, Any] = {"global_pool": POOLING[model.pool]} if model.pool else {}
    usual = timm.get_pretrained_cfg(model.architecture)
    if usual is None or not usual.input_size or usual.input_size[-1] == model.input_size:
        return found
    try:
        with torch.device("meta"):
            timm.create_model(model.architecture, img_size=model.input_size)
    except TypeError:
        # A convolutional network: it takes images of any size, and no such argument.
        return found
    return {**found, "img_size": model.input_size}

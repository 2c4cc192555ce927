"""A transferred network -> a folder that others can load: weights, facts, a card of numbers."""

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from headstart.files import replaced, writable_folder
from headstart.models.model_catalogue import FULL_NAME, ModelName
from headstart.models.weight_files import WEIGHTS, write_weights
from headstart.spec import Model, Result

if TYPE_CHECKING:
    from headstart.models.network import Network

__all__ = ["KEY_DIGITS", "describe", "keep", "settle"]

CONFIG, CARD = "config.json", "README.md"
# Digits of a trial's key in the name of its folder.
KEY_DIGITS = 12
# Behind the name of a folder, until the trial's result is stored.
PROVISIONAL = ".partial"
# What the Hugging Face hub calls our metrics, where it has a name.
METRIC_TYPES = {"top-1": "accuracy"}
# Options of a name that say what the network is; the others say which weights it began with.
LASTING = ("head", "pool", "size", "interpolation", "mean", "std")
SHOWN_CLASSES = 100


def keep(network: "Network", key: str, folder: Path) -> None:
    """Write the weights of a network with the classifier that a trial fitted.

    They lie in a folder whose name ends with ``.partial`` until `settle` is called, after the
    trial's result is stored; `describe` completes it before.

    Parameters
    ----------
    network
        As it scored the test images.
    key
        Of the trial.
    folder
        Where the network gets a folder of its own, the beginning of the trial's key.

    Raises
    ------
    StorageError
        It cannot be written.
    """
    place = writable_folder(_provisional(key, folder))
    write_weights(network.state_as_built(), place / WEIGHTS)


def describe(result: Result, folder: Path) -> None:
    """Write facts and numbers beside the weights of a trial's network, if it was kept.

    Each file is written whole or not at all, the card last: a folder with a card is complete.

    Raises
    ------
    StorageError
        It cannot be written.
    """
    place = _provisional(result.trial.key, folder)
    if not (place / WEIGHTS).exists():
        return
    with replaced(place / CONFIG) as temporary:
        temporary.write_text(json.dumps(_config(result), indent=1))
    with replaced(place / CARD) as temporary:
        temporary.write_text(_card(result), encoding="utf-8")


def settle(key: str, folder: Path) -> None:
    """Rename a network's folder to its final name, after the result of its trial is stored.

    Whatever moment a run ends at, a stored result has its network, under one name or the other, and
    a folder without ``.partial`` has its result.
    """
    provisional = _provisional(key, folder)
    if not (provisional / CARD).exists():
        return
    place = folder / key[:KEY_DIGITS]
    # One of the same trial in another store.
    shutil.rmtree(place, ignore_errors=True)
    provisional.rename(place)


def _provisional(key: str, folder: Path) -> Path:
    return folder / f"{key[:KEY_DIGITS]}{PROVISIONAL}"


def load_name(model: Model) -> str:
    """Return the network's name for `models.find`, with FOLDER for its folder."""
    model_name = ModelName.parse(model.tags.get(FULL_NAME, model.name))
    arch = model_name.options.get("arch", model_name.stem)
    lasting = {name: model_name.options[name] for name in LASTING if name in model_name.options}
    options = {"arch": arch, **lasting}
    query = "&".join(f"{name}={quote(value, safe='/:,@')}" for name, value in options.items())
    return f"checkpoint:FOLDER/{WEIGHTS}?{query}"


def _config(result: Result) -> dict[str, Any]:
    """Return what the network is and what input it takes, as JSON."""
    trial, model = result.trial, result.trial.model
    chosen = result.selection.chosen if result.selection else {}
    # Full or central, or how features were made.
    view = chosen.get("crop") or getattr(trial.setting, "resize", "whole")
    return {
        "load": load_name(model),
        "architecture": model.architecture,
        "source": model.source,
        "classes": list(trial.dataset.classes),
        "multilabel": trial.dataset.multilabel,
        "input": {
            "size": model.input_size,
            "interpolation": model.interpolation,
            "mean": list(model.mean),
            "std": list(model.std),
            "view": view,
        },
        "trial": trial.key,
        "chosen": chosen,
    }


def _card(result: Result) -> str:
    """Write the card: numbers in the hub's form, then the same for a person."""
    from huggingface_hub import EvalResult, ModelCardData

    trial = result.trial
    name = f"{trial.model.name} {trial.setting.name} {trial.dataset.name}"
    numbers = [
        EvalResult(
            task_type="image-classification",
            dataset_type=trial.dataset.name.removeprefix("hf:"),
            dataset_name=trial.dataset.name,
            dataset_split="test",
            dataset_revision=trial.dataset.revision,
            metric_type=METRIC_TYPES.get(metric, metric),
            metric_name=metric,
            metric_value=value,
        )
        for metric, value in result.metrics.items()
    ]
    data = ModelCardData(
        model_name=name,
        eval_results=numbers,
        library_name="headstart",
        pipeline_tag="image-classification",
        tags=["image-classification", trial.setting.name],
    )
    return f"---\n{data.to_yaml()}\n---\n\n# {name}\n\n{_text(result)}"


def _text(result: Result) -> str:
    trial, dataset, setting = result.trial, result.trial.dataset, result.trial.setting
    chosen = result.selection.chosen if result.selection else {}
    choice = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in chosen.items())
    listed = ", ".join(dataset.classes[:SHOWN_CLASSES])
    more = len(dataset.classes) - SHOWN_CLASSES
    lines = [
        f"`{trial.model.name}` (weights {trial.model.weights_name}), transferred to "
        f"{dataset.name} by the setting `{setting.name}`, protocol {setting.protocol}, seed "
        f"{trial.seed}. Chosen on validation: {choice}. The licence of the weights that it began "
        "with, and of the images, holds for this network too.",
        "",
        f"Measured once on {result.n_test:,} test images:",
        "",
        "| metric | value |",
        "| --- | --- |",
        *(f"| {name} | {value:.4f} |" for name, value in result.metrics.items()),
        "",
        "Measured as a backbone, with FOLDER for the folder of this file:",
        "",
        "```",
        f"headstart run --models '{load_name(trial.model)}' --datasets NAME",
        "```",
        "",
        f"{len(dataset.classes)} classes, in the order of its outputs: {listed}"
        + (f" and {more} more." if more > 0 else "."),
        f"All are in `{CONFIG}`, with what the network takes. Trial {trial.key}.",
    ]
    return "\n".join(lines) + "\n"

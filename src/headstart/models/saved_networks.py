"""Save a transferred network as a folder: weights, metadata, a model card."""

import json
import shutil
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from headstart.artifacts import ArtifactFolder
from headstart.models.model_catalogue import FULL_NAME, ModelName
from headstart.models.weight_files import WEIGHTS, write_weights
from headstart.shown_text import markdown
from headstart.spec import Model, Result
from headstart.spec.formatting import first_few

if TYPE_CHECKING:
    from headstart.models.network import Network

__all__ = [
    "card_front_matter",
    "choice_of",
    "choice_text",
    "describe",
    "keep",
    "keep_choice",
    "load_name",
    "settle",
    "settle_all",
]

CONFIG, CARD = "config.json", "README.md"
# How `headstart rank` chose the network.
CHOICE = "choice.json"
CHOICE_FIELDS = {"trial", "date", "models", "images", "folds", "repeats", "complete", "tied"}
CHOICE_TITLE = "\n## How the model was chosen\n\n"
SHOWN_TIED = 10
# Digits of a trial's key in the name of its folder.
KEY_DIGITS = 12
# Behind the name of a folder, until the trial's result is stored.
PROVISIONAL = ".partial"
# What the Hugging Face hub calls our metrics, where it has a name.
METRIC_TYPES = {"top-1": "accuracy"}
# Options of a name that say what the network is; the others say which weights it began with.
LASTING = ("head", "pool", "size", "interpolation", "mean", "std")
SHOWN_CLASSES = 100


def keep(network: "Network", key: str, folder: ArtifactFolder) -> None:
    """Write the weights of a network with the classifier that a trial fitted.

    They get a folder of their own in `folder`, named by the beginning of the trial's key. Its name
    ends with ``.partial`` until `settle` is called, after the trial's result is stored; `describe`
    completes it before.

    Raises
    ------
    StorageError
        It cannot be written.
    """
    with folder.writing(f"{_provisional(key)}/{WEIGHTS}") as file:
        write_weights(network.state_as_built(), file)


def describe(result: Result, folder: ArtifactFolder) -> None:
    """Write facts and numbers beside the weights of a trial's network, if it was kept.

    Each file is written whole or not at all, the card last: a folder with a card is complete.

    Raises
    ------
    StorageError
        It cannot be written.
    """
    place = _provisional(result.trial.key)
    if not folder.exists(f"{place}/{WEIGHTS}"):
        return
    config = {**_config(result), "sha256": folder.digest(f"{place}/{WEIGHTS}")}
    with folder.writing(f"{place}/{CONFIG}") as file:
        file.write_text(json.dumps(config, indent=1))
    with folder.writing(f"{place}/{CARD}") as file:
        name = f"{result.trial.model.name} {result.trial.setting.name} {result.trial.dataset.name}"
        card = f"{card_front_matter(result, name)}\n\n# {markdown(name)}\n\n{_text(result)}"
        file.write_text(card, encoding="utf-8")


def keep_choice(key: str, folder: ArtifactFolder, choice: Mapping[str, Any]) -> None:
    """Write how a trial's model was chosen where its network is kept, for programs and on its card.

    The last choice counts.

    Raises
    ------
    StorageError
        It cannot be written.
    """
    _write_choice(key[:KEY_DIGITS], folder, {"trial": key, **choice})


def _write_choice(place: str, folder: ArtifactFolder, choice: Mapping[str, Any]) -> None:
    with folder.writing(f"{place}/{CHOICE}") as file:
        file.write_text(json.dumps(choice, indent=1), encoding="utf-8")
    if not folder.exists(f"{place}/{CARD}"):
        return
    text, _, _ = folder.get(f"{place}/{CARD}").read_text(encoding="utf-8").partition(CHOICE_TITLE)
    with folder.writing(f"{place}/{CARD}") as file:
        file.write_text(f"{text}{CHOICE_TITLE}{choice_text(choice)}\n", encoding="utf-8")


def choice_text(choice: Mapping[str, Any]) -> str:
    """Return how `headstart rank` chose a model, for a card."""
    tied = [markdown(name) for name in choice["tied"]]
    listed = ", ".join(tied[:SHOWN_TIED]) + (" and more" if len(tied) > SHOWN_TIED else "")
    among = (
        f"among {choice['models']} models by {choice['repeats']} times {choice['folds']}-fold "
        f"cross-validation on {choice['images']:,} images"
        if choice["models"] > 1
        else "as the only candidate that it measured"
    )
    beside = f"; not significantly different: {listed}" if tied else ""
    ended = "" if choice["complete"] else ", ended by its budget"
    return (
        f"`headstart rank` chose the model on {choice['date']} {among}{ended}{beside}. The test "
        "images played no part in that choice."
    )


def choice_of(key: str, folder: ArtifactFolder) -> dict[str, Any] | None:
    """Return what `keep_choice` wrote of a trial; None for nothing, or a damaged file."""
    name = f"{key[:KEY_DIGITS]}/{CHOICE}"
    if not folder.exists(name):
        return None
    try:
        choice = json.loads(folder.get(name).read_text(encoding="utf-8"))
    except ValueError:
        return None
    whole = isinstance(choice, dict) and choice.keys() >= CHOICE_FIELDS
    return choice if whole and choice["trial"] == key else None


def settle(key: str, folder: ArtifactFolder) -> None:
    """Rename a network's folder to its final name, after the result of its trial is stored.

    Whatever moment a run ends at, a stored result has its network, under one name or the other, and
    a folder without ``.partial`` has its result.
    """
    provisional, place = _provisional(key), key[:KEY_DIGITS]
    if not folder.exists(f"{provisional}/{CARD}"):
        return
    if choice := choice_of(key, folder):
        _write_choice(provisional, folder, choice)
    if folder.local:
        # One of the same trial in another store.
        shutil.rmtree(folder.local / place, ignore_errors=True)
        (folder.local / provisional).rename(folder.local / place)
        return
    # Object storage has no folders to rename. The card goes last: until then it is done again.
    for name in (WEIGHTS, CONFIG, CHOICE, CARD):
        if folder.exists(f"{provisional}/{name}"):
            folder.move(f"{provisional}/{name}", f"{place}/{name}")


def settle_all(keys: Iterable[str], folder: ArtifactFolder) -> list[str]:
    """Settle the networks of trials whose results are stored; return those that have none.

    An earlier run may have ended between a result and its network's final name.
    """
    present, missing = set(folder.names()), []
    for key in keys:
        if f"{_provisional(key)}/{CARD}" in present:
            settle(key, folder)
        elif f"{key[:KEY_DIGITS]}/{CARD}" not in present:
            missing.append(key)
    return missing


def _provisional(key: str) -> str:
    return f"{key[:KEY_DIGITS]}{PROVISIONAL}"


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
            # What a larger image was reduced to first: of networks that were trained.
            "side": getattr(trial.setting, "side", None),
            "decoding": trial.dataset.decoding.model_dump(mode="json", exclude_defaults=True),
        },
        "trial": trial.key,
        "chosen": chosen,
    }


def card_front_matter(
    result: Result, name: str, licence: str | None = None, library: str = "headstart"
) -> str:
    """Return the numbers of a result as the Hugging Face hub reads them from a card (YAML).

    Parameters
    ----------
    library
        What loads the folder: the hub shows how by it.
    """
    from huggingface_hub import EvalResult, ModelCardData

    trial = result.trial
    scheme, _, repository = trial.model.weights.locator.partition(":")
    published = scheme == "hf" and trial.uses_weights
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
        library_name=library,
        base_model=repository if published else None,
        pipeline_tag="image-classification",
        tags=["image-classification", trial.setting.name],
        license=licence,
    )
    return f"---\n{data.to_yaml()}\n---"


def _text(result: Result) -> str:
    """Return the numbers of a result, and how to load the network, for a person."""
    trial, dataset, setting = result.trial, result.trial.dataset, result.trial.setting
    chosen = result.selection.chosen if result.selection else {}
    choice = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in chosen.items())
    listed = first_few([markdown(name) for name in dataset.classes], SHOWN_CLASSES)
    weights = trial.model.weights_name if trial.uses_weights else "random"
    licence = "weights that it began with, and of the images," if trial.uses_weights else "images"
    lines = [
        f"`{trial.model.name}` (weights {weights}), transferred to "
        f"{markdown(dataset.name)} by the setting `{setting.name}`, protocol {setting.protocol}, "
        f"seed {trial.seed}. Chosen on validation: {choice}. The licence of the "
        f"{licence} holds for this network too.",
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
        f"{len(dataset.classes)} classes, in the order of its outputs: {listed}.",
        f"All are in `{CONFIG}`, with what the network takes. Trial {trial.key}.",
    ]
    return "\n".join(lines) + "\n"

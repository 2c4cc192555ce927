"""The network that a trial ended with: as it was kept, or its classifier fitted again."""

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from headstart import models
from headstart.artifacts import ArtifactFolder
from headstart.context import RunContext
from headstart.datasets.dataset_name import DatasetName
from headstart.deploy.preprocessing import ImageInput
from headstart.errors import ExportError, UnknownNameError
from headstart.methods import method_of, open_trial
from headstart.models.saved_networks import CARD, CONFIG, KEY_DIGITS
from headstart.models.weight_files import WEIGHTS
from headstart.registry import METHODS
from headstart.spec import Decoding, Model, Result, Trial
from headstart.store import ResultStore, tried

if TYPE_CHECKING:
    from headstart.models.network import Network

__all__ = [
    "FinalNetwork",
    "best_result",
    "final_network",
    "find_result",
    "kept_models_of",
    "kept_network",
    "unknown_folder",
    "validation_score",
]


@dataclass(frozen=True)
class FinalNetwork:
    """A network with the classifier of a trial.

    Parameters
    ----------
    network
        As it scored the test images, on the CPU, in evaluation mode.
    model
        Its description: input and source.
    preprocessing
        Of its images.
    classes
        Names, in the order of its outputs.
    several
        Whether an image may show several classes.
    origin
        Whether it was kept by the run, or its classifier was fitted again to the same features.
    choice
        How `headstart rank` chose its model, as `models.keep_choice` keeps it; None if it did not.
    """

    network: "Network"
    model: Model
    preprocessing: ImageInput
    classes: tuple[str, ...]
    several: bool
    origin: Literal["kept", "fitted again"]
    choice: dict[str, Any] | None = None


def find_result(store: ResultStore, named: str) -> Result:
    """Return the result of a store that is named: the start of its key, or words of its title.

    Raises
    ------
    StoreError
        None has that name (``store.trial_unknown``), or several have (``store.trial_ambiguous``).
    ExportError
        The trial has no result yet (``export.unfinished``).
    """
    (found,) = tried(store, [named])
    if found.result is None:
        raise ExportError(
            f"trial {found.key[:KEY_DIGITS]} ({found.title}) has no result yet: run its study "
            "again to finish it",
            code="export.unfinished",
            key=found.key,
        )
    return found.result


def best_result(store: ResultStore, dataset: str | None = None) -> Result:
    """Return the result with the best validation score of those that have a network.

    Test accuracies play no part in the choice: the one of the chosen result stays unbiased.

    Raises
    ------
    ExportError
        No result has a network (``export.none``), or there are several datasets and none is named
        (``export.dataset_ambiguous``).
    UnknownNameError
        No result is of that dataset.
    """
    usable = [one for one in store.results() if one.selection and _has_network(one)]
    if not usable:
        raise ExportError(
            f"no result of {store.name} has a network to export: run a study with --settings "
            "linear or finetune",
            code="export.none",
            store=store.name,
        )
    names = list(dict.fromkeys(one.trial.dataset.name for one in usable))
    if dataset is not None and dataset not in names:
        raise UnknownNameError("stored dataset", dataset, names)
    if dataset is None and len(names) > 1:
        raise ExportError(
            f"{store.name} has results of {len(names)} datasets, {', '.join(names[:5])}"
            f"{', ...' if len(names) > 5 else ''}: name one with --dataset",
            code="export.dataset_ambiguous",
            datasets=names,
        )
    among = [one for one in usable if one.trial.dataset.name == (dataset or names[0])]
    # Of equal ones the first that was stored.
    return max(among, key=validation_score)


def _has_network(result: Result) -> bool:
    """Whether the method of a result ends with a network, as far as it says."""
    known = result.trial.setting.name in METHODS
    return known and getattr(method_of(result.trial), "has_network", True)


def validation_score(result: Result) -> float:
    """Return what the selected hyperparameters reached on validation, a proportion."""
    selection = result.selection
    if selection is None:
        return 0.0
    chosen = selection.chosen.items()
    rows = [row for row in selection.validation_curve if chosen <= row.items()]
    return max((float(row["accuracy"]) for row in rows), default=0.0)


def kept_network(folder: ArtifactFolder, context: RunContext) -> FinalNetwork:
    """Load a network from the folder that a run kept it in.

    Raises
    ------
    ExportError
        No such folder (``export.folder_unknown``), or its ``config.json`` was changed
        (``export.config_damaged``).
    StorageError
        The weights are not those that the run kept (``storage.damaged``).
    HeadstartError
        As `models.find` and `models.load`.
    """
    if not folder.exists(CONFIG) or not folder.exists(WEIGHTS):
        raise unknown_folder(folder.shown)
    try:
        config = json.loads(folder.get(CONFIG).read_text(encoding="utf-8"))
        name = str(config["load"])
        # Releases before wrote none.
        sha256 = str(config["sha256"]) if "sha256" in config else None
    except (ValueError, KeyError, TypeError) as error:
        raise unknown_folder(folder.shown) from error
    name = name.replace(f"FOLDER/{WEIGHTS}", str(folder.get(WEIGHTS, sha256)))
    model = models.find(name, context.cache)
    try:
        preprocessing = _preprocessing(model, config["input"])
        classes, several = config["classes"], bool(config["multilabel"])
        if not isinstance(classes, list) or not all(isinstance(one, str) for one in classes):
            raise TypeError("classes are no list of names")
    except (ValueError, KeyError, TypeError, ExportError) as error:
        raise _damaged(folder) from error
    network = models.load(model, context.cache, trust=context.trust, note=context.reporter.note)
    if len(classes) != network.classifier.out_features:
        raise _damaged(folder)
    return FinalNetwork(network, model, preprocessing, tuple(classes), several, "kept")


def _preprocessing(model: Model, record: Mapping[str, Any]) -> ImageInput:
    """Read how images meet a kept network; releases before wrote no side, which was 256 then."""
    if "decoding" in record:
        return ImageInput.from_record(record)
    trained = record["view"] in ("full", "central")
    return ImageInput.of(model, record["view"], 256 if trained else None, Decoding())


def _damaged(folder: ArtifactFolder) -> ExportError:
    return ExportError(
        f"{CONFIG} in {folder.shown} is damaged: train the network again, or restore the file",
        code="export.config_damaged",
        path=folder.shown,
    )


def unknown_folder(shown: str) -> ExportError:
    """Return the error for a folder that nothing here wrote."""
    return ExportError(
        f"{shown} holds no classifier of headstart: expected a folder that `headstart export` or "
        "`headstart run --keep` wrote",
        code="export.folder_unknown",
        path=shown,
    )


def final_network(result: Result, context: RunContext, kept: ArtifactFolder | None) -> FinalNetwork:
    """Return the network that a trial ended with.

    The one that its run kept; else, for methods on fixed features, the classifier is fitted again
    to the same features with the hyperparameters that were chosen, which gives the same one.

    Parameters
    ----------
    result
        The trial's result.
    context
        Where to run.
    kept
        Where runs kept their networks, if anywhere.

    Raises
    ------
    ExportError
        The method has no network (``export.no_network``), or trained one that was not kept
        (``export.not_kept``).
    """
    trial, selection = result.trial, result.selection
    place = kept.within(trial.key[:KEY_DIGITS]) if kept else None
    choice = models.choice_of(trial.key, kept) if kept else None
    if place and place.exists(CARD):
        return replace(kept_network(place, context), choice=choice)
    if selection is None or trial.setting.name not in METHODS:
        raise _no_network(result)
    if not method_of(trial).on_features:
        command, own = _command_again(trial)
        options = f" (with options of its own, as in its study file: {own})" if own else ""
        raise ExportError(
            f"{trial.title}: its network was not kept{f' in {kept}' if kept else ''}: train it "
            f"again with: {command}{options}",
            code="export.not_kept",
            key=trial.key,
            place=str(kept or ""),
            command=command,
            options=own,
        )
    tested = open_trial(trial, context).test(selection)
    if tested.network is None:
        raise _no_network(result)
    preprocessing = ImageInput.of_trial(trial, selection.chosen)
    classes, several = trial.dataset.classes, trial.dataset.multilabel
    network = tested.network().eval()
    return FinalNetwork(
        network, trial.model, preprocessing, classes, several, "fitted again", choice
    )


def _command_again(trial: Trial) -> tuple[str, str]:
    """Return the command that measures a trial again, in another store, and keeps its network.

    Beside it, options of the setting that only a study file can give, if any.
    """
    dataset, setting = trial.dataset, trial.setting
    protocol, _, departs = setting.protocol.partition(" (")
    options = {
        "--models": trial.model.name,
        "--datasets": DatasetName.again(dataset),
        "--settings": f"{setting.name}:{protocol}",
        "--seeds": trial.seed or None,
        "--limit": dataset.limit,
        "--examples-per-class": dataset.examples_per_class,
        "--precision": setting.precision if setting.precision != "fp32" else None,
    }
    words = [str(word) for pair in options.items() if pair[1] is not None for word in pair]
    flags = ["--skip-broken"] * dataset.skip_broken + ["--keep", "--store", "NEW.db"]
    return shlex.join(["headstart", "run", *words, *flags]), departs.rstrip(")")


def _no_network(result: Result) -> ExportError:
    setting = result.trial.setting.name
    return ExportError(
        f"{result.trial.title}: setting '{setting}' ends with no network that can be exported: "
        "use a result of --settings linear or finetune",
        code="export.no_network",
        setting=setting,
    )


def kept_models_of(store: ResultStore, given: Path | str | None) -> ArtifactFolder | None:
    """Return where the runs of a store keep networks: the place given, else beside the database."""
    if given is not None:
        return ArtifactFolder(given)
    return ArtifactFolder(store.models_place) if store.models_place else None

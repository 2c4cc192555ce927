"""The network that a trial ended with: as it was kept, or its classifier fitted again."""

import json
import shlex
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, cast, get_args

from pydantic import Field, FiniteFloat, PositiveInt

from headstart import models
from headstart.artifacts import ArtifactFolder
from headstart.context import RunContext
from headstart.datasets.dataset_name import DatasetName
from headstart.errors import ExportError, UnknownNameError
from headstart.methods import method_of, open_trial
from headstart.models.model_catalogue import MOST_PIXELS
from headstart.models.saved_networks import CARD, CONFIG, KEY_DIGITS
from headstart.models.weight_files import WEIGHTS
from headstart.registry import METHODS
from headstart.spec import Decoding, Interpolation, Model, Result, Trial, Value
from headstart.spec.noun import Noun
from headstart.store import ResultStore, tried

if TYPE_CHECKING:
    from headstart.models.network import Network

__all__ = [
    "FinalNetwork",
    "ImageInput",
    "best_result",
    "final_network",
    "find_result",
    "kept_models_of",
    "kept_network",
    "named_network",
    "validation_score",
]

# Of features: the whole image, or a centre crop, by Pillow. Of training: the full image, or its
# central 87.5 %, by torch, of an image that was made smaller first.
View = Literal["whole", "center-crop", "full", "central"]
Scale = Annotated[FiniteFloat, Field(gt=0)]


class ImageInput(Noun):
    """From a decoded image to the input of a network.

    Parameters
    ----------
    size
        Side of the square input, in pixels.
    interpolation
        Filter of antialiased resizing, Pillow's name.
    mean, std
        Normalization of each RGB channel, for pixels in [0, 1].
    view
        Which part of the image is resized to the input, and how.
    side
        Shorter side that a larger image is reduced to first (Lanczos), in pixels; None for views of
        features.
    decoding
        How the bytes of a file become an image.
    """

    size: Annotated[PositiveInt, Field(le=MOST_PIXELS)]
    interpolation: Interpolation
    mean: tuple[FiniteFloat, FiniteFloat, FiniteFloat]
    std: tuple[Scale, Scale, Scale]
    view: View
    side: PositiveInt | None = None
    decoding: Decoding = Decoding()

    @classmethod
    def of(cls, model: Model, view: str, side: int | None, decoding: Decoding) -> Self:
        """Return that of a model, as a method of transfer used it.

        Raises
        ------
        ExportError
            The method has a view that is not known here (code ``export.view_unknown``).
        """
        if view not in get_args(View):
            raise ExportError(
                f"'{model.name}' was measured on a view of images that is not known here: '{view}'",
                code="export.view_unknown",
                view=view,
            )
        return cls(
            size=model.input_size,
            interpolation=model.interpolation,
            mean=model.mean,
            std=model.std,
            view=cast(View, view),
            side=side,
            decoding=decoding,
        )

    @classmethod
    def of_trial(cls, trial: Trial, chosen: dict[str, Value]) -> Self:
        """Return that of a trial's final network, given what was chosen on validation."""
        view = str(chosen.get("crop") or getattr(trial.setting, "resize", "whole"))
        side = getattr(trial.setting, "side", None)
        return cls.of(trial.model, view, side, trial.dataset.decoding)

    @property
    def record(self) -> dict[str, Any]:
        """The same as JSON."""
        decoding = self.decoding.model_dump(mode="json", exclude_defaults=True)
        return {**self.model_dump(mode="json"), "decoding": decoding}

    @property
    def text(self) -> str:
        """For a person, in one sentence."""
        square = f"{self.size} x {self.size} pixels ({self.interpolation}, antialiased)"
        first = (
            f"a shorter side over {self.side} pixels is first reduced to {self.side} (Lanczos); "
            if self.side
            else ""
        )
        part = {
            "whole": "the whole image is resized to",
            "full": "the whole image is resized to",
            "center-crop": "its central square is resized to",
            "central": "its central 87.5 % are resized to",
        }[self.view]
        mean, std = (", ".join(f"{value:g}" for value in each) for each in (self.mean, self.std))
        return f"{first}{part} {square}, divided by 255, normalized by mean {mean} and std {std}"


@dataclass(frozen=True)
class FinalNetwork:
    """A network with the classifier of a trial.

    The network is as it scored the test images, on the CPU, in evaluation mode. `classes` are names
    in the order of its outputs; `several` says whether an image may show several. `origin` is
    whether the run kept it, or its classifier was fitted again to the same features. `choice` is
    how `headstart rank` chose its model, as `models.keep_choice` keeps it; None if it did not.
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
    usable = [
        one
        for one in store.results()
        if one.selection
        and one.trial.setting.name in METHODS
        and getattr(method_of(one.trial), "has_network", True)
    ]
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
    described = folder.exists(CONFIG) and folder.exists(WEIGHTS)
    try:
        config = json.loads(folder.get(CONFIG).read_text(encoding="utf-8")) if described else {}
        name = str(config["load"])
        # Releases before wrote none.
        sha256 = str(config["sha256"]) if "sha256" in config else None
    except (ValueError, KeyError, TypeError) as error:
        raise ExportError(
            f"{folder.shown} holds no classifier of headstart: expected a folder that `headstart "
            "export` or `headstart run --keep` wrote",
            code="export.folder_unknown",
            path=folder.shown,
        ) from error
    network, model = named_network(folder, name, sha256, context)
    try:
        record, classes, several = config["input"], config["classes"], bool(config["multilabel"])
        if "decoding" in record:
            preprocessing = ImageInput.model_validate(record)
        else:
            # Releases before wrote no side, which was 256 then.
            side = 256 if record["view"] in ("full", "central") else None
            preprocessing = ImageInput.of(model, record["view"], side, Decoding())
        if not isinstance(classes, list) or not all(isinstance(one, str) for one in classes):
            raise TypeError("classes are no list of names")
        if len(classes) != network.classifier.out_features:
            raise ValueError("names are not as many as outputs")
    except (ValueError, KeyError, TypeError, ExportError) as error:
        raise ExportError(
            f"{CONFIG} in {folder.shown} is damaged: train the network again, or restore the file",
            code="export.config_damaged",
            path=folder.shown,
        ) from error
    return FinalNetwork(network, model, preprocessing, tuple(classes), several, "kept")


def named_network(
    folder: ArtifactFolder, name: str, sha256: str | None, context: RunContext
) -> "tuple[Network, Model]":
    """Load the network that a folder's description names, with the weights in the folder."""
    name = name.replace(f"FOLDER/{WEIGHTS}", str(folder.get(WEIGHTS, sha256)))
    model = models.find(name, context.cache)
    network = models.load(model, context.cache, trust=context.trust, note=context.reporter.note)
    return network, model


def final_network(result: Result, context: RunContext, kept: ArtifactFolder | None) -> FinalNetwork:
    """Return the network that a trial ended with.

    The one that its run kept; else, for methods on fixed features, the classifier is fitted again
    to the same features with the hyperparameters that were chosen, which gives the same one.

    `kept` is where runs kept their networks, if anywhere.

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
            f"{trial.title}: its network was not kept{f' in {kept}' if kept else ''}: pass "
            f"--kept-models FOLDER if it was kept elsewhere, or train it again with: "
            f"{command}{options}",
            code="export.not_kept",
            key=trial.key,
            place=str(kept or ""),
            command=command,
            options=own,
        )
    tested = open_trial(trial, context).test(selection)
    if tested.network is None:
        raise _no_network(result)
    return FinalNetwork(
        tested.network().eval(),
        trial.model,
        ImageInput.of_trial(trial, selection.chosen),
        trial.dataset.classes,
        trial.dataset.multilabel,
        "fitted again",
        choice,
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

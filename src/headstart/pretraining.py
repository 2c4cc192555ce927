"""Pretraining, read top to bottom: train an upstream classifier by a recipe, test, register."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import ValidationError

from headstart import datasets, metrics, models
from headstart.datasets.prepare import bytes_needed
from headstart.datasets.prepared import SIDE
from headstart.errors import StudyError, TrainingError
from headstart.files import check_free_space, locked, writable_folder
from headstart.labels import kind_of
from headstart.models import pretrained
from headstart.settings.examples import Examples
from headstart.spec import Dataset, Model, Recipe, Selection, UpstreamAccuracy, Weights, digest
from headstart.versions import provenance
from headstart.workspace import Watcher, Workspace

if TYPE_CHECKING:
    from headstart.models.network import Network
    from headstart.training import Hyperparameters, Trained
    from headstart.training.ranks import Ranks

__all__ = ["Pretrained", "begin", "check", "default_name", "make_recipe", "pretrain"]

# Goyal et al. 2017 (arXiv:1706.02677) for ResNets on ImageNet: 90 epochs, a learning rate of 0.1
# for 256 images that grows with the batch, a weight decay of 1e-4.
EPOCHS, RATE, RATE_BATCH = 90, 0.1, 256
# Evaluation views are 87.5 % of the side: 224 of 256 pixels.
CENTRAL = 0.875
# A lost minute of training is nothing to lose; writing never takes more than a hundredth.
SAVE_SECONDS = 10.0
KEY_DIGITS = 8
EXPECTED: Mapping[str, str] = MappingProxyType(
    {
        "steps": "a whole number from 1",
        "batch_size": "a whole number from 1",
        "learning_rate": "a number above 0",
        "weight_decay": "a number from 0",
        "crop_area": "a share from above 0 to 1",
        "label_smoothing": "a share from 0 to below 1",
        "dropout": "a rate from 0 to below 1",
        "seed": "a whole number from 0",
    }
)


@dataclass(frozen=True)
class Pretrained:
    """A network that was pretrained.

    Parameters
    ----------
    name
        ``pretrained:NAME``, which `models.find` finds.
    model
        What it is.
    accuracy, n_test
        Top-1 accuracy on the upstream dataset's test images, a proportion, and how many they are.
    facts
        What is kept of how it was made.
    fresh
        Whether it was trained now; otherwise it was there.
    """

    name: str
    model: Model
    accuracy: float
    n_test: int
    facts: dict[str, Any]
    fresh: bool


def make_recipe(
    arch: str,
    dataset: str,
    *,
    limit: int | None = None,
    skip_broken: bool = False,
    watcher: Watcher | None = None,
    **options: Any,
) -> Recipe:
    """Make a recipe, with the usual choices for ImageNet where none are given.

    These are 90 epochs, a learning rate of 0.1 for each 256 images of a batch, a weight decay of
    1e-4 (Goyal et al. 2017).

    Parameters
    ----------
    arch
        Any name of a network; its weights do not count.
    dataset
        Any name of a dataset with one label an image.
    limit, skip_broken, watcher
        As `datasets.find` takes them.
    options
        Fields of `Recipe`; one that is None is chosen here.

    Raises
    ------
    UnknownNameError, StudyError, DatasetError
    TrainingError
        A batch that is larger than the data; several labels an image.
    """
    found = datasets.find(dataset, limit=limit, skip_broken=skip_broken, watcher=watcher)
    model = models.find(arch)
    given = {name: value for name, value in options.items() if value is not None}
    batch_size = given.get("batch_size", Recipe.model_fields["batch_size"].default)
    n_images = n_training(found)
    usual = {
        "steps": ceil(EPOCHS * n_images / max(1, batch_size)),
        "learning_rate": RATE * batch_size / RATE_BATCH,
        "side": max(SIDE, ceil(model.input_size / CENTRAL)),
    }
    try:
        recipe = Recipe(model=model, dataset=found, **{**usual, **given})
    except ValidationError as error:
        option, *place = error.errors()[0]["loc"]
        value = given[str(option)]
        raise StudyError(
            f"--{str(option).replace('_', '-')} {value[place[0]] if place else value}: expected "
            f"{EXPECTED[str(option)]}"
        ) from error
    check_dataset(recipe)
    return recipe


def n_training(dataset: Dataset) -> int:
    """How many images are trained on: those of train and validation."""
    return dataset.used_sizes.train + dataset.used_sizes.validation


def check_dataset(recipe: Recipe) -> None:
    """Raise TrainingError for a dataset that cannot be trained on in this way."""
    dataset, n_images = recipe.dataset, n_training(recipe.dataset)
    if kind_of(dataset.metric).loss != "softmax":
        raise TrainingError(
            f"dataset '{dataset.name}' has several labels an image: pretraining takes one class "
            "an image; give another --dataset"
        )
    if recipe.batch_size > n_images:
        raise TrainingError(
            f"a batch of {recipe.batch_size} is larger than the data, {n_images:,} training images "
            f"of dataset '{dataset.name}': lower --batch-size"
        )


def default_name(recipe: Recipe) -> str:
    """Name a network by architecture, dataset and the start of its recipe's key."""
    words = (recipe.model.name, recipe.dataset.name, recipe.key[:KEY_DIGITS])
    return "-".join(re.sub(r"[^A-Za-z0-9]+", "-", word).strip("-") for word in words)


def pretrain(
    recipe: Recipe,
    workspace: Workspace,
    *,
    name: str | None = None,
    title: str | None = None,
    configuration: str | None = None,
    ranks: "Ranks | None" = None,
) -> Pretrained | None:
    """Train a network by a recipe, measure it on the upstream task, and register it.

    What is registered already is not trained again; a run that was interrupted goes on from its
    checkpoint.

    Parameters
    ----------
    recipe
        How.
    workspace
        Where.
    name
        What it can be found by, as ``pretrained:NAME``; `default_name` unless given.
    title
        Its model's name in results, in place of ``pretrained:NAME``: configurations of one
        architecture have the same.
    configuration
        How it was trained, in words: a factor of its own in analyses.
    ranks
        The processes that train together; this one alone unless given.

    Returns
    -------
    Pretrained
        None on ranks other than the first, which registers for all.

    Raises
    ------
    StudyError
        `name` is that of a network of another recipe.
    WeightsError
        The registered weights have changed.
    TrainingError
        The run diverged.
    HeadstartError
        Whatever else makes it impossible, as early as it can be found.
    """
    name = pretrained.check_name(default_name(recipe) if name is None else name)
    called = {"name": title, "configuration": configuration}
    if found := _registered(name, recipe, called, workspace.cache):
        return found
    network = check(recipe, workspace)
    if ranks and not ranks.first:
        _train(network, recipe, workspace, ranks)
        return None
    lock = workspace.cache / pretrained.SCHEME / f".{name}.lock"
    with locked(lock, lambda: workspace.watcher.stage("waiting for another process")):
        if found := _registered(name, recipe, called, workspace.cache):
            return found
        return _pretrain(network, name, recipe, called, workspace, ranks)


def check(recipe: Recipe, workspace: Workspace) -> "Network":
    """Find early what would stop a run, and give the network as it begins.

    Raises
    ------
    ModelError
        The architecture does not have what a switch changes.
    HeadstartError
        No such device, missing data, no space.
    """
    from headstart.devices import require_fast, resolve_device

    require_fast(recipe.precision, resolve_device(workspace.device))
    network = begin(recipe, workspace)
    datasets.fetch(recipe.dataset, workspace.cache, workspace.watcher)
    datasets.check_images(recipe.dataset, workspace.cache, workspace.watcher)
    n_images = sum(n for _, n in recipe.dataset.used_sizes)
    writable_folder(workspace.cache / pretrained.SCHEME)
    check_free_space(workspace.cache, bytes_needed(n_images, recipe.side), "prepared images")
    return network


def begin(recipe: Recipe, workspace: Workspace) -> "Network":
    """Give the network as training begins with it: random weights, and the recipe's switches."""
    return models.load(_begun(recipe), workspace.cache, trust=workspace.trust)


def _pretrain(
    network: "Network",
    name: str,
    recipe: Recipe,
    called: Mapping[str, str | None],
    workspace: Workspace,
    ranks: "Ranks | None",
) -> Pretrained:
    network, trained, examples = _train(network, recipe, workspace, ranks)
    if trained.diverged_at is not None:
        _checkpoint(recipe, workspace.cache).unlink(missing_ok=True)
        raise TrainingError(
            f"pretraining '{name}' diverged at step {trained.diverged_at:,} of {recipe.steps:,}: "
            f"lower --learning-rate, {recipe.learning_rate:g} now"
        )
    for note in trained.notes:
        workspace.watcher.note(f"{name}: {note}")
    accuracy, n_test = _test(network, recipe, examples)
    facts = {
        "key": recipe.key,
        "recipe": recipe.model_dump(mode="json"),
        "accuracy": accuracy,
        "n_test": n_test,
        "losses": trained.losses,
        "images_per_second": trained.images_per_second,
        "resumed_at": trained.resumed_at,
        "examples": examples.splits.revision,
        "skipped_images": examples.broken,
        "provenance": provenance(),
    }
    model = _described(name, recipe, called, accuracy, n_test)
    model = pretrained.register(name, network, model, facts, workspace.cache)
    # Not before: who is killed in between tests again, and does not train again.
    _checkpoint(recipe, workspace.cache).unlink(missing_ok=True)
    return Pretrained(f"{pretrained.SCHEME}:{name}", model, accuracy, n_test, facts, fresh=True)


def _train(
    network: "Network", recipe: Recipe, workspace: Workspace, ranks: "Ranks | None"
) -> "tuple[Network, Trained, Examples]":
    """Train on train + validation: nothing is chosen, so that nothing has to be held out."""
    examples = Examples.read(recipe.dataset, recipe.seed, recipe.side, workspace, test_labels=True)
    network = network.with_head(examples.splits.n_classes, recipe.seed_of("head"))
    trained = examples.fit(
        network,
        np.concatenate([examples.train_rows, examples.validation_rows]),
        recipe.model,
        _hyperparameters(recipe),
        stage=f"pretraining on {recipe.dataset.name}",
        checkpoint=_checkpoint(recipe, workspace.cache),
        identity=recipe.key,
        save_seconds=SAVE_SECONDS,
        ranks=ranks,
    )
    return network, trained, examples


def _test(network: "Network", recipe: Recipe, examples: Examples) -> tuple[float, int]:
    """Measure top-1 accuracy on the test images, whose labels are opened once."""
    examples.workspace.watcher.stage(f"testing on {recipe.dataset.name}")
    scores = examples.scores(
        network, examples.test_rows, recipe.model, recipe.view, recipe.precision
    )
    if not np.isfinite(scores).all():
        raise TrainingError(
            "scores of the trained network hold NaN or infinity: lower --learning-rate, "
            f"{recipe.learning_rate:g} now"
        )
    # The recipe was chosen before anything was seen.
    chosen = {"learning_rate": recipe.learning_rate, "steps": float(recipe.steps)}
    selection = Selection(
        examples=examples.splits.revision, chosen=chosen, validation_curve=(chosen,)
    )
    labels = examples.splits.test.open(selection)[examples.test_places]
    return metrics.score("top-1", labels, scores), len(labels)


def _begun(recipe: Recipe) -> Model:
    tags = {tag: value for tag, value in recipe.model.tags.items() if tag != "auxiliary_head"}
    if recipe.aux_head:
        tags["auxiliary_head"] = "kept"
    changes = {
        "weights": Weights(locator=f"random:{recipe.seed_of('weights')}"),
        "bn_scale": recipe.bn_scale,
        "dropout": recipe.dropout,
        "tags": tags,
    }
    return recipe.model.model_copy(update=changes)


def _hyperparameters(recipe: Recipe) -> "Hyperparameters":
    from headstart.training import Hyperparameters

    return Hyperparameters(
        steps=recipe.steps,
        learning_rate=recipe.learning_rate,
        weight_decay=recipe.weight_decay,
        batch_size=recipe.batch_size,
        momentum=recipe.momentum,
        # The network's own momentum of running statistics, as in the usual programs.
        batch_norm_window=None,
        crop_area=recipe.crop_area,
        crop_aspect=recipe.crop_aspect,
        flip=recipe.flip,
        label_smoothing=recipe.label_smoothing,
        auxiliary_weight=models.auxiliary_weight(_begun(recipe)),
        precision=recipe.precision,
        seed=recipe.seed_of("training"),
    )


def _described(
    name: str, recipe: Recipe, called: Mapping[str, str | None], accuracy: float, n_test: int
) -> Model:
    """Say what the network is. Transfer is the same for all recipes: without dropout."""
    known = {tag: value for tag, value in recipe.model.tags.items() if tag != "weights_tag"}
    known.pop("configuration", None)
    upstream = UpstreamAccuracy(
        dataset=f"{recipe.dataset.name} test",
        value=accuracy,
        n=n_test,
        source=f"measured by headstart pretrain on {n_test:,} images",
    ) if 0 < accuracy < 1 else None  # fmt: skip
    changes = {
        "name": f"{pretrained.SCHEME}:{name}",
        "bn_scale": recipe.bn_scale,
        "dropout": 0.0,
        # A proportion of none or all of few images has no odds; the analysis could not use it.
        "upstream": (upstream,) if upstream else (),
        "tags": {**known, **recipe.tags, "recipe": recipe.key[:KEY_DIGITS]},
    }
    model = recipe.model.model_copy(update=changes)
    return model.model_copy(update=_renaming(model, called))


def _renaming(model: Model, called: Mapping[str, str | None]) -> dict[str, Any]:
    """Give the fields that a title and a configuration change; what is None stays as it is."""
    changes: dict[str, Any] = {}
    if called["name"]:
        changes["name"] = called["name"]
    if called["configuration"]:
        changes["tags"] = {**model.tags, "configuration": called["configuration"]}
    return changes


def _registered(
    name: str, recipe: Recipe, called: Mapping[str, str | None], cache: Path
) -> Pretrained | None:
    """Give what was registered under a name, called as asked now; None where nothing was."""
    facts = pretrained.read_facts(name, cache)
    if facts is None:
        return None
    if facts["key"] != recipe.key:
        raise StudyError(
            f"'{pretrained.SCHEME}:{name}' exists with another recipe "
            f"({_differences(facts['recipe'], recipe)}): give another --name, or remove "
            f"{pretrained.folder_of(name, cache)}"
        )
    model = pretrained.verify(name, cache)
    changes = _renaming(model, called)
    if any(getattr(model, field) != value for field, value in changes.items()):
        model = pretrained.rename(name, changes, cache)
    full = f"{pretrained.SCHEME}:{name}"
    return Pretrained(full, model, facts["accuracy"], facts["n_test"], facts, fresh=False)


def _differences(kept: Mapping[str, Any], recipe: Recipe) -> str:
    """Say in which fields a recipe departs from one that was kept as JSON."""
    asked = recipe.model_dump(mode="json")
    found = [
        f"{field} {kept.get(field)} there, {asked[field]} asked"
        for field in asked
        if field not in ("model", "dataset") and kept.get(field) != asked[field]
    ]
    for field in ("model", "dataset"):
        there, here = kept[field]["name"], asked[field]["name"]
        if there != here:
            found.append(f"{field} {there} there, {here} asked")
    return "; ".join(found) or "other content under the same names"


def _checkpoint(recipe: Recipe, cache: Path) -> Path:
    return cache / "training" / f"{digest({'pretraining': recipe.key})}.safetensors"

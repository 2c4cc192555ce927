"""Make recipes with the usual defaults for ImageNet, and check datasets."""

from collections.abc import Mapping
from math import ceil
from types import MappingProxyType
from typing import Any

from pydantic import ValidationError

from headstart import datasets, models
from headstart.context import ProgressReporter
from headstart.datasets.image_cache import SIDE
from headstart.errors import StudyError, TrainingError
from headstart.labels import kind_of
from headstart.spec import Dataset, Recipe, TrainingConfig
from headstart.spec.noun import first_invalid

__all__ = ["make_recipe"]

# Goyal et al. 2017 (arXiv:1706.02677) for ResNets on ImageNet: 90 epochs, a learning rate of 0.1
# per 256 images of a batch, a weight decay of 1e-4.
EPOCHS, RATE, RATE_BATCH = 90, 0.1, 256
# Evaluation views are 87.5 % of the side: 224 of 256 pixels.
CENTRAL = 0.875
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


def make_recipe(
    arch: str,
    dataset: str,
    *,
    limit: int | None = None,
    skip_broken: bool = False,
    reporter: ProgressReporter | None = None,
    **options: Any,
) -> Recipe:
    """Return a recipe, with the usual defaults for ImageNet.

    These are 90 epochs, a learning rate of 0.1 per 256 images of a batch, and a weight decay of
    1e-4 (Goyal et al. 2017).

    Parameters
    ----------
    arch
        Name of a network; its weights are ignored.
    dataset
        Name of a dataset with one label per image.
    limit, skip_broken, reporter
        As in `datasets.find`.
    options
        Options of `Recipe`; None selects the default.

    Raises
    ------
    UnknownNameError, StudyError, DatasetError
    TrainingError
        Batches are too large, or images have several labels.
    """
    found = datasets.find(dataset, limit=limit, skip_broken=skip_broken, reporter=reporter)
    model = models.find(arch)
    given = {name: value for name, value in options.items() if value is not None}
    batch_size = given.get("batch_size", TrainingConfig.model_fields["batch_size"].default)
    n_images = n_training(found)
    usual = {
        "steps": ceil(EPOCHS * n_images / max(1, batch_size)),
        "learning_rate": RATE * batch_size / RATE_BATCH,
        "side": max(SIDE, ceil(model.input_size / CENTRAL)),
    }
    try:
        recipe = Recipe(model=model, dataset=found, **{**usual, **given})
    except ValidationError as error:
        wrong = first_invalid(error)
        # The fields of a training are options of the recipe itself.
        place = [part for part in wrong.place if part not in ("training", "optimizer")]
        name, *index = place or ["recipe"]
        value = given.get(str(name))
        value = value[int(index[0])] if index and isinstance(value, tuple) else value
        expected = EXPECTED.get(str(name), wrong.expected)
        raise StudyError(
            f"invalid --{str(name).replace('_', '-')} {value}: expected {expected}",
            code="pretrain.value",
            name=name,
            value=value,
            expected=expected,
        ) from error
    check_dataset(recipe)
    return recipe


def n_training(dataset: Dataset) -> int:
    """Return the number of training images: those of train and validation."""
    return dataset.used_sizes.train + dataset.used_sizes.validation


def check_dataset(recipe: Recipe) -> None:
    """Raise TrainingError for a dataset that pretraining does not support."""
    dataset, n_images = recipe.dataset, n_training(recipe.dataset)
    if kind_of(dataset.metric).loss != "softmax":
        raise TrainingError(
            f"dataset '{dataset.name}' has several labels per image: pretraining takes one class "
            "per image; give another --dataset",
            code="pretrain.multilabel",
            dataset=dataset.name,
        )
    batch_size = recipe.training.batch_size
    if batch_size > n_images:
        raise TrainingError(
            f"a batch of {batch_size} is larger than the data, {n_images:,} training images of "
            f"dataset '{dataset.name}': lower --batch-size",
            code="training.batch_too_large",
            batch_size=batch_size,
            n_images=n_images,
        )

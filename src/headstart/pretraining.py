"""Pretraining, read top to bottom: a recipe is trained, tested and registered as a network.

A job is a recipe and what its network is called; what is registered is not trained again.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import ceil
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import ValidationError

from headstart import datasets, metrics, models
from headstart.context import Advance, Message, ProgressReporter, RunContext, Stage
from headstart.datasets.image_cache import SIDE, bytes_needed
from headstart.devices import require_fast, resolve_device
from headstart.errors import HeadstartError, StorageError, StudyError, TrainingError
from headstart.executors import Executor, Send
from headstart.files import check_free_space, locked, writable_folder
from headstart.labels import kind_of
from headstart.methods.training_images import TrainingImages, remove_checkpoint
from headstart.metrics import AtChance, at_chance
from headstart.models import pretrained
from headstart.spec import (
    Model,
    Recipe,
    Selection,
    TrainingConfig,
    UpstreamAccuracy,
    Weights,
    digest,
)
from headstart.spec.noun import first_invalid
from headstart.versions import provenance

if TYPE_CHECKING:
    from headstart.models.network import Network
    from headstart.training import Ranks, Trained

__all__ = [
    "PretrainJob",
    "Pretrained",
    "begin",
    "check",
    "default_name",
    "make_recipe",
    "pretrain",
    "pretrain_all",
]

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

KEY_DIGITS = 8
# Seconds between checkpoints; writing them takes at most 1 % of the time.
SAVE_SECONDS = 10.0


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
    n_images = found.used_sizes.train + found.used_sizes.validation
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
    _check_dataset(recipe, n_images)
    return recipe


def _check_dataset(recipe: Recipe, n_images: int) -> None:
    """Raise TrainingError for a dataset that pretraining does not support."""
    dataset = recipe.dataset
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


@dataclass(frozen=True)
class PretrainJob:
    """One network to pretrain: its recipe and its name.

    Parameters
    ----------
    recipe
        Recipe of the training.
    name
        Name to find it by, as ``pretrained:NAME``.
    title
        Name of the model in results, instead of ``pretrained:NAME``. Configurations of one
        architecture share it.
    configuration
        Label of the training configuration, a factor in analyses.

    Raises
    ------
    StudyError
        `name` is not a valid folder name.
    """

    recipe: Recipe
    name: str
    title: str | None = None
    configuration: str | None = None

    def __post_init__(self) -> None:
        pretrained.check_name(self.name)

    @property
    def found_by(self) -> str:
        """``pretrained:NAME``, the name for `headstart.models.find`."""
        return f"{pretrained.SCHEME}:{self.name}"

    @property
    def said(self) -> str:
        """Label of the network for messages."""
        architecture = self.recipe.model.name
        return f"{architecture} ({self.configuration})" if self.configuration else architecture

    def renaming(self, model: Model) -> dict[str, Any]:
        """Return the model fields that title and configuration change."""
        changes: dict[str, Any] = {}
        if self.title:
            changes["name"] = self.title
        if self.configuration:
            changes["tags"] = {**model.tags, "configuration": self.configuration}
        return changes


@dataclass(frozen=True)
class Pretrained:
    """A pretrained network.

    Parameters
    ----------
    name
        ``pretrained:NAME``, the name for `models.find`.
    model
        Its description.
    accuracy, n_test
        Top-1 accuracy on the upstream test images, a proportion, and their number.
    facts
        Stored record of the training.
    fresh
        Whether it was trained now, rather than found.
    """

    name: str
    model: Model
    accuracy: float
    n_test: int
    facts: dict[str, Any]
    fresh: bool


def default_name(recipe: Recipe) -> str:
    """Return a name from architecture, dataset and the first digits of the recipe's key."""
    words = (recipe.model.name, recipe.dataset.name, recipe.key[:KEY_DIGITS])
    return "-".join(re.sub(r"[^A-Za-z0-9]+", "-", word).strip("-") for word in words)


def pretrain(
    recipe: Recipe,
    context: RunContext,
    *,
    name: str | None = None,
    title: str | None = None,
    configuration: str | None = None,
    ranks: "Ranks | None" = None,
) -> Pretrained | None:
    """Train a network by a recipe, measure its upstream accuracy, and register it.

    A registered network is not trained again. An interrupted run resumes from its checkpoint.

    Parameters
    ----------
    recipe
        Recipe of the training.
    context
        Where to run.
    name, title, configuration
        As in `PretrainJob`; the name is by default `default_name`.
    ranks
        The processes that train together; by default only this one.

    Returns
    -------
    Pretrained
        None on ranks other than the first, which registers the network.

    Raises
    ------
    StudyError
        A network of another recipe has this `name`.
    WeightsError
        The registered weights have changed.
    TrainingError
        The run diverged.
    HeadstartError
        Pretraining is impossible for another reason; checked as early as possible.
    """
    job = PretrainJob(recipe, default_name(recipe) if name is None else name, title, configuration)
    if ranks is None or ranks.first:
        return run_job(job, context, ranks)
    if pretrained.read_facts(job.name, context.cache) is None:
        _train(check(recipe, context), recipe, context, ranks)
    return None


def run_job(job: PretrainJob, context: RunContext, ranks: "Ranks | None" = None) -> Pretrained:
    """Run a job in this process, or as the first of `ranks`; see `pretrain`."""
    if found := registered(job, context.cache):
        _share(job, context)
        return found
    network = check(job.recipe, context)
    lock = context.cache / pretrained.SCHEME / f".{job.name}.lock"
    with locked(lock, lambda: context.reporter.stage("waiting for another process")):
        if found := registered(job, context.cache):
            return found
        trained = _pretrain(network, job, context, ranks)
        _share(job, context)
        return trained


def _share(job: PretrainJob, context: RunContext) -> None:
    """Copy the network to where other machines reach it; a failure is noted."""
    try:
        pretrained.share(job.name, context.cache)
    except StorageError as error:
        context.reporter.note(f"{job.found_by} stays on this machine: {error}")


def check(recipe: Recipe, context: RunContext) -> "Network":
    """Check early what could stop a run; return the initial network.

    Raises
    ------
    ModelError
        The architecture does not support one of the recipe's switches.
    HeadstartError
        Device or data are missing, or disk space is too small.
    """
    require_fast(recipe.training.precision, resolve_device(context.device))
    network = begin(recipe, context)
    datasets.fetch(recipe.dataset, context.cache, context.reporter)
    datasets.check_images(recipe.dataset, context.cache, context.reporter)
    n_images = sum(n for _, n in recipe.dataset.used_sizes)
    writable_folder(context.cache / pretrained.SCHEME)
    check_free_space(context.cache, bytes_needed(n_images, recipe.side), "prepared images")
    return network


def begin(recipe: Recipe, context: RunContext) -> "Network":
    """Return the initial network: random weights, with the recipe's switches."""
    return models.load(_begun(recipe), context.cache, trust=context.trust)


def _pretrain(
    network: "Network", job: PretrainJob, context: RunContext, ranks: "Ranks | None"
) -> Pretrained:
    name, recipe = job.name, job.recipe
    network, trained, examples = _train(network, recipe, context, ranks)
    if trained.diverged_at is not None:
        remove_checkpoint(_checkpoint(recipe, context.cache), context)
        raise TrainingError(
            f"pretraining '{name}' diverged at step {trained.diverged_at:,} of "
            f"{recipe.training.steps:,}: lower --learning-rate, "
            f"{recipe.training.learning_rate:g} now",
            code="training.diverged",
            step=trained.diverged_at,
        )
    for note in trained.notes:
        context.reporter.note(f"{name}: {note}")
    accuracy, n_test, chance = _test(network, recipe, examples)
    if chance:
        context.reporter.note(
            f"warning: {name}: {chance.text}: the network is registered, but may have learned "
            "nothing"
        )
    facts = {
        "key": recipe.key,
        "recipe": recipe.model_dump(mode="json"),
        "accuracy": accuracy,
        "n_test": n_test,
        "at_chance": chance._asdict() if chance else None,
        "losses": trained.losses,
        "images_per_second": trained.images_per_second,
        "resumed_at": trained.resumed_at,
        "examples": examples.splits.revision,
        "skipped_images": examples.broken,
        "provenance": provenance(),
    }
    model = described(job, accuracy, n_test)
    model = pretrained.register(name, network, model, facts, context.cache)
    # Last: a process killed before this line tests again, but does not train again.
    remove_checkpoint(_checkpoint(recipe, context.cache), context)
    return Pretrained(job.found_by, model, accuracy, n_test, facts, fresh=True)


def _train(
    network: "Network", recipe: Recipe, context: RunContext, ranks: "Ranks | None"
) -> "tuple[Network, Trained, TrainingImages]":
    """Train on train + validation: nothing is selected, so nothing is held out."""
    from headstart.training import CheckpointOptions

    context.reporter.stage("reading the dataset")
    splits = datasets.load(recipe.dataset, recipe.seed, context.cache, test_labels=True)
    examples = TrainingImages.read(recipe.dataset, splits, recipe.side, context)
    network = network.with_head(examples.splits.n_classes, recipe.seed_of("head"))
    trained = examples.fit(
        network,
        np.concatenate([examples.train_rows, examples.validation_rows]),
        recipe.model,
        recipe.training.replace(
            auxiliary_weight=models.auxiliary_weight(_begun(recipe)),
            seed=recipe.seed_of("training"),
        ),
        stage=f"pretraining on {recipe.dataset.name}",
        checkpoint=CheckpointOptions(_checkpoint(recipe, context.cache), recipe.key, SAVE_SECONDS),
        ranks=ranks,
    )
    return network, trained, examples


def _test(
    network: "Network", recipe: Recipe, examples: TrainingImages
) -> tuple[float, int, AtChance | None]:
    """Return top-1 accuracy on the test images, their number, and whether it is at chance.

    Test labels are opened once.
    """
    examples.context.reporter.stage(f"testing on {recipe.dataset.name}")
    scores = examples.scores(
        network, examples.test_rows, recipe.model, recipe.view, recipe.training.precision
    )
    if not np.isfinite(scores).all():
        raise TrainingError(
            "scores of the trained network hold NaN or infinity: lower --learning-rate, "
            f"{recipe.training.learning_rate:g} now",
            code="training.scores_not_finite",
        )
    # Opening the labels needs a selection: the recipe, fixed in advance.
    chosen = {"learning_rate": recipe.training.learning_rate, "steps": float(recipe.training.steps)}
    selection = Selection(
        examples=examples.splits.revision, chosen=chosen, validation_curve=(chosen,)
    )
    labels = examples.splits.test.open(selection)[examples.test_places]
    return metrics.score("top-1", labels, scores), len(labels), at_chance("top-1", labels, scores)


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


def _checkpoint(recipe: Recipe, cache: Path) -> Path:
    return cache / "training" / f"{digest({'pretraining': recipe.key})}.safetensors"


def pretrain_all(
    jobs: Sequence[PretrainJob], context: RunContext, executor: Executor | None = None
) -> Iterator[tuple[PretrainJob, Pretrained | HeadstartError]]:
    """Yield each job with its outcome, a network or an error, as it completes.

    A failure does not stop the other jobs. To stop, stop iterating. An executor runs jobs in
    parallel, and outcomes come in any order; without one they run one by one in this process.
    """
    reporter = context.reporter
    if executor is None:
        for number, one in enumerate(jobs, start=1):
            own = reporter.trial_started(f"pretraining {one.said}", number, len(jobs))
            yield one, _attempt(replace(context, reporter=own), one)
            own.trial_finished()
        return
    reporter.stage("pretraining networks", total=len(jobs), unit="networks")

    def hear(message: Message) -> None:
        # Stages of several networks would take turns on one bar.
        if not isinstance(message, Stage | Advance):
            reporter.receive(message)

    for one, outcome in executor.map(partial(_attempt, context), jobs, hear):
        yield one, outcome
        reporter.advance()


def _attempt(
    context: RunContext, job: PretrainJob, send: Send | None = None
) -> Pretrained | HeadstartError:
    """Run a job; in a worker process `send` takes its messages."""
    try:
        return run_job(job, context.reporting_to(send) if send else context)
    except HeadstartError as error:
        return error


def registered(job: PretrainJob, cache: Path) -> Pretrained | None:
    """Return the registered network of a job, renamed if necessary; None if there is none.

    Raises
    ------
    StudyError
        A network of another recipe has the name.
    WeightsError
        The registered weights have changed.
    """
    name, recipe = job.name, job.recipe
    facts = pretrained.read_facts(name, cache)
    if facts is None:
        return None
    if facts["key"] != recipe.key:
        differences = _differences(facts["recipe"], recipe)
        listed = "; ".join(
            f"{field} {kept} stored, {new} requested" for field, (kept, new) in differences.items()
        )
        raise StudyError(
            f"'{job.found_by}' exists with another recipe "
            f"({listed or 'other content under the same names'}): choose another --name, or "
            f"remove {pretrained.folder_of(name, cache)}",
            code="pretrain.name_taken",
            name=name,
            differences=differences,
        )
    model = pretrained.verify(name, cache)
    changes = job.renaming(model)
    if any(getattr(model, field) != value for field, value in changes.items()):
        model = pretrained.rename(name, changes, cache)
    return Pretrained(job.found_by, model, facts["accuracy"], facts["n_test"], facts, fresh=False)


def described(job: PretrainJob, accuracy: float, n_test: int) -> Model:
    """Return the model of a trained network, without its weights.

    Its dropout is 0: transfer uses none, regardless of the recipe. `accuracy` is the top-1 accuracy
    on the upstream test images, a proportion.
    """
    recipe = job.recipe
    known = {tag: value for tag, value in recipe.model.tags.items() if tag != "weights_tag"}
    known.pop("configuration", None)
    upstream = UpstreamAccuracy(
        dataset=f"{recipe.dataset.name} test",
        value=accuracy,
        n=n_test,
        source=f"measured by headstart pretrain on {n_test:,} images",
    ) if 0 < accuracy < 1 else None  # fmt: skip
    changes = {
        "name": job.found_by,
        "bn_scale": recipe.bn_scale,
        "dropout": 0.0,
        # An accuracy of 0 or 1 has no finite log odds, so an analysis could not use it.
        "upstream": (upstream,) if upstream else (),
        "tags": {**known, **recipe.tags, "recipe": recipe.key[:KEY_DIGITS]},
    }
    model = recipe.model.model_copy(update=changes)
    return model.model_copy(update=job.renaming(model))


def _differences(kept: Mapping[str, Any], recipe: Recipe) -> dict[str, tuple[Any, Any]]:
    """Return the fields in which a recipe differs from a stored one: as stored, as requested."""
    wanted = recipe.model_dump(mode="json")
    nouns = ("model", "dataset")
    pairs = {field: (kept.get(field), wanted[field]) for field in wanted if field not in nouns}
    pairs |= {field: (kept[field]["name"], wanted[field]["name"]) for field in nouns}
    return {field: pair for field, pair in pairs.items() if pair[0] != pair[1]}

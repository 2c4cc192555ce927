"""Registered networks: look one up, or describe a newly trained one."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from headstart.errors import StudyError
from headstart.models import pretrained
from headstart.pretraining.job import KEY_DIGITS, Pretrained, PretrainJob
from headstart.spec import Model, Recipe, UpstreamAccuracy

__all__ = ["described", "registered"]


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
        raise StudyError(
            f"'{job.found_by}' exists with another recipe "
            f"({_differences(facts['recipe'], recipe)}): choose another --name, or remove "
            f"{pretrained.folder_of(name, cache)}",
            code="pretrain.name_taken",
            name=name,
        )
    model = pretrained.verify(name, cache)
    changes = job.renaming(model)
    if any(getattr(model, field) != value for field, value in changes.items()):
        model = pretrained.rename(name, changes, cache)
    return Pretrained(job.found_by, model, facts["accuracy"], facts["n_test"], facts, fresh=False)


def described(job: PretrainJob, accuracy: float, n_test: int) -> Model:
    """Return the model of a trained network, without its weights.

    Its dropout is 0: transfer uses none, regardless of the recipe.

    Parameters
    ----------
    job
        The recipe and the name.
    accuracy, n_test
        Top-1 accuracy on the upstream test images, a proportion, and their number.
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


def _differences(kept: Mapping[str, Any], recipe: Recipe) -> str:
    """Return a description of the fields in which a recipe differs from a stored one."""
    wanted = recipe.model_dump(mode="json")
    found = [
        f"{field} {kept.get(field)} stored, {wanted[field]} requested"
        for field in wanted
        if field not in ("model", "dataset") and kept.get(field) != wanted[field]
    ]
    for field in ("model", "dataset"):
        there, here = kept[field]["name"], wanted[field]["name"]
        if there != here:
            found.append(f"{field} {there} stored, {here} requested")
    return "; ".join(found) or "other content under the same names"

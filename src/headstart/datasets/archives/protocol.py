"""How the study splits each dataset: PROTOCOL of Kornblith et al. (2019), Table 1.

The creators' validation set where there is one. Elsewhere part of the training set is drawn, of
the size that Grill et al. ("Bootstrap Your Own Latent", 2020, Table 10) print. All draws come
from the seed, without replacement.
"""

import numpy as np

from headstart.datasets.archives.facts import Facts
from headstart.datasets.raw_dataset import RawDataset
from headstart.datasets.splits import Split
from headstart.errors import ManifestError
from headstart.labels import balanced_subset, hold_out_exactly
from headstart.spec import Sizes, digest

__all__ = ["protocol_splits", "without_missing"]


def protocol_splits(facts: Facts, raw: RawDataset, seed: int = 0) -> dict[str, Split]:
    """Return ``train``, ``validation`` and ``test`` as the study has them.

    Train is what is fitted on before the choice; afterwards it is train and validation together.

    Raises
    ------
    ManifestError
        The archive has other parts than its creators made, or too few images: of a class, or to
        hold the validation set out of.
    DatasetError
        More classes than the training part can keep an image of.
    """
    if set(raw.parts) != set(facts.parts):
        raise ManifestError(
            f"dataset '{facts.key}' is not as published: its parts should be "
            f"{', '.join(facts.parts)}, found {', '.join(raw.parts)}; fetch a fresh copy"
        )
    if "all" in raw.parts:
        return _drawn(facts, raw, seed)
    if "validation" in raw.parts:
        return {name: raw.parts[name] for name in ("train", "validation", "test")}
    train = raw.parts["train"]
    if len(train) <= facts.sizes.validation:
        raise ManifestError(
            f"dataset '{facts.key}' is not as published: the number of training images, validation "
            f"counted, should be {facts.sizes.train + facts.sizes.validation:,}, found "
            f"{len(train):,}; fetch the creators' own copy"
        )
    kept, held = hold_out_exactly(
        train.labels, facts.sizes.validation, _derived_seed(facts, "validation", seed)
    )
    return {
        "train": train.take(kept),
        "validation": train.take(held),
        "test": raw.parts["test"],
    }


def without_missing(facts: Facts, raw: RawDataset) -> Facts:
    """Return the facts as they are for an archive whose missing images were accepted.

    Validation keeps its share of the images that are left. What was measured on them is not
    comparable with what was published: callers have to say so.
    """
    sizes = facts.sizes
    published = sizes.train + sizes.validation
    left = published - raw.missing.get("train", 0)
    validation = round(sizes.validation * left / published)
    test = sizes.test - raw.missing.get("test", 0)
    reduced = Sizes(train=left - validation, validation=validation, test=test)
    return facts.model_copy(update={"sizes": reduced})


def _drawn(facts: Facts, raw: RawDataset, seed: int) -> dict[str, Split]:
    """Draw the same number of every class, for train and for validation; the rest is test."""
    whole = raw.parts["all"]
    for_train, for_validation = (
        size // facts.n_classes for size in (facts.sizes.train, facts.sizes.validation)
    )
    drawn = for_train + for_validation
    n_classes = len(raw.classes)
    counts = np.bincount(whole.labels, minlength=n_classes)
    if (counts <= drawn).any():
        lacking = int(np.argmin(counts))
        raise ManifestError(
            f"dataset '{facts.key}' is not as published: class '{raw.classes[lacking]}' should "
            f"have more than the {drawn} images that are drawn for train and validation, found "
            f"{counts[lacking]}; fetch a fresh copy"
        )
    # No class has fewer, so a balanced subset has exactly so many of each.
    fitted = balanced_subset(
        whole.labels, drawn * n_classes, _derived_seed(facts, "train+validation", seed)
    )
    held = balanced_subset(
        whole.labels[fitted], for_validation * n_classes, _derived_seed(facts, "validation", seed)
    )
    return {
        "train": whole.take(np.delete(fitted, held)),
        "validation": whole.take(fitted[held]),
        "test": whole.take(np.setdiff1d(np.arange(len(whole)), fitted)),
    }


def _derived_seed(facts: Facts, drawn: str, seed: int) -> int:
    """Return each draw for each dataset a stream of its own."""
    return int(digest({"dataset": facts.key, "drawn": drawn, "seed": seed})[:8], 16)

"""Embeddings: t-SNE of penultimate features of test images, with measures of separation.

It reproduces figure 4 of Kornblith et al. (2019), for several networks on the same images. Test
labels colour the points. The result is descriptive only: no trial uses it for selection.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import numpy.typing as npt
import pandas as pd

from headstart import models
from headstart.context import RunContext
from headstart.datasets import Split
from headstart.datasets.images import small_picture
from headstart.datasets.labelled import labelled_test
from headstart.errors import StudyError, UnknownNameError
from headstart.features import FeatureRequest, extract_together, penultimate_features
from headstart.labels import kind_of
from headstart.spec import Dataset, Model, digest
from headstart.spec.setting import Precision
from headstart.stats import (
    class_variance_ratio,
    cosine_distances,
    linear_cka,
    mean_silhouette,
    neighbour_accuracy,
    unbiased_linear_cka,
    unit_length,
)

__all__ = ["EmbedOptions", "Embedding", "embed"]

CLASSES = 10  # as in the paper
NEIGHBOURS = 5
PERPLEXITY = 30.0

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class EmbedOptions:
    """Classes and images to embed, and options of t-SNE.

    Parameters
    ----------
    classes
        Names of classes, or the number of random ones; by default ten, or all if fewer.
    images
        Largest number of images, spread evenly over the classes.
    perplexity
        Perplexity of t-SNE, about the number of neighbours; by default 30, less for few points.
    seed
        Seed of random classes and images, of t-SNE, and of the subset of a limited dataset.
    """

    classes: tuple[str, ...] | int | None = None
    images: int = 1000
    perplexity: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.images < 1:
            raise StudyError(
                f"--images {self.images} leaves no image: give a whole number from 1",
                code="embedding.images_invalid",
                found=self.images,
            )
        if not 0 <= self.seed < 2**32:
            raise StudyError(
                f"--seed {self.seed}: expected a whole number from 0, under 2^32",
                code="embedding.seed_invalid",
                found=self.seed,
            )


@dataclass(frozen=True)
class Embedding:
    """Points in the plane, and tables about them.

    Parameters
    ----------
    dataset
        Name of the dataset.
    classes
        Embedded classes, in the order of the dataset.
    perplexity, seed
        Perplexity and seed of t-SNE.
    images
        One row per image: ``image`` (from 0), ``class``, ``where`` (file name), ``picture`` (a
        data URI), ``tiny`` (whether to enlarge it pixel by pixel).
    points
        One row per network and image: ``model``, ``position`` (of the network, from 0), ``image``,
        ``class``, ``x``, ``y``.
    separation
        One row per network: ``model``, ``position``, ``features`` and ``neighbours`` (counts),
        ``silhouette``, ``neighbour_accuracy``, ``variance_ratio``.
    similarity
        One row per pair of networks: ``model``, ``other``, ``cka``, ``unbiased_cka``.
    """

    dataset: str
    classes: tuple[str, ...]
    perplexity: float
    seed: int
    images: pd.DataFrame
    points: pd.DataFrame
    separation: pd.DataFrame
    similarity: pd.DataFrame

    def tables(self) -> dict[str, pd.DataFrame]:
        """Return the tables by the names that figures and pages use."""
        return {
            "images": self.images,
            "embedding": self.points,
            "separation": self.separation,
            "similarity": self.similarity,
        }

    @property
    def source(self) -> str:
        """One sentence that describes the embedding."""
        return (
            f"{len(self.images):,} test images of {len(self.classes)} classes of {self.dataset}, "
            f"perplexity {self.perplexity:g}, seed {self.seed}."
        )


def embed(
    networks: Sequence[Model],
    dataset: Dataset,
    options: EmbedOptions,
    precision: Precision,
    context: RunContext,
) -> Embedding:
    """Embed penultimate features of the same test images by several networks.

    t-SNE (scikit-learn's, initialized by principal components) and separation use features of unit
    length, for which Euclidean distance is monotonic in cosine distance. CKA uses raw features.

    Parameters
    ----------
    networks
        Networks; one with random weights is a control.
    dataset
        Dataset with one label per image.
    precision
        Precision of the networks' arithmetic. The features are shared with linear trials.

    Raises
    ------
    StudyError
        No network, several labels per image, fewer than two classes, too few images, or a
        perplexity too large for them.
    UnknownNameError
        An unknown class.
    HeadstartError
        Features cannot be computed.
    """
    _check(networks, dataset)
    context.reporter.stage("reading the dataset")
    split, places = labelled_test(dataset, options.seed, context.cache)
    rows = _rows(dataset, split.labels, options)
    split, places = split.take(rows), places[rows]
    _perplexity(options, len(places))
    request = FeatureRequest(
        split.images,
        places,
        dataset.images_revision,
        total=sum(size for _, size in dataset.sizes),
        precision=precision,
        skip_broken=dataset.skip_broken,
    )
    found, reporter = [], context.reporter
    for model in networks:
        models.fetch(model, context.cache)
    if len(networks) > 1:
        # Errors of a network show again where it is read.
        extract_together([(model, request) for model in networks], context)
    for number, model in enumerate(networks, start=1):
        own = reporter.trial_started(model.name, number, len(networks))
        found.append(penultimate_features(model, request, replace(context, reporter=own)))
        own.trial_finished()
    whole = np.setdiff1d(np.arange(len(places)), [row for one in found for row in one.broken])
    features = [np.asarray(one.values[whole]) for one in found]
    return _embedded(networks, dataset, split.take(whole), features, options, context)


def _check(networks: Sequence[Model], dataset: Dataset) -> None:
    if not networks:
        raise StudyError(
            "no model to embed features of: name at least one", code="embedding.no_model"
        )
    if kind_of(dataset.metric).ndim != 1:
        raise StudyError(
            f"dataset '{dataset.name}' has several labels per image: an embedding colours each "
            "image by its class and needs one label per image",
            code="embedding.multilabel",
            dataset=dataset.name,
        )


def _embedded(
    networks: Sequence[Model],
    dataset: Dataset,
    split: Split,
    features: Sequence[npt.NDArray[np.float32]],
    options: EmbedOptions,
    context: RunContext,
) -> Embedding:
    """Turn features of the same images to points and numbers."""
    labels = np.asarray(dataset.classes)[split.labels]
    perplexity, n = _perplexity(options, len(split)), len(split)
    points, separation = [], []
    context.reporter.stage("t-SNE", total=len(networks), unit="networks")
    for position, (model, X) in enumerate(zip(networks, features, strict=True)):
        row_of = {"model": model.name, "position": position}
        x, y = _tsne(unit_length(X), perplexity, options.seed).T
        points.append(pd.DataFrame({**row_of, "image": range(n), "class": labels, "x": x, "y": y}))
        separation.append({**row_of, **_separation(X, split.labels)})
        context.reporter.advance()
    pairs = [
        {
            "model": networks[i].name,
            "other": networks[j].name,
            "cka": linear_cka(features[i], features[j]),
            "unbiased_cka": unbiased_linear_cka(features[i], features[j]),
        }
        for i, j in combinations(range(len(networks)), 2)
    ]
    return Embedding(
        dataset=dataset.name,
        classes=tuple(dataset.classes[label] for label in np.unique(split.labels)),
        perplexity=perplexity,
        seed=options.seed,
        images=pd.DataFrame(
            {"image": row, "class": name, **vars(small_picture(split.images, row))}
            for row, name in enumerate(labels)
        ),
        points=pd.concat(points, ignore_index=True),
        separation=pd.DataFrame(separation),
        similarity=pd.DataFrame(pairs, columns=["model", "other", "cka", "unbiased_cka"]),
    )


def _rows(
    dataset: Dataset, labels: npt.NDArray[np.int64], options: EmbedOptions
) -> npt.NDArray[np.int64]:
    """Return sorted indices of the test images to embed."""
    chosen = _classes(dataset, labels, options)
    rows = np.flatnonzero(np.isin(labels, chosen)).astype(np.int64)
    rows = rows[kind_of(dataset.metric).subset(labels[rows], options.images, options.seed)]
    # Enough for the nearest neighbours, and two per class.
    min_images = max(2 * len(chosen), NEIGHBOURS + 1)
    if len(rows) < min_images:
        raise StudyError(
            f"{len(rows)} test images of {len(chosen)} classes of dataset '{dataset.name}' are too "
            f"few to embed: at least {min_images} are needed; raise --images or --limit",
            code="embedding.few_images",
            found=len(rows),
            expected=min_images,
        )
    return rows


def _classes(dataset: Dataset, labels: npt.NDArray[np.int64], options: EmbedOptions) -> list[int]:
    """Return the sorted labels of the classes to embed: the named ones, or random ones."""
    counts = np.bincount(labels, minlength=len(dataset.classes))
    enough = np.flatnonzero(counts >= 2)
    if isinstance(options.classes, tuple):
        for name in options.classes:
            if name not in dataset.classes:
                raise UnknownNameError(f"class of dataset '{dataset.name}'", name, dataset.classes)
        chosen = sorted({dataset.classes.index(name) for name in options.classes})
        for label in chosen:
            if counts[label] < 2:
                raise StudyError(
                    f"class '{dataset.classes[label]}' of dataset '{dataset.name}' has "
                    f"{counts[label]} test images here: 2 are needed; raise --limit",
                    code="embedding.class_small",
                    name=dataset.classes[label],
                )
    else:
        n = min(CLASSES, len(enough)) if options.classes is None else options.classes
        if n > len(enough):
            raise StudyError(
                f"--classes {n}: dataset '{dataset.name}' has {len(enough)} classes of two test "
                "images or more here; lower it",
                code="embedding.few_classes",
                found=len(enough),
                expected=n,
            )
        own_seed = int(digest({"classes of": dataset.revision, "seed": options.seed})[:8], 16)
        chosen = sorted(np.random.RandomState(own_seed).permutation(enough)[: max(n, 0)].tolist())
    if len(chosen) < 2:
        raise StudyError(
            f"classes to embed: expected at least 2, found {len(chosen)}: fewer do not show "
            "whether features separate them",
            code="embedding.few_classes",
            found=len(chosen),
            expected=2,
        )
    return chosen


def _perplexity(options: EmbedOptions, n: int) -> float:
    """Return the perplexity; raise StudyError if it is too large for n points.

    t-SNE uses three times as many neighbours per point (L. van der Maaten, "Accelerating t-SNE
    using tree-based algorithms", JMLR 15, 2014, section 4.1).
    """
    # Rounded down to one decimal, as in the message.
    most = float(np.floor(10 * (n - 1) / 3)) / 10
    if options.perplexity is None:
        return min(PERPLEXITY, most)
    if not 1 <= options.perplexity <= most:
        raise StudyError(
            f"--perplexity {options.perplexity:g}: with {n} images it is from 1 to "
            f"{most:g}, a third of the other images; choose one of these, or "
            "more --images",
            code="embedding.perplexity_invalid",
            found=options.perplexity,
            most=most,
        )
    return options.perplexity


def _tsne(X: Floats, perplexity: float, seed: int) -> Floats:
    """Return (n, 2) coordinates; they do not depend on the number of threads."""
    # Imported here, since it takes a second and errors come earlier.
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        found = TSNE(init="pca", perplexity=perplexity, random_state=seed).fit_transform(X)
    return np.asarray(found, dtype=np.float64)


def _separation(X: npt.NDArray[np.float32], labels: npt.NDArray[np.int64]) -> dict[str, float]:
    distances = cosine_distances(X)
    return {
        "features": X.shape[1],
        "neighbours": NEIGHBOURS,
        "silhouette": mean_silhouette(distances, labels),
        "neighbour_accuracy": neighbour_accuracy(distances, labels, NEIGHBOURS),
        "variance_ratio": class_variance_ratio(unit_length(X), labels),
    }

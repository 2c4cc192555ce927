"""What an exported file gives on the test images, beside the scores that were stored."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy.special import expit, softmax

from headstart import datasets, metrics
from headstart.context import RunContext
from headstart.datasets import Images
from headstart.datasets.images import map_ahead
from headstart.deploy.runners import Probabilities, Runner
from headstart.errors import ExportError
from headstart.labels import kind_of
from headstart.spec import Prediction, Result
from headstart.stats import wilson_interval

__all__ = ["Comparison", "compare", "latency", "stored_probabilities", "tested_images"]

BATCH = 16
# Latency: passes before the first that counts, at most so many that count, in so many seconds.
WARM_UP, PASSES, SECONDS = 3, 50, 5.0


@dataclass(frozen=True)
class Comparison:
    """What one file or runtime gives on the test images.

    Parameters
    ----------
    name
        Of the file or runtime.
    n
        Number of images.
    changed
        Images whose prediction is not the stored one.
    largest
        Largest absolute difference of a probability to the stored one.
    metric, score
        The dataset's metric on these images, a proportion.
    low, high
        95 % interval of a top-1 accuracy (Wilson); None of other metrics.
    milliseconds, slow_milliseconds
        Latency of one image: median and 95th percentile; None where it was not measured.
    n_bytes
        Size of the file; 0 where there is none.
    """

    name: str
    n: int
    changed: int
    largest: float
    metric: str
    score: float
    low: float | None
    high: float | None
    milliseconds: float | None = None
    slow_milliseconds: float | None = None
    n_bytes: int = 0


def stored_probabilities(predictions: Prediction) -> Probabilities:
    """Return (n, K) float32 probabilities of stored decision values."""
    scores = predictions.scores.astype(np.float64)
    shares = expit(scores) if predictions.label.ndim == 2 else softmax(scores, axis=1)
    return np.asarray(shares, dtype=np.float32)


def tested_images(result: Result, predictions: Prediction, context: RunContext) -> Images:
    """Return the test images of a trial that have predictions, in their order.

    Labels are not read: the stored predictions have them.

    Raises
    ------
    HeadstartError
        As `datasets.load`: the images are no longer at hand, or are others.
    """
    trial = result.trial
    test = datasets.load(trial.dataset, trial.seed, context.cache).test
    places = {int(row): place for place, row in enumerate(test.rows)}
    missing = [row for row in predictions.example.tolist() if row not in places]
    if missing:
        raise ExportError(
            f"{trial.dataset.name} has no test image {missing[0]}, which was tested: its splits "
            "are others than when the result was measured",
            code="export.images_changed",
            example=missing[0],
        )
    rows = np.array([places[row] for row in predictions.example.tolist()], dtype=np.int64)
    return test.images.take(rows)


def compare(
    runners: Mapping[str, Runner],
    images: Images,
    result: Result,
    predictions: Prediction,
    on_progress: Callable[[int], None] = lambda _: None,
) -> list[Comparison]:
    """Run each of several runtimes on all images, each decoded once.

    Parameters
    ----------
    runners
        Name -> what gives probabilities.
    images, predictions
        n images, and their n stored predictions.
    on_progress
        Called with the number of further images done.
    """
    parts: dict[str, list[Probabilities]] = {name: [] for name in runners}
    for batch in _decoded(images):
        for name, run in runners.items():
            parts[name].append(run(batch))
        on_progress(len(batch))
    stored = stored_probabilities(predictions)
    return [
        _compared(name, np.concatenate(found), stored, result, predictions.label)
        for name, found in parts.items()
    ]


def _decoded(images: Images) -> Iterator[list[Image.Image]]:
    batch = list[Image.Image]()
    for image in map_ahead(images.decode, range(len(images)), depth=BATCH):
        batch.append(image)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _compared(
    name: str,
    found: Probabilities,
    stored: Probabilities,
    result: Result,
    labels: npt.NDArray[np.int64],
) -> Comparison:
    several = labels.ndim == 2
    if several:
        changed = int(((found > 0.5) != (stored > 0.5)).any(axis=1).sum())
    else:
        changed = int((found.argmax(axis=1) != stored.argmax(axis=1)).sum())
    metric = result.trial.dataset.metric
    score = metrics.score(metric, labels, found)
    interval = (
        wilson_interval(score, len(labels)) if metric == kind_of("top-1").metrics[0] else None
    )
    return Comparison(
        name,
        len(labels),
        changed,
        float(np.abs(found - stored).max()),
        metric,
        score,
        interval.low if interval else None,
        interval.high if interval else None,
    )


def latency(run: Runner, image: Image.Image) -> tuple[float, float]:
    """Return the median and the 95th percentile of the time that one image takes, in ms.

    Its preprocessing is included, its decoding is not.
    """
    for _ in range(WARM_UP):
        run([image])
    times, start = list[float](), time.perf_counter()
    while len(times) < PASSES and (len(times) < WARM_UP or time.perf_counter() - start < SECONDS):
        before = time.perf_counter()
        run([image])
        times.append(1000 * (time.perf_counter() - before))
    return float(np.median(times)), float(np.percentile(times, 95))


def check_same(found: Sequence[Comparison], tolerance: float) -> None:
    """Raise ExportError if an exported file gives other probabilities than were stored."""
    for one in found:
        # Written so that NaN counts as a difference.
        if not one.largest <= tolerance:
            raise ExportError(
                f"{one.name} gives other probabilities than were measured: largest difference "
                f"{one.largest:.2g} on {one.n:,} test images, allowed {tolerance:g}; nothing was "
                "written",
                code="export.differs",
                name=one.name,
                largest=one.largest,
                tolerance=tolerance,
                changed=one.changed,
            )

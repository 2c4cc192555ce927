"""ImageNet accuracies of timm's weights, as timm's authors measured them."""

import csv
import gzip
from functools import cache
from importlib.resources import files

from headstart.spec import UpstreamAccuracy

__all__ = ["timm_upstream"]

# Read as a file: the package of published tables lies above this one.
TABLE = ("analysis", "published", "timm2026.csv.gz")
SOURCE = "timm, results/results-imagenet.csv of pytorch-image-models, August 2026"
IMAGES = 50_000


def timm_upstream(weights: str, size: int) -> tuple[UpstreamAccuracy, ...]:
    """Return the ImageNet top-1 accuracy of weights at an image size; nothing where unmeasured.

    Parameters
    ----------
    weights
        timm's name with its tag, ``resnet50.a1_in1k``.
    size
        Side of the images in pixels.
    """
    percent = _measured().get((weights, size))
    if percent is None:
        return ()
    source = f"{SOURCE}, at {size} px"
    return (UpstreamAccuracy(value=round(percent / 100, 6), n=IMAGES, source=source),)


@cache
def _measured() -> dict[tuple[str, int], float]:
    """(name, size) -> top-1 accuracy in percent."""
    text = gzip.decompress(files("headstart").joinpath(*TABLE).read_bytes()).decode()
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return {
        (row["model"].split("@")[0], int(row["img_size"])): float(row["imagenet_top1"])
        for row in csv.DictReader(lines)
    }

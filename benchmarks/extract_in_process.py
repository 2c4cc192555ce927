"""Extract features of images in memory in a process of its own; print its peak memory in kB.

    python benchmarks/extract_in_process.py IMAGES

`features.py` starts it: what that one imports would count.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np

from headstart import models
from headstart.context import RunContext
from headstart.datasets import ArrayImages
from headstart.features import FeatureRequest, penultimate_features


def main(n_images: int) -> None:
    """Extract, then print."""
    pixels = np.random.RandomState(0).randint(0, 255, (8, 28, 28), dtype=np.uint8)
    rows = np.arange(n_images)
    request = FeatureRequest(ArrayImages(pixels).take(rows % 8), rows, "x", n_images)
    with tempfile.TemporaryDirectory() as folder:
        context = RunContext(cache=Path(folder))
        penultimate_features(models.find("efficientnet_lite0"), request, context)
    # Not getrusage: a child inherits its parent's peak there.
    status = Path("/proc/self/status").read_text()
    print(status.split("VmHWM:")[1].split()[0])


if __name__ == "__main__":
    main(int(sys.argv[1]))

"""Images of a training run: on the device, or read ahead from a file in batches."""

import copy
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch

from headstart.devices import memory_of

__all__ = [
    "Batch",
    "DevicePixels",
    "MappedPixels",
    "PixelRows",
    "Pixels",
    "ResidentPixels",
    "fits",
    "load_pixels",
]

Rows = npt.NDArray[np.int64]
Shapes = npt.NDArray[np.int64]

# Fraction of memory that images may take: of a GPU's free memory (activations need the rest), of a
# CPU's total memory (a memory-mapped file stays in the page cache anyway while memory is free).
SHARE = {"cuda": 0.5, "cpu": 0.125}
# Batches to read ahead.
AHEAD = 2
# Images per copy while all of them are moved to the device.
PART = 256


class PixelRows(Protocol):
    """Decoded images with random access, safe to read from a thread."""

    def __len__(self) -> int: ...

    def pixels(self, row: int) -> npt.NDArray[np.uint8]:
        """Return an image, (height, width, 1 or 3) uint8; raise BrokenImageError if broken."""
        ...


class StoredRows(PixelRows, Protocol):
    """Decoded images in a file that knows their shapes."""

    @property
    def shapes(self) -> Shapes:
        """(n, 3) heights, widths and channels."""
        ...

    def take(self, rows: Rows) -> PixelRows:
        """Return the images of these rows, in this order."""
        ...


@dataclass(frozen=True)
class Batch:
    """Images of different sizes in one tensor.

    Parameters
    ----------
    pixels
        (B, C, H, W) uint8 on the device, channels last, C 1 or 3. Images are at the top left,
        padded with zeros. A grey image in a batch of colour images has three equal channels.
    sizes
        (B, 2) heights and widths, in host memory: crops are drawn from them.
    """

    pixels: torch.Tensor
    sizes: npt.NDArray[np.int64]


class Pixels(Protocol):
    """Images of a training run, served as batches."""

    def __len__(self) -> int: ...

    def batch(self, rows: Rows) -> Batch:
        """Return the images of these rows, in this order.

        Raises
        ------
        BrokenImageError
            An image could not be decoded.
        """
        ...

    def batches(self, plan: Iterable[Rows]) -> Iterator[Batch]:
        """Yield batches; may read ahead in a thread."""
        ...


class ResidentPixels:
    """All images in one tensor on the device, padded to the largest height and width.

    Parameters
    ----------
    images
        n images.
    shapes
        (n, 3) their heights, widths and channels; looked up image by image if None.
    """

    def __init__(
        self, images: PixelRows, device: torch.device, shapes: Shapes | None = None
    ) -> None:
        self._shapes = _shapes(images) if shapes is None else shapes
        self._places: Rows | None = None
        # (n, H, W, C): a batch is one gather of whole images.
        shape = (len(images), *self._shapes.max(axis=0).tolist())
        self._pixels = torch.zeros(shape, dtype=torch.uint8, device=device)
        for rows in np.array_split(np.arange(len(images)), -(-len(images) // PART)):
            part = _assembled(images, rows, device).pixels.permute(0, 2, 3, 1)
            first, height, width = int(rows[0]), part.shape[1], part.shape[2]
            self._pixels[first : first + len(rows), :height, :width] = part

    def take(self, rows: Rows) -> "ResidentPixels":
        """Return the images of these rows, padded as if there were no others; memory is shared."""
        taken = copy.copy(self)
        taken._places = rows if self._places is None else self._places[rows]
        taken._shapes = self._shapes[rows]
        # Padding may change the rounding of what is computed from a batch.
        height, width, channels = taken._shapes.max(axis=0).tolist()
        taken._pixels = self._pixels[:, :height, :width, :channels]
        return taken

    def __len__(self) -> int:
        return len(self._shapes)

    def batch(self, rows: Rows) -> Batch:
        inside = rows if self._places is None else self._places[rows]
        places = torch.from_numpy(inside).to(self._pixels.device, non_blocking=True)
        pixels = self._pixels.index_select(0, places)
        return Batch(pixels.permute(0, 3, 1, 2), self._shapes[rows, :2])

    def batches(self, plan: Iterable[Rows]) -> Iterator[Batch]:
        return map(self.batch, plan)


class MappedPixels:
    """Images that stay on disk; a thread reads batches ahead.

    Each batch is padded to its largest height and width. At most three are in memory: the current
    one and `AHEAD` more.
    """

    def __init__(self, images: PixelRows, device: torch.device) -> None:
        self._images, self._device = images, device

    def __len__(self) -> int:
        return len(self._images)

    def batch(self, rows: Rows) -> Batch:
        return _assembled(self._images, rows, self._device)

    def batches(self, plan: Iterable[Rows]) -> Iterator[Batch]:
        coming = iter(plan)
        with ThreadPoolExecutor(1, "headstart-images") as thread:
            read = deque(thread.submit(self.batch, rows) for rows in islice(coming, AHEAD))
            try:
                while read:
                    batch = read.popleft().result()
                    read.extend(thread.submit(self.batch, rows) for rows in islice(coming, 1))
                    yield batch
                    del batch
            finally:
                # The caller stopped early: do not read the rest.
                for waiting in read:
                    waiting.cancel()


def fits(n_bytes: int, device: torch.device) -> bool:
    """Return whether `n_bytes` of images may stay in the device's memory.

    The limit is half of a GPU's free memory, or an eighth of a CPU's total memory.
    """
    return n_bytes <= SHARE[device.type] * memory_of(device)


def load_pixels(
    images: PixelRows, device: torch.device, shapes: Shapes | None = None
) -> ResidentPixels | MappedPixels:
    """Load images onto the device if they fit, else leave them on disk; see `ResidentPixels`.

    Raises
    ------
    BrokenImageError
        An image could not be decoded.
    """
    shapes = _shapes(images) if shapes is None else shapes
    n_bytes = len(images) * int(shapes.max(axis=0).prod())
    if fits(n_bytes, device):
        return ResidentPixels(images, device, shapes)
    return MappedPixels(images, device)


class DevicePixels:
    """Images on a device, loaded once for all subsets of them that are used in turn.

    Parameters
    ----------
    images
        n images.
    together
        Rows that are loaded together if they fit, since their subsets will be used. What is not
        among them, or does not fit with them, is loaded by itself, in the place of what was there.
    """

    def __init__(self, images: StoredRows, together: Rows) -> None:
        self._images, self._together = images, together
        self._loaded: tuple[torch.device, Rows, ResidentPixels] | None = None

    def of(self, rows: Rows, device: torch.device) -> Pixels:
        """Return the images of these rows.

        Raises
        ------
        BrokenImageError
            An image could not be decoded.
        """
        if (found := self._subset(rows, device)) is None:
            # First, so that never more is in memory.
            self._loaded = None
            if not np.isin(rows, self._together).all() or not self._load(self._together, device):
                self._load(rows, device)
            found = self._subset(rows, device)
        return MappedPixels(self._images.take(rows), device) if found is None else found

    def _load(self, rows: Rows, device: torch.device) -> bool:
        pixels = load_pixels(self._images.take(rows), device, self._images.shapes[rows])
        if isinstance(pixels, ResidentPixels):
            self._loaded = (device, rows, pixels)
        return self._loaded is not None

    def _subset(self, rows: Rows, device: torch.device) -> ResidentPixels | None:
        if self._loaded is None or self._loaded[0] != device:
            return None
        _, there, pixels = self._loaded
        place = np.full(len(self._images), -1, np.int64)
        place[there] = np.arange(len(there))
        found = place[rows]
        return pixels.take(found) if (found >= 0).all() else None


def _shapes(images: PixelRows) -> Shapes:
    return np.array([images.pixels(row).shape for row in range(len(images))], np.int64)


def _assembled(images: PixelRows, rows: Rows, device: torch.device) -> Batch:
    found = [images.pixels(row) for row in rows.tolist()]
    shapes = np.array([pixels.shape for pixels in found], np.int64)
    height, width, channels = shapes.max(axis=0).tolist()
    # Asynchronous copies to a GPU need pinned memory.
    memory = torch.empty(
        (len(found), height, width, channels), dtype=torch.uint8, pin_memory=device.type == "cuda"
    )
    # NumPy fills it on this thread alone. Torch would start OpenMP threads for the thread that
    # reads ahead. With more threads than cores, OpenMP threads sleep between loops instead of
    # spinning, which slows down every step of the network.
    view = memory.numpy()
    for slot, pixels, (h, w, _) in zip(view, found, shapes.tolist(), strict=True):
        slot[:h, :w], slot[:h, w:], slot[h:] = pixels, 0, 0
    on_device = memory.to(device, non_blocking=True)
    return Batch(on_device.permute(0, 3, 1, 2), shapes[:, :2])

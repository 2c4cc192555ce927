"""A measured classifier on images of one's own: files, folders, arrays, Pillow's images.

`load` takes a result's key, a folder that a run kept, or one that `headstart export` wrote. Images
meet the network as they did when it was measured.
"""

import io
import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import KW_ONLY, dataclass
from glob import glob, has_magic
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from headstart.artifacts import ArtifactFolder
from headstart.context import RunContext
from headstart.datasets.decode import decode, from_pillow
from headstart.datasets.images import map_ahead
from headstart.datasets.samples import UnsupportedSamplesError
from headstart.datasets.sources.own_files import images_in
from headstart.deploy.final_network import (
    FinalNetwork,
    ImageInput,
    final_network,
    find_result,
    kept_models_of,
    kept_network,
    named_network,
)
from headstart.deploy.runners import (
    NetworkRunner,
    OnnxRunner,
    Probabilities,
    ProgramRunner,
    Runner,
    batches,
)
from headstart.errors import (
    BrokenImageError,
    CommandError,
    DatasetError,
    DeviceError,
    ExportError,
    HeadstartError,
    StorageError,
)
from headstart.files import path_of, storage_errors
from headstart.local_cache import is_url
from headstart.shown_text import first_line
from headstart.spec import Decoding
from headstart.store import ResultStore

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "CLASSES",
    "FACTS",
    "FORMAT",
    "ONNX",
    "PROGRAM",
    "ClassifiedImages",
    "Classifier",
    "ImageFile",
    "find_images",
    "load",
]

# Facts of an exported folder.
FACTS = "headstart.json"
FORMAT = 1
CLASSES = "classes.json"
ONNX, PROGRAM = "model.onnx", "model.pt2"
BATCH = 32
# Iterable, perhaps, and yet one thing: lines of a file and keys of a dictionary are no images.
ONE_THING: tuple[type, ...] = (
    str, bytes, os.PathLike, Image.Image, np.ndarray, Mapping, io.IOBase
)  # fmt: skip


@dataclass(frozen=True)
class ClassifiedImages:
    """Images with the probabilities of their classes.

    Parameters
    ----------
    names
        Of the images that were decoded, in the order given: paths, or ``number N``.
    classes
        K names.
    probabilities
        (n, K) float32: they add up to one, unless an image may show several classes.
    broken
        Name of an image that cannot be decoded -> why.
    several
        Whether an image may show several classes.
    """

    names: tuple[str, ...]
    classes: tuple[str, ...]
    probabilities: Probabilities
    broken: dict[str, str]
    several: bool = False

    def __len__(self) -> int:
        return len(self.names)

    def __repr__(self) -> str:
        broken = f", {len(self.broken)} broken" if self.broken else ""
        return f"ClassifiedImages({len(self)} images, {len(self.classes)} classes{broken})"

    @property
    def predicted(self) -> list[Any]:
        """The most probable class of each image; where several may be, all over one half."""
        if not self.several:
            return [self.classes[place] for place in self.probabilities.argmax(axis=1)]
        shown = self.probabilities > 0.5
        return [tuple(np.array(self.classes, dtype=object)[row]) for row in shown]

    def top(self, k: int = 5) -> list[list[tuple[str, float]]]:
        """Return the k most probable classes of each image, with their probabilities.

        Raises
        ------
        CommandError
            `k` is below 1 (``command.value``).
        """
        if k < 1:
            raise CommandError(
                f"invalid k {k}: expected at least 1", code="command.value", name="k", value=k
            )
        order = np.argsort(-self.probabilities, axis=1, kind="stable")[:, :k]
        return [
            [(self.classes[place], float(row[place])) for place in places]
            for row, places in zip(self.probabilities, order, strict=True)
        ]

    def table(self, k: int = 5) -> "pd.DataFrame":
        """Return one row per image and class: image, rank, class, probability."""
        import pandas as pd

        rows = [
            {"image": name, "rank": rank, "class": found, "probability": probability}
            for name, best in zip(self.names, self.top(k), strict=True)
            for rank, (found, probability) in enumerate(best, 1)
        ]
        return pd.DataFrame(rows, columns=["image", "rank", "class", "probability"])


@dataclass(repr=False, eq=False)
class Classifier:
    """Classifies images as it was measured to; `load` makes one.

    Parameters
    ----------
    run
        Decoded images -> probabilities.
    classes
        Names, in the order of its outputs.
    several
        Whether an image may show several classes.
    decoding
        How the bytes of a file become an image.
    title
        What it is, for a person.
    """

    run: Runner
    classes: tuple[str, ...]
    _: KW_ONLY
    several: bool
    decoding: Decoding
    title: str

    def __repr__(self) -> str:
        return f"Classifier({self.title}, {len(self.classes)} classes)"

    def __call__(
        self, images: Any, *, on_progress: Callable[[int], None] | None = None
    ) -> ClassifiedImages:
        """Classify images.

        Parameters
        ----------
        images
            A path, a folder (all images in it), a pattern (``photos/*.jpg``), an image of Pillow,
            an array, or several of these in any iterable. Arrays are uint8: (height, width) or
            (height, width, 1) grey, (height, width, 3) RGB, (height, width, 4) RGBA, or (n,
            height, width, 1, 3 or 4).
        on_progress
            Called after each batch with the number of images in it.

        Raises
        ------
        DatasetError
            No images (``image.none``), or an object that is none (``image.kind``).
        """
        found = find_images(images)
        names, broken, parts = list[str](), dict[str, str](), list[Probabilities]()
        decoded = map_ahead(self._decoded, found, depth=BATCH)
        for batch in batches(zip(found, decoded, strict=True), BATCH):
            whole = [(one.name, image) for one, image in batch if not isinstance(image, str)]
            broken |= {one.name: why for one, why in batch if isinstance(why, str)}
            if whole:
                names += [name for name, _ in whole]
                parts.append(self.run([image for _, image in whole]))
            if on_progress:
                on_progress(len(batch))
        nothing = np.zeros((0, len(self.classes)), np.float32)
        probabilities = np.concatenate(parts) if parts else nothing
        return ClassifiedImages(tuple(names), self.classes, probabilities, broken, self.several)

    def _decoded(self, image: "ImageFile") -> "Image.Image | str":
        """Decode an image, or return why that fails."""
        try:
            return image.decode(self.decoding)
        except BrokenImageError as error:
            return error.reason
        # A file that is missing or may not be read: the others are answered.
        except StorageError as error:
            cause = error.__cause__
            missing = isinstance(cause, FileNotFoundError | NotADirectoryError)
            # Its name stands before what is said of it.
            return "no such file" if missing else str(error.values.get("kind", error))


@dataclass(frozen=True)
class ImageFile:
    """An image to classify: a file, or what a caller has in memory.

    `content` is a path, an image of Pillow, or why nothing of this name is there.
    """

    name: str
    content: Path | Image.Image | str

    def decode(self, decoding: Decoding) -> Image.Image:
        """Return the image in mode L or RGB; BrokenImageError if it does not decode."""
        if isinstance(self.content, str):
            raise BrokenImageError(self.name, self.content)
        try:
            if isinstance(self.content, Path):
                with storage_errors(self.content, reading=True):
                    content = io.BytesIO(self.content.read_bytes())
                return decode(content, self.name, decoding)
            return from_pillow(self.content, self.name, decoding)
        except UnsupportedSamplesError as error:
            raise BrokenImageError(self.name, f"{error.what}: give it in 8 bits") from error
        except BrokenImageError as error:
            raise BrokenImageError(self.name, _without_options(error)) from error
        except (HeadstartError, MemoryError):
            raise
        # Pillow reads the pixels of a file that it opened when they are asked for: of many types.
        except Exception as error:
            raise BrokenImageError(self.name, first_line(error)) from error


def _without_options(error: BrokenImageError) -> str:
    """Return why an image does not decode, with no remedy by an option of a dataset's name.

    Images to classify have none.
    """
    cause = error.__cause__
    if isinstance(cause, UnsupportedSamplesError) and "?range=" in cause.remedy:
        return f"{cause.what}: save it in 8 bits"
    reason, option, _ = error.reason.partition(": raise it with ?max_pixels=")
    return f"{reason}: reduce it" if option else reason


def find_images(images: Any) -> list[ImageFile]:
    """Return the images that a caller names, each once per mention, in the order given.

    A folder without images, and a pattern without matches, count as an image that cannot be
    decoded where there are others.

    Raises
    ------
    DatasetError
        As `Classifier.__call__`.
    """
    alone = isinstance(images, ONE_THING)
    given = [images] if alone or not isinstance(images, Iterable) else list(images)
    found = list[ImageFile]()
    for one in given:
        found += _found(one, len(found))
    if all(isinstance(one.content, str) for one in found):
        named = [str(one) for one in given]
        raise DatasetError(
            f"no images in {', '.join(named)}: expected image files, folders of them, or patterns "
            "that match some"
            if named
            else "no images: the list is empty",
            code="image.none",
            names=named,
        )
    return found


def _found(image: Any, number: int) -> list[ImageFile]:
    path = os.fspath(image) if isinstance(image, str | os.PathLike) else None
    # An empty path would be the current folder.
    if isinstance(path, str) and path.strip():
        return _files(path)
    if isinstance(image, Image.Image):
        return [ImageFile(f"number {number}", image)]
    if isinstance(image, np.ndarray) and not isinstance(image, np.ma.MaskedArray):
        pixels = image if image.ndim == 4 else image[None]
        banded = image.ndim in (3, 4) and image.shape[-1] in (1, 3, 4)
        if image.dtype == np.uint8 and image.size and (image.ndim == 2 or banded):
            grey = image.ndim > 2 and image.shape[-1] == 1
            made = [Image.fromarray(one[..., 0] if grey else one) for one in pixels]
            return [ImageFile(f"number {number + i}", one) for i, one in enumerate(made)]
        shown = f"an array of {image.dtype}, shape {image.shape}"
    elif isinstance(path, str):
        shown = f"an empty path ({path!r})"
    else:
        shown = type(image).__name__
    raise DatasetError(
        f"image number {number} is {shown}: expected a path, an image of Pillow, or uint8 pixels "
        "(height, width), (height, width, 1, 3 or 4) or (n, height, width, 1, 3 or 4)",
        code="image.kind",
        number=number,
        found=shown,
    )


def _files(name: str) -> list[ImageFile]:
    """Return the file of this name, the images in the folder, or all that a pattern matches.

    They are called as the caller does: a folder that is named relative has relative ones.
    """
    path, called = path_of(name), Path(os.path.expanduser(name))
    if path.is_dir():
        inside = [ImageFile(str(called / one.relative_to(path)), one) for one in images_in(path)]
        return inside or [ImageFile(name, "a folder without images")]
    if not path.exists() and has_magic(name):
        matches = [_files(one) for one in sorted(glob(str(called), recursive=True))]
        return [each for some in matches for each in some] or [
            ImageFile(name, "no file matches this pattern")
        ]
    return [ImageFile(name, path)]


def load(
    source: str | Path,
    *,
    store: str | Path = "headstart.db",
    kept_models: str | Path | None = None,
    context: RunContext | None = None,
) -> Classifier:
    """Load a classifier, ready to be called with images.

    Parameters
    ----------
    source
        The key of a result, its beginning, or words of its title; or a folder: one that `headstart
        export` wrote, or one network's of `headstart run --keep`.
    store
        Database of the result.
    kept_models
        Where its run kept networks; beside the database unless given.
    context
        Where to run, with which cache; the usual ones unless given.

    Raises
    ------
    ExportError
        The folder holds no classifier (``export.folder_unknown``), one that another release wrote
        (``export.format``) or that was changed (``export.file_changed``, ``export.facts_damaged``,
        ``export.file_missing``, ``export.classes``); the result's network was not kept
        (``export.not_kept``), or it has none (``export.no_network``).
    StoreError
        No such store or result, or several.
    """
    context = context or RunContext()
    path = path_of(str(source))
    # What is not there can be meant as a path alone where it begins so: titles may have slashes.
    is_path = isinstance(source, Path) or source.startswith(("/", "./", "../", "~"))
    if is_url(source):
        folder = ArtifactFolder(source)
    elif is_path or path.exists():
        folder = ArtifactFolder(path)
    else:
        opened = ResultStore(store)
        result = find_result(opened, str(source))
        final = final_network(result, context, kept_models_of(opened, kept_models))
        return _of_network(final, context, result.trial.title)
    if folder.exists(FACTS):
        return _exported(folder, context)
    return _of_network(kept_network(folder, context), context, folder.shown)


def _of_network(final: FinalNetwork, context: RunContext, title: str) -> Classifier:
    return Classifier(
        NetworkRunner(final, context.device),
        final.classes,
        several=final.several,
        decoding=final.preprocessing.decoding,
        title=title,
    )


def _exported(folder: ArtifactFolder, context: RunContext) -> Classifier:
    """Load what `headstart export` wrote, with the runtime that it is for."""
    try:
        facts = json.loads(folder.get(FACTS).read_text(encoding="utf-8"))
        if (written := int(facts["format"])) != FORMAT:
            raise ExportError(
                f"{folder.shown} was exported in format {written}, and this release reads "
                f"{FORMAT}: use the release of headstart that wrote it, or export it again",
                code="export.format",
                path=folder.shown,
                format=written,
            )
        preprocessing = ImageInput.model_validate(facts["input"])
        form, several, title = facts["form"], bool(facts["multilabel"]), str(facts["title"])
        name = str(facts["load"])
        n_classes, digests = int(facts["n_classes"]), dict(facts["sha256"])
    except (ValueError, KeyError, TypeError) as error:
        raise ExportError(
            f"{FACTS} in {folder.shown} is damaged: export it again",
            code="export.facts_damaged",
            path=folder.shown,
        ) from error
    if form in ("onnx", "torch") and context.device == "cuda":
        raise DeviceError(
            f"an export to {form} runs on the CPU here: use --device cpu or --device auto, or the "
            "result's key",
            code="device.cpu_only",
            form=form,
        )
    _check_files(folder, digests)
    classes = _class_names(folder, n_classes)
    run: Runner
    if form == "onnx":
        run = OnnxRunner(folder.get(ONNX))
    elif form == "torch":
        run = ProgramRunner(folder.get(PROGRAM))
    else:
        network, model = named_network(folder, name, None, context)
        final = FinalNetwork(network, model, preprocessing, classes, several, "kept")
        run = NetworkRunner(final, context.device)
    decoding = preprocessing.decoding
    return Classifier(run, classes, several=several, decoding=decoding, title=title)


def _check_files(folder: ArtifactFolder, digests: dict[str, str]) -> None:
    """Raise ExportError unless the files of a network are those that were verified."""
    for name, digest in digests.items():
        if not folder.exists(name):
            raise ExportError(
                f"{folder.shown} lacks {name}, which was exported: export it again",
                code="export.file_missing",
                path=folder.shown,
                name=name,
            )
        try:
            folder.get(name, digest)
        except StorageError as error:
            raise ExportError(
                f"{name} in {folder.shown} is not the file that was exported and verified: export "
                "it again",
                code="export.file_changed",
                path=folder.shown,
                name=name,
            ) from error


def _class_names(folder: ArtifactFolder, n_classes: int) -> tuple[str, ...]:
    """Read the names of the classes; ExportError unless there are as many as outputs."""
    try:
        names = json.loads(folder.get(CLASSES).read_text(encoding="utf-8"))
    except (StorageError, OSError, ValueError):
        names = None
    good = isinstance(names, list) and all(isinstance(one, str) for one in names)
    if not good or len(names) != n_classes:
        found = f"{len(names)} names" if good else "none that can be read"
        raise ExportError(
            f"{CLASSES} in {folder.shown}: expected a JSON list of {n_classes} names, one per "
            f"output; found {found}",
            code="export.classes",
            path=folder.shown,
            expected=n_classes,
        )
    return tuple(names)

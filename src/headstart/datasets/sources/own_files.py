"""The user's own folders, tables and images: titles, contents, and what is missing."""

import os
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from difflib import get_close_matches
from functools import cache
from itertools import islice
from pathlib import Path

from PIL import Image

from headstart.datasets.archives import is_published_name
from headstart.datasets.decode import NOT_DECODED
from headstart.datasets.naming import join_names, shorten
from headstart.datasets.splits import ICLOUD
from headstart.errors import DatasetError, DatasetMissingError
from headstart.files import name_from_text, name_in_text, storage_errors, unusable
from headstart.registry import DATASET_SOURCES

__all__ = [
    "ARCHIVES",
    "CONVERTIBLE",
    "SAVE_AS_CSV",
    "class_folders",
    "contents",
    "count_loose",
    "ending",
    "filled_folders",
    "find_files",
    "folders_like",
    "format_counts",
    "from_root",
    "hidden_folders",
    "images_in",
    "is_image",
    "is_image_name",
    "is_there",
    "is_users",
    "not_there",
    "own_title",
    "remedy_for",
    "require_files",
    "start_of",
]

NIFTI = ".nii.gz"
ARCHIVES = frozenset((".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar", ".zst"))
# Extensions of images that Pillow does not decode.
CONVERTIBLE = frozenset({
    ".heic", ".heif", ".jxl", ".dcm", ".dicom", ".nii", NIFTI, ".npy", ".exr", ".hdr", ".svg",
    ".eps", ".cr2", ".cr3", ".nef", ".arw", ".dng", ".raf", ".orf", ".rw2", ".czi", ".lif", ".svs",
    ".ndpi", ".pdf",
})  # fmt: skip
NO_ENDING = "without an ending"
# In characters, of paths that are believed to be some.
LONGEST_PATH = 512
CONVERT = "convert images to a format that Pillow decodes (JPEG, PNG)"
SAVE_AS_CSV = "save a table as CSV, with one row per image"
# Made by unpacking on a Mac, by network drives and by systems, in small letters: copies, thumbnails
# and what was thrown away.
NOT_THE_USERS = {
    *("__macosx", "@eadir", "#recycle", "#snapshot", "$recycle.bin", "recycler"),
    *("system volume information", "lost+found", "__pycache__"),
}


# Hidden folders of systems and programs that may hold copies of images, as they begin.
HIDDEN_SYSTEMS = (
    *(".trash", ".thumb", ".@__thumb", ".git", ".cache", ".ipynb_checkpoints", ".appledouble"),
    *(".spotlight", ".fseventsd", ".picasaoriginals", ".dtrash", ".sync", ".dropbox", ".venv"),
)


def own_title(name: str, instead: str = "") -> str:
    """Name a dataset of the user's so that a table of results takes it for no other.

    Where a dataset of the catalogue is called so, its title is `instead`, ``./name`` unless given.

    Examples
    --------
    >>> own_title("photos"), own_title("Pets"), own_title("pets", "user/pets")
    ('photos', './Pets', 'user/pets')
    """
    if is_published_name(name) or any(name in s.names() for s in DATASET_SOURCES.values()):
        return instead or f"./{name}"
    return name


def not_there(kind: str, place: Path) -> DatasetMissingError:
    """State that a "folder" or "table" does not exist, and which of its kind beside it is meant."""
    beside: list[str] = []
    # A folder above that cannot be read has no names to offer.
    with suppress(OSError):
        beside = sorted(
            path.name
            for path in place.parent.iterdir()
            if path.is_dir() == (kind == "folder") and not path.name.startswith(".")
        )
    near = get_close_matches(place.name, beside, cutoff=0.7)
    hint = f": did you mean {' or '.join(str(place.parent / name) for name in near)}?"
    found = unusable(place)
    what = f"is {found}, not a {kind}" if found else "does not exist"
    return DatasetMissingError(f"dataset {kind} {place} {what}{hint if near and not found else ''}")


def find_files(table: Path, folder: Path, names: Sequence[str]) -> list[Path]:
    """Find the images that a table names, in a folder.

    A name may lack the ending of its file, have backslashes, or differ from the file's in Unicode
    form or case, where only one file can be meant. What is not found stays as it is written.

    Raises
    ------
    DatasetError
        A name fits several files; addresses of the web.
    """
    known: dict[str, dict[str, list[str]]] = {}
    found = []
    for row, name in enumerate(names):
        if name.startswith(("http://", "https://")):
            raise DatasetError(
                f"{table}: data row {row + 1} has the address {shorten(name)}: download "
                "the images first, and write their paths into the table",
                code="dataset.web_address",
                found=name,
            )
        place = folder / name
        if not os.path.lexists(place) and os.path.lexists(folder / name_from_text(name)):
            # A table that was exported from a folder with names that are not UTF-8.
            place = folder / name_from_text(name)
        if not is_there(place):
            place = folder / name.replace("\\", "/")
            fitting = [] if os.path.isfile(place) else _fitting(place, known)
            if len(fitting) > 1:
                raise DatasetError(
                    f"{table}: data row {row + 1} has the path {shorten(name)}, which may be any "
                    f"of {join_names(fitting)} in {place.parent}: write its ending, too",
                    code="dataset.path_unclear",
                    found=tuple(fitting),
                )
            place = place.with_name(fitting[0]) if fitting else place
        found.append(place)
    return found


def start_of(table: Path, images: Sequence[Path]) -> str:
    """Return the folder beside a table that the first missing image lies in; ``DIR`` if none."""
    gone = next((image for image in images if not is_there(image)), None)
    if gone is None:
        return "DIR"
    inside = gone.is_relative_to(table.parent)
    name = str(gone.relative_to(table.parent)) if inside else str(gone)
    folders = sorted(entry.name for entry in os.scandir(table.parent) if entry.is_dir())
    for folder in [*folders, "."]:
        if not inside or folder != ".":
            names, _ = from_root(table, table.parent / folder, [name])
            if _is_found(table, table.parent / folder, names[0]):
                return folder
    return "DIR"


def from_root(table: Path, folder: Path, names: Sequence[str]) -> tuple[list[str], str]:
    """Take off what paths of another machine begin with, and name it; "" where nothing is.

    The first image shows how much: as few leading folders as can be. They are taken off all paths
    that have them.
    """
    apart = [name.replace("\\", "/").split("/") for name in names]
    if names and not _is_found(table, folder, names[0]):
        for n in range(1, len(apart[0])):
            if _is_found(table, folder, "/".join(apart[0][n:])):
                start = apart[0][:n]
                shorter = [
                    "/".join(one[n:]) if one[:n] == start else "/".join(one) for one in apart
                ]
                return shorter, f"{'/'.join(start)}/"
    return list(names), ""


def _is_found(table: Path, folder: Path, name: str) -> bool:
    """Whether a name leads to a file in a folder."""
    with suppress(DatasetError):
        return bool(name) and os.path.isfile(find_files(table, folder, [name])[0])
    return False


def is_there(image: Path) -> bool:
    """Whether an image that a table names is there.

    What cannot be opened, a broken symlink say, is: an image with a problem.
    """
    return os.path.lexists(image) and not os.path.isdir(image)


def require_files(paths: Sequence[Path], source: str, remedy: str) -> None:
    """Raise DatasetMissingError if images are not there: how many, and which is the first."""
    gone = [path for path in paths if not is_there(path)]
    if gone:
        shown = shorten(str(gone[0]), 300)
        if len(str(gone[0])) > LONGEST_PATH:
            shown = shorten(str(gone[0]))
            remedy = "no path is so long: store images that are text (base64) as bytes, or as files"
        raise DatasetMissingError(
            f"{source}: {len(gone):,} of {len(paths):,} images are missing, "
            f"first {shown}: {remedy}",
            code="dataset.images_missing",
            found=len(gone),
        )


def ending(name: str) -> str:
    """Return how a file's name ends, in small letters, for counts of kinds of files."""
    if name.lower().endswith(NIFTI):
        return NIFTI
    return name_in_text(os.path.splitext(name)[1].lower()) or NO_ENDING


def format_counts(counts: Mapping[str, int]) -> str:
    """Return how many files of which kinds (as `ending` gives them) there are, the most first.

    Examples
    --------
    >>> format_counts({".txt": 1, ".dcm": 20})
    '20 .dcm, 1 .txt'
    """
    ordered = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    return join_names([f"{n:,} {kind}" for kind, n in ordered], quoted=False, most=3)


def remedy_for(kinds: Iterable[str], other: str = CONVERT) -> str:
    """Return what to do with files found in place of images; `other` if their kind is unknown.

    `kinds` as `ending` gives them.
    """
    found = set(kinds)
    if found & ARCHIVES:
        return "unpack the archive first"
    if ICLOUD in found:
        return "have them downloaded from iCloud"
    if found & _image_suffixes():
        return "give the folder that holds the folders of the classes"
    if found & CONVERTIBLE:
        return CONVERT
    if found == {NO_ENDING}:
        return "give images their endings (.jpg, .png)"
    return other


def contents(folder: Path, most: int = 1000) -> Counter[str]:
    """Count the files in a folder and below by how their names end, the first so many of them."""
    files = (path for path in folder.rglob("*") if not path.name.startswith(".") and path.is_file())
    return Counter(ending(path.name) for path in islice(files, most))


def is_image_name(name: str) -> bool:
    """Whether a file's name ends as those of a format that Pillow decodes by itself."""
    return os.path.splitext(name)[1].lower() in _image_suffixes()


@cache
def _image_suffixes() -> frozenset[str]:
    formats = Image.registered_extensions().items()
    return frozenset(
        suffix for suffix, name in formats if name in Image.OPEN and name not in NOT_DECODED
    )


def _fitting(place: Path, known: dict[str, dict[str, list[str]]]) -> list[str]:
    """Name the files in a place's folder that are called so but for their ending or spelling."""
    folder = os.path.dirname(place)
    if folder not in known:
        known[folder] = {}
        with suppress(OSError, ValueError):
            for name in sorted(os.listdir(folder)):
                if is_image_name(name) and not name.startswith("."):
                    for key in (_spelled(name), _spelled(os.path.splitext(name)[0])):
                        known[folder].setdefault(key, []).append(name)
    fitting = known[folder].get(_spelled(place.name), [])
    exact = [name for name in fitting if os.path.splitext(name)[0] == place.name]
    return exact or fitting


def _spelled(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def class_folders(folder: Path) -> tuple[str, ...]:
    """Return the names of the folders in a folder, sorted; hidden and our own ones left out."""
    with storage_errors(folder, reading=True):
        inside = [path for path in folder.iterdir() if is_users(path.name)]
        names = [path.name for path in inside if path.is_dir() and not _is_ours(path)]
        broken = [path for path in inside if path.is_symlink() and not path.exists()]
        if gone := sorted(str(path) for path in broken if not path.suffix):
            raise DatasetError(
                f"class folder {gone[0]} is a broken symlink: put its target back, or remove it",
                code="dataset.broken_link",
                found=gone[0],
            )
        # The order of bytes: the same in every locale.
        return tuple(sorted(names, key=os.fsencode))


def _is_ours(folder: Path) -> bool:
    """Whether a folder is one that a run, or an export, puts where it is called."""
    of_store = folder.suffix in (".models", ".predictions") and folder.with_suffix("").is_file()
    return of_store or (folder / "headstart.json").is_file()


def is_users(name: str) -> bool:
    """Whether a file or folder of such a name is one that people made, not a system."""
    return not name.startswith(".") and name.lower() not in NOT_THE_USERS


def filled_folders(folder: Path) -> list[str]:
    """Return the names of the folders in a folder that hold an image, in them or below."""
    return [name for name in class_folders(folder) if next(images_in(folder / name), None)]


def folders_like(name: str) -> list[str]:
    """Return the paths of the folders here whose names are spelled like this one."""
    beside: list[str] = []
    with suppress(OSError):
        beside = [path.name for path in Path().iterdir() if is_users(path.name) and path.is_dir()]
    return [f"./{found}" for found in get_close_matches(name, sorted(beside), cutoff=0.7)]


def hidden_folders(folder: Path) -> list[str]:
    """Return the names of the hidden folders in a folder that hold an image, in them or below."""
    with storage_errors(folder, reading=True):
        names = [path.name for path in folder.iterdir() if path.name.startswith(".")]
    mine = [name for name in names if not name.lower().startswith(HIDDEN_SYSTEMS)]
    places = (folder / name for name in sorted(mine, key=os.fsencode))
    return [place.name for place in places if place.is_dir() and next(images_in(place), None)]


def count_loose(folder: Path) -> int:
    """Count the images that lie beside class folders."""
    with storage_errors(folder, reading=True):
        return sum(is_image(path.name) and path.is_file() for path in folder.iterdir())


def images_in(folder: Path, left_out: Counter[str] | None = None) -> Iterator[Path]:
    """Return the images in a folder and in those below, sorted by their path's parts.

    Links are followed, but not to a folder above: that way there is no end.
    """
    above = {*folder.absolute().parents, *folder.resolve().parents}
    others = Counter[str]() if left_out is None else left_out
    yield from _walk(folder, frozenset(_identity(place) for place in above), others)


def _walk(
    folder: Path, above: frozenset[tuple[int, int]], left_out: Counter[str]
) -> Iterator[Path]:
    here = _identity(folder)
    if here in above:
        return
    with storage_errors(folder, reading=True), os.scandir(folder) as entries:
        listing = [(entry.name, _is_folder(entry)) for entry in entries]
    if n := sum(name.startswith(".") and name.endswith(ICLOUD) for name, _ in listing):
        left_out[ICLOUD] += n
    inside = [one for one in listing if is_users(one[0])]
    for name, is_folder in sorted(inside, key=lambda one: os.fsencode(one[0])):
        if is_folder:
            yield from _walk(folder / name, above | {here}, left_out)
        elif is_image(name):
            yield folder / name
        else:
            left_out[ending(name)] += 1
    left_out += Counter()


def _identity(folder: Path) -> tuple[int, int]:
    with storage_errors(folder, reading=True):
        state = folder.stat()
    return state.st_dev, state.st_ino


def _is_folder(entry: os.DirEntry[str]) -> bool:
    # The entry itself knows this without another call; a link, only if it can be followed.
    return entry.is_dir(follow_symlinks=False) or (entry.is_symlink() and os.path.isdir(entry.path))


def is_image(name: str) -> bool:
    """Whether a file of such a name is one of the images."""
    return is_users(name) and is_image_name(name)

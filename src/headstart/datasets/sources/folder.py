"""A folder of the user's: class folders that hold images, in split folders or around them.

photos/cat/1.jpg

photos/train/cat/1.jpg        photos/cat/train/1.jpg
photos/val/cat/2.jpg          photos/cat/val/2.jpg
photos/test/cat/3.jpg         photos/cat/test/3.jpg
"""

import os
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar

import numpy as np

from headstart.datasets.dataset_name import DatasetName
from headstart.datasets.images import FileImages
from headstart.datasets.naming import (
    PARTS,
    SplitNames,
    are_divisions,
    check_once,
    check_parts,
    describe_parts,
    is_neutral,
    join_names,
    merged_spellings,
    part_of_name,
    read_split_names,
)
from headstart.datasets.sources.dataset_source import Description, Presence, Source
from headstart.datasets.sources.own_files import (
    SAVE_AS_CSV,
    class_folders,
    count_loose,
    ending,
    filled_folders,
    format_counts,
    hidden_folders,
    images_in,
    is_image,
    is_users,
    not_there,
    own_title,
    remedy_for,
)
from headstart.datasets.sources.table import is_table
from headstart.datasets.sources.table_file import SUFFIXES
from headstart.datasets.splits import LOOSE, RawDataset, Split
from headstart.errors import DatasetError
from headstart.files import name_in_text, path_of, storage_errors

__all__ = ["FolderSource", "read_split"]

EACH_CLASS = "*/"
LISTS = frozenset((".txt", ".csv", ".tsv", ".json", ".jsonl", ".mat", ".lst", ".xml", ".parquet"))
HOW_TO_SAY = (
    "say which is which with ?train=FOLDER&test=FOLDER (and validation=FOLDER; +"
    " joins several), or ?all=. to take each folder for a class"
)

# The folders of each class, by its name.
Classes = dict[str, list[Path]]


class FolderSource(Source):
    """Folders of class folders, whose images may lie in folders of their own."""

    name = "folder"
    options: ClassVar[Mapping[str, str]] = MappingProxyType(
        {
            "train": "folder in it that is train, several joined by +; */NAME: NAME in each class",
            "validation": "folder in it that is validation",
            "test": "folder in it that is test",
            "all": "folder whose class folders are split anew; . is the dataset's folder itself",
        }
    )

    def recognises(self, stem: str) -> bool:
        # A name that is empty would be the folder where one happens to be.
        if not stem or is_table(stem):
            return False
        return os.path.exists(path_of(stem)) or ("/" in stem and ":" not in stem)

    def location(self, stem: str) -> str:
        return name_in_text(str(path_of(stem)))

    def describe(self, dataset_ref: DatasetName) -> Description:
        return Description(own_title(name_in_text(path_of(dataset_ref.stem).name)))

    def presence(self, dataset_ref: DatasetName, cache: Path) -> Presence:  # noqa: ARG002
        folder = path_of(dataset_ref.stem)
        if os.path.isdir(folder):
            return Presence(present=True, place=str(folder))
        return Presence(present=False, place=f"there is no folder {folder}")

    def read(self, dataset_ref: DatasetName, cache: Path) -> RawDataset:  # noqa: ARG002
        """Read train, validation and test, or those that are there, or all.

        The classes are those that have a folder in train, or in the whole.

        Raises
        ------
        DatasetMissingError
            No such folder.
        DatasetError
            No class folders; folders that look like splits but are ambiguous; split folders
            beside others, or without train; a class folder without images; a split with a class
            that train has not.
        """
        folder = path_of(dataset_ref.stem)
        if os.path.exists(folder) and not os.path.isdir(folder):
            raise DatasetError(
                f"{folder} is a file: expected a folder of class folders, or a table "
                f"({', '.join(SUFFIXES)}); {remedy_for([ending(folder.name)], SAVE_AS_CSV)}",
                code="dataset.not_a_folder",
            )
        if not os.path.isdir(folder):
            raise not_there("folder", folder)
        options = dataset_ref.options
        chosen = {part: options[part] for part in (*PARTS, "all") if part in options}
        layout = _chosen(folder, chosen) if chosen else _layout(folder)
        in_parts = _merged(layout.parts)
        first = next(iter(in_parts.values()))
        classes = tuple(sorted(first, key=os.fsencode))
        left_out = Counter[str]()
        parts = {
            part: _read_classes(places, classes, left_out) for part, places in in_parts.items()
        }
        if loose := sum(count_loose(place) for place in {folder, *layout.roots}):
            left_out[LOOSE] = loose
        counts = np.bincount(next(iter(parts.values())).labels, minlength=len(classes))
        if not counts.all():
            empty = classes[int(np.argmin(counts))]
            others = Counter[str]()
            for place in first[empty]:
                if place.is_dir():
                    list(images_in(place, others))
            held = f" but {format_counts(others)}" if others else ""
            raise DatasetError(
                f"class folder {first[empty][0]} has no images{held}: "
                f"{remedy_for(others, 'add some')}, or remove the folder",
                code="dataset.class_empty",
                found=empty,
                others=dict(others),
            )
        for places in in_parts.values():
            _check_classes(places, first)
        names = tuple(name_in_text(name) for name in classes)
        return RawDataset(
            names,
            parts,
            left_out=dict(left_out),
            parts_note=name_in_text(layout.parts_note),
            notes=tuple(name_in_text(note) for note in (*layout.notes, *_hidden(layout.roots))),
        )


def read_split(folder: Path, classes: tuple[str, ...]) -> Split:
    """Read class folders, each with all that lies in it; a label is the place in `classes`.

    Images are the files whose names end as those of formats that Pillow decodes; other files and
    hidden ones are left out. They come class by class, sorted by their path's parts.
    """
    return _read_classes({name: [folder / name] for name in classes}, classes)


def _read_classes(
    places: Classes, classes: tuple[str, ...], left_out: Counter[str] | None = None
) -> Split:
    paths, labels = [], []
    for label, name in enumerate(classes):
        inside = [
            path
            for place in places.get(name, [])
            if place.is_dir()
            for path in images_in(place, left_out)
        ]
        paths += inside
        labels += [label] * len(inside)
    rows = np.arange(len(labels), dtype=np.int64)
    return Split(FileImages(paths), np.array(labels, dtype=np.int64), rows)


@dataclass(frozen=True)
class _Layout:
    """Where the images of each class of each part are.

    `roots` are the folders that hold class folders; `parts_note` says in words what was taken for
    what, "" where nothing but class folders was found; `notes` what else there is to know.
    """

    parts: dict[str, Classes]
    roots: tuple[Path, ...]
    parts_note: str = ""
    notes: tuple[str, ...] = ()


def _layout(folder: Path) -> _Layout:
    """Find out what the folders in a folder are: splits, classes, or classes with splits inside."""
    inner = _unwrapped(folder)
    filled = filled_folders(inner)
    # A split's folder counts though it is empty: what lacks in it is reported.
    named = [name for name in class_folders(inner) if name in filled or part_of_name(name)]
    found = read_split_names(named)
    if _are_splits(inner, found):
        if found.unclear:
            unclear, verb = join_names(found.unclear), "is" if len(found.unclear) == 1 else "are"
            raise DatasetError(
                f"dataset folder {inner} has folders {join_names(named)}, which look like splits: "
                f"what {unclear} {verb} for is not clear; {HOW_TO_SAY}",
                code="dataset.split_unknown",
                found=found.unclear,
            )
        if found.others:
            raise DatasetError(
                f"dataset folder {inner} has split folders "
                f"({join_names(list(found.parts.values()))}) and beside them "
                f"'{found.others[0]}' with images, which is none: move it out of the way, or say "
                "which to use with ?train=FOLDER&test=FOLDER",
                code="dataset.split_unknown",
                found=found.others,
            )
        only = inner / next(iter(found.parts.values()))
        check_parts(found.parts, f"dataset folder {inner}", f"give {only} to have splits drawn")
        return _split_folders({part: [inner / name] for part, name in found.parts.items()}, inner)
    if layout := _splits_of_classes(inner, filled):
        return layout
    inside = {name: filled_folders(_inside_wrapper(inner / name)) for name in filled}
    _check_not_alike(inner, inside)
    _check_no_copy(inner, inside)
    _check_class_folders(inner)
    _check_not_around(folder, inner, filled)
    said = "" if inner == folder else f"class folders in {inner.relative_to(folder)}"
    notes = (*_pooled(inside.values()), *_lists_passed_over(folder, inner))
    return _Layout({"all": _classes_in([inner])}, (inner,), said, notes)


def _unwrapped(folder: Path) -> Path:
    """Go down while all images are in one folder that is neither a split nor a class."""
    while True:
        filled = filled_folders(folder)
        if len(filled) != 1 or count_loose(folder):
            return folder
        inside = filled_folders(folder / filled[0])
        found = read_split_names(filled)
        neutral = not found.unclear and is_neutral(filled[0])
        splits = len(read_split_names(inside).parts) > 1
        # CUB_200_2011/images: one class alone would be no dataset.
        onward = len(inside) == 1 and not part_of_name(inside[0])
        # photos/photos, as archives are unpacked.
        again = filled[0].lower() == folder.name.lower()
        if found.parts or not (onward or (len(inside) > 1 and (neutral or splits or again))):
            return folder
        folder = folder / filled[0]


def _are_splits(folder: Path, found: SplitNames) -> bool:
    """Whether folders that are called like splits are such; a train is a vehicle, too.

    One such name among others is a class. So are names that only mention a split (a test tube)
    where their folders hold images, not class folders.
    """
    if "train" in found.parts and len(found.parts) > 1:
        return True
    mentioning = [*found.parts.values(), *found.unclear]
    if found.others:
        return len(mentioning) > 1 and _share_classes(folder, mentioning)
    if found.unclear:
        holding = [name for name in mentioning if filled_folders(folder / name)]
        return len(holding) in (len(mentioning), 2)
    return bool(found.parts)


def _share_classes(folder: Path, names: Sequence[str]) -> bool:
    """Whether folders hold no images but in folders, and most of these have the same names."""
    places = [_inside_wrapper(folder / name) for name in names]
    inside = [set(filled_folders(place)) for place in places]
    if any(count_loose(place) for place in places):
        return False
    same = set.intersection(*inside)
    return len(same) > 1 and 2 * len(same) >= len(set.union(*inside))


def _splits_of_classes(folder: Path, filled: Sequence[str]) -> _Layout | None:
    """Lay out split folders inside class folders; None where there are no such."""
    inside = {name: filled_folders(folder / name) for name in filled}
    each = [read_split_names(names).parts for names in inside.values()]
    if not any("train" in parts and len(parts) > 1 for parts in each):
        return None
    found = read_split_names(name for names in inside.values() for name in names)
    loose = [name for name in filled if count_loose(folder / name)]
    if not found.complete or loose:
        odd = [*found.unclear, *found.others]
        beside = f"folders {join_names(odd)}" if odd else f"images of no split in '{loose[0]}'"
        raise DatasetError(
            f"class folders of {folder} hold split folders "
            f"({join_names(list(found.parts.values()))}) and beside them {beside}: say which to "
            "use with ?train=*/FOLDER&test=*/FOLDER, or ?all=. to split all images of each class "
            "anew",
            code="dataset.split_unknown",
            found=odd or loose,
        )
    check_parts(found.parts, f"class folders of {folder}", "?all=. splits all images anew")
    train = [f"{name}/{found.parts['train']}" for name in filled]
    train = [name for name in train if os.path.isdir(folder / name)]
    if len(train) > 1 and _share_classes(folder, train):
        same = join_names(filled_folders(folder / train[0]))
        raise DatasetError(
            f"dataset folder {folder} has folders {join_names(filled)} that hold the same splits, "
            f"and these the same class folders ({same}): give one of "
            f"them ({folder / filled[0]}), or say which to use, as ?train={'+'.join(train[:2])}",
            code="dataset.layout_unclear",
            found=tuple(filled),
        )
    places = {
        part: {
            name: [folder / name / inner]
            for name in class_folders(folder)
            if part == "train" or inner in inside.get(name, [])
        }
        for part, inner in found.parts.items()
    }
    said = {part: [f"CLASS/{inner}"] for part, inner in found.parts.items()}
    return _Layout(places, (), describe_parts("folders", said))


def _check_not_alike(folder: Path, inside: Mapping[str, Sequence[str]]) -> None:
    """Raise DatasetError where a few folders hold the same many: which are the classes?"""
    if len(inside) < 2 or not _share_classes(folder, list(inside)):
        return
    same = sorted(set.intersection(*map(set, inside.values())))
    if len(inside) <= len(same) or are_divisions(inside):
        raise DatasetError(
            f"dataset folder {folder} has {len(inside)} folders ({join_names(list(inside))}) that "
            f"hold the same folders ({join_names(same)}): splits or classes? {HOW_TO_SAY}",
            code="dataset.layout_unclear",
            found=tuple(inside),
        )


def _check_no_copy(folder: Path, inside: Mapping[str, Sequence[str]]) -> None:
    """Raise DatasetError where a class folder holds class folders again, as a backup does."""
    for name, names in inside.items():
        again = set(names) & set(inside)
        if len(again) > 1:
            raise DatasetError(
                f"folder '{name}' of dataset folder {folder} holds folders that are called like "
                f"those beside it ({join_names(sorted(again))}): a copy? Move it elsewhere, or "
                "pass ?all=. to take each folder for a class",
                code="dataset.layout_unclear",
                found=(name,),
            )


def _check_not_around(whole: Path, folder: Path, filled: Sequence[str]) -> None:
    """Raise DatasetError for one folder alone: around class folders, or beside a table."""
    if len(filled) != 1:
        return
    inside = filled_folders(folder / filled[0])
    tables = [one for one in _lists_beside(whole, folder) if one.suffix.lower() in SUFFIXES]
    if len(inside) < 2 and tables:
        raise DatasetError(
            f"{folder} has its images in one folder, '{filled[0]}', which would be the only "
            f"class: if {tables[0].name} says the classes, give {tables[0]}",
            code="dataset.one_class",
            found=filled[0],
        )
    if len(inside) > 1:
        raise DatasetError(
            f"{folder} has one class folder, '{filled[0]}', and at least 2 are needed: if the "
            f"folders in it ({join_names(inside)}) are the classes, give {folder / filled[0]}",
            code="dataset.one_class",
            found=filled[0],
        )


def _lists_beside(folder: Path, inner: Path) -> list[Path]:
    """Return the lists around the class folders in `inner`, and in folders without images."""
    around = [place for place in (inner, *inner.parents) if place.is_relative_to(folder)]
    filled = filled_folders(folder)
    beside = [folder / name for name in class_folders(folder) if name not in filled]
    return [
        path
        for place in (*around, *beside)
        for path in sorted(place.iterdir())
        if path.suffix.lower() in LISTS and is_users(path.name) and path.is_file()
    ]


def _pooled(inside: Collection[Sequence[str]]) -> tuple[str, ...]:
    """Note that folders inside class folders are pooled; nothing where there are none."""
    if all(len(some) < 2 for some in inside):
        return ()
    names = list(dict.fromkeys(name for some in inside for name in some))
    return (f"classes are the outer folders; folders in them ({join_names(names)}) are pooled",)


def _hidden(roots: Sequence[Path]) -> tuple[str, ...]:
    """Note hidden folders with images beside the class folders: one may be meant for a class."""
    names = list(dict.fromkeys(name for root in roots for name in hidden_folders(root)))
    said = f"hidden folders with images are left out: {join_names(names)}"
    return (f"{said} (rename those that are classes)",) if names else ()


def _lists_passed_over(folder: Path, inner: Path) -> tuple[str, ...]:
    """Note files called like splits beside the class folders: somebody has divided the images."""
    stems = {path.name: path.stem for path in _lists_beside(folder, inner)}
    found = read_split_names(stems.values())
    named = {*found.parts.values(), *found.unclear}
    lists = sorted(name for name, stem in stems.items() if stem in named)
    if not lists:
        return ()
    return (
        f"not read, though called like lists of splits: {join_names(lists)}; a table with a column "
        "of splits is",
    )


def _split_folders(places: Mapping[str, Sequence[Path]], base: Path) -> _Layout:
    """Lay out folders of class folders, one or several for each part."""
    within = {part: [_inside_wrapper(one) for one in some] for part, some in places.items()}
    # Of all splits or of none: a class may be called '1' or 'images'.
    wrapped = all(
        one != folder
        for part in places
        for one, folder in zip(within[part], places[part], strict=True)
    )
    roots = within if wrapped else places
    for some in roots.values():
        for root in some:
            _check_class_folders(root)
    parts = {part: _classes_in(some) for part, some in roots.items()}
    said = {
        part: [str(one.relative_to(base)) if one.is_relative_to(base) else str(one) for one in some]
        for part, some in places.items()
    }
    used = tuple(root for some in roots.values() for root in some)
    return _Layout(parts, used, describe_parts("folders", said))


def _inside_wrapper(folder: Path) -> Path:
    """Return the one folder in a split's folder that holds its class folders, if there is one."""
    filled = filled_folders(folder)
    if len(filled) != 1 or count_loose(folder):
        return folder
    again = filled[0].lower() == folder.name.lower()
    if (again or is_neutral(filled[0])) and filled_folders(folder / filled[0]):
        return folder / filled[0]
    return folder


def _chosen(folder: Path, chosen: Mapping[str, str]) -> _Layout:
    """Lay out the folders that the options name."""
    if "all" in chosen and len(chosen) > 1:
        raise DatasetError(
            f"dataset folder {folder}: ?all= splits its images anew, so that "
            f"{' and '.join(part for part in chosen if part != 'all')} cannot be given beside it",
            code="dataset.split_twice",
        )
    if "all" not in chosen:
        check_parts(chosen, f"the choice for {folder}", "?all=FOLDER has splits drawn")
    # What + joins; a folder may have a + in its name.
    names = {
        part: [value] if os.path.isdir(folder / value) else value.split("+")
        for part, value in chosen.items()
    }
    check_once(names, f"dataset folder {folder}:")
    every = [name for some in names.values() for name in some]
    if not any(name.startswith(EACH_CLASS) for name in every):
        places = {part: [folder / name for name in some] for part, some in names.items()}
        for name in every:
            if not name or not os.path.isdir(folder / name):
                raise _no_folder(folder, name or "''", class_folders(folder))
        return _split_folders(places, folder)
    return _chosen_in_classes(folder, names)


def _chosen_in_classes(folder: Path, names: Mapping[str, Sequence[str]]) -> _Layout:
    """Lay out the folders that the options name inside each class folder."""
    classes = class_folders(folder)
    inside = sorted({name for one in classes for name in class_folders(folder / one)})
    parts: dict[str, Classes] = {}
    for part, some in names.items():
        inner = [name.removeprefix(EACH_CLASS) for name in some]
        for name in inner:
            if name not in inside:
                raise _no_folder(folder, f"{EACH_CLASS}{name}", inside)
        parts[part] = {
            one: [folder / one / name for name in inner if (folder / one / name).is_dir()]
            for one in classes
        }
    return _Layout(parts, (), describe_parts("folders", names))


def _no_folder(folder: Path, name: str, had: Sequence[str]) -> DatasetError:
    return DatasetError(
        f"dataset folder {folder} has no folder {name}: it has {join_names(had) or 'none'}",
        code="dataset.split_unknown",
        found=name,
    )


def _classes_in(roots: Sequence[Path]) -> Classes:
    """Find the folders of each class."""
    classes: Classes = {}
    for root in roots:
        for name in class_folders(root):
            classes.setdefault(name, []).append(root / name)
    return classes


def _merged(parts: Mapping[str, Classes]) -> dict[str, Classes]:
    """Take two spellings of one name for one class, in all parts."""
    spelled = merged_spellings(name for places in parts.values() for name in places)
    merged: dict[str, Classes] = {}
    for part, places in parts.items():
        merged[part] = {}
        for name, folders in places.items():
            merged[part].setdefault(spelled[name], []).extend(folders)
    return merged


def _check_class_folders(folder: Path) -> None:
    if class_folders(folder):
        return
    with storage_errors(folder, reading=True):
        entries = sorted(path.name for path in folder.iterdir())
    loose = [name for name in entries if is_image(name)]
    tables = [name for name in entries if name.lower().endswith(SUFFIXES)]
    found = f"{len(loose):,} images without a class, first '{loose[0]}'" if loose else "none"
    others = Counter(ending(name) for name in entries if is_users(name) and not is_image(name))
    if others and not loose:
        found = f"{format_counts(others)}: {remedy_for(others, 'add images in folders')}"
    table = "; or give a table of their paths and labels (.csv)" if loose else ""
    if tables:
        table = f"; if {tables[0]} says the classes, give {folder / tables[0]}"
    raise DatasetError(
        f"{folder} has no class folders: expected {folder}/CLASS/IMAGE, found {found}{table}",
        code="dataset.no_classes",
        found=len(loose),
    )


def _check_classes(places: Classes, train: Classes) -> None:
    """Raise DatasetError if a class that `train` has not has images here."""
    for name, folders in places.items():
        for folder in folders:
            if name not in train and next(images_in(folder), None):
                raise DatasetError(
                    f"{folder.parent} has images labelled outside the classes: '{name}' has no "
                    f"folder in {next(iter(train.values()))[0].parent}; add training images of it "
                    "or remove it",
                    code="dataset.class_unknown",
                    found=name,
                )

"""Names of splits and classes: one vocabulary for folders, tables and the hub."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from headstart.errors import DatasetError
from headstart.spec.formatting import first_few

__all__ = [
    "PARTS",
    "SplitNames",
    "alike_classes",
    "are_divisions",
    "check_lists",
    "check_once",
    "check_parts",
    "check_single",
    "check_texts",
    "column_key",
    "describe_parts",
    "is_neutral",
    "join_names",
    "merged_spellings",
    "output_order",
    "part_of_name",
    "read_split_names",
    "shorten",
    "sorted_classes",
]

PARTS = ("train", "validation", "test")
WORDS: Mapping[str, str] = MappingProxyType(
    dict.fromkeys(("train", "training", "trn", "trainset", "traindata", "trainval"), "train")
    | dict.fromkeys(("validation", "valid", "val", "dev", "devel", "development"), "validation")
    | dict.fromkeys(("valset", "validset", "devset"), "validation")
    | dict.fromkeys(("test", "testing", "tst", "testset", "testdata"), "test")
    | dict.fromkeys(("eval", "evaluation", "evalset", "holdout", "heldout"), "test")
)
# One word in two: as they are written, what they are read as.
JOINED = MappingProxyType(
    {
        ("hold", "out"): "holdout",
        ("held", "out"): "heldout",
        ("train", "val"): "trainval",
        ("train", "valid"): "trainval",
        ("train", "validation"): "trainval",
        ("training", "validation"): "trainval",
    }
)
# Words beside a split's that say nothing of which split it is; numbers neither.
NEUTRAL = frozenset(
    [
        *("set", "sets", "split", "splits", "data", "dataset", "datasets", "subset", "part"),
        *("image", "images", "img", "imgs", "picture", "pictures", "photo", "photos"),
        *("jpg", "jpeg", "jpegs", "png", "folder", "folders", "dir", "file", "files"),
        *("sample", "samples", "x", "px"),
    ]
)
# Numbered, these are parts of a dataset.
DIVISIONS = frozenset(
    [
        *("fold", "kfold", "cv", "split", "part", "batch", "run", "round", "trial", "session"),
        *("subject", "participant", "patient", "user", "site", "center", "hospital", "domain"),
    ]
)
WHOLE_NUMBER = re.compile(r"-?[0-9]+")
DECIMAL = re.compile(r"-?[0-9]+(\.[0-9]+)?")
# A sign is a name's first letter: class-2 is the number 2.
NUMBERED = re.compile(r"(\D*?)((?:^-)?[0-9]+)")
# Columns of these names may hold several labels in a cell, and names of classes seldom do.
PLURAL = frozenset(("labels", "tags", "classes", "categories", "finding_labels", "attributes"))
# What stands between labels and hardly ever in one, and what may.
BETWEEN, PERHAPS = ("|", ";"), (",", " ")
# Of one name in a message, in characters; of names.
LONGEST = 80
SHOWN = 8


@dataclass(frozen=True)
class SplitNames:
    """Names of which some are those of splits.

    Parameters
    ----------
    parts
        For each of `PARTS` that is named plainly, its name.
    unclear
        Names that mention a split without saying plainly which, or the same one as another.
    others
        Names that mention none.
    """

    parts: dict[str, str] = field(default_factory=dict)
    unclear: tuple[str, ...] = ()
    others: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether all names are those of splits."""
        return bool(self.parts) and not self.unclear and not self.others


def read_split_names(names: Iterable[str]) -> SplitNames:
    """Report names of splits from others, in any case of letters.

    A name is that of a split if nothing but a split's word is left of it when numbers, words such
    as ``images`` and ``set``, and what all such names have in common (a dataset's name) are taken
    away.

    Examples
    --------
    >>> read_split_names(["cub_train2017", "cub_val2017"]).parts
    {'train': 'cub_train2017', 'validation': 'cub_val2017'}
    >>> read_split_names(["train", "test_id", "test_ood"]).unclear
    ('test_id', 'test_ood')
    >>> read_split_names(["car", "bus", "Train"])
    SplitNames(parts={'train': 'Train'}, unclear=(), others=('car', 'bus'))
    """
    words = {name: _words(name) for name in dict.fromkeys(names)}
    mentioning = [name for name, found in words.items() if any(word in WORDS for word in found)]
    common: set[str] = set()
    if len(mentioning) > 1:
        common = set.intersection(*(set(words[name]) for name in mentioning)) - WORDS.keys()
    named: dict[str, list[str]] = {}
    unclear: list[str] = []
    for name in mentioning:
        left = [word for word in words[name] if word not in common]
        if len(left) == 1 and left[0] in WORDS:
            named.setdefault(WORDS[left[0]], []).append(name)
        else:
            unclear.append(name)
    for part, same in list(named.items()):
        if len(same) > 1:
            unclear += same
            del named[part]
    return SplitNames(
        {part: named[part][0] for part in PARTS if part in named},
        tuple(name for name in words if name in unclear),
        tuple(name for name in words if name not in mentioning),
    )


def part_of_name(name: str) -> str | None:
    """Return the part that a name means by itself; None if it means none.

    Examples
    --------
    >>> part_of_name("Val"), part_of_name("training_set"), part_of_name("cat")
    ('validation', 'train', None)
    """
    return next(iter(read_split_names([name]).parts), None)


def is_neutral(name: str) -> bool:
    """Whether a name says nothing of what is in it, but perhaps which split.

    Examples
    --------
    >>> is_neutral("images_224"), is_neutral("train"), is_neutral("cat images")
    (True, True, False)
    """
    return all(word in WORDS for word in _words(name))


def are_divisions(names: Iterable[str]) -> bool:
    """Whether names are those of parts that data are divided into, numbered: folds, sessions.

    Examples
    --------
    >>> are_divisions(["fold_1", "fold_2"]), are_divisions(["1", "2"]), are_divisions(["s1", "s2"])
    (True, False, False)
    """
    words = {"".join(re.findall("[a-z]+", name.lower())) for name in names}
    return len(words) == 1 and words <= DIVISIONS


def check_parts(found: Iterable[str], where: str, instead: str) -> None:
    """Raise DatasetError unless there are train and at least one of validation and test.

    The message says `where`, and what to do `instead` where splits are to be drawn.
    """
    there = set(found)
    parts = [part for part in PARTS if part in there]
    if parts[:1] != ["train"] or len(parts) < 2:
        raise DatasetError(
            f"{where} has only {' and '.join(parts) or 'no part'}: expected train, and validation "
            f"or test or both; {instead}",
            code="dataset.split_missing",
            found=parts,
        )


def check_once(chosen: Mapping[str, Iterable[str]], what: str) -> None:
    """Raise DatasetError if a name is chosen twice, for one part or for two.

    `what` says in the message what they are the names of, and where.
    """
    owner: dict[str, str] = {}
    for part, names in chosen.items():
        for name in names:
            if name in owner:
                raise DatasetError(
                    f"{what} '{shorten(name)}' is asked for twice, for {owner[name]} and {part}: "
                    "its images would be fitted and tested on, name it once",
                    code="dataset.split_twice",
                    found=name,
                )
            owner[name] = part


def describe_parts(
    kind: str, parts: Mapping[str, Sequence[str]], unused: Sequence[str] = ()
) -> str:
    """Return one line that says which names of `kind` ("" for splits) were taken for which part.

    Examples
    --------
    >>> describe_parts("folders", {"train": ["train"], "test": ["eval"]}, ["extra"])
    'folders train, eval (as test); not used: extra'
    """
    said = []
    for part, names in parts.items():
        plain = [name.lower() for name in names] == [part]
        said.append(" + ".join(names) + ("" if plain else f" (as {part})"))
    left = f"; not used: {join_names(unused, quoted=False)}" if unused else ""
    return f"{kind} {', '.join(said)}{left}".strip()


def join_names(names: Sequence[str], *, quoted: bool = True, most: int = SHOWN) -> str:
    """Return names for a message, the first few of many."""
    return first_few([f"'{shorten(name)}'" if quoted else shorten(name) for name in names], most)


def shorten(text: str, longest: int = LONGEST, *, blanks: bool = False) -> str:
    r"""Return what stands in somebody's file for a message of one line: cut, without line breaks.

    Blanks at its ends are left out unless `blanks`.

    Examples
    --------
    >>> shorten("ice\ncream"), len(shorten("x" * 5000))
    ('ice cream', 80)
    """
    line = " ".join(text.splitlines() if blanks else text.split())
    return line if len(line) <= longest else f"{line[: longest - 3]}..."


def sorted_classes(names: Iterable[str]) -> tuple[str, ...]:
    """Sort the names of classes, each once; as numbers where all are whole numbers, else as text.

    The class numbers of a dataset follow from it and are part of what a stored result is found by.
    What has to agree with a network's outputs takes `output_order`.

    Examples
    --------
    >>> sorted_classes(["10", "9", "9"]), sorted_classes(["10", "9", "cat"])
    (('9', '10'), ('10', '9', 'cat'))
    """
    different = sorted(set(names))
    if all(WHOLE_NUMBER.fullmatch(name) for name in different):
        different.sort(key=int)
    return tuple(different)


def output_order(names: Iterable[str], where: str) -> tuple[str, ...]:
    """Sort the names of classes as a trained classifier numbers its outputs.

    WordNet ids (``n01440764``) in their order, as ImageNet's networks have it; numbers as numbers,
    with the same word before them or without. The message of an error says `where`.

    Raises
    ------
    DatasetError
        Other names: nothing says which of them is the first output; or two for one number.

    Examples
    --------
    >>> output_order(["10", "9", "1"], "photos")
    ('1', '9', '10')
    """
    different = sorted(set(names))
    apart = {name: NUMBERED.fullmatch(name) for name in different}
    words = {found[1] for found in apart.values() if found}
    if None in apart.values() or len(words) > 1:
        odd = next((name for name, found in apart.items() if found is None), different[0])
        raise DatasetError(
            f"{where}: the order of the classes is not known from their names "
            f"('{shorten(odd)}'): expected WordNet ids (n01440764) or numbers; give the "
            "names in the order of the network's outputs with --classes FILE, one per line",
            code="dataset.class_order",
            found=odd,
        )
    numbers = {name: int(found[2]) for name, found in apart.items() if found}
    by_number: dict[int, str] = {}
    for name, number in numbers.items():
        if by_number.setdefault(number, name) != name:
            raise DatasetError(
                f"{where}: classes '{by_number[number]}' and '{name}' are the same number: rename "
                "one, or give the order of the network's outputs with --classes FILE, one name "
                "per line",
                code="dataset.class_order",
                found=(by_number[number], name),
            )
    return tuple(sorted(numbers, key=numbers.__getitem__))


def merged_spellings(names: Iterable[str]) -> dict[str, str]:
    r"""Map each name to its class: names that differ in their Unicode form alone are one.

    A Mac writes an accent as a character of its own (NFD), other systems as part of the letter
    (NFC). A name with one spelling only stays as it is.

    Examples
    --------
    >>> set(merged_spellings(["cafe\u0301", "caf\u00e9"]).values()) == {"caf\u00e9"}
    True
    """
    alike: dict[str, list[str]] = {}
    for name in dict.fromkeys(names):
        alike.setdefault(unicodedata.normalize("NFC", name), []).append(name)
    return {
        name: composed if len(same) > 1 else name
        for composed, same in alike.items()
        for name in same
    }


def alike_classes(names: Iterable[str]) -> list[tuple[str, ...]]:
    """Return names that differ only in case, blanks, joining signs or leading zeros, in groups.

    Single letters are left out: ``a`` and ``A`` are two classes of handwriting.

    Examples
    --------
    >>> alike_classes(["Hot dog", "hot_dog", "cat", "a", "A", "7", "07"])
    [('Hot dog', 'hot_dog'), ('7', '07')]
    """
    groups: dict[str, list[str]] = {}
    for name in names:
        if len(name) > 1 or name.isdigit():
            folded = unicodedata.normalize("NFKC", name).casefold()
            key = re.sub(r"[\s_]+|(?<=\w)-(?=\w)", "", folded)
            groups.setdefault(key.lstrip("0") or key or name, []).append(name)
    return [tuple(same) for same in groups.values() if len(same) > 1]


def check_texts(where: str, texts: Iterable[str]) -> None:
    """Raise DatasetError for labels that are no certain classes.

    Such are a label without a letter, and one number that is written in two ways (1 and 1.0).
    """
    written: dict[float, str] = {}
    for text in dict.fromkeys(texts):
        if not text.strip():
            raise DatasetError(
                f"{where}: a label is empty: fill it in, or leave the image out",
                code="dataset.cell_empty",
                found=text,
            )
        if DECIMAL.fullmatch(text):
            other = written.setdefault(float(text), text)
            if other != text and "." in other + text:
                raise DatasetError(
                    f"{where}: labels '{other}' and '{text}' are the same number: write it in one "
                    "way",
                    code="dataset.labels_alike",
                    found=(other, text),
                )


def column_key(name: str) -> str:
    """Return a column's name as names are compared: ``Image Index`` is ``image_index``.

    Examples
    --------
    >>> column_key(" Image-Index"), column_key("fileName")
    ('image_index', 'filename')
    """
    return "_".join("".join(c if c.isalnum() else " " for c in name.lower()).split())


def check_lists(where: str, cells: Sequence[Sequence[object] | None]) -> None:
    """Raise DatasetError where lists are not of labels, but of 1 and 0 for each class.

    [1, 0, 0] would be an image of the classes 0 and 1. Lists of labels have different lengths, and
    seldom a label twice.
    """
    lists = [[str(value).lower() for value in cell or ()] for cell in cells]
    if len({len(flags) for flags in lists}) != 1:
        return
    values = {value for flags in lists for value in flags}
    twice = next((row for row, flags in enumerate(lists) if len(set(flags)) < len(flags)), None)
    if twice is not None and values <= {"0", "1", "0.0", "1.0", "false", "true"}:
        raise DatasetError(
            f"{where} holds lists of 1 and 0 ([{', '.join(lists[twice][:SHOWN])}] in row {twice}), "
            "one number per class: write lists of the labels that each image has, or a table with "
            "a column of 1 and 0 per class",
            code="dataset.labels_flags",
            found=twice,
        )


def check_single(where: str, column: str, texts: Sequence[str]) -> None:
    """Raise DatasetError where the cells of a column seem to hold several labels each."""
    distinct = list(dict.fromkeys(texts))
    if lists := [text for text in distinct if text.startswith("[") and text.endswith("]")]:
        raise DatasetError(
            f"{where}: column '{column}' holds lists as text ('{shorten(lists[0])}'): write "
            "the labels of an image with a separator and pass ?sep=|, or pass ?sep= if each cell "
            "is one label",
            code="dataset.labels_joined",
            found=lists[0],
        )
    plural = column_key(column) in PLURAL
    for separator in (*BETWEEN, *PERHAPS):
        joined = [text for text in distinct if len(_apart(text, separator)) > 1]
        if not joined or not _holds_several(distinct, joined, separator, plural=plural):
            continue
        typed = {" ": "%20"}.get(separator, separator)
        raise DatasetError(
            f"{where}: column '{column}' seems to hold several labels in a cell "
            f"('{shorten(joined[0])}'): pass ?sep={typed} if they are several, or ?sep= if each "
            "cell is one label",
            code="dataset.labels_joined",
            found=joined[0],
            separator=separator,
        )


def _holds_several(
    distinct: Sequence[str], joined: Sequence[str], separator: str, *, plural: bool
) -> bool:
    """Whether cells hold several labels rather than one with a separator in its name.

    The labels of an image recur beside others; a name (tench, Tinca tinca) is always whole.
    """
    if separator in BETWEEN or (separator == "," and plural):
        return True
    count = Counter(label for text in distinct for label in set(_apart(text, separator)))
    recurring = [
        text for text in joined if all(count[label] > 1 for label in _apart(text, separator))
    ]
    if separator == ",":
        return 2 * len(recurring) > len(joined)
    return plural and len(recurring) == len(joined)


def _apart(text: str, separator: str) -> list[str]:
    return [label for part in text.split(separator) if (label := part.strip())]


def _words(name: str) -> list[str]:
    """Take a name apart into words in small letters, without numbers and neutral words."""
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", unicodedata.normalize("NFC", name))
    words = [word.lower() for word in re.findall(r"[^\W\d_]+", apart)]
    joined: list[str] = []
    for word in words:
        if joined and (joined[-1], word) in JOINED:
            joined[-1] = JOINED[joined[-1], word]
        else:
            joined.append(word)
    return [word for word in joined if word not in NEUTRAL]

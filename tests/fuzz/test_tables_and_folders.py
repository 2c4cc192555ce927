"""Mangled tables and folder trees: a dataset or a HeadstartError, never another exception."""

import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from headstart.datasets.sources import SOURCES, resolve_name
from headstart.errors import HeadstartError

N_TABLES, N_TREES, N_LISTS = 150, 120, 2000
HEADS = (
    "path", "label", "labels", "split", "fold", "image", "file_name", "id", "", " ", "path", "Set",
    "is_train", "a\x00b", "\ufeff", "x" * 300, "label.1", "Unnamed: 0", "tags", "caf\u00e9", "1",
)  # fmt: skip
CELLS = (
    "0.png", "1.png", "2", "sub\\3.png", "cat", "dog", "cat|dog", "a,b", "['a']", "[", "]", "", " ",
    "train", "test", "val", "0", "1", "2", "nan", "NULL", "None", "\x00", "caf\u00e9", "cafe\u0301",
    "../" * 50, "/", "~", ".", "x" * 5000, "http://x/y.png", '"', "'", "\u202e", "1e999", "-1",
    "C:\\a\\b.png", "\U0001f600", "\r", "*", "?",
)  # fmt: skip
ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252", "utf-7")
ENDS = ("\n", "\r\n", "\r", "\n\n", "\x0b", "\u2028")
OPTIONS = (
    "", "", "", "?split=", "?sep=|", "?sep=", "?train=train&test=test", "?label=label", "?path=id",
    "?split=split&train=0&test=1+2", "?group=fold", "?label=is_train+1", "?allow_missing=yes",
    "?root=sub", "?root=~nobody/x", "?train=*/a&test=*/b", "?all=.", "?all=..", "?train=+&test=++",
    "?all=\x00",
)  # fmt: skip
FOLDERS = (
    "train", "test", "val", "Test", "train_1", "test_ood", "cat", "dog", "images", "1", "2",
    "caf\u00e9", "cafe\u0301", ".hidden", "__MACOSX", "trainval", "eval", "x" * 200, "a+b", "a,b",
    "*", "-", "\u202e", "data", "\udcff",
)  # fmt: skip


def refusal(function, *arguments):
    """Call a function; return what it gave and None, or None and the HeadstartError."""
    try:
        return function(*arguments), None
    except HeadstartError as error:
        return None, error


def read(name):
    """Read a dataset as far as its parts."""
    source, asked = resolve_name(name)
    raw = source.read(asked, None)
    # Of so few images it is mostly impossible.
    refusal(source.split, asked, raw)
    return raw


def outcome_of(name):
    """Return ``read``, or the code of the error."""
    raw, error = refusal(read, name)
    if error is not None:
        assert len(str(error).splitlines()) == 1
        return error.code
    n_classes = len(raw.classes)
    for part in raw.parts.values():
        assert part.labels.shape in ((len(part.images),), (len(part.images), n_classes))
        assert part.labels.ndim == 2 or part.labels.max(initial=-1) < n_classes
    return "read"


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    (folder / "sub").mkdir()
    for name in ("0.png", "1.png", "2.png", "sub/3.png"):
        Image.new("RGB", (4, 4)).save(folder / name)
    return folder


def delimited(draw):
    """Return the bytes of a table that somebody may have broken."""
    if draw.random() < 0.3:
        # Whole, so that what cells hold is reached as well.
        labels = draw.choices(CELLS, k=4)
        rows = [f'{row}.png,"{label}"'.replace(chr(13), "") for row, label in enumerate(labels[:3])]
        return "\n".join(["path,label", *rows]).encode()
    heads = draw.choices(HEADS, k=draw.randint(1, 6)) if draw.random() < 0.5 else ["path", "label"]
    separator, end = draw.choice(",,,;\t| "), draw.choice(ENDS)
    rows = [heads]
    for row in range(draw.randint(0, 8)):
        cells = draw.choices(CELLS, k=len(heads))
        cells[0] = f"{row % 3}.png" if draw.random() < 0.7 else cells[0]
        if draw.random() < 0.1:
            cells = draw.choices(CELLS, k=draw.randint(0, 9))
        rows.append([f'"{cell}"' if draw.random() < 0.3 else cell for cell in cells])
    content = end.join(separator.join(row) for row in rows)
    encoded = content.encode(draw.choice(ENCODINGS), errors="replace")
    if draw.random() < 0.2 and encoded:
        place = draw.randrange(len(encoded))
        encoded = encoded[:place] + draw.randbytes(draw.randint(0, 4)) + encoded[place:]
    return encoded[: draw.randrange(1, len(encoded) + 2)] if draw.random() < 0.1 else encoded


def columnar(draw):
    """Return an Arrow table of types that a table of labels does not have, and of some it has."""
    n = draw.randint(0, 5)
    kinds = (
        lambda: draw.choices(CELLS, k=n), lambda: [draw.randint(-9, 9) for _ in range(n)],
        lambda: [draw.choice((None, 1.5, 2.0, float("nan"))) for _ in range(n)],
        lambda: [draw.choice((None, b"x", b"")) for _ in range(n)],
        lambda: [draw.choice((None, [], ["a"], ["a", None], ["b", "a"])) for _ in range(n)],
        lambda: [draw.choice((None, True, False)) for _ in range(n)],
        lambda: [{"bytes": draw.choice((None, b"x")), "path": draw.choice((None, "0.png"))}] * n,
        lambda: [{"bytes": None, "path": f"{row}.png"} for row in range(n)],
        lambda: [{"path": 1}] * n, lambda: [None] * n, lambda: [[[1]]] * n,
    )  # fmt: skip
    if draw.random() < 0.3:
        table = {"path": [f"{row}.png" for row in range(3)], "label": draw.choices(CELLS, k=3)}
        return pa.table(table | {draw.choice(HEADS): draw.choices(CELLS, k=3)})
    heads = draw.choices(HEADS, k=draw.randint(1, 5))
    arrays = [pa.array(draw.choice(kinds)()) for _ in heads]
    return pa.Table.from_arrays(arrays, names=heads)


@pytest.mark.parametrize("kind", ["csv", "tsv", "parquet"])
def test_mangled_tables(images, kind):
    draw, outcomes = random.Random(kind), set()
    for number in range(N_TABLES):
        file = images / f"{number}.{kind}"
        if kind != "parquet":
            file.write_bytes(delimited(draw))
        else:
            pq.write_table(columnar(draw), file)
            if draw.random() < 0.1:
                file.write_bytes(file.read_bytes()[: draw.randrange(1, 400)])
        for option in {"", draw.choice(OPTIONS)}:
            outcomes.add(outcome_of(f"{file}{option}"))
            if kind == "parquet":
                outcomes.add(outcome_of(f"hf:{images}{option}"))
        file.unlink()
    assert "read" in outcomes
    assert len(outcomes) > 4


def test_mangled_folder_trees(tmp_path):
    draw, outcomes = random.Random(0), set()
    for number in range(N_TREES):
        root = tmp_path / str(number)
        for _ in range(draw.randint(0, 14)):
            place = root.joinpath(*draw.choices(FOLDERS, k=draw.randint(0, 3)))
            try:
                place.mkdir(parents=True, exist_ok=True)
                for name in draw.choices(("1.png", "2.JPG", "x.txt", "t.csv"), k=2):
                    (place / name).write_bytes(b"")
            except OSError:  # a name that this file system does not have
                continue
        for option in {"", draw.choice(OPTIONS)}:
            outcomes.add(outcome_of(f"{root}{option}"))
    assert "read" in outcomes
    assert {"dataset.split_unknown", "dataset.no_classes"} <= outcomes


def test_names_of_datasets(tmp_path, monkeypatch):
    """Whatever is typed is a source's name, or one that no source has."""
    monkeypatch.chdir(tmp_path)
    draw = random.Random(1)
    pieces = (*CELLS, *OPTIONS, *(f"{name}:" for name in SOURCES), ".csv", "/", "..", "=", "&", "%")
    for _ in range(N_LISTS // 10):
        name = "".join(draw.choices(pieces, k=draw.randint(1, 4)))
        _, error = refusal(resolve_name, name)
        assert error is None or error.code

"""Small datasets of each source, splits without one, and the test labels of what was loaded."""

from pathlib import Path

import numpy as np

from conftest import write_folder
from headstart.datasets import ArrayImages, FileImages, Split, Splits
from headstart.spec import Selection
from hub_files import write_images

FUNCTION = """
import numpy as np

def load():
    images = np.arange(40, dtype=np.uint8)[:, None, None] * np.ones((4, 4), np.uint8)
    return images, np.arange(40) % 2
"""


def write_dataset(kind: str, folder: Path) -> str:
    """Write a dataset of two classes, its splits given or drawn; return its name."""
    whole = {"a": 20, "b": 20}
    match kind:
        case "folder":
            return str(write_folder(folder / "photos", {".": whole}))
        case "split folders":
            parts = dict.fromkeys(("train", "validation", "test"), whole)
            return str(write_folder(folder / "photos", parts))
        case "table" | "parquet table" | "several labels":
            import pandas as pd

            write_folder(folder / "photos", {".": whole})
            more = "|c" if kind == "several labels" else ""
            rows = [(f"photos/{k}/{i}.png", k + more, i // 2) for k in "ab" for i in range(20)]
            table = pd.DataFrame(rows, columns=["path", "label", "group"])
            if kind == "parquet table":
                table.to_parquet(folder / "photos.parquet")
                return f"{folder}/photos.parquet"
            table.to_csv(folder / "photos.csv", index=False)
            return f"{folder}/photos.csv?group=group" + ("&sep=|" if more else "")
        case "hub":
            for seed, split in enumerate(("train", "test")):
                write_images(folder / f"pets/{split}.parquet", [0, 1] * 15, "ab", seed=seed)
            return f"hf:{folder}/pets"
        case "torchvision":
            write_folder(folder / "eurosat", {"2750": whole})
            return f"torchvision:EuroSAT?root={folder}"
        case "function":
            (folder / "data.py").write_text(FUNCTION)
            return f"{folder}/data.py:load"
    return kind


def split_of(images=None, labels=None, groups=None) -> Split:
    """Make a split of images (blank ones unless given) with labels (0 unless given)."""
    labels = np.asarray(np.zeros(len(images)) if labels is None else labels, dtype=np.int64)
    images = ArrayImages(np.zeros((len(labels), 2, 2), np.uint8)) if images is None else images
    groups = None if groups is None else np.asarray(groups, dtype=np.int64)
    return Split(images, labels, np.arange(len(labels), dtype=np.int64), groups)


def write_split(folder: Path, files: dict[str, bytes], labels=None) -> Split:
    """Write files, and make a split of them."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return split_of(FileImages([folder / name for name in files]), labels)


def selection_for(splits: Splits) -> Selection:
    """Select something on the validation set of some splits."""
    chosen = {"lambda": 1.0}
    return Selection(examples=splits.revision, chosen=chosen, validation_curve=(chosen,))


def labels_of_test(splits: Splits) -> np.ndarray:
    return splits.test.open(selection_for(splits))

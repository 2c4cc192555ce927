"""Write the manifests of the catalogue's datasets from what is on this machine.

Only for adding a dataset or changing a split on purpose: a manifest that changed by itself is
what the check is there to find.
"""

from pathlib import Path

from headstart.datasets import digits, fashion_mnist, glyphs
from headstart.datasets.manifest import make_manifest
from headstart.workspace import default_cache

FOLDER = Path(__file__).parent.parent / "src" / "headstart" / "datasets" / "manifests"


def main() -> None:
    """Write one JSON file a dataset."""
    sources = {
        "digits": (digits.CLASSES, digits.read()),
        "glyphs": (glyphs.CLASSES, glyphs.read()),
        "fashion_mnist": (fashion_mnist.CLASSES, fashion_mnist.read(default_cache())),
    }
    for name, (classes, splits) in sources.items():
        manifest = make_manifest(classes, splits)
        (FOLDER / f"{name}.json").write_text(manifest.model_dump_json(indent=1) + "\n")
        print(f"{name}: {manifest.revision[:12]}")


if __name__ == "__main__":
    main()

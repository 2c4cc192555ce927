"""Write the manifests of the embedded datasets from what is on this machine: of all, or of some.

    python scripts/write_manifests.py [NAME ...]

Only for adding a dataset or changing a split on purpose: a manifest that changed by itself is
what the check is there to find.
"""

import sys
from pathlib import Path

from headstart.context import default_cache
from headstart.datasets.file_index import FileIndex
from headstart.datasets.manifest import make_manifest
from headstart.datasets.sources.embedded import EMBEDDED
from headstart.labels import kind_of

FOLDER = Path(__file__).parent.parent / "src" / "headstart" / "datasets" / "manifests"


def main() -> None:
    """Write one JSON file a dataset."""
    for name in sys.argv[1:] or EMBEDDED:
        # Not through the source: it takes what it drew before for what its manifest says.
        known = EMBEDDED[name]
        parts = known.read(default_cache())
        manifest = make_manifest(known.classes, parts, kind_of("top-1"), FileIndex(None))
        text = manifest.model_dump_json(indent=1, exclude_defaults=True)
        (FOLDER / f"{name}.json").write_text(f"{text}\n")
        print(f"{name}: {manifest.revision[:12]}")


if __name__ == "__main__":
    main()

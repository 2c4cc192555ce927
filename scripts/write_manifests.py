"""Write the manifests of the embedded and synthetic datasets, of all or of some.

    python scripts/write_manifests.py [NAME ...]

They are written from what is on this machine. Only for adding a dataset or changing a split on
purpose: a manifest that changed by itself is what the check is there to find.
"""

import sys
from pathlib import Path

from headstart.context import default_cache
from headstart.contrib.miniature.synthetic import SPLIT_RULES, read_anew
from headstart.datasets.file_index import FileIndex
from headstart.datasets.manifest import make_manifest
from headstart.datasets.sources.embedded import EMBEDDED
from headstart.labels import kind_of

SOURCE = Path(__file__).parent.parent / "src" / "headstart"
EMBEDDED_FOLDER = SOURCE / "datasets" / "manifests"
SYNTHETIC_FOLDER = SOURCE / "contrib" / "miniature" / "manifests"


def main() -> None:
    """Write one JSON file per dataset."""
    for name in sys.argv[1:] or (*EMBEDDED, *SPLIT_RULES):
        if name in EMBEDDED:
            classes, parts = EMBEDDED[name].classes, EMBEDDED[name].read(default_cache())
        else:
            # Not through the source: it takes what it drew before for what its manifest says.
            classes, parts = read_anew(name)
        manifest = make_manifest(classes, parts, kind_of("top-1"), FileIndex(None))
        text = manifest.model_dump_json(indent=1, exclude_defaults=True)
        folder = EMBEDDED_FOLDER if name in EMBEDDED else SYNTHETIC_FOLDER
        (folder / f"{name}.json").write_text(f"{text}\n")
        print(f"{name}: {manifest.revision[:12]}")


if __name__ == "__main__":
    main()

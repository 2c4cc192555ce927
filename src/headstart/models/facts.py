"""What a library says of its networks, kept by its version: asking it again takes no import."""

import json
from pathlib import Path

from pydantic import ValidationError

from headstart.files import replaced, storage_errors
from headstart.models.sources import Source
from headstart.spec import Model, digest

__all__ = ["describe"]

# Raised when a library's networks are described otherwise: 2 with classifiers of other forms.
IMPLEMENTATION = 2


def describe(source: Source, path: str, cache: Path) -> Model:
    """Give the facts of a network, from the cache where the library has not changed since."""
    said = {"source": source.name, "version": source.revision(path), "model": path}
    key = digest({**said, "implementation": IMPLEMENTATION})
    place = cache / "models" / "facts" / f"{key}.json"
    try:
        return Model.model_validate_json(place.read_bytes())
    except (FileNotFoundError, ValidationError):
        # Absent, or of another release of headstart: asked anew.
        model = source.describe(path)
    with storage_errors(place):
        place.parent.mkdir(parents=True, exist_ok=True)
        with replaced(place) as temporary:
            temporary.write_text(json.dumps(model.model_dump(mode="json"), indent=1))
    return model

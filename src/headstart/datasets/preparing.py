"""A dataset made ready once: brought here, proven, looked at, decoded."""

from dataclasses import replace
from pathlib import Path

from headstart.context import ProgressReporter
from headstart.datasets.adopted import adopt, place_of
from headstart.datasets.checking import Checked, prove
from headstart.datasets.images import JoinedImages
from headstart.datasets.inspection import check
from headstart.datasets.prepare import prepare_images
from headstart.datasets.prepared import Prepared, Recipe
from headstart.datasets.reading import forget_readings
from headstart.datasets.sources import located
from headstart.errors import StudyError

__all__ = ["prepare_dataset"]


def prepare_dataset(
    name: str,
    cache: Path,
    reporter: ProgressReporter,
    *,
    folder: Path | None = None,
    skip_broken: bool = False,
) -> tuple[Checked, Prepared]:
    """Bring a dataset onto this machine, prove what it is, look at its images, decode them once.

    Parameters
    ----------
    name
        As in `find`.
    cache
        Where downloads and prepared images are kept.
    reporter
        Told what goes on.
    folder
        Where a dataset of the study lies already: it is used from there and remembered, once it is
        proven to be what it should be.
    skip_broken
        Whether images that do not decode are left out; they are listed among the problems.

    Raises
    ------
    StudyError
        A folder for a dataset whose name says already where it is.
    HeadstartError
        Not to be had; not what is published; images that do not do; no space.
    """
    forget_readings()
    source, asked = located(name, cache)
    place = None
    if folder is not None:
        if "root" not in source.options or asked.stem not in source.names():
            raise StudyError(
                f"dataset '{asked.full}' says itself where it is: --from goes with the datasets "
                f"of the study ({', '.join(source.names()) or 'headstart datasets'})"
            )
        place = place_of(asked.stem, folder.expanduser().resolve())
        asked = replace(asked, options={**asked.options, "root": str(place.folder)})
    elif not source.presence(asked, cache).present:
        source.fetch(asked, cache, reporter)
        _, asked = located(name, cache)
    checked = prove(source, asked, cache, reporter)
    check(checked.inspection, checked.name, skip_broken)
    if place is not None:
        adopt(asked.stem, place, cache)
    reading = checked.reading
    images = JoinedImages([part.images for part in reading.parts.values()])
    recipe = Recipe(reading.manifest.revision, asked.decoding)
    prepared = prepare_images(images, recipe, cache / "prepared", reporter, skip_broken=skip_broken)
    return checked, prepared

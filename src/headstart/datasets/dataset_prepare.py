"""A dataset made ready once: brought here, proven, looked at, decoded."""

from dataclasses import replace
from pathlib import Path

from headstart.context import ProgressReporter
from headstart.datasets.adopted import adopt, place_of
from headstart.datasets.checking import VerifiedDataset, prove
from headstart.datasets.image_cache import PreparedForm, PreparedImages
from headstart.datasets.image_cache_prepare import prepare_images
from headstart.datasets.images import JoinedImages
from headstart.datasets.inspection import check
from headstart.datasets.loading import clear_loaded
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
) -> tuple[VerifiedDataset, PreparedImages]:
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
    clear_loaded()
    source, dataset_ref = located(name, cache)
    place = None
    if folder is not None:
        if "root" not in source.options or dataset_ref.stem not in source.names():
            raise StudyError(
                f"the name '{dataset_ref.full}' already says where the dataset is: --from is for "
                f"the datasets of the study ({', '.join(source.names()) or 'headstart datasets'})",
                code="dataset.from_unused",
                name=dataset_ref.full,
            )
        place = place_of(dataset_ref.stem, folder.expanduser().resolve())
        dataset_ref = replace(
            dataset_ref, options={**dataset_ref.options, "root": str(place.folder)}
        )
    elif not source.presence(dataset_ref, cache).present:
        source.fetch(dataset_ref, cache, reporter)
        _, dataset_ref = located(name, cache)
    checked = prove(source, dataset_ref, cache, reporter)
    check(checked.audit, checked.name, skip_broken)
    if place is not None:
        adopt(dataset_ref.stem, place, cache)
    loaded = checked.loaded
    images = JoinedImages([part.images for part in loaded.parts.values()])
    recipe = PreparedForm(loaded.manifest.revision, dataset_ref.decoding)
    prepared = prepare_images(images, recipe, cache / "prepared", reporter, skip_broken=skip_broken)
    return checked, prepared

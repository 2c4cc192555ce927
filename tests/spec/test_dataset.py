import json

import pytest
from pydantic import ValidationError

from headstart.spec import Dataset, Decoding, Sizes
from refusals import invalid

FIELDS = {
    "name": "photos",
    "source": "folder",
    "revision": "abc",
    "classes": ("a", "b"),
    "sizes": Sizes(train=5, validation=3, test=2),
}
PLAIN = Dataset(**FIELDS)


@pytest.mark.parametrize("multilabel", [False, True])
def test_a_record_of_a_store_that_has_multilabel_is_read(multilabel):
    metric = "voc-map-11point" if multilabel else "top-1"
    record = json.loads(Dataset(**FIELDS, metric=metric).model_dump_json())
    older = {**record, "multilabel": multilabel}
    # Fields that came later were not there either.
    for later in ("options", "source_revision", "split_rule", "split_seed", "allow_missing",
                  "decoding"):  # fmt: skip
        del older[later]
    found = Dataset.model_validate_json(json.dumps(older))
    assert found == Dataset(**FIELDS, metric=metric) == Dataset.model_validate(older)
    assert found.multilabel is multilabel
    assert "multilabel" in older
    with invalid("extra_forbidden", "several"):
        Dataset.model_validate({**older, "several": True})


def test_splits_of_a_record_without_their_seed_were_drawn_with_seed_0():
    assert PLAIN.split_seed == 0
    with pytest.raises(ValidationError):
        Dataset(**FIELDS, split_seed=-1)


def test_what_is_as_usual_leaves_keys_as_they_were():
    # These five fields made the keys of stored results before there were decodings.
    assert PLAIN.identity == {
        "revision": "abc", "metric": "top-1", "multilabel": False, "limit": None,
        "skip_broken": False,
    }  # fmt: skip
    assert PLAIN.images_revision == "abc"
    same = Dataset(**FIELDS, decoding={"like": "viewer", "max_pixels": 100_000_000})
    assert (same.identity, same.images_revision) == (PLAIN.identity, PLAIN.images_revision)


DECODINGS = [
    Decoding(),
    Decoding(like="torchvision"),
    Decoding(max_pixels=1000),
    Decoding(max_pixels=1001),
    Decoding(like="torchvision", max_pixels=1000),
]


def test_every_decoding_is_another_dataset_and_other_images():
    found = [Dataset(**FIELDS, decoding=decoding) for decoding in DECODINGS]
    assert len({json.dumps(one.identity, sort_keys=True) for one in found}) == len(DECODINGS)
    assert len({one.images_revision for one in found}) == len(DECODINGS)
    assert found[1].identity == {**PLAIN.identity, "decoding": {"like": "torchvision"}}


def test_images_do_not_depend_on_how_they_are_scored_or_drawn():
    other = Dataset(**{**FIELDS, "classes": ("x", "y"), "name": "n"}, metric="mean-per-class",
                    limit=2, skip_broken=True, split_seed=4, location="/there")  # fmt: skip
    assert other.images_revision == PLAIN.images_revision
    assert other.identity != PLAIN.identity


def test_how_splits_are_drawn_is_in_the_revision_alone():
    other = Dataset(**FIELDS, split_seed=4, allow_missing=True, split_rule="drawn",
                    options={"label": "x"}, source_revision="1f2e")  # fmt: skip
    assert other.identity == PLAIN.identity


def test_sizes_that_a_trial_sees():
    assert PLAIN.used_sizes == PLAIN.sizes
    limited = Dataset(**FIELDS, limit=3).used_sizes
    assert (limited.train, limited.validation, limited.test) == (3, 3, 2)
    few = Dataset(**FIELDS, examples_per_class=1).used_sizes
    # Of two classes.
    assert (few.train, few.validation, few.test) == (2, 3, 2)


@pytest.mark.parametrize("change", [{"limit": 0}, {"split_seed": -1}, {"classes": ("a",)}])
def test_datasets_that_cannot_be(change):
    with pytest.raises(ValidationError):
        Dataset(**{**FIELDS, **change})
    with pytest.raises(ValidationError):
        Decoding(max_pixels=0)

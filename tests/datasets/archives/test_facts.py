"""The catalogue of the twelve datasets against the published table."""

import csv
from importlib.resources import files

import pytest

from headstart.datasets.archives import facts_of, published_facts
from headstart.spec import plain_name
from refusals import refused


def test_sizes_are_those_of_the_papers_table_1():
    text = files("headstart.analysis").joinpath("published", "datasets.csv").read_text()
    printed = {}
    for row in csv.DictReader(text.splitlines()):
        printed[plain_name(row["dataset"])] = (int(row["n_train"]), int(row["n_test"]))
    for facts in published_facts().values():
        sizes = facts.sizes
        (name,) = printed.keys() & {plain_name(n) for n in (facts.key, facts.title, *facts.aliases)}
        assert (sizes.train + sizes.validation, sizes.test) == printed[name], facts.key


def test_classes_and_validation_sizes_are_those_published():
    # Kornblith et al. (2019), Table 1 (CIFAR-100 as it is, not as misprinted), in its order; and
    # Grill et al. (BYOL, 2020), Table 10.
    assert {f.key: (f.n_classes, f.sizes.validation) for f in published_facts().values()} == {
        "food101": (101, 7575), "cifar10": (10, 5000), "cifar100": (100, 5067),
        "birdsnap": (500, 4981), "sun397": (397, 3970), "stanford_cars": (196, 1650),
        "fgvc_aircraft": (100, 3333), "voc2007": (20, 2510), "dtd": (47, 1880),
        "oxford_pets": (37, 740), "caltech101": (102, 510), "flowers102": (102, 1020),
    }  # fmt: skip


def test_metrics_are_the_papers():
    metrics = {f.key: f.metric for f in published_facts().values()}
    per_class = {"fgvc_aircraft", "oxford_pets", "caltech101", "flowers102"}
    assert {key for key, metric in metrics.items() if metric == "mean-per-class"} == per_class
    assert {key for key, metric in metrics.items() if metric == "voc-map-11point"} == {"voc2007"}
    assert [facts.key for facts in published_facts().values() if facts.multilabel] == ["voc2007"]


@pytest.mark.parametrize("facts", published_facts().values(), ids=published_facts())
def test_what_holds_for_every_class_adds_up(facts):
    sizes = dict(facts.sizes)
    for names, count in facts.per_class.items():
        assert sum(sizes[name] for name in names.split("+")) == count * facts.n_classes
    assert facts.layout
    assert facts.sources
    assert facts.split_rule


def test_an_unknown_key_tells_the_nearest():
    with refused("name.unknown", kind="dataset", name="sun", near=["sun397"]):
        facts_of("sun")

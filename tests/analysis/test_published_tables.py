"""The built-in tables of 2026, and what is taken of them elsewhere."""

import pytest

import headstart as hs
from headstart.analysis import published
from headstart.analysis.tables.results_sources import read_sources


def test_timm2026():
    frame = read_sources(["timm2026"]).frame
    assert frame.model.nunique() == 1556
    # Of 1,556 x 5 cells one is not given: ImageNet-A of one network.
    assert len(frame) == 1556 * 5 - 1
    rows = frame[frame.model == "eva02_large_patch14_448.mim_m38m_ft_in22k_in1k"]
    row = rows.set_index("dataset").loc["ImageNet-Sketch"]
    # Read off the file of the source.
    assert (row.accuracy, row.upstream_accuracy) == pytest.approx((0.70668, 0.90056))
    sizes = row.parameters, row.multiply_adds, row.throughput, row.throughput_cpu
    assert sizes == pytest.approx((305.08e6, 362.33e9, 102.94, 1.79))
    assert row.n_test == 50_889


def test_what_models_cost_is_a_table(table):
    sized = table.assign(Params=[None if m == "net0" else "25.6M" for m in table.model])
    models = hs.analyze(sized, resamples=200).models
    assert models.model.tolist() == [f"net{m}" for m in range(1, 6)]
    assert set(models.parameters) == {25.6e6}
    assert hs.analyze(table, resamples=200).models.empty


def test_mieb2026():
    frame = read_sources(["mieb2026"]).frame
    assert frame.groupby("model").dataset.nunique().tolist() == [21] * 48
    row = frame[(frame.model == "facebook/dinov2-base") & (frame.dataset == "Birdsnap")].iloc[0]
    assert 0 < row.upstream_accuracy < 1
    assert set(frame.metric) == {"accuracy", "lrap"}


@pytest.mark.parametrize("name", ["timm2026", "mieb2026"])
def test_sources_are_said(name):
    import gzip

    first = gzip.decompress(published.csv_bytes(name)).decode().splitlines()[:4]
    assert all(line.startswith("#") for line in first)
    assert "Source:" in " ".join(first)
    assert "2026" in published.facts(name)["citation"]

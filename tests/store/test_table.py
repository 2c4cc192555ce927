"""What stored results say of the data they were measured on."""

from headstart.store import ResultStore, data_warnings, left_out, result_row
from stores import add_result


def test_a_file_that_several_trials_left_out_counts_once(tmp_path):
    store = ResultStore(tmp_path / "r.db", create=True)
    results = [add_result(store, model, 0.8) for model in ("net_a", "net_b", "net_c")]
    skipped = {"skipped_images": {f"{n}.png": "empty file" for n in range(3)}}
    broken = [result.model_copy(update={"provenance": skipped}) for result in results]
    assert len(left_out(broken)) == 3
    other = broken[0].trial.dataset.model_copy(update={"revision": "9" * 64})
    trial = broken[0].trial.model_copy(update={"dataset": other})
    assert len(left_out([*broken, broken[0].model_copy(update={"trial": trial})])) == 6


def test_warnings_come_once_and_older_results_have_none(tmp_path):
    store = ResultStore(tmp_path / "r.db", create=True)
    results = [add_result(store, model, 0.8) for model in ("net_a", "net_b")]
    assert data_warnings(store.results()) == {}
    assert left_out(store.results()) == set()
    kept = {"data_warnings": [{"code": "leakage", "text": "1 image is in two splits"}]}
    warned = [result.model_copy(update={"provenance": kept}) for result in results]
    assert data_warnings(warned) == {"digits": {"1 image is in two splits": "leakage"}}


def test_the_content_is_the_beginning_of_the_revision(tmp_path):
    result = add_result(ResultStore(tmp_path / "r.db", create=True), "net_a", 0.8)
    revision = result.trial.dataset.revision
    assert result_row(result)["content"] == revision[:8]
    assert len(revision) == 64

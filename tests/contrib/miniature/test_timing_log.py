"""How long the parts took: kept over interruptions."""

import json

import pytest

from headstart.contrib.miniature.chain import TimingLog
from refusals import refused


def test_seconds_of_a_second_run_are_added(tmp_path, monkeypatch):
    now = iter([0.0, 90.0, 100.0, 130.0])
    monkeypatch.setattr("headstart.contrib.miniature.chain.monotonic", lambda: next(now))
    file = tmp_path / "miniature.json"
    with pytest.raises(KeyboardInterrupt), TimingLog(file, {"scale": "tiny"}).stage("transfer"):
        raise KeyboardInterrupt
    again = TimingLog(file, {"scale": "tiny"})
    with again.stage("transfer"):
        pass
    assert again.total == 120.0
    written = json.loads(file.read_text())
    assert written["seconds"] == {"transfer": 120.0}
    assert (written["scale"], written["minutes"]) == ("tiny", 2.0)
    assert written["processors"] >= 1


@pytest.mark.parametrize("text", ["", "[]", '{"seconds": {"transfer": "long"}}', "{}"])
def test_a_damaged_timing_log_is_refused(tmp_path, text):
    file = tmp_path / "miniature.json"
    file.write_text(text)
    with refused("miniature.timing_damaged", path=str(file)):
        TimingLog(file, {})

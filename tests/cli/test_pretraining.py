"""`headstart pretrain` and `headstart ablate`."""

import json
import signal

import pytest

import headstart as hs
from conftest import NETWORK
from headstart import models
from headstart.models.pretrained import outputs_of
from processes import forked_command, signalled
from refusals import ended

DATA = ("--dataset", "digits", "--device", "cpu", "--batch-size", 50, "--crop-area", 0.5)
QUICK = ("--arch", NETWORK, *DATA, "--steps", 20, "--learning-rate", 0.3)


def test_pretrain_registers_and_says_how_to_go_on(cli, own_cache):
    first = cli("pretrain", *QUICK, "--name", "net", "--label-smoothing", 0.1)
    assert first.code == 0, first.err
    said, hint = first.out.strip().splitlines()[-2:]
    assert said.startswith("pretrained:net: ")
    assert "% top-1 of 359 test images of digits (95 %: " in said
    assert "; pretrained in " in said
    assert hint == "headstart run --models pretrained:net --datasets NAME"
    again = cli("pretrain", *QUICK, "--name", "net", "--label-smoothing", 0.1)
    assert again.out.strip().splitlines()[-2].startswith(said.partition(";")[0])
    assert "; pretrained before" in again.out
    assert models.find("pretrained:net").tags["label_smoothing"] == "0.1"


def test_it_is_listed_shown_and_found(cli, own_cache):
    cli("pretrain", *QUICK, "--name", "net", "--configuration", "plain")
    (row,) = [line for line in cli("models").out.splitlines() if "pretrained:net" in line]
    accuracy = models.find("pretrained:net").upstream_accuracy
    assert f" {100 * accuracy:.2f} yes " in " ".join(row.split())
    shown = cli("models", "show", "pretrained:net")
    assert shown.code == 0, shown.err
    assert f"{100 * accuracy:.2f} % top-1, digits test" in shown.out
    assert "configuration plain" in shown.out
    assert cli("models", "--search", "pretrained").out.split() == ["pretrained:net"]
    rows = json.loads(cli("models", "--json").out)
    assert rows[-1]["name"] == "pretrained:net"
    assert rows[-1]["upstream"][0]["n"] == 359
    # What `headstart upstream` orders class folders by.
    assert outputs_of(models.find("pretrained:net")) == tuple("0123456789")
    assert outputs_of(models.find("efficientnet_lite0")) is None


def test_errors_are_one_line(cli, own_cache):
    wrong = cli("pretrain", *QUICK, "--label-smoothing", 1)
    ended(wrong, "pretrain.value", name="label_smoothing", value=1.0)
    cli("pretrain", *QUICK, "--name", "net")
    other = cli("pretrain", *QUICK, "--name", "net", "--seed", 1)
    ended(other, "pretrain.name_taken", name="net")
    unknown = cli("run", "--models", "pretrained:nett", "--datasets", "digits")
    ended(unknown, "name.unknown", near=["pretrained:net"])


def test_a_run_that_is_killed_goes_on(cli, own_cache):
    arguments = ("pretrain", *QUICK, "--name", "net")
    # Each step is kept, and the process ends when the eleventh is.
    killed = signalled("headstart.training.checkpoint:Checkpoint", "save", after=10)
    saving = "from headstart import pretraining\npretraining.SAVE_SECONDS = 0.0\n"
    process = forked_command(*arguments, before=saving + killed)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert models.pretrained_names() == []
    checkpoints = own_cache / "training"
    assert list(checkpoints.glob("*.safetensors"))
    again = cli(*arguments)
    assert again.code == 0, again.err
    facts = json.loads((own_cache / "pretrained" / "net" / "recipe.json").read_text())
    assert facts["resumed_at"] == 10
    assert list(checkpoints.glob("*.safetensors")) == []


@pytest.mark.parametrize("command", ["pretrain", "ablate"])
def test_ctrl_c_says_how_to_go_on(command, cli, own_cache, tmp_path, monkeypatch):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("headstart.training.train", interrupted)
    more = ("--transfer", "glyphs", "--store", tmp_path / "r.db") if command == "ablate" else ()
    outcome = cli(command, *QUICK, *more)
    assert outcome.code == 130
    assert outcome.err.startswith("interrupted: run the same command again to resume")


ABLATION = ("--arch", NETWORK, *DATA, "--steps", 12, "--learning-rate", 0.3, "--limit", 124)


def test_ablate_pretrains_transfers_and_shows(cli, own_cache, tmp_path):
    store = tmp_path / "r.db"
    arguments = ("ablate", *ABLATION, "--transfer", "glyphs,digits", "--store", store)
    first = cli(*arguments)
    assert first.code == 0, first.err
    assert "has no auxiliary classifier: configuration S5 is the same" in " ".join(
        first.out.split()
    )
    assert "8 measured, 0 already stored, 0 failed" in first.out
    assert all(f"S{i}: " in first.out for i in range(1, 5))
    assert len(models.pretrained_names()) == 4
    again = cli(*arguments)
    assert "0 measured, 8 already stored, 0 failed" in again.out
    rows = hs.results(store)
    assert rows["model"].nunique() == 1
    assert rows["configuration"].nunique() == 4
    analysis = hs.analyze(store, resamples=200)
    assert analysis.ablation["configuration"].str[:2].tolist() == ["S1", "S2", "S3", "S4"]
    assert analysis.ablation["upstream_accuracy"].notna().all()
    analysis.figure("ablation")


def test_what_is_wrong_with_an_ablation_is_told_before_it_is_trained(cli, own_cache, tmp_path):
    arguments = ("ablate", *ABLATION, "--store", tmp_path / "r.db", "--transfer")
    ended(cli(*arguments, "glyfs"), "name.unknown", kind="dataset", near=["glyphs"])
    wrong = cli(*arguments, "glyphs", "--settings", "lineal")
    ended(wrong, "name.unknown", kind="setting", name="lineal")
    wrong = cli(*arguments, "glyphs", "--dropout", 0)
    ended(wrong, "ablation.strength", name="dropout", value=0.0)
    assert models.pretrained_names() == []

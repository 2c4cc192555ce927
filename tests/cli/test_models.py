"""`headstart models`: the list, the search, one network."""

import json
import subprocess
import sys

from headstart import models

NAMES = tuple(models.catalogue())


def test_the_list_has_every_network_on_a_line_that_is_not_broken(cli):
    header, *lines, last = cli("models").out.rstrip().splitlines()
    assert header.split()[:3] == ["model", "parameters", "input"]
    assert [line.split()[0] for line in lines] == list(NAMES)
    assert all(len(line) <= 120 for line in lines)
    assert "…" not in "".join(lines)
    rows = {line.split()[0]: line.split() for line in lines}
    assert rows["efficientnet_lite0"][1:7] == ["3.4", "M", "224", "px", "1280", "74.83"]
    # What other weights of the architecture reached is not said of these.
    assert models.find("nasnet_a_mobile").upstream
    assert rows["nasnet_a_mobile"][6] == "-"
    assert last == "details: headstart models show NAME"


def test_the_list_as_json(cli):
    records = json.loads(cli("models", "--json").out)
    assert [record["name"] for record in records] == list(NAMES)
    assert len(records) == 19
    assert records[0]["present"] is True
    assert records[0]["upstream"][0]["value"] == 0.7483
    assert records[0]["weights_bytes"] > 1e6
    assert records[0]["digest"].startswith("57934424")


def test_search(cli):
    outcome = cli("models", "--search", "resnet18")
    assert {"timm:resnet18.tv_in1k", "torchvision:resnet18"} <= set(outcome.out.split())
    assert json.loads(cli("models", "--search", "nasnet_a", "--json").out)[:2] == [
        "nasnet_a_mobile",
        "nasnet_a_large",
    ]


def test_one_network(cli):
    out = cli("models", "show", "resnet50").out
    for words in (
        "timm, architecture resnet50",
        "hf:timm/resnet50.tv_in1k",
        "weights these (timm results-imagenet.csv",
        "weights retrained for the study (Kornblith et al. 2019",
        "8.2 MB of features for 1,000 images",
        "family ResNet",
    ):
        assert words in out
    record = json.loads(cli("models", "show", "efficientnet_lite0", "--json").out)
    assert record["feature_bytes_per_1000_images"] == 4 * 1280 * 1000
    assert record["place"].endswith("efficientnet-lite0-57934424.pth")
    assert "nothing to download" in cli("models", "show", "efficientnet_lite0").out


def test_a_network_that_was_asked_before_needs_no_torch(cli):
    name = "timm:vit_small_patch16_224"
    models.find(name)
    code = (
        "import sys; from headstart.cli.main import main\n"
        f"sys.argv = ['headstart', 'models', 'show', {name!r}]\n"
        "try: main()\n"
        "except SystemExit as e: assert not e.code, e.code\n"
        "heavy = {'torch', 'torchvision', 'timm'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    process = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    assert b"architecture vit_small_patch16_224" in process.stdout

"""CIFAR's pickles: planes, labels, and that nothing in them is run."""

import pickle
import struct

import numpy as np
import pytest

from headstart.datasets.archives.readers import read_cifar10, read_cifar100
from refusals import refused


def test_cifar10(write):
    raw = read_cifar10(write("cifar10"))
    assert raw.classes == ("airplane", "automobile", "bird")
    train = raw.parts["train"]
    assert train.labels.tolist() == [0, 1, 2, 2, 1, 0] * 5
    # Image 8 is the third of the second batch; red, green and blue lie in planes.
    pixels = np.asarray(train.images.decode(8))
    assert pixels.shape == (32, 32, 3)
    assert (pixels == [2, 100, 200]).all()


def test_cifar100_has_the_fine_labels(write):
    raw = read_cifar100(write("cifar100"))
    assert raw.classes == ("apple", "aquarium_fish", "baby")
    assert raw.parts["train"].labels.tolist() == [0, 1, 2] * 4
    assert len(raw.parts["test"]) == 6


def test_rows_of_an_image_lie_one_after_the_other(write):
    folder = write("cifar100")
    file = folder / "cifar-100-python" / "test"
    content = file.read_bytes()
    # The first byte of the second row of the first image's red plane.
    start = content.index(b"T" + struct.pack("<i", 6 * 3072)) + 5
    file.write_bytes(content[: start + 32] + b"\xfa" + content[start + 33 :])
    pixels = np.asarray(read_cifar100(folder).parts["test"].images.decode(0))
    assert pixels[1, 0].tolist() == [250, 100, 200]


# Some releases of NumPy complain of what Python 2 wrote.
@pytest.mark.filterwarnings("ignore:dtype")
@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_are_read_in_their_own_order(order, write, pickled):
    folder = write("cifar100")
    noise = np.random.RandomState(7).randint(0, 256, (6, 3072)).astype(np.uint8)
    content = pickled({"data": np.array(noise, order=order), "fine_labels": [0, 1, 2] * 2})
    # NumPy itself takes the file for this array in this order.
    theirs = pickle.loads(content, encoding="bytes")[b"data"]
    assert theirs.flags.f_contiguous == (order == "F")
    np.testing.assert_array_equal(theirs, noise)
    (folder / "cifar-100-python" / "test").write_bytes(content)
    images = read_cifar100(folder).parts["test"].images
    for row in range(6):
        planes = np.asarray(images.decode(row)).transpose(2, 0, 1)
        np.testing.assert_array_equal(planes.ravel(), noise[row])


class Ran:
    """A pickle that runs a function when it is read as pickles are."""

    def __reduce__(self):
        return (exec, ("raise SystemExit",))


@pytest.mark.parametrize(("content", "reason"), [
    (pickle.dumps({"data": Ran()}, protocol=2), "it names __builtin__.exec"),
    (b"cos\nsystem\n(S'true'\ntR.", "it names os.system"),
    (b"\x80\x02cnumpy\nload\n.", "it names numpy.load"),
    # Written anew by today's NumPy: not the creators' file.
    (pickle.dumps({"data": np.zeros(2, np.uint8)}, protocol=2), "it names"),
    (b"", "Ran out of input"),
    (b"\x80\x02}", ""),
    (b"no pickle at all", ""),
    (b"\x80\x02](K\x01e.", "it holds a list"),
    (b"\x80\x02cnumpy\ndtype\nU\x02f8K\x00K\x01\x87R.", "an array of type b'f8'"),
    (b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n)R.", "argument"),
])  # fmt: skip
def test_other_pickles_are_refused(content, reason, tmp_path):
    (tmp_path / "meta").write_bytes(content)
    with refused("dataset.archive_invalid", file="meta") as error:
        read_cifar100(tmp_path)
    # What Python's own unpickler or this one's said.
    assert reason in error.value.values["reason"]


@pytest.mark.parametrize(("old", "new", "values"), [
    # A shape that the bytes do not fill; bytes with a sign.
    (b"J\x00\x0c\x00\x00", b"J\x01\x0c\x00\x00", {"reason": "reshape"}),
    (b"U\x02u1", b"U\x02i1", {"reason": "type b'i1'"}),
    (b"U\x0bfine_labels", b"U\x0bfine_lables", {"found": "fine_labels"}),
    (b"U\x04data", b"U\x04dada", {"found": "data"}),
    # A label of 3 of the classes 0 to 2.
    (b"J\x02\x00\x00\x00J\x00", b"J\x03\x00\x00\x00J\x00", {"found": "fine_labels"}),
])  # fmt: skip
def test_batches_of_another_kind_are_refused(old, new, values, write):
    folder = write("cifar100")
    file = folder / "cifar-100-python" / "test"
    content = file.read_bytes()
    assert old in content
    file.write_bytes(content.replace(old, new))
    with refused("dataset.archive_invalid", file="test") as error:
        read_cifar100(folder)
    ((name, expected),) = values.items()
    assert expected in error.value.values[name]

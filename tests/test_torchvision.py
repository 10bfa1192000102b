"""`--data torchvision:NAME`: each set from files in its own layout, as torchvision reads them."""

import bz2
import gzip
import json
import lzma
import pickle
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import h5py
import lmdb
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy.io import savemat
from torchvision import datasets
from torchvision.transforms.functional import pil_to_tensor

from launchbay import UserError
from launchbay.data import ImageSet, mnist
from launchbay.data.decode import decode
from launchbay.data.vision import NAMES, SETS, open_torchvision
from launchbay.launch.config.torchvision_names import OTHERS, TORCHVISION

Mistake = Callable[..., str]
Train = Callable[..., Path]
Maker = Callable[[Path], object]
DRAWN = np.random.default_rng(0)
COUNT = 3


def draw(count: int, *shape: int) -> NDArray[np.uint8]:
    return DRAWN.integers(0, 256, (count, *shape), np.uint8)


def photo(path: Path, mode: str = "RGB") -> None:
    """Write a picture of any size to `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width = DRAWN.integers(9, 15, 2)
    Image.fromarray(draw(1, height, width, 3)[0]).convert(mode).save(path)


def write(path: Path, *lines: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))


def write_idx(path: Path, values: NDArray[Any], *, packed: str = "") -> None:
    kind = {"uint8": 8, "int32": 12}[str(values.dtype)]
    content = bytes([0, 0, kind, values.ndim]) + struct.pack(f">{values.ndim}i", *values.shape)
    content += values.astype(values.dtype.newbyteorder(">")).tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    packers = {"": bytes, ".gz": gzip.compress, ".xz": lzma.compress}
    path.with_name(path.name + packed).write_bytes(packers[packed](content))


def folders(*splits: str, classes: Sequence[str] = ("ape", "bee"), suffix: str = ".jpg") -> Maker:
    """Pictures in folders of classes, in folders of splits."""

    def make(root: Path) -> None:
        for split in splits:
            for kind in classes:
                for number in range(COUNT):
                    photo(root / split / kind / f"{number}{suffix}")

    return make


def cifar100(root: Path) -> None:
    for part in ("train", "test"):
        path = root / "cifar-100-python" / part
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(pickle.dumps({"data": draw(COUNT, 3072), "fine_labels": [1, 0, 1]}))
    path.with_name("meta").write_bytes(pickle.dumps({"fine_label_names": ["apple", "bear"]}))


def clevr(root: Path) -> None:
    for part in ("train", "val"):
        scenes = []
        for number in range(COUNT):
            photo(root / f"clevr/CLEVR_v1.0/images/{part}/{number}.png")
            scenes.append({"image_filename": f"{number}.png", "objects": [0] * (3 + number)})
        write(root / f"clevr/CLEVR_v1.0/scenes/CLEVR_{part}_scenes.json", json.dumps({"scenes": scenes}))


def caltech101(root: Path) -> None:
    for kind in ("BACKGROUND_Google", "ant", "crab"):
        for number in range(1, COUNT + 1):
            photo(root / f"caltech101/101_ObjectCategories/{kind}/image_{number:04d}.jpg")


def caltech256(root: Path) -> None:
    for place, kind in enumerate(("001.ak47", "002.flag"), 1):
        for number in range(1, COUNT + 1):
            photo(root / f"caltech256/256_ObjectCategories/{kind}/{place:03d}_{number:04d}.jpg")


def celeba(root: Path) -> None:
    names = [f"{number:06d}.jpg" for number in range(2 * COUNT)]
    base = root / "celeba"
    for name in names:
        photo(base / "img_align_celeba" / name)
    write(base / "list_eval_partition.txt", *(f"{name} {place % 2}" for place, name in enumerate(names)))
    write(base / "identity_CelebA.txt", *(f"{name} 7" for name in names))
    for kind in ("bbox", "landmarks_align", "attr"):
        write(base / f"list_{kind}_celeba.txt", "6", "Smiling Young", *(f"{name} 1 -1" for name in names))


def dtd(root: Path) -> None:
    for split in ("train", "val"):
        names = [f"{kind}/{split}{number}.jpg" for kind in ("dotted", "woven") for number in range(COUNT)]
        for name in names:
            photo(root / "dtd/dtd/images" / name)
        write(root / f"dtd/dtd/labels/{split}1.txt", *names)


def fer2013(root: Path) -> None:
    rows = [
        (number % 7, " ".join(map(str, draw(1, 2304)[0])), "Training" if number < 4 else "PublicTest")
        for number in range(7)
    ]
    write(root / "fer2013/fer2013.csv", "emotion,pixels,Usage", *(",".join(map(str, row)) for row in rows))


def aircraft(root: Path) -> None:
    base = root / "fgvc-aircraft-2013b/data"
    for level, plural in (("variant", "variants"), ("family", "families"), ("manufacturer", "manufacturers")):
        write(base / f"{plural}.txt", f"a {level}", f"b {level}")
        for split in ("train", "val"):
            write(base / f"images_{level}_{split}.txt", f"{split}1 b {level}", f"{split}2 a {level}")
    for name in ("train1", "train2", "val1", "val2"):
        photo(base / f"images/{name}.jpg")


def flowers(root: Path) -> None:
    for number in range(1, 7):
        photo(root / f"flowers-102/jpg/image_{number:05d}.jpg")
    savemat(root / "flowers-102/setid.mat", {"trnid": [1, 2, 5], "valid": [3, 4], "tstid": [6, 6]})
    savemat(root / "flowers-102/imagelabels.mat", {"labels": [1, 2, 102, 2, 1, 1]})


def food(root: Path) -> None:
    for split in ("train", "test"):
        listed = {kind: [f"{kind}/{split}{number}" for number in range(COUNT)] for kind in ("tacos", "apple_pie")}
        for name in [name for names in listed.values() for name in names]:
            photo(root / f"food-101/images/{name}.jpg")
        write(root / f"food-101/meta/{split}.json", json.dumps(listed))


def gtsrb(root: Path) -> None:
    folders("gtsrb/GTSRB/Training", classes=("00000", "00001"), suffix=".ppm")(root)
    photo(root / "gtsrb/GTSRB/Final_Test/Images/00000.ppm")
    write(root / "gtsrb/GT-final_test.csv", "Filename;ClassId", "00000.ppm;1")


def imagenet(root: Path) -> None:
    folders("train", "val", classes=("n01", "n02"))(root)
    torch.save(({"n01": ("crane", "bird"), "n02": ("crane",)}, []), root / "meta.bin")


def inaturalist(root: Path) -> None:
    kinds = [f"{place:05d}_Animalia_P_C_O_F_G_{name}" for place, name in enumerate(("bee", "wasp"))]
    folders("2021_train", "2021_train_mini", "2021_valid", classes=kinds)(root)


def lfw(root: Path) -> None:
    for person in ("Ann_Lee", "Bo_Li"):
        for number in (1, 2):
            photo(root / f"lfw-py/lfw_funneled/{person}/{person}_{number:04d}.jpg")
    write(root / "lfw-py/lfw-names.txt", "Ann_Lee\t2", "Bo_Li\t2")
    write(root / "lfw-py/peopleDevTrain.txt", "1", "Bo_Li\t2")
    write(root / "lfw-py/peopleDevTest.txt", "1", "Ann_Lee\t2")
    (root / "lfw-py/lfw-funneled.tgz").touch()


def omniglot(root: Path) -> None:
    for part in ("images_background", "images_evaluation"):
        for number in range(2 * COUNT):
            photo(root / f"omniglot-py/{part}/Latin/character{number % 2 + 1:02d}/{number}.png", "L")
        (root / f"omniglot-py/{part}.zip").touch()


def pets(root: Path) -> None:
    for split in ("trainval", "test"):
        names = [f"{kind}_{split}{number}" for kind in ("beagle", "Sphynx") for number in range(COUNT)]
        for name in names:
            photo(root / f"oxford-iiit-pet/images/{name}.jpg")
        lines = [f"{name} {1 + name.startswith('S')} 1 1" for name in names]
        write(root / f"oxford-iiit-pet/annotations/{split}.txt", *lines)


def places(root: Path) -> None:
    write(root / "categories_places365.txt", "/a/airfield 0", "/z/zen_garden 1")
    for split, size in (("train_standard", "large"), ("val", "large"), ("train_standard", "256"), ("val", "256")):
        name = f"/{split}.jpg" if split == "val" else "/a/airfield/00000001.jpg"
        photo(root / (f"val_{size}" if split == "val" else f"data_{size}_standard") / name[1:])
        write(root / f"places365_{split}.txt", f"{name} {int(split == 'val')}")


def semeion(root: Path) -> None:
    pixels, labels = draw(12, 256) > 99, np.eye(10)[np.arange(12) % 10]
    np.savetxt(root / "semeion.data", np.hstack([pixels, labels]))


def stl10(root: Path) -> None:
    for part in ("train", "test", "unlabeled"):
        path = root / f"stl10_binary/{part}_X.bin"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(draw(11, 3, 96, 96).tobytes())
        path.with_name(f"{part}_y.bin").write_bytes(bytes(1 + number % 10 for number in range(11)))


def sun397(root: Path) -> None:
    write(root / "SUN397/ClassName.txt", "/a/abbey", "/s/street/night")
    for number in range(COUNT):
        photo(root / f"SUN397/a/abbey/sun_a{number}.jpg")
        photo(root / f"SUN397/s/street/night/sun_s{number}.jpg")


def svhn(root: Path) -> None:
    for part in ("train", "test", "extra"):
        savemat(root / f"{part}_32x32.mat", {"X": draw(32, 32, 3, COUNT), "y": np.array([[10], [1], [9]])})


def cars(root: Path) -> None:
    base, kinds = root / "stanford_cars", np.array(["Audi", "Fiat"], object)
    (base / "devkit").mkdir(parents=True)
    savemat(base / "devkit/cars_meta.mat", {"class_names": kinds})
    for part, place in (("train", "devkit/cars_train_annos.mat"), ("test", "cars_test_annos_withlabels.mat")):
        rows = np.array([(f"{number}.jpg", 1 + number % 2) for number in range(2)], [("fname", "O"), ("class", "O")])
        savemat(base / place, {"annotations": rows})
        for number in range(2):
            photo(base / f"cars_{part}/{number}.jpg")


def usps(root: Path) -> None:
    for name in ("usps.bz2", "usps.t.bz2"):
        rows = [
            f"{1 + n} " + " ".join(f"{p + 1}:{v / 128 - 1:.4f}" for p, v in enumerate(draw(1, 256)[0]))
            for n in range(COUNT)
        ]
        (root / name).write_bytes(bz2.compress("\n".join(rows).encode()))


MAKERS: dict[str, Maker] = {
    "CIFAR100": cifar100, "CLEVRClassification": clevr, "Caltech101": caltech101, "Caltech256": caltech256,
    "CelebA": celeba, "Country211": folders("country211/train", "country211/valid"), "DTD": dtd,
    "EuroSAT": folders("eurosat/2750"), "FER2013": fer2013, "FGVCAircraft": aircraft, "Flowers102": flowers,
    "Food101": food, "GTSRB": gtsrb, "INaturalist": inaturalist, "ImageNet": imagenet,
    "Imagenette": folders("imagenette2/train", "imagenette2/val", classes=("n01440764", "n03888257"), suffix=".jpeg"),
    "Imagenette:320px": folders("imagenette2-320/train", "imagenette2-320/val", classes=("n01440764",), suffix=".jpeg"),
    "Imagenette:160px": folders("imagenette2-160/train", "imagenette2-160/val", classes=("n01440764",), suffix=".jpeg"),
    "LFWPeople": lfw, "Omniglot": omniglot, "OxfordIIITPet": pets, "Places365": places,
    "RenderedSST2": folders(
        "rendered-sst2/train", "rendered-sst2/valid", classes=("negative", "positive"), suffix=".png"
    ),
    "SEMEION": semeion, "STL10": stl10, "SUN397": sun397, "SVHN": svhn, "StanfordCars": cars, "USPS": usps,
}  # fmt: skip
"""What writes a small set in its own layout; variants have that of their set."""
ELSEWHERE = ("PCAM",)
"""What other tests are about."""


@pytest.fixture
def any_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let torchvision take any file for the original."""
    for name in (
        "celeba",
        "cifar",
        "fer2013",
        "flowers102",
        "imagenet",
        "lfw",
        "omniglot",
        "places365",
        "semeion",
        "stl10",
        "svhn",
    ):
        monkeypatch.setattr(f"torchvision.datasets.{name}.check_integrity", lambda path, md5=None: Path(path).is_file())


def theirs(name: str, root: Path, split: str) -> dict[bytes, int]:
    """Return what torchvision itself gives: labels by pictures, as far as those are decoded as ours."""
    known, kind = SETS[name], getattr(datasets, name.partition(":")[0])
    options = {"train": known.train, "val": known.val, "all": known.train + known.val}[split]
    found: dict[bytes, int] = {}
    for each in options:
        opened = kind(str(root), **each)
        for place in range(len(opened)):
            picture, label = opened[place]
            picture = pil_to_tensor(picture)
            picture = picture if name.partition(":")[0] not in ("Omniglot",) else picture.expand(3, -1, -1)
            found[picture.contiguous().numpy().tobytes()] = label
    return found


@pytest.mark.usefixtures("any_bytes")
@pytest.mark.parametrize("name", [name for name in SETS if name not in ELSEWHERE])
def test_each_set_is_read_from_its_own_layout(name: str) -> None:
    root = Path("data")
    root.mkdir()
    MAKERS.get(name, MAKERS[name.partition(":")[0]])(root)
    opened = {split: open_torchvision(name, split, root) for split in ("train", "val", "all")}
    for split, images in opened.items():
        known = SETS[name]
        if known.val or split == "all":
            expected, found = theirs(name, root, split), labels_by_picture(images)
            assert found.keys() == expected.keys() and len(images) == len(expected)
            if not known.unlabelled and "Omniglot" not in name:
                assert found == {picture: label - known.first for picture, label in expected.items()}
        assert [tuple(images.image(place).shape[1:]) for place in range(len(images))] == [
            images.size(n) for n in range(len(images))
        ]
    train, val = opened["train"], opened["val"]
    assert train.classes == val.classes and bool(train.classes) != bool(train.unlabelled)
    assert train.fingerprint() != val.fingerprint() == open_torchvision(name, "val", root).fingerprint()
    if not SETS[name].val:
        assert train.note.endswith("figures are of every tenth picture, which is not trained on")
        assert len(val) == -(-len(opened["all"]) // 10) and len(train) + len(val) == len(opened["all"])
    inside = root / SETS[name].places[0].partition("/")[0]
    if inside.is_dir():
        assert open_torchvision(name, "val", inside).fingerprint() == val.fingerprint(), "its own folder is found, too"


def labels_by_picture(images: ImageSet) -> dict[bytes, int]:
    labels = [images.label(place) for place in range(len(images))]
    return {
        images.image(place).contiguous().numpy().tobytes(): -1 if label is None else label
        for place, label in enumerate(labels)
    }


@pytest.mark.parametrize("name", [name for name in mnist.IDX if name != "MNIST"])
@pytest.mark.parametrize("packed", ["", ".gz"])
def test_the_successors_of_mnist_are_read_packed_or_not(name: str, packed: str) -> None:
    known, folder = mnist.IDX[name], name.partition(":")[0]
    for files in (known.train, known.val):
        pictures, labels = files
        numbers = known.first + np.arange(4, dtype=np.uint8)
        if "int" in labels:
            numbers = np.stack([numbers.astype(np.int32), np.full(4, -70_000, np.int32)], axis=1)
        write_idx(Path("data", folder, "raw", pictures), draw(4, 28, 28), packed=packed)
        write_idx(Path("data", folder, "raw", labels), numbers, packed=".xz" if packed and name == "QMNIST" else packed)
    images = open_torchvision(name, "val", Path("data"))
    assert [images.label(place) for place in range(4)] == [0, 1, 2, 3] and len(images.classes) >= 4
    if not packed:
        options = {"split": name.partition(":")[2] or "balanced"} if folder == "EMNIST" else {}
        expected = getattr(datasets, folder)("data", train=False, **options).data[2]
        assert torch.equal(images.image(2)[0], expected.T if folder == "EMNIST" else expected), (
            "EMNIST lies on its side"
        )
        names = getattr(datasets, folder)("data", train=False, **options).classes
        assert folder == "QMNIST" or images.classes == tuple(name for name in names if name != "N/A")
    picture = Path("data", folder, "raw", next(iter(known.val)) + packed)
    picture.write_bytes(picture.read_bytes()[:-9] if packed else picture.read_bytes()[:-1])
    with pytest.raises(UserError, match=f"{folder} in data/{folder}/raw is damaged, incomplete or other data"):
        open_torchvision(name, "val", Path("data"))


def test_tissue_in_hdf5_and_rooms_in_lmdb() -> None:
    pictures, number = draw(6, 96, 96, 3), 0
    Path("data/pcam").mkdir(parents=True)
    for part in ("train", "valid"):
        with h5py.File(f"data/pcam/camelyonpatch_level_2_split_{part}_x.h5", "w") as file:
            file["x"] = pictures[number : number + 3]
        with h5py.File(f"data/pcam/camelyonpatch_level_2_split_{part}_y.h5", "w") as file:
            file["y"] = np.array([0, 1, 1], np.uint8).reshape(3, 1, 1, 1)
        number += 3
    images = pickle.loads(pickle.dumps(open_torchvision("PCAM", "all", Path("data"))))
    assert [images.label(place) for place in range(6)] == [0, 1, 1] * 2 and images.size(5) == (96, 96)
    for place in range(6):
        assert np.array_equal(images.image(place).permute(1, 2, 0).numpy(), pictures[place])

    for room in ("bedroom_train", "bedroom_val", "tower_train", "tower_val"):
        photo(Path("photo.png"))
        with lmdb.open(f"data/{room}_lmdb") as database, database.begin(write=True) as writing:
            writing.put(b"\0key", Path("photo.png").read_bytes())
    images = pickle.loads(pickle.dumps(open_torchvision("LSUN", "val", Path("data"))))
    assert images.classes == ("bedroom", "tower") and [images.label(0), images.label(1)] == [0, 1]
    assert torch.equal(images.image(1), decode(Path("photo.png")))
    assert not list(Path().glob("_cache_*")), "torchvision would leave a pickle here, and read one"
    with pytest.raises(UserError, match="there is no bedroom_train_lmdb, nor another class of LSUN, in elsewhere"):
        open_torchvision("LSUN", "train", Path("elsewhere"))


def test_what_has_no_class_is_refused_by_name_and_every_set_of_torchvision_is_either(mistake: Mistake) -> None:
    known = {name.partition(":")[0] for name in TORCHVISION}
    refused = {name for names in OTHERS.values() for name in names.split()}
    helpers = {"LSUNClass", "VisionDataset", "wrap_dataset_for_transforms_v2"}
    assert known | refused == set(datasets.__all__) - helpers and not known & refused
    assert sorted(NAMES) == sorted(TORCHVISION)
    said = mistake("--task", "classify", "--data", "torchvision:VOCDetection")
    assert (
        "torchvision:VOCDetection has boxes around things, not a class for each picture → write torchvision:NAME"
        in said
    )
    assert "did you mean 'torchvision:FashionMNIST'?" in mistake("--task", "classify", "--data", "fashion-mnist")
    assert "did you mean 'torchvision:CIFAR100'?" in mistake("--task", "classify", "--data", "torchvision:cifar100")


@pytest.mark.slow
def test_a_run_on_a_set_of_torchvision_goes_on_and_back_in(train: Train, mistake: Mistake, capfd: Any) -> None:
    files = mnist.IDX["FashionMNIST"]
    for pictures, labels in (files.train, files.val):
        write_idx(Path("data", pictures), draw(10, 28, 28), packed=".gz")
        write_idx(Path("data", labels), np.arange(10, dtype=np.uint8), packed=".gz")
    run = train(
        "classify", "--data", "torchvision:FashionMNIST", "--data-root", "data", "--steps", 1, "--batch-size", 4
    )
    text = (run / "config.yaml").read_text()
    assert "data: torchvision:FashionMNIST\n" in text
    train("classify", "--config", run / "config.yaml", "--steps", 2)
    assert "step-00000001" in capfd.readouterr().out
    said = mistake("--task", "classify", "--data", "torchvision:Places365", "--data-root", "data")
    assert "Places365 (categories_places365.txt) is not in data" in said and "not downloaded unasked" in said


def test_a_damaged_picture_is_told_by_its_path(mistake: Mistake) -> None:
    folders("eurosat/2750")(Path("data"))
    Path("data/eurosat/2750/ape/1.jpg").write_bytes(b"no picture")
    said = mistake("--task", "classify", "--data", "torchvision:EuroSAT", "--data-root", "data")
    assert "cannot read the picture data/eurosat/2750/ape/1.jpg: Pillow does not recognise" in said

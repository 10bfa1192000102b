"""`launchbay apply`: pictures of any kind and size, classes, and pictures that are drawn; from a run folder alone."""

import csv
import io
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Command, forget_accelerator
from PIL import Image, ImageCms
from skimage import data
from test_folders import exif_of
from torch import Tensor, nn
from toys import NoOptions

from launchbay import UserError
from launchbay.data.decode import Header, decode
from launchbay.data.glyphs import Glyphs
from launchbay.data.original import read_original
from launchbay.launch.commands.inputs import Input
from launchbay.launch.commands.picture_files import write_deep_png, write_deep_tiff
from launchbay.launch.commands.restoring import Use
from launchbay.launch.engine.tiles import boxes, find_tiling, kept_part
from launchbay.models.residual import UNet
from launchbay.models.superres import SRCNN, SRResNet
from launchbay.tasks import Answer, Batch, Classes, Losses, Task

Verb = Callable[..., tuple[int, str]]
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
SMALL = ("--steps", 1, "--batch-size", 2, "--wandb", "off", "--run", "it")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Path]]:
    """A run of each kind, of a step or a few."""
    from launchbay.launch.train import main

    folder = tmp_path_factory.mktemp("runs")
    options: dict[str, tuple[object, ...]] = {
        "superres": ("--width", 4, "--blocks", 1, "--patch", 24, "--scale", 2),
        "classify": (),
        "vae": ("--classes", 10, "--model", "dense"),
        "reconstruct": ("--patch", 16),
    }
    with pytest.MonkeyPatch.context() as patch:
        for task, own in options.items():
            (folder / task).mkdir()
            patch.chdir(folder / task)
            forget_accelerator()
            assert main([task, *map(str, (*SMALL, *own))]) == 0
        yield {task: folder / task / "runs/it" for task in options}


def astronaut(side: int = 40) -> np.ndarray:
    return np.ascontiguousarray(data.astronaut()[100 : 100 + side, 200 : 200 + side])


@pytest.mark.parametrize(
    ("network", "channels"),
    [(SRResNet(2, 8, 2), 3), (SRCNN(2, upscale_last=True), 3), (SRCNN(2), 3), (UNet(1, 4, 1), 1)],
)
def test_tiles_give_what_the_whole_picture_gives(network: nn.Module, channels: int) -> None:
    for values in network.parameters():
        nn.init.normal_(values, std=0.1)  # without this their last layers give nothing

    def answer(picture: Tensor) -> dict[str, Tensor]:
        return {"": network(picture)}

    with torch.no_grad():
        tiling = find_tiling(network, answer, channels, torch.device("cpu"), side=32)
        picture = torch.rand(1, channels, 150, 215)
        whole, count = network(picture), 0
        scale = whole.shape[-1] // 215
        for box in boxes(150, 215, tiling):
            part = kept_part(network(picture[..., box.seen[0], box.seen[1]]), box)
            rows, columns = (slice(kept.start * scale, kept.stop * scale) for kept in box.kept)
            assert (part - whole[..., rows, columns]).abs().max() <= 1e-4 * whole.abs().max()
            count += part.numel()
    assert tiling.local and tiling.overlap in (32, 64) and count == whole.numel()


def test_a_network_that_sees_the_whole_picture_is_told_apart() -> None:
    class Exposure(nn.Module):
        def forward(self, picture: Tensor) -> Tensor:
            return picture / picture.mean(dim=(2, 3), keepdim=True)

    network = Exposure()
    tiling = find_tiling(network, lambda picture: {"": network(picture)}, 3, torch.device("cpu"))
    assert not tiling.local and not tiling.side


def test_pictures_stay_what_they_are(runs: dict[str, Path], launchbay: Verb) -> None:
    """Grey, transparent, of 16 bits, with profile, EXIF and orientation; damaged ones are named, the rest goes on."""
    colour, grey = astronaut(), astronaut()[..., 0]
    Path("in/sub").mkdir(parents=True)
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "Camera"
    Image.fromarray(colour[:, :30]).save("in/turned.jpg", exif=exif, icc_profile=PROFILE)
    Image.fromarray(np.dstack([colour, grey])).save("in/clear.png")
    Image.fromarray(grey).save("in/sub/grey.webp", lossless=True)
    Image.fromarray(grey.astype(np.uint16) * 257).save("in/deep.png")
    write_deep_png(Path("in/deeper.png"), np.dstack([colour, grey]).astype(np.uint16) * 257, PROFILE, b"")
    write_deep_tiff(Path("in/deep.tif"), colour.astype(np.uint16) * 257, PROFILE)
    Path("in/cut.png").write_bytes(Path("in/clear.png").read_bytes()[:900])
    Path("in/film.mov").touch()
    code, said = launchbay("apply", runs["superres"], "in", "out")
    assert code == 1, said
    assert "in/cut.png" in said and "1 left out" in said and ".mov" in said
    with Image.open("out/turned.jpg") as turned:
        assert turned.size == (80, 60) and turned.info["icc_profile"] == PROFILE
        assert dict(turned.getexif()).get(0x010F) == "Camera" and 0x0112 not in turned.getexif()
    kinds = {"clear.png": (4, 1), "sub/grey.webp": (3, 1), "deep.png": (1, 2), "deeper.png": (4, 2), "deep.tif": (3, 2)}
    for name, (channels, size) in kinds.items():
        original = read_original(Path("out", name))
        assert original.pixels.shape == (80, 80, channels) and original.pixels.itemsize == size, name
        assert original.profile == (PROFILE if name in ("deeper.png", "deep.tif") else b"")
    grey_again = read_original(Path("out/sub/grey.webp")).pixels.astype(int)
    assert np.ptp(grey_again, axis=2).max() <= 1, "no tint"
    alpha = np.asarray(Image.open("out/clear.png"))[..., 3].astype(float)
    assert np.abs(alpha.reshape(40, 2, 40, 2).mean(axis=(1, 3)) - grey).mean() < 4
    both = (np.asarray(read_original(Path("out", name)).pixels) for name in ("clear.png", "deeper.png"))
    eight, sixteen = both
    assert np.abs(eight.astype(float) - sixteen / 257).max() <= 1
    assert launchbay("apply", runs["superres"], "in/turned.jpg", "bare.png", "--strip")[0] == 0
    with Image.open("bare.png") as bare:
        assert "icc_profile" not in bare.info and not bare.getexif()


def test_a_profile_that_does_not_fit_is_left_out(runs: dict[str, Path], launchbay: Verb) -> None:
    grey = PROFILE[:16] + b"GRAY" + PROFILE[20:]
    Image.fromarray(astronaut()).convert("L").save("grey.png", icc_profile=grey)
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    Image.new("LAB", (24, 24), (120, 128, 128)).save("lab.tif", icc_profile=lab)
    for given, made, left in (("grey.png", "grey.webp", "its grey profile"), ("lab.tif", "rgb.tif", "its Lab profile")):
        code, said = launchbay("apply", runs["superres"], given, made)
        assert code == 0 and left in said
        with Image.open(made) as image:
            assert not image.info.get("icc_profile")


def test_what_is_left_out_is_named(runs: dict[str, Path], launchbay: Verb) -> None:
    """Frames after the first, empty files, and tags that cannot be written again; sides of EXIF do not stay."""
    Path("in").mkdir()
    frames = [Image.new("RGB", (24, 24), (shade, 9, 9)) for shade in (10, 200)]
    frames[0].save("in/clip.webp", save_all=True, append_images=frames[1:], lossless=True)
    Path("in/empty.png").touch()
    sides = [(tag, 4, 1, bytes([24, 0, 0, 0])) for tag in (0x0100, 0x0101)]
    exif = exif_of(1, *sides, (0x0128, 3, 1, bytes([2, 0, 0, 0])), (0x011A, 2, 3, b"72\0\0"))
    frames[0].save("in/odd.jpg", exif=exif)
    code, said = launchbay("apply", runs["superres"], "in", "out")
    assert code == 0, said
    assert "in/clip.webp: the first of 2 frames" in said and "empty: in/empty.png" in said
    assert "48×48 (without XResolution of its EXIF)" in said
    with Image.open("out/odd.jpg") as odd:
        assert odd.getexif()[0x0128] == 2 and not {0x0100, 0x0101, 0x011A} & odd.getexif().keys()
    said = launchbay("apply", runs["classify"], "in/clip.webp")[1]
    assert "in/clip.webp: the first of 2 frames" in said


class Narrowing(Task[NoOptions]):
    """Three layers that each halve the picture, without a border: 15 pixels at least."""

    def __init__(self, config: NoOptions):
        super().__init__(config)
        self.model = nn.Sequential(*(nn.Conv2d(3, 3, 3, 2) for _ in range(3)))

    def training_step(self, batch: Batch) -> Losses:
        yield "model", {"loss": self.model(batch.image).mean()}

    def reply(self, image: Tensor) -> Answer:
        return Classes(self.model(image).mean(dim=(2, 3)).softmax(1))


def test_all_that_is_too_small_is_named_with_what_is_enough() -> None:
    use = Use(Narrowing(NoOptions()), 3, torch.device("cpu"))
    sizes = {"a.png": (4, 40), "b.png": (30, 30), "c.png": (9, 200)}
    headers = {Input(Path(name), Path(name)): Header(*size, 1, grey=False) for name, size in sizes.items()}
    with pytest.raises(UserError, match="2 pictures are too small for the network:") as raised:
        use.rehearse(headers)
    assert "\na.png has 40×4 pixels\nc.png has 200×9 pixels" in raised.value.message
    assert raised.value.hint == "leave out what is too small: 16×16 pixels are enough"


def test_what_is_there_is_not_written_over(runs: dict[str, Path], launchbay: Verb) -> None:
    run = runs["superres"]
    Path("in").mkdir()
    for name in ("a.png", "b.png"):
        Image.fromarray(astronaut()).save(f"in/{name}")
    assert launchbay("apply", run, "in/*.png", "out")[0] == 0
    first = Path("out/a.png").read_bytes()
    code, said = launchbay("apply", run, "in", "out")
    assert code == 2 and "out/a.png: it exists already" in said and "--skip-existing" in said
    Path("out/b.png").unlink()
    Path("out/a.png").write_bytes(b"mine")
    code, said = launchbay("apply", run, "in", "out", "--skip-existing")
    assert code == 0 and "1 left out, which are there already" in said and Path("out/a.png").read_bytes() == b"mine"
    assert launchbay("apply", run, "in", "out", "--overwrite")[0] == 0 and Path("out/a.png").read_bytes() == first
    code, said = launchbay("apply", run, "in", "in", "--overwrite")
    assert code == 2 and "it is one of the pictures to read" in said
    assert launchbay("apply", run, "in", "small", "--suffix", ".jpg", "--quality", 5)[0] == 0
    assert launchbay("apply", run, "in", "large", "--suffix", ".jpg")[0] == 0
    assert 2 * Path("small/a.jpg").stat().st_size < Path("large/a.jpg").stat().st_size
    for more in (("--tile", 32), ("--precision", "bf16")):
        assert launchbay("apply", run, "in/a.png", "other.png", "--overwrite", *more)[0] == 0
        assert (decode(Path("other.png")).int() - decode(Path("out/a.png")).int()).abs().max() <= 2
    assert launchbay("apply", run, "in/a.png", "new/")[0] == 0 and Path("new/a.png").exists()
    code, said = launchbay("apply", run, "in/a.png", "turned.png", "--tta")
    assert code == 0 and "--tta True" in said
    assert sorted(path.name for path in Path("out").iterdir()) == ["a.png", "b.png"]


@pytest.mark.parametrize(
    ("task", "words", "said"),
    [
        ("superres", ("no.png", "out.png"), "there is no no.png"),
        ("superres", ("a.png",), "where is what is made of a.png to be written?"),
        ("superres", ("a.png", "out.xyz"), "what kind of picture is out.xyz?"),
        ("superres", ("a.png", "a.png/out.png"), "cannot write to a.png"),
        ("superres", ("a.png", "out.png", "--quality", "80"), "or name a file with such an ending"),
        ("superres", ("a.png", "out.png", "--seed", "1"), "--seed changes nothing: superres makes pictures"),
        ("superres", ("a.png", "out.png", "--width", "9"), "for training"),
        ("superres", ("a.png", "tiny.png", "two.png"), "two.png has the ending of one picture"),
        ("superres", ("broken.png", "out.png"), "cannot read the picture broken.png"),
        ("reconstruct", ("tiny.png", "a.png", "out"), "tiny.png has 3×3 pixels, too few for the network → leave out"),
        ("classify", ("a.png", "--count", "3"), "--count changes nothing: classify tells pictures apart"),
        ("vae", ("a.png", "out.png"), "vae draws pictures and takes none"),
        ("vae", ("out.png", "--label", "12"), "--label 12 is no class of this run → known: 0, 1"),
        ("vae", ("a.png",), "a.png: it exists already"),
        ("vae", ("out.png", "--seed", 1, 2, 3), "these are 3 seeds → give one or two"),
        ("vae", ("out.png", "--seed", 1, 1), "from a seed to itself"),
        ("vae", ("out.png", "--seed", 1, 2, "--count", 1), "a walk of one picture"),
        ("vae", ("out.png", "--quality", 80), "--quality 80 is for .jpg"),
        ("vae", ("out.png", "--tile", 8), "--quality, --overwrite ╰"),
    ],
)
def test_what_cannot_be_done_is_refused_before_any_work(
    task: str, words: tuple[str, ...], said: str, runs: dict[str, Path], launchbay: Verb
) -> None:
    Image.fromarray(astronaut()).save("a.png")
    Image.fromarray(astronaut(3)).save("tiny.png")
    Path("broken.png").write_bytes(b"no picture")
    before = sorted(Path().rglob("*"))
    code, shown = launchbay("apply", runs[task], *words)
    assert code == 2 and said in shown
    assert sorted(path for path in Path().rglob("*") if path.is_file()) == [path for path in before if path.is_file()]


def test_pictures_are_told_apart(runs: dict[str, Path], launchbay: Verb) -> None:
    """As a table, JSON and CSV; with the accuracy where folders have the names of classes."""
    glyphs = Glyphs("val")
    for index in range(6):
        path = Path("pictures", glyphs.classes[glyphs.label(index) or 0], f"{index}.png")
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(glyphs.image(index)[0].numpy()).save(path)
    code, said = launchbay("apply", runs["classify"], "pictures", "--json", "--top", 10)
    assert code == 0
    told = json.loads(said)
    assert len(told["pictures"]) == told["labelled"] == 6
    sums = [sum(one["probability"] for one in each["classes"]) for each in told["pictures"]]
    assert sums == pytest.approx([1] * 6)
    right = sum(each["classes"][0]["name"] == each["label"] for each in told["pictures"])
    assert told["accuracy"] == pytest.approx(right / 6)
    code, said = launchbay("apply", runs["classify"], "pictures", "--top", 2)
    assert code == 0 and f"accuracy {right / 6:.4f}: {right} of 6 pictures" in said and "class 3" not in said
    code, said = launchbay("apply", runs["classify"], "pictures/0/0.png", "--csv", "--top", 1)
    assert code == 0 and said.startswith("picture,label,class 1,probability 1 pictures/0/0.png,0,")
    assert len(next(csv.reader(io.StringIO(said.replace(" pictures", "\npictures"))))) == 4


def test_pictures_are_drawn(runs: dict[str, Path], launchbay: Verb) -> None:
    """The same of the same seed, in a grid or a file each; two seeds are the ends of a walk."""
    run = runs["vae"]
    assert launchbay("apply", run, "grid.png", "--count", 6, "--label", "3", "--seed", 5)[0] == 0
    assert launchbay("apply", run, "each", "--count", 4, "--label", "3", "--seed", 5)[0] == 0
    assert decode(Path("grid.png")).shape == (3, 56, 84)
    for number in range(4):
        row, column = divmod(number, 3)
        tile = decode(Path("grid.png"))[:, row * 28 : row * 28 + 28, column * 28 : column * 28 + 28]
        assert (tile.int() - decode(Path(f"each/{number:04}.png")).int()).abs().max() <= 1
    assert launchbay("apply", run, "walk.png", "--seed", 5, 6, "--count", 3, "--label", 3)[0] == 0
    walk, other = decode(Path("walk.png")), decode(Path("each/0000.png"))
    assert walk.shape == (3, 28, 84) and (walk[:, :, :28].int() - other.int()).abs().max() <= 1


class Darkness(Task[NoOptions]):
    """A plugin's task: says whether a picture is dark."""

    def __init__(self, config: NoOptions):
        super().__init__(config)
        self.model = nn.Linear(1, 1)

    def training_step(self, batch: Batch) -> Losses:
        yield "model", {"loss": self.model(batch.image.mean(dim=(1, 2, 3))[:, None]).mean()}

    def reply(self, image: Tensor) -> Answer:
        light = image.mean(dim=(1, 2, 3))
        return Classes(torch.stack([1 - light, light], dim=1))


class Silent(Darkness):
    reply = Task.reply


def test_a_task_of_ones_own_says_what_it_answers(train: Callable[..., Path], launchbay: Verb) -> None:
    Image.new("RGB", (5, 5), (255, 255, 255)).save("white.png")
    for task, said in (
        ("Darkness", "white.png 1 100.0 % 0 0.0 %"),
        ("Silent", "give it the method reply(image)"),
    ):
        name = f"test_apply:{task}"
        train(name, "--data", "toys:Patches", "--steps", 1, "--output-dir", task)
        code, shown = launchbay("apply", Path(task, "it"), "white.png", "--task", name)
        assert (code, said in shown) == (2 * (task == "Silent"), True)


@pytest.mark.slow
def test_several_processes_make_what_one_makes(runs: dict[str, Path], command: Command) -> None:
    start = (sys.executable, "-c", "import sys; from launchbay.launch.cli import main; sys.exit(main())", "apply")
    for number in range(5):
        Path("in/astronaut").mkdir(parents=True, exist_ok=True)
        Image.fromarray(astronaut(40 + number // 3 * 8)).rotate(number).save(f"in/astronaut/{number}.png")
    Path("in/bad.png").write_text("no picture")
    one, two = (command(*start, runs["superres"], "in", f"out{n}", "--processes", n) for n in (1, 2))
    assert one.returncode == two.returncode == 1 and "1 left out" in two.stderr, two.stderr
    assert sorted(one.stdout.replace("out1", "out2").splitlines()) == sorted(two.stdout.splitlines())
    made = {path.name: path.read_bytes() for path in Path("out2/astronaut").iterdir()}
    assert len(made) == 5 and made == {path.name: path.read_bytes() for path in Path("out1/astronaut").iterdir()}
    told = [command(*start, runs["classify"], "in", "--json", "--processes", n).stdout for n in (1, 2)]
    assert json.loads(told[0]) == json.loads(told[1]) and len(json.loads(told[1])["pictures"]) == 5
    refused = command(*start, runs["vae"], "grid.png", "--processes", 2)
    assert refused.returncode == 2 and "draws pictures, in one process" in refused.stderr

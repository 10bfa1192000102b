"""What --data and --val-data may name: one place decides, at once, and what a run keeps means the same again."""

import shutil
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest
from conftest import ROOT, Command
from PIL import Image
from safetensors import safe_open

from launchbay.launch.config import data_kinds
from launchbay.launch.config.data_names import is_code, namesake, sort_of, title_of

Mistake = Callable[..., str]
Train = Callable[..., Path]
Verb = Callable[..., tuple[int, str]]
SMALL = ("--batch-size", 2, "--size", 16)


def write_pictures(folder: str, count: int = 4) -> None:
    for number in range(count):
        path = Path(folder, "ab"[number % 2], f"{number}.png")
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (16, 16), (40 * number, 9, 9)).save(path)


@pytest.mark.parametrize(
    ("name", "sort", "title"),
    [
        ("photos", "installed", "photos"), ("toys:Patches", "code", "toys:Patches"),
        ("glyphs+photos", "path", "glyphs+photos"), ("some/photographs", "path", "photographs"),
        ("./photos", "path", "photos"), ("a/b:c", "path", "b:c"), ("C:\\my\\pictures", "path", "C:\\my\\pictures"),
    ],
)  # fmt: skip
def test_a_name_is_of_one_sort_whatever_lies_on_the_disk(name: str, sort: str, title: str) -> None:
    write_pictures("some/photographs")
    assert (sort_of(name), title_of(name)) == (sort, title)


@pytest.mark.slow
def test_a_path_alone_names_data_and_goes_back_in(train: Train, launchbay: Verb, mistake: Mistake) -> None:
    write_pictures("photos")
    write_pictures("others", 3)
    both = ("--val-data", "others", "./photos")
    run = train("classify", "--data", "./photos", *both, "--steps", 1, *SMALL)
    text = (run / "config.yaml").read_text()
    assert "data: ./photos\n" in text and "- others\n" in text
    assert (run / "metrics.jsonl").read_text().count('"others/accuracy"')

    again = train("classify", "--config", run / "config.yaml", "--output-dir", "again")
    assert Path("again/it/config.yaml").read_text().replace("output_dir: again", "output_dir: runs") == text
    assert again == run

    assert launchbay("evaluate", run)[0] == 0
    assert launchbay("export", run, "out.safetensors")[0] == 0
    with safe_open("out.safetensors", "pt") as file:
        assert '"data": "folder", "val_data": ["folder", "folder"]' in file.metadata()["config"].replace("\n", "")

    Path("moved").mkdir()
    Path("photos").rename("moved/photos")
    code, said = launchbay("evaluate", run, "--val-data", "others")
    assert code == 0 and "others: 2 classes (a, b), 3 to validate" in said, "what it was trained on need not be here"
    both = ("--val-data", "others", "moved/photos")
    assert train("classify", "--data", "moved/photos", *both, "--steps", 2, *SMALL) == run, (
        "the same pictures elsewhere"
    )
    write_pictures("moved/photos", 5)
    said = mistake("--task", "classify", "--data", "moved/photos", *both, "--steps", 3, *SMALL, "--run", "it")
    assert "pictures are not those that" in said


def test_a_path_says_itself_where_data_are(
    mistake: Mistake, train: Train, launchbay: Verb, capfd: pytest.CaptureFixture[str]
) -> None:
    write_pictures("one")
    write_pictures("with+plus")
    said = mistake("--task", "classify", "--data", "one", "--data-root", "one")
    assert "one itself says what to open; it takes no folder (one) → leave --data-root" in said
    write_pictures("glyphs")
    run = train("classify", "--data", "with+plus", "--val-root", "one", "--steps", 1, *SMALL)
    assert "is a data set of that name" not in capfd.readouterr().out
    assert namesake("glyphs") == "note: glyphs is a data set of that name; for what lies here: --data ./glyphs"
    assert launchbay("evaluate", run, "--val-data", "one", "folder", "--val-root", "with+plus")[0] == 0
    assert "takes no folder" in launchbay("evaluate", run, "--val-data", "one", "--val-root", "one")[1]


WRONG = {
    "phtos": "there is no data set 'phtos'; did you mean 'photos'? → installed: ",
    "photograhps": "did you mean 'photographs'?",
    "./gone": "there is no ./gone → looked for it in ",
    "owner/name": "give a folder or file there; of the Hugging Face hub: hf:owner/name",
    "HF:mnist": "there is no HF:mnist; did you mean hf:mnist? → write hf:ID[:CONFIG]",
    "notes.txt": "notes.txt is no data set → give a folder",
    "torchvision:STL10:x": "has no variant 'x' → write torchvision:STL10 or torchvision:STL10:unlabeled",
    "photographs@label": "photographs@label chooses a column, and photographs is a folder of pictures",
    "": "is not a pair of data sets",
    "a+b+c": "--data a+b+c is not a pair",
    "n" * 5000: "there is no data set",
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_name_is_told_before_anything_is_loaded(name: str, mistake: Mistake, launchbay: Verb) -> None:
    write_pictures("photographs")
    Path("notes.txt").touch()
    for option in ("--data", "--val-data"):
        assert WRONG[name] in mistake("--task", "a-task-that-is-not-there", option, name)
    assert WRONG[name] in launchbay("evaluate", "not-there", "--val-data", name)[1]


def test_only_what_a_file_may_name_is_no_code() -> None:
    for name in ("hf:owner/id:config", "torchvision:SVHN:extra", "glyphs+hf:id", "some/where", "imgs.zip"):
        assert not is_code(name)
    for name in ("evil:pictures", "glyphs+evil:pictures", "some/where+evil:pictures", "HF:id", "hf+x:y"):
        assert is_code(name)


def test_what_every_kind_opens_is_there() -> None:
    for kind in (*data_kinds.PREFIXES.values(), *data_kinds.FILES.values(), *data_kinds.FOLDERS.values()):
        module, _, name = kind.opener.partition(":")
        assert callable(getattr(import_module(module), name))


def test_names_are_judged_and_listed_without_torch(command: Command) -> None:
    script = "import sys; from launchbay.launch.{} import main; {} sys.exit(code + 10 * ('torch' in sys.modules))"
    train = script.format("train", "code = main(['--task', 'classify', '--data', 'phtos']);")
    done = command(sys.executable, "-c", train)
    assert done.returncode == 2, done.stderr
    done = command(sys.executable, "-c", script.format("cli", "sys.argv = ['launchbay', 'tasks']; code = main();"))
    assert done.returncode == 0 and "--data also takes" in done.stdout, done.stderr


def test_a_folder_of_the_name_of_code_is_not_opened_in_its_place(mistake: Mistake) -> None:
    shutil.copy(ROOT / "tests/toys.py", "toy_copy.py")
    write_pictures("toy_copy:Gone")
    assert "'toy_copy:Gone' cannot be loaded" in mistake("--task", "classify", "--data", "toy_copy:Gone")

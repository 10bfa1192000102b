"""The ways to name data: what stands for what, and what opens it. Nothing is imported before it is opened."""

from dataclasses import dataclass

from launchbay.launch.config.torchvision_names import TORCHVISION

HUB = "launchbay.data.hub"


@dataclass(frozen=True)
class Kind:
    """A way to name data."""

    written: str
    """How it is written, such as "hf:ID"."""
    about: str
    """What it stands for, in a line."""
    opener: str
    """What opens it, as "module:attribute": it takes a split ("train", "val", "all") and the path, and returns an
    ImageSet. That of a prefix takes what stands after the colon, a split and, if it `takes_root`, that of --data-root.
    """
    names: tuple[str, ...] = ()
    """All that may stand after the prefix, if that is known."""
    takes_root: bool = False
    """Whether --data-root says where the data are."""
    library: str = ""
    """What opens it, if not everyone has that: also the name of the extra that brings it."""


PREFIXES = {
    "torchvision": Kind(
        "torchvision:NAME", "a data set of torchvision", "launchbay.data.vision:open_torchvision", TORCHVISION, True
    ),
    "hf": Kind("hf:ID[:CONFIG]", "a data set of the Hugging Face hub", f"{HUB}:open_hub", library="datasets"),
}
"""By what stands before the colon."""
ARCHIVE = Kind("FILE.zip", "a zip or tar of pictures, also .tar.gz, .tar.bz2, .tar.xz", "launchbay.data.folder:Folder")
TABLE = Kind("FILE.csv", "a table of files and labels, also .tsv and .jsonl", "launchbay.data.tables:Table")
MEANT = {"hf": "hf", "huggingface": "hf", "torchvision": "torchvision"}
"""What may be written instead."""
FILES: dict[str, Kind] = {
    **dict.fromkeys((".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz"), ARCHIVE),
    **dict.fromkeys((".csv", ".tsv", ".jsonl", ".ndjson"), TABLE),
    ".parquet": Kind("FILE.parquet[@COLUMN]", "a table of pictures", f"{HUB}:open_parquet", library="datasets"),
}
"""By how the name of a file ends, in small letters."""
PARQUET = Kind("DIR", "a folder of .parquet", f"{HUB}:open_parquet", library="datasets")
SAVED = Kind("DIR", "what save_to_disk of datasets has written", f"{HUB}:open_saved", library="datasets")
PACK = Kind("DIR", "a pack, as launchbay pack writes it", "launchbay.data.pack:Pack")
FOLDERS = {
    "pack.json": PACK,
    **dict.fromkeys(("dataset_dict.json", "dataset_info.json"), SAVED),
    **dict.fromkeys(("*.parquet", "data/*.parquet"), PARQUET),
}
"""By a pattern (see Path.glob) that something in the folder has; what fits none of them is a folder of pictures."""
PICTURES = Kind("DIR", "a folder of pictures", "launchbay.data.folder:Folder")
SCHEMES = ("s3", "gs", "gcs", "az", "abfs", "http", "https", "hf", "ftp", "sftp", "file", "memory")
"""Kinds of addresses that a pack may lie at."""
ADDRESS = Kind("s3://PACK", f"a pack at an address: {', '.join(SCHEMES)}", "launchbay.data.pack:AwayPack")
CODE = Kind("module:Class", "a class of your own, seen from this folder; on the command line only", "")

"""Which pictures two folders, or data sets, have in common, also resized, mirrored or saved anew.

python benchmarks/overlap.py DATA/Set5 DATA/BSDS200
python benchmarks/overlap.py DATA/Set5 photos
"""

import argparse
from pathlib import Path

from launchbay.data import Folder, ImageSet
from launchbay.data.overlap import find_alike
from launchbay.data.photos import Photos


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs=2, metavar="SET", help="a folder of pictures, or photos: the embedded ones")
    names = parser.parse_args().sets
    images, others = (open_set(name) for name in names)
    pairs = find_alike(images, others)
    for one, other in pairs:
        print(f"{images.name(one)}  {others.name(other)}")
    print(f"{len(pairs)} of {len(images)} × {len(others)} pictures of {names[0]} and {names[1]} are alike")


def open_set(name: str) -> ImageSet:
    return Photos("train") if name == "photos" else Folder("all", Path(name))


if __name__ == "__main__":
    main()

"""What `accelerate launch` starts: trains the task that the command line names. Everything it does is elsewhere."""

import sys

if __name__ == "__main__" and not sys.flags.safe_path:
    # Python has put something first on the path: the folder of a script, where launch/config would answer a plugin's
    # `import config`; or with -m the current folder, where anything would be taken for an installed package.
    sys.path.pop(0)

try:
    from launchbay.launch.train import main
except ModuleNotFoundError as error:
    if error.name != "launchbay":
        raise
    sys.exit("launchbay is not installed here. In the checkout: pip install -e .   (or start with `uv run`)")

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

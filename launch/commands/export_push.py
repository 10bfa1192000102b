"""`launchbay export RUN OUT/ --push ID`: a folder as a new repository of the Hugging Face hub."""

import sys
from pathlib import Path
from typing import NoReturn

from launchbay import UserError

LOGIN = (
    "hf auth login, or set HF_TOKEN; a token with the right to write is made at https://huggingface.co/settings/tokens"
)


def check_repository(repository: str) -> None:
    """Check that a `repository` can be made, OWNER/NAME or a NAME of one's own.

    Raises:
        UserError: no hub answers, no token is here or it may not write there, or there is a repository of that name.
    """
    from huggingface_hub import HfApi, get_token
    from huggingface_hub.errors import HFValidationError

    if "/" not in repository:
        raise UserError(f"--push {repository} is no OWNER/NAME", f"write your name first: NAME/{repository}")
    if get_token() is None:
        raise UserError(f"--push {repository}: there is no token that the hub would know you by", LOGIN)
    try:
        there = HfApi().repo_exists(repository)
    except HFValidationError as error:
        raise UserError(f"--push {repository} is no name of a repository: {error}", "write OWNER/NAME") from error
    except Exception as error:  # whatever the network, the service or the library make of it
        refuse(repository, error, "nothing was written")
    if there:
        refuse_existing(repository)


def push(folder: Path, repository: str) -> str:
    """Make the `repository` with what is in `folder`. Return a line that says where it is.

    Raises:
        UserError: it cannot be made.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError
    from huggingface_hub.utils import disable_progress_bars

    api = HfApi()
    if not sys.stderr.isatty():
        disable_progress_bars()
    try:
        made = api.create_repo(repository)
        done = api.upload_folder(repo_id=made.repo_id, folder_path=folder, commit_message="Exported by launchbay")
    except HfHubHTTPError as error:
        if error.response.status_code == 409:
            refuse_existing(repository)
        refuse(repository, error, f"{folder} is written")
    except Exception as error:
        refuse(repository, error, f"{folder} is written")
    return f"pushed to {made}: {done.oid}"


def refuse_existing(repository: str) -> NoReturn:
    said = f"--push {repository}: there is a repository of that name already"
    raise UserError(said, f"choose another; or export without --push, and upload to it: hf upload {repository} OUT")


def refuse(repository: str, error: Exception, then: str) -> NoReturn:
    """Raise a UserError that says why the hub cannot be written to."""
    from huggingface_hub import constants
    from huggingface_hub.errors import HfHubHTTPError

    root: BaseException = error
    while root.__cause__ is not None:
        root = root.__cause__
    said = getattr(error, "server_message", None) or str(root).strip() or type(root).__name__
    why = said.splitlines()[0]
    hint = f"is {constants.ENDPOINT} to be reached from here? {then}; then: hf upload {repository} OUT"
    if isinstance(error, HfHubHTTPError) and error.response.status_code in (401, 403):
        why, hint = f"your token may not do that ({why})", f"{then}; {LOGIN}"
    raise UserError(f"--push {repository}: {constants.ENDPOINT}: {why}", hint) from error

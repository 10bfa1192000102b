"""What a new package says of its origin: who writes it, and where its tests get launchbay. git and pip know that."""

import json
import subprocess
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from urllib.parse import unquote, urlsplit


@dataclass(frozen=True)
class Author:
    """Whoever writes the package, as git knows them; empty where it does not."""

    name: str
    email: str
    github: str
    """User name on GitHub."""

    def line(self) -> str:
        """Return the authors of pyproject.toml."""
        if not self.name:
            return '# authors = [{ name = "...", email = "..." }]  # as in git config user.name, which is not set'
        fields = {"name": self.name, "email": self.email}
        inside = ", ".join(f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in fields.items() if value)
        return f"authors = [{{ {inside} }}]"

    def urls(self, package: str) -> str:
        """Return the table of URLs of pyproject.toml."""
        repository = f'Repository = "https://github.com/{self.github or "..."}/{package}"'
        if self.github:
            return f"[project.urls]\n{repository}"
        return f"# Where it is, once it is somewhere:\n# [project.urls]\n# {repository}"


def author() -> Author:
    return Author(*(git("config", key) for key in ("user.name", "user.email", "github.user")))


def git(*arguments: str) -> str:
    """Return the answer of git; empty if it has none, or is not installed."""
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, encoding="utf-8", check=False)
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


@dataclass(frozen=True)
class Source:
    """Where launchbay was installed from."""

    requirement: str
    """What pip installs it by on another machine; empty if it is only on this one."""
    local: str = ""
    """Folder or file that it was installed from."""


def source() -> Source:
    """Return where this launchbay was installed from, as pip has recorded it (direct_url.json): an index, if it has
    recorded nothing."""
    try:
        record = distribution("launchbay").read_text("direct_url.json")
    except PackageNotFoundError:
        record = None
    if record is None:
        return Source("launchbay")
    recorded = json.loads(record)
    url, version_control = recorded["url"], recorded.get("vcs_info")
    if version_control:
        return Source(f"launchbay @ {version_control['vcs']}+{without_user(url)}@{version_control['commit_id']}")
    if not url.startswith("file:"):
        return Source(f"launchbay @ {without_user(url)}")
    local = unquote(urlsplit(url).path)
    remote = without_user(git("-C", local, "remote", "get-url", "origin")) if Path(local).is_dir() else ""
    return Source(f"launchbay @ git+{remote}" if remote else "", local)


def without_user(url: str) -> str:
    """Return a URL over https without user and password, whether `url` is one or git's user@host:path; empty if it
    is of another kind, such as a folder.
    """
    if "://" not in url and "@" in url and ":" in url:
        url = "ssh://" + url.replace(":", "/", 1)
    parts = urlsplit(url)
    return f"https://{parts.hostname}{parts.path}" if parts.scheme in ("https", "ssh") and parts.hostname else ""

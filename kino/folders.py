"""Folders of models that come from elsewhere, read with suspicion.

Nothing here runs code of a folder, follows a link out of it, or asks the network.
"""

import json
import re
from pathlib import Path
from typing import Any

MAX_JSON_BYTES = 1 << 20
PICKLES = (".bin", ".ckpt", ".pickle", ".pkl", ".pt", ".pth")
_CODE = ("auto_map", "custom_pipelines", "trust_remote_code")


class Folder:
    """Files of one folder.

    Raises:
        ValueError: from every method: a file is missing or malformed, names code to run, or a link leads out.
    """

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise ValueError(f"folder is {str(folder)!r}, must be a folder that exists")
        self.folder, self._root = folder, folder.resolve()
        # A snapshot in the library's cache is a folder of links into the blobs beside it.
        cache = self._root.parent.parent if self._root.parent.name == "snapshots" else None
        self._roots = (self._root,) if cache is None else (self._root, cache / "blobs")

    def path(self, name: str) -> Path | None:
        """The file that a name of the folder stands for, None where there is none."""
        path = self.folder / name
        real = path.resolve()
        if (path.is_symlink() or path.exists()) and not any(real.is_relative_to(root) for root in self._roots):
            raise ValueError(f"{name} is a link to {str(real)!r}, must lie in the folder")
        return real if real.is_file() else None

    def json(self, name: str, max_bytes: int = MAX_JSON_BYTES) -> dict[str, Any]:
        """The object that a JSON file holds."""
        path = self.path(name)
        if path is None:
            raise ValueError(f"folder is {str(self.folder)!r}, must hold {name}")
        size = path.stat().st_size
        if size > max_bytes:
            raise ValueError(f"{name} is {size} bytes long, must be at most {max_bytes}")
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{name} is no JSON ({error}), must be an object") from error
        if not isinstance(found, dict):
            raise ValueError(f"{name} is {found!r:.80}, must be an object")
        code = next((key for key in _CODE if found.get(key)), None)
        if code is not None:
            raise ValueError(
                f"{code} of {name} is {found[code]!r:.80}, must be left out: code of a folder is never run"
            )
        return found

    def licence(self) -> tuple[str, Path | None]:
        """The name of a licence, and its file where there is one."""
        for path in sorted(self.folder.glob("LICENSE*")) + sorted(self.folder.glob("LICENCE*")):
            real = self.path(path.name)
            if real is not None and real.stat().st_size <= MAX_JSON_BYTES:
                return path.name, real
        readme = self.path("README.md")
        if readme is not None and readme.stat().st_size <= MAX_JSON_BYTES:
            text = readme.read_text(encoding="utf-8", errors="replace")
            found = re.search(r"\A---\n(?:.*\n)*?license(?:_name)?: *(\S+)", text)
            return (found[1] if found else ""), None
        return "", None

    def real(self, name: str) -> Path:
        """The file that a name of the folder stands for; it must be there."""
        path = self.path(name)
        if path is None:
            raise ValueError(f"{name} is missing, must be in the folder")
        return path

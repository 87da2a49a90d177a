"""What lies in a folder of examples, local or remote: its folders and its visible files. Nothing is opened."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from graftwork.data_files.fetch import MissingFileError, driver_errors, is_remote, open_file_system


@dataclass(frozen=True)
class FolderTree:
    """Folders right below the root, and all visible files as paths relative to the root."""

    folders: list[str]
    files: list[str]


def folder_tree(uri: str) -> FolderTree:
    """Look into a folder.

    Args:
        uri: absolute path or URI.

    Raises:
        MissingFileError: there is no such folder.
        FetchError: it cannot be listed.
        OSError: the same, of a local one.
    """
    return _remote_tree(uri) if is_remote(uri) else _local_tree(uri)


def below(uri: str, file: str) -> str:
    """The path or URI of a file below a folder; for a chained URI the first part is the one with the folder."""
    if not is_remote(uri):
        return str(Path(uri) / file)
    head, chain, rest = uri.partition("::")
    return f"{head if head.endswith('/') else head + '/'}{file}{chain}{rest}"


def _local_tree(uri: str) -> FolderTree:
    root = Path(uri)
    if not root.exists():
        raise MissingFileError(uri)
    if not root.is_dir():
        raise NotADirectoryError(f"{uri} is a file, not a folder")
    folders = [entry.name for entry in os.scandir(root) if entry.is_dir() and not _hidden(entry.name)]
    return FolderTree(folders, list(_walk(root, "", frozenset())))


def _walk(folder: Path, prefix: str, above: frozenset[str]) -> Iterator[str]:
    """Visible files below a folder. Links are followed, except back up."""
    real = os.path.realpath(folder)
    if real in above:
        return
    for entry in os.scandir(folder):
        if _hidden(entry.name):
            continue
        if entry.is_dir():
            yield from _walk(folder / entry.name, f"{prefix}{entry.name}/", above | {real})
        else:
            yield prefix + entry.name


def _remote_tree(uri: str) -> FolderTree:
    file_system, root = open_file_system(uri)
    with driver_errors(uri, "listed"):
        base = root.rstrip("/") + "/" if root else ""
        # Drivers differ in leading slashes of what they list.
        strip = len(base.lstrip("/"))
        folders = [
            entry["name"].strip("/")[strip:]
            for entry in file_system.ls(root, detail=True)
            if entry["type"] == "directory"
        ]
        files = [path.lstrip("/")[strip:] for path in file_system.find(root)]
    if not folders and not files:
        # Object stores and archives know no empty folders, and some drivers list what does not exist as empty.
        raise MissingFileError(uri)
    return FolderTree(
        [folder for folder in folders if not _hidden(folder)],
        [file for file in files if not any(_hidden(part) for part in file.split("/"))],
    )


def _hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"

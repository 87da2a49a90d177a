"""`python3 archive.py NAME:TAG PROGRAM[=PATH]` prints a container image of one static program, as `docker save` does.

How programs built here get into containerd without a registry and without docker.
"""

import hashlib
import io
import json
import sys
import tarfile
from pathlib import Path


def main() -> None:
    """Write the archive."""
    name, program = sys.argv[1:]
    source, _, target = program.partition("=")
    target = target or "/" + source.rpartition("/")[2]
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as files:
        _add(files, target.lstrip("/"), Path(source).read_bytes(), mode=0o755)
    digest = hashlib.sha256(layer.getvalue()).hexdigest()
    settings = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Entrypoint": [target], "User": "65534:65534"},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
    }
    manifest = [{"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}]
    with tarfile.open(fileobj=sys.stdout.buffer, mode="w|") as archive:
        _add(archive, "config.json", json.dumps(settings).encode())
        _add(archive, "layer.tar", layer.getvalue())
        _add(archive, "manifest.json", json.dumps(manifest).encode())


def _add(archive: tarfile.TarFile, name: str, content: bytes, *, mode: int = 0o644) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), mode
    archive.addfile(entry, io.BytesIO(content))


if __name__ == "__main__":
    main()

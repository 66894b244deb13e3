"""An archive of an image carries both tags, in every table of names that somebody may read."""

from __future__ import annotations

import io
import json
import tarfile
from typing import TYPE_CHECKING, Any

from e2e.images import _name_twice

if TYPE_CHECKING:
    from pathlib import Path

FIRST, SECOND = "localhost/cardan-router:a", "localhost/cardan-router:a-next"
MANIFEST = [{"Config": "blobs/c", "RepoTags": [FIRST], "Layers": ["blobs/l"]}]
# As docker 28 writes it.
INDEX = {
    "schemaVersion": 2,
    "manifests": [
        {
            "digest": "sha256:1",
            "annotations": {
                "io.containerd.image.name": FIRST,
                "org.opencontainers.image.ref.name": "a",
            },
        }
    ],
}


def twice(folder: Path, **documents: object) -> dict[str, Any]:
    """The documents of an archive after its image was named once more."""
    with tarfile.open(folder / "old.tar", "w") as archive:
        for name, document in {"blobs/l": "layer", **documents}.items():
            data = json.dumps(document).encode()
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    _name_twice(folder / "old.tar", folder / "new.tar", SECOND)
    with tarfile.open(folder / "new.tar") as archive:
        return {
            member.name: json.load(archive.extractfile(member) or io.BytesIO())
            for member in archive
        }


def test_dockers_table_names_both(tmp_path: Path) -> None:
    found = twice(tmp_path, **{"manifest.json": MANIFEST})
    assert found["manifest.json"] == [MANIFEST[0] | {"RepoTags": [FIRST, SECOND]}]
    assert found["blobs/l"] == "layer"


def test_so_does_the_one_of_oci_which_containerd_prefers(tmp_path: Path) -> None:
    found = twice(tmp_path, **{"manifest.json": MANIFEST, "index.json": INDEX})
    first, second = found["index.json"]["manifests"]
    assert first == INDEX["manifests"][0]  # type: ignore[index]
    assert second["digest"] == "sha256:1"
    assert second["annotations"] == {
        "io.containerd.image.name": SECOND,
        "org.opencontainers.image.ref.name": "a-next",
    }

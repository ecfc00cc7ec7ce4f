"""A bundle is read back as written, and refused by file name for anything else."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import orjson
import pytest

from serving import bundle as bundles
from serving import bundle_writing
from serving.bundle import BundleError
from serving.bundle_loading import load_bundle
from serving.published_bundles import current_bundle, published_versions, set_current
from serving.signatures import SIGNATURES
from tests.support.tiny_bundle import CREATED_AT, build_tiny_bundle, tiny_items


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_bundle(tmp_path_factory.mktemp("bundles"))


@pytest.fixture
def copy(published: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(published, tmp_path / published.name))


def test_a_bundle_is_read_back_as_written(published: Path) -> None:
    bundle = load_bundle(published)
    assert list(bundle.items()) == tiny_items()
    assert bundle.candidate_ids == [item.item_id for item in tiny_items()]
    assert bundle.candidate_embeddings.shape == (60, 16)
    assert bundle.version == "20260102T030405Z-0000" == published.name
    assert bundle.manifest.created_at == CREATED_AT
    assert set(bundle.signatures) >= set(SIGNATURES)
    assert current_bundle(published.parent) == published
    assert published_versions(published.parent) == [published.name]


def test_nothing_is_current_before_the_first_publication(tmp_path: Path) -> None:
    assert current_bundle(tmp_path) is None
    assert published_versions(tmp_path / "absent") == []
    with pytest.raises(BundleError, match="is not published"):
        set_current(tmp_path, "20260102T030405Z-0000")


@pytest.mark.parametrize("version", ["../../etc", "", "latest", "20260102T030405Z-0000/.."])
def test_current_names_a_version_and_no_path(tmp_path: Path, version: str) -> None:
    (tmp_path / "CURRENT").write_text(version)
    with pytest.raises(BundleError, match="CURRENT: must name a bundle version"):
        current_bundle(tmp_path)
    with pytest.raises(BundleError, match="is not published"):
        set_current(tmp_path, version)


def test_what_is_not_published_leaves_nothing(tmp_path: Path) -> None:
    def fail() -> None:
        with bundle_writing.building(tmp_path, "20260102T030405Z-0000") as folder:
            assert folder.name.startswith(".")
            raise RuntimeError("training stopped")

    with pytest.raises(RuntimeError):
        fail()
    assert list(tmp_path.iterdir()) == []


def edit(**changes: object) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        file = path / bundles.MANIFEST
        file.write_bytes(orjson.dumps(orjson.loads(file.read_bytes()) | changes))

    return change


def replace(name: str, content: bytes) -> Callable[[Path], None]:
    """Write another file and a manifest that agrees with it."""

    def change(path: Path) -> None:
        (path / name).write_bytes(content)
        rehash(path, name)

    return change


def rehash(path: Path, name: str) -> None:
    file = path / bundles.MANIFEST
    manifest = orjson.loads(file.read_bytes())
    manifest["files"][name] = bundles.file_entry(path / name).model_dump()
    file.write_bytes(orjson.dumps(manifest))


def save_array(array: np.ndarray) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        np.save(path / bundles.CANDIDATE_EMBEDDINGS, array, allow_pickle=True)
        rehash(path, bundles.CANDIDATE_EMBEDDINGS)

    return change


def flip(name: str) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        content = bytearray((path / name).read_bytes())
        content[len(content) // 2] ^= 1
        (path / name).write_bytes(content)

    return change


@pytest.mark.parametrize(
    ("damage", "file", "reason"),
    [
        (flip(bundles.CANDIDATE_EMBEDDINGS), "embeddings.npy", "must have .* SHA-256"),
        (flip("model/saved_model.pb"), "saved_model.pb", "must have .* SHA-256"),
        (flip(bundles.ITEMS), "items.parquet", "SHA-256"),
        (lambda path: (path / bundles.CANDIDATE_IDS).unlink(), "ids.json", "is missing"),
        (lambda path: (path / "extra.py").write_text("x"), "extra.py", "not in the manifest"),
        (
            lambda path: (path / "link").symlink_to("/etc/passwd"),
            "link",
            "must be a plain file",
        ),
        (lambda path: (path / "manifest.json").unlink(), "manifest.json", "cannot be read"),
        (lambda path: (path / "manifest.json").write_text("{"), "manifest.json", "is not JSON"),
        (lambda path: (path / "manifest.json").write_text("[]"), "manifest.json", "`format`"),
        (edit(format=1), "manifest.json", "`format` must be 2. Received: 1"),
        (edit(format=3, of="a newer"), "manifest.json", "`format` must be 2. Received: 3"),
        (flip(bundles.CANDIDATE_COUNTS), "counts.npy", "must have .* SHA-256"),
        (edit(surprise=1), "manifest.json", "`surprise`"),
        (edit(dimension=0), "manifest.json", "`dimension`"),
        (edit(dimension=8), "embeddings.npy", r"must have shape \[60, 8\]. Received: \[60, 16\]"),
        (edit(num_items=59), "ids.json", "must hold num_items = 59 ids. Received: 60"),
        (edit(text_dimension=8), "saved_model.pb", "`encode_text` must return 8 columns"),
        (edit(version="20260102T030405Z-ffff"), "manifest.json", "must be the folder's name"),
        (edit(files={}), "manifest.json", "lists no file"),
        (replace(bundles.CANDIDATE_IDS, b"[1]"), "ids.json", "list of strings"),
        (replace(bundles.CANDIDATE_IDS, b'["a","a"]'), "ids.json", "holds an id twice"),
        (replace(bundles.CANDIDATE_IDS, b"\x80\x04"), "ids.json", "is not JSON"),
        (replace("model/saved_model.pb", b"junk"), "saved_model.pb", "cannot be loaded"),
        (save_array(np.array([print], dtype=object)), "embeddings.npy", "is no array"),
        (save_array(np.zeros((60, 16))), "embeddings.npy", "must be one float32 array"),
        (save_array(np.full((60, 16), np.nan, np.float32)), "embeddings.npy", "not finite"),
    ],
)
def test_a_damaged_bundle_is_refused_by_file(
    copy: Path, damage: Callable[[Path], None], file: str, reason: str
) -> None:
    damage(copy)
    with pytest.raises(BundleError, match=reason) as caught:
        load_bundle(copy)
    assert caught.value.path.name == file
    assert file in str(caught.value)


@pytest.mark.parametrize("signature", ["encode_query", "serving_default"])
def test_a_model_without_a_signature_is_refused(tmp_path: Path, signature: str) -> None:
    path = build_tiny_bundle(tmp_path, omit_signature=signature)
    with pytest.raises(BundleError, match=f"has no signature `{signature}`"):
        load_bundle(path)

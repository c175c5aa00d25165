import hashlib
import json
import shutil

import pytest

from models.bundle import MANIFEST, BundleError, open_bundle, reseal, seal, sha256


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "bundle"
    (folder / "final").mkdir(parents=True)
    (folder / "final" / "a.npy").write_bytes(b"abc")
    (folder / "empty").write_bytes(b"")
    return folder


def edit(folder, **changes):
    content = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps(content | changes))


def test_what_was_sealed_opens_with_the_same_digest(folder):
    sealed = seal(folder, kind="wals", properties={"as_of": "2026-01-08", "metrics": {"a": 0.1}})
    found = open_bundle(folder, kind="wals")
    assert found == sealed
    assert found.properties == {"as_of": "2026-01-08", "metrics": {"a": 0.1}}
    files = json.loads((folder / MANIFEST).read_text())["files"]
    assert files == {"empty": hashlib.sha256(b"").hexdigest(), "final/a.npy": hashlib.sha256(b"abc").hexdigest()}


def test_sealing_again_changes_nothing(folder):
    first = seal(folder, kind="wals", properties={"b": 1, "a": 2})
    text = (folder / MANIFEST).read_bytes()
    assert seal(folder, kind="wals", properties={"a": 2, "b": 1}).digest == first.digest
    assert (folder / MANIFEST).read_bytes() == text


def test_a_bundle_may_be_moved(folder, tmp_path):
    digest = seal(folder, kind="wals", properties={}).digest
    shutil.move(folder, tmp_path / "elsewhere")
    assert open_bundle(tmp_path / "elsewhere", kind="wals").digest == digest


def test_the_digest_covers_files_kind_and_properties(folder):
    digests = {seal(folder, kind="wals", properties={}).digest, seal(folder, kind="towers", properties={}).digest}
    digests.add(seal(folder, kind="wals", properties={"seed": 1}).digest)
    (folder / "empty").write_bytes(b"x")
    digests.add(seal(folder, kind="wals", properties={}).digest)
    (folder / "empty").rename(folder / "other name")
    digests.add(seal(folder, kind="wals", properties={}).digest)
    assert len(digests) == 5


class TestDamage:
    @pytest.fixture(autouse=True)
    def sealed(self, folder):
        return seal(folder, kind="wals", properties={"seed": 1})

    def test_a_changed_file_is_named(self, folder):
        (folder / "final" / "a.npy").write_bytes(b"abd")
        with pytest.raises(BundleError, match=rf"file final/a\.npy has sha256 {hashlib.sha256(b'abd').hexdigest()}, expected"):
            open_bundle(folder, kind="wals")

    def test_a_truncated_file_is_named(self, folder):
        (folder / "final" / "a.npy").write_bytes(b"ab")
        with pytest.raises(BundleError, match=r"file final/a\.npy .* it is damaged: train it again"):
            open_bundle(folder, kind="wals")

    def test_a_missing_file_is_named(self, folder):
        (folder / "empty").unlink()
        with pytest.raises(BundleError, match="file empty has sha256 nothing"):
            open_bundle(folder, kind="wals")

    def test_no_manifest_is_no_bundle(self, folder):
        (folder / MANIFEST).unlink()
        with pytest.raises(BundleError, match=r"found no bundle\.json; expected a sealed wals bundle"):
            open_bundle(folder, kind="wals")
        with pytest.raises(BundleError, match=r"found no bundle\.json"):
            open_bundle(folder / "nowhere", kind="wals")

    def test_another_kind_is_refused(self, folder):
        with pytest.raises(BundleError, match="found wals in format 1, expected towers in format 1"):
            open_bundle(folder, kind="towers")

    def test_another_format_is_refused(self, folder):
        edit(folder, format_version=2)
        with pytest.raises(BundleError, match="found wals in format 2, expected wals in format 1"):
            open_bundle(folder, kind="wals")

    def test_changed_properties_change_the_digest(self, folder, sealed):
        edit(folder, properties={"seed": 2})
        assert open_bundle(folder, kind="wals").digest != sealed.digest

    @pytest.mark.parametrize(
        "content", [b"", b"{", b"[]", b"{}\x00", b'{"\xff', b'{"format_version": 1, "files": {}, "properties": {}}']
    )
    def test_a_manifest_that_is_no_manifest_is_a_damaged_bundle(self, folder, content):
        (folder / MANIFEST).write_bytes(content)
        with pytest.raises(BundleError, match=r"bundle\.json is damaged, expected JSON with kind, files and properties"):
            open_bundle(folder, kind="wals")


def test_sha256_of_a_large_file_is_that_of_its_bytes(tmp_path):
    content = bytes(range(256)) * 20_000
    (tmp_path / "large").write_bytes(content)
    assert sha256(tmp_path / "large") == hashlib.sha256(content).hexdigest()


def test_a_bundle_that_was_resealed_keeps_its_digest_and_is_still_verified(folder, tmp_path):
    sealed = seal(folder, kind="wals", properties={"as_of": "2026-01-08"})
    staged = shutil.copytree(folder, tmp_path / "staged")
    (staged / "final" / "a.npy").write_bytes(b"ab")
    first = reseal(staged, sealed, "receipt-1", 3)
    found = open_bundle(staged, kind="wals")
    assert (found, found.digest, found.erasures) == (first, sealed.digest, {"receipt-1": 3})
    (staged / "empty").write_bytes(b"x")
    with pytest.raises(BundleError, match="file empty has sha256"):
        open_bundle(staged, kind="wals")
    second = reseal(staged, found, "receipt-2", 1)
    assert open_bundle(staged, kind=None) == second
    assert (second.digest, second.erasures) == (sealed.digest, {"receipt-1": 3, "receipt-2": 1})

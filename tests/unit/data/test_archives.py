import errno
import os
import tarfile

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from src.data.archives import is_image, members
from src.data.images import ImageBytes
from src.data.reading import DataError

FILES = {"images/a.jpg": b"first", "images/deep/b.jpg": b"second " * 100, "c.txt": b"words"}


def contents(source, root):
    read = ImageBytes(root)
    return {member.path: read(member.location) for member in members(source, root)}


@pytest.mark.parametrize("deflated", [False, True])
def test_a_zip_is_read_without_unpacking(tmp_path, zipped, deflated):
    archive = zipped(tmp_path / "set" / "pack.zip", FILES, deflated)
    assert contents(archive, tmp_path) == FILES


def test_a_tar_is_read_without_unpacking(tmp_path, tarred):
    assert contents(tarred(tmp_path / "set" / "pack.tar", FILES), tmp_path) == FILES


def test_a_folder_is_read_in_the_order_of_its_names(tmp_path, laid_out):
    folder = laid_out(tmp_path / "set", FILES)
    assert contents(folder, tmp_path) == FILES
    assert [member.path for member in members(folder, tmp_path)] == ["c.txt", "images/a.jpg", "images/deep/b.jpg"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30, deadline=None)
@given(
    files=st.dictionaries(st.from_regex(r"[a-z]{1,8}\.jpg", fullmatch=True), st.binary(max_size=300)),
    deflated=st.booleans(),
)
def test_whatever_is_zipped_is_read_back(tmp_path_factory, zipped, files, deflated):
    root = tmp_path_factory.mktemp("zip")
    assert contents(zipped(root / "pack.zip", files, deflated), root) == files


def test_what_operating_systems_leave_behind_is_left_out(tmp_path, zipped):
    archive = zipped(
        tmp_path / "pack.zip", {"a.jpg": b"1", "__MACOSX/._a.jpg": b"2", ".DS_Store": b"3", "x/Thumbs.db": b"4"}
    )
    assert [member.path for member in members(archive, tmp_path)] == ["a.jpg"]


def test_a_zip_cut_off_is_called_damaged(tmp_path, zipped):
    archive = zipped(tmp_path / "pack.zip", FILES)
    archive.write_bytes(archive.read_bytes()[:-40])
    with pytest.raises(DataError, match=r"pack\.zip is damaged"):
        members(archive, tmp_path)


def test_a_zip_whose_list_points_astray_is_called_damaged(tmp_path, zipped):
    archive = zipped(tmp_path / "pack.zip", FILES)
    data = bytearray(archive.read_bytes())
    data[:4] = b"oops"
    archive.write_bytes(data)
    with pytest.raises(DataError, match=r"pack\.zip is damaged: no file begins at byte 0"):
        members(archive, tmp_path)


def test_a_zip_whose_list_claims_more_than_there_is_is_called_damaged(tmp_path, zipped):
    archive = zipped(tmp_path / "pack.zip", {"a.jpg": b"first"})
    data = bytearray(archive.read_bytes())
    entry = data.index(b"PK\x01\x02")
    data[entry + 20 : entry + 24] = (10_000).to_bytes(4, "little")
    archive.write_bytes(data)
    with pytest.raises(DataError, match=r"pack\.zip is damaged: it ends before a\.jpg does"):
        members(archive, tmp_path)


def test_a_tar_cut_off_is_called_damaged(tmp_path, tarred):
    archive = tarred(tmp_path / "pack.tar", {"a.jpg": b"x" * 50_000})
    archive.write_bytes(archive.read_bytes()[:20_000])
    with pytest.raises(DataError, match=r"pack\.tar is damaged"):
        members(archive, tmp_path)


def test_a_tar_without_its_end_mark_is_called_damaged(tmp_path, tarred):
    archive = tarred(tmp_path / "pack.tar", FILES)
    whole = archive.read_bytes()
    second = whole.index(b"images/deep/b.jpg")
    for damaged in (whole[:second], whole[: second + 100], whole[:second] + b"?" + whole[second + 1 :]):
        archive.write_bytes(damaged)
        with pytest.raises(DataError, match=r"pack\.tar is damaged: .* byte 1024"):
            members(archive, tmp_path)


def test_a_zip_that_lies_last_in_a_tar_does_not_pass_for_it(tmp_path, tarred, zipped):
    text = zipped(tmp_path / "text.zip", {"c.txt": "words"}).read_bytes()
    files = {"a.jpg": b"first", "text.zip": text}
    assert contents(tarred(tmp_path / "pack.tar", files), tmp_path) == files


def test_a_tar_gives_what_it_holds_twice_in_its_order(tmp_path):
    with tarfile.open(tmp_path / "pack.tar", "w") as archive:
        for data in (b"first", b"second"):
            (tmp_path / "a.jpg").write_bytes(data)
            archive.add(tmp_path / "a.jpg", "a.jpg")
    read = ImageBytes(tmp_path)
    found = members(tmp_path / "pack.tar", tmp_path)
    assert [(member.path, read(member.location)) for member in found] == [("a.jpg", b"first"), ("a.jpg", b"second")]


def test_a_file_that_a_tar_holds_under_two_names_is_read_by_both(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"first")
    (tmp_path / "b.jpg").hardlink_to(tmp_path / "a.jpg")
    with tarfile.open(tmp_path / "pack.tar", "w") as archive:
        for name in ("a.jpg", "b.jpg"):
            archive.add(tmp_path / name, f"./{name}")
    assert contents(tmp_path / "pack.tar", tmp_path) == {"a.jpg": b"first", "b.jpg": b"first"}


def test_a_zip_packed_by_windows_is_read_like_any_other(tmp_path, zipped):
    (member,) = members(zipped(tmp_path / "pack.zip", {"Images\\a.jpg": b"first"}), tmp_path)
    assert (member.path, member.filename) == ("Images/a.jpg", "a.jpg")


def test_a_name_that_is_not_utf8_can_be_shown_and_its_file_read(tmp_path, tarred):
    name = os.fsdecode(b"caf\xe9.jpg")
    (tmp_path / "set").mkdir()
    try:
        (tmp_path / "set" / name).write_bytes(b"first")
    except OSError:
        pytest.skip("this file system knows UTF-8 names alone")
    for source in (tmp_path / "set", tarred(tmp_path / "pack.tar", {name: b"first"})):
        assert contents(source, tmp_path) == {"caf\\udce9.jpg": b"first"}


def test_a_folder_that_cannot_be_listed_is_named(tmp_path, laid_out, monkeypatch):
    listed = os.scandir

    def guarded(path):
        if str(path).endswith("deep"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr(os, "scandir", guarded)
    with pytest.raises(DataError, match=r"set/images/deep cannot be read: Permission denied"):
        members(laid_out(tmp_path / "set", FILES), tmp_path)


def test_a_file_behind_no_link_is_named(tmp_path):
    (tmp_path / "a.jpg").symlink_to(tmp_path / "gone.jpg")
    with pytest.raises(DataError, match=r"a\.jpg cannot be read: No such file"):
        members(tmp_path, tmp_path)


def test_a_compressed_tar_says_how_to_unpack_it(tmp_path, tarred):
    archive = tarred(tmp_path / "pack.tar.gz", FILES, mode="w:gz")
    with pytest.raises(DataError, match=r"gunzip .*pack\.tar\.gz"):
        members(archive, tmp_path)


def test_a_missing_archive_is_named(tmp_path):
    with pytest.raises(DataError, match=r"nowhere\.zip is missing"):
        members(tmp_path / "nowhere.zip", tmp_path)


@pytest.mark.parametrize("name", ["a.jpg", "A.JPEG", "b.png", "a.jpg.1"])
def test_images_are_known_by_their_extension(name):
    assert is_image(name)


@pytest.mark.parametrize("name", ["captions.txt", "jpg", "a.json", "a.txt.1"])
def test_other_files_are_no_images(name):
    assert not is_image(name)


def test_a_zip_that_lost_bytes_before_its_end_is_called_damaged(tmp_path, zipped):
    archive = zipped(tmp_path / "pack.zip", FILES)
    whole = archive.read_bytes()
    archive.write_bytes(whole[:50] + whole[150:])  # its list is found all the same, and points before the beginning
    with pytest.raises(DataError, match=r"pack\.zip is damaged"):
        members(archive, tmp_path)


def test_a_zip_with_names_that_are_no_text_is_called_damaged(tmp_path, zipped):
    archive = zipped(tmp_path / "pack.zip", {"\u00e4.jpg": b"1"})
    archive.write_bytes(archive.read_bytes().replace("\u00e4".encode(), b"\xff\xff"))
    with pytest.raises(DataError, match=r"pack\.zip is damaged"):
        members(archive, tmp_path)

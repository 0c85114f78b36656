"""Archives are read from their bytes; entries that would do harm when they are unpacked are refused before that."""

from __future__ import annotations

import gzip
import io
import stat
import tarfile
import zipfile
from collections.abc import Callable

import pytest

from serialization.formats.archives import is_tar, read_entries
from serialization.formats.wire import DamagedError

FILES = {"model/saved_model.pb": b"graph" * 1000, "model/variables/variables.index": b"", "readme.txt": b"text"}
PACKINGS = ("tar", "tar.gz", "tar.bz2", "tar.xz", "zip")


def pack(form: str = "tar", change: Callable[[tarfile.TarInfo], object] = lambda _: None, **files: bytes) -> bytes:
    """An archive of FILES, or of these files."""
    content = files or FILES
    packed = io.BytesIO()
    if form == "zip":
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("model/", b"")
            for name, data in content.items():
                archive.writestr(name, data)
        return packed.getvalue()
    with tarfile.open(fileobj=packed, mode=f"w:{form.partition('.')[2]}") as tar:  # type: ignore[call-overload]
        folder = tarfile.TarInfo("model")
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
        for name, data in content.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            change(member)
            tar.addfile(member, io.BytesIO(data))
    return packed.getvalue()


def header(name: str = "model.pb", **fields: object) -> bytes:
    """A tar of one header with these fields, without its content, and the mark of the end."""
    member = tarfile.TarInfo(name)
    for field, value in fields.items():
        setattr(member, field, value)
    return member.tobuf() + bytes(1024)


def zipped(name: str, mode: int = 0, flags: int = 0) -> bytes:
    with zipfile.ZipFile(packed := io.BytesIO(), "w") as archive:
        info = zipfile.ZipInfo(name)
        info.external_attr = mode << 16
        archive.writestr(info, b"x")
    data = bytearray(packed.getvalue())
    data[data.index(b"PK\x01\x02") + 8] |= flags
    return bytes(data)


@pytest.mark.parametrize("form", PACKINGS)
def test_the_entries_of_an_archive(form: str) -> None:
    entries = read_entries(pack(form))
    assert [entry.name.rstrip("/") for entry in entries if entry.is_folder] == ["model"]
    found = {}
    for entry in entries:
        if not entry.is_folder:
            with entry.open() as content:
                found[entry.name] = content.read()
            assert entry.size == len(found[entry.name])
    assert found == FILES


def test_a_tar_in_the_oldest_form_is_told_by_its_checksum() -> None:
    data = bytearray(tarfile.TarInfo("m").tobuf(tarfile.USTAR_FORMAT))
    data[257:265] = bytes(8)  # without the magic of later forms
    data[148:156] = b" " * 8  # as which the checksum counts itself
    data[148:156] = b"%06o\0 " % sum(data)
    assert is_tar(bytes(data))
    assert not is_tar(bytes(data).replace(b"m", b"n", 1))


SPECIAL = {
    "symbolic link": tarfile.SYMTYPE,
    "link": tarfile.LNKTYPE,
    "pipe": tarfile.FIFOTYPE,
    "device": tarfile.CHRTYPE,
}


@pytest.mark.parametrize("kind", SPECIAL.values(), ids=SPECIAL)
def test_no_links_and_no_devices(kind: bytes) -> None:
    with pytest.raises(DamagedError, match=r"'model.pb' is a link or a device"):
        read_entries(header(type=kind, linkname="/etc/passwd"))


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a/../../x", "a\\..\\..\\x", "C:/x"])
@pytest.mark.parametrize("make", [header, zipped])
def test_no_names_that_lead_elsewhere(make: Callable[[str], bytes], name: str) -> None:
    with pytest.raises(DamagedError, match="would be unpacked elsewhere"):
        read_entries(make(name))


@pytest.mark.parametrize("name", ["a/" + "x" * 256, "/".join(["folder"] * 500)])
def test_no_names_that_are_too_long_for_a_file_system(name: str) -> None:
    with pytest.raises(DamagedError, match=r"^the name of its entry '.*'\.\.\. is too long$"):
        read_entries(zipped(name))


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (zipped("x", stat.S_IFLNK | 0o777), "is a link or a device"),
        (zipped("x", flags=1), "is encrypted"),
        (header("a")[:512] + header("a"), "several entries 'a'"),
        (header("a")[:512] + header("./a"), "several entries './a'"),
        (header("a")[:512] + header("a/b"), "several entries 'a/b'"),
        (header("a/b")[:512] + header("a"), "several entries 'a'"),
        (header(size=10**12), "would become 1,000,000,000,000"),
        (gzip.compress(header(size=10**12)), "would become 1,000,000,000,000"),
        (header(size=10**8), "would become 100,000,000"),
        (gzip.compress(header(type=tarfile.XHDTYPE, size=10**9)), "a header in it has 1,000,000,000 bytes"),
        (gzip.compress(header(type=tarfile.GNUTYPE_LONGNAME, size=10**9)), "a header in it has 1,000,000,"),
        (gzip.compress(b"a graph" * 1000), "it is one packed file"),
        (pack()[:1500], "cannot be read: unexpected end of data"),
        (pack()[: 15 * 512], "is cut off, or damaged"),  # at the end of its last entry
        (pack("tar.gz")[:-40], "cannot be read"),
        (pack("tar.xz")[:-40], "cannot be read"),
        (pack("zip")[:-10], "cannot be read: File is not a zip file"),
    ],
)
def test_what_is_refused(data: bytes, why: str) -> None:
    with pytest.raises(DamagedError, match=why):
        read_entries(data)


def test_a_header_that_is_damaged_is_not_taken_for_the_end() -> None:
    data = bytearray(pack(a=b"1" * 512, b=b"2" * 512))
    data[512 * 3 + 10] ^= 1
    with pytest.raises(DamagedError, match="is cut off, or damaged"):
        read_entries(bytes(data))

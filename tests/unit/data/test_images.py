import io
import pickle
import struct
import zipfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, features

from src.data.archives import members
from src.data.images import MOST_SCANS, ImageBytes, ImageError, decode, probe
from src.data.manifest import Location

RED = (200, 60, 30)


def pixel(image, at=(2, 2)):
    assert image.mode == "RGB"
    return image.getpixel(at)


def near(found, wanted, slack=12):
    return all(abs(a - b) <= slack for a, b in zip(found, wanted, strict=True))


@pytest.mark.parametrize("format", ["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF"])
def test_every_common_format_keeps_its_colour(photograph, format):
    assert near(pixel(decode(photograph(format=format))), RED)


def test_a_cmyk_jpeg_keeps_its_colour(photograph):
    assert near(pixel(decode(photograph(mode="CMYK"))), RED, slack=20)


def test_grey_becomes_three_equal_channels(photograph):
    red, green, blue = pixel(decode(photograph(mode="L")))
    assert red == green == blue


def test_sixteen_bits_keep_their_upper_byte():
    buffer = io.BytesIO()
    Image.fromarray(np.full((8, 8), 0x80FF, dtype=np.uint16)).save(buffer, "PNG")
    assert pixel(decode(buffer.getvalue())) == (0x80, 0x80, 0x80)


def test_transparency_lies_on_white():
    buffer = io.BytesIO()
    Image.new("RGBA", (8, 8), (0, 0, 0, 0)).save(buffer, "PNG")
    assert pixel(decode(buffer.getvalue())) == (255, 255, 255)


def test_a_transparent_palette_colour_lies_on_white():
    image = Image.new("P", (8, 8), 0)
    image.putpalette([10, 20, 30, 200, 60, 30])
    image.paste(1, (4, 0, 8, 8))
    buffer = io.BytesIO()
    image.save(buffer, "GIF", transparency=0)
    seen = decode(buffer.getvalue())
    assert pixel(seen, (1, 1)) == (255, 255, 255)
    assert pixel(seen, (6, 1)) == RED


def test_of_an_animation_the_first_frame_counts():
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    buffer = io.BytesIO()
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:])
    assert pixel(decode(buffer.getvalue())) == (255, 0, 0)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_photograph_is_set_upright(orientation):
    scene = Image.new("RGB", (32, 16), "blue")
    scene.paste((255, 0, 0), (0, 0, 16, 8))
    stored = {
        1: scene,
        2: scene.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        3: scene.transpose(Image.Transpose.ROTATE_180),
        4: scene.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
        5: scene.transpose(Image.Transpose.TRANSPOSE),
        6: scene.transpose(Image.Transpose.ROTATE_90),
        7: scene.transpose(Image.Transpose.TRANSVERSE),
        8: scene.transpose(Image.Transpose.ROTATE_270),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    stored.save(buffer, "JPEG", exif=exif, quality=95, subsampling=0)

    seen = decode(buffer.getvalue())

    assert seen.size == (32, 16)
    assert near(pixel(seen, (3, 3)), (255, 0, 0), slack=40)
    assert near(pixel(seen, (28, 3)), (0, 0, 255), slack=40)
    found = probe(buffer.getvalue(), "turned.jpg")
    assert (found.width, found.height) == (32, 16)


def test_a_broken_exif_block_does_not_spoil_the_picture(photograph):
    assert near(pixel(decode(photograph(exif=b"Exif\x00\x00nonsense"))), RED)


def test_a_truncated_jpeg_is_named_and_called_truncated(photograph):
    noise = Image.effect_noise((64, 64), 80)
    buffer = io.BytesIO()
    noise.save(buffer, "JPEG")
    with pytest.raises(ImageError, match=r"holiday\.jpg.*truncated") as caught:
        decode(buffer.getvalue()[: len(buffer.getvalue()) // 2], "holiday.jpg")
    assert caught.value.fault == "truncated"


@pytest.mark.parametrize("format", ["PNG", "GIF", "JPEG"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_picture_cut_off_anywhere_is_refused(format, share):
    buffer = io.BytesIO()
    Image.effect_noise((64, 64), 80).save(buffer, format)
    data = buffer.getvalue()
    with pytest.raises(ImageError) as caught:
        probe(data[: int(len(data) * share)], f"cut.{format}")
    assert caught.value.fault == "truncated"


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow reads no AVIF")
def test_an_avif_whose_pixels_are_damaged_is_refused(photograph):
    data = photograph(format="AVIF")
    begin = data.index(b"mdat") + 4
    for read in (probe, decode):
        with pytest.raises(ImageError, match=r"odd\.avif") as caught:
            read(data[:begin] + bytes(len(data) - begin), "odd.avif")
        assert caught.value.fault == "undecodable"


@pytest.mark.parametrize(("data", "fault"), [(b"", "zero-sized"), (b"<html>not found</html>", "undecodable")])
def test_what_is_no_image_is_refused(data, fault):
    with pytest.raises(ImageError, match=r"odd\.jpg") as caught:
        decode(data, "odd.jpg")
    assert caught.value.fault == fault


def test_a_file_that_is_missing_is_named(tmp_path):
    with pytest.raises(ImageError, match=r"nowhere\.jpg"):
        decode(tmp_path / "nowhere.jpg")


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_picture_of_too_many_pixels_is_refused_before_it_is_decoded():
    buffer = io.BytesIO()
    Image.new("1", (20_000, 5_000)).save(buffer, "PNG")
    with pytest.raises(ImageError, match="20000 x 5000") as caught:
        decode(buffer.getvalue(), "huge.png")
    assert caught.value.fault == "too large"


def test_a_large_jpeg_is_decoded_smaller_instead(photograph):
    assert decode(photograph((400, 200)), max_pixels=30_000).size == (200, 100)


def test_a_large_jpeg_of_many_scans_saves_nothing_by_being_decoded_smaller_and_is_refused(photograph):
    assert decode(photograph((400, 200), progressive=True)).size == (400, 200)
    with pytest.raises(ImageError, match="400 x 200") as caught:
        decode(photograph((400, 200), progressive=True), max_pixels=30_000)
    assert caught.value.fault == "too large"


def test_a_jpeg_that_is_passed_over_again_and_again_is_refused_before_it_is_decoded(photograph):
    data = photograph(progressive=True)
    last = data.rindex(b"\xff\xda")
    endless = data[:last] + MOST_SCANS * data[last:-2] + data[-2:]
    with pytest.raises(ImageError, match=rf"odd\.jpg: a JPEG of 1\d\d scans, more than {MOST_SCANS}"):
        decode(endless, "odd.jpg")


def test_what_lies_within_a_segment_or_behind_a_jpeg_is_none_of_its_scans(photograph):
    scans = MOST_SCANS * b"\xff\xda"
    data = photograph(exif=b"Exif\x00\x00" + scans) + scans
    assert decode(data).size == decode(photograph()).size


def test_a_jpeg_may_come_out_smaller_but_never_below_what_is_asked_for(photograph):
    data = photograph((640, 480))
    assert decode(data, at_least=224).size == (320, 240)
    assert decode(data, at_least=300).size == (640, 480)


def test_one_pixel_is_a_picture(photograph):
    assert decode(photograph((1, 1), format="PNG")).size == (1, 1)


def test_a_probe_says_size_and_stored_mode(photograph):
    found = probe(photograph((40, 30), mode="L"), "grey.jpg")
    assert (found.width, found.height, found.mode) == (40, 30, "L")


def test_bytes_are_read_by_position(tmp_path):
    (tmp_path / "pack").write_bytes(b"....photograph....")
    assert ImageBytes(tmp_path)(Location("pack", 4, 10)) == b"photograph"


def test_deflated_bytes_are_inflated(tmp_path):
    packed = zlib.compressobj(wbits=-15)
    raw = packed.compress(b"photograph" * 50) + packed.flush()
    (tmp_path / "pack").write_bytes(b"...." + raw)
    assert ImageBytes(tmp_path)(Location("pack", 4, len(raw), deflated=True)) == b"photograph" * 50


def test_deflated_bytes_that_do_not_end_are_an_error(tmp_path):
    packed = zlib.compressobj(wbits=-15)
    raw = packed.compress(b"photograph" * 50) + packed.flush()
    (tmp_path / "pack").write_bytes(b"...." + raw)
    with pytest.raises(ImageError, match="does not end") as caught:
        ImageBytes(tmp_path)(Location("pack", 4, len(raw) - 3, deflated=True))
    assert caught.value.fault == "truncated"


def test_bytes_that_were_never_deflated_are_an_error(tmp_path):
    (tmp_path / "pack").write_bytes(b"....\xff\xff\xff\xff")
    with pytest.raises(ImageError, match="damaged member at byte 4"):
        ImageBytes(tmp_path)(Location("pack", 4, 4, deflated=True))


def test_an_archive_that_ends_too_early_is_an_error(tmp_path):
    (tmp_path / "pack").write_bytes(b"....photo")
    with pytest.raises(ImageError, match="pack") as caught:
        ImageBytes(tmp_path)(Location("pack", 4, 10))
    assert caught.value.fault == "truncated"


def test_a_missing_file_is_an_error_that_names_it(tmp_path):
    with pytest.raises(ImageError, match=r"gone\.jpg"):
        ImageBytes(tmp_path)(Location("gone.jpg", 0, 10))


def test_many_threads_read_one_archive(tmp_path):
    pieces = [bytes([number]) * 1000 for number in range(200)]
    (tmp_path / "pack").write_bytes(b"head" + b"".join(pieces))
    read = ImageBytes(tmp_path)
    places = [Location("pack", 4 + 1000 * number, 1000) for number in range(200)]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(read, places)) == pieces


def test_a_pickled_reader_reads_on(tmp_path):
    (tmp_path / "pack").write_bytes(b"....photograph")
    read = ImageBytes(tmp_path)
    read(Location("pack", 4, 5))
    assert pickle.loads(pickle.dumps(read))(Location("pack", 4, 5)) == b"photo"


def test_an_error_survives_the_way_between_processes():
    error = pickle.loads(pickle.dumps(ImageError("a.jpg", "truncated", "cut")))
    assert (str(error), error.fault) == ("a.jpg: cut", "truncated")


@pytest.mark.parametrize("stored", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_an_image_that_was_altered_in_its_archive_is_named_even_where_it_still_decodes(tmp_path, stored):
    with zipfile.ZipFile(tmp_path / "pack.zip", "w", stored) as archive:
        archive.writestr("a.png", b"photograph" * 9)
    place = members(tmp_path / "pack.zip", tmp_path)[0].location
    assert ImageBytes(tmp_path)(place) == b"photograph" * 9
    if stored == zipfile.ZIP_STORED:
        whole = bytearray((tmp_path / "pack.zip").read_bytes())
        whole[place.offset] ^= 1
        (tmp_path / "pack.zip").write_bytes(whole)
    else:
        place = replace(place, crc32=place.crc32 ^ 1)
    with pytest.raises(ImageError, match="checksum") as caught:
        ImageBytes(tmp_path)(place)
    assert caught.value.fault == "altered"


def test_an_orientation_without_end_does_not_spoil_the_picture(photograph):
    entry = struct.pack("<HHLf", 0x0112, 11, 1, float("inf"))  # a float where a short belongs
    exif = b"Exif\x00\x00II*\x00" + struct.pack("<LH", 8, 1) + entry + struct.pack("<L", 0)
    data = photograph(exif=exif)
    assert near(pixel(decode(data)), RED)
    assert probe(data, "a.jpg").width == 24

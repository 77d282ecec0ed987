"""The images that a user names: files, folders, patterns, tables."""

from itertools import islice
from pathlib import Path

import pandas as pd
import pytest

from pipeline.artifacts import tables
from pipeline.core.errors import InputError
from pipeline.prediction import find
from pipeline.prediction.find import ROWS, Named
from tests.builders import images


@pytest.fixture(autouse=True)
def _in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def names(*given: str) -> list[str]:
    return [image.name for image in find.images(given)]


def test_a_folder_stands_for_the_images_in_it_and_below_it() -> None:
    images.write(*map(Path, ("p/b.JPG", "p/a.png", "p/z/c.webp", "p/.hidden.png", "p/.git/d.png")))
    Path("p/notes.txt").write_text("no image")
    Path("p/z/labels.csv").write_text("image\n")
    assert names("p") == ["p/a.png", "p/b.JPG", "p/z/c.webp"]


def test_a_named_file_is_an_image_whatever_its_suffix() -> None:
    images.write(Path("scan.dat"), Path("a.png"))
    assert names("scan.dat", "a.png") == ["scan.dat", "a.png"]
    assert [image.encoded() for image in find.images(["a.png"])] == [images.encoded(1)]


def test_a_pattern_stands_for_the_files_that_match_in_order() -> None:
    images.write(*map(Path, ("p/b.jpg", "p/a.jpg", "p/c.png", "p/q/d.jpg")))
    assert names("p/*.jpg") == ["p/a.jpg", "p/b.jpg"]
    assert names("p/**/*.jpg") == ["p/a.jpg", "p/b.jpg", "p/q/d.jpg"]
    assert names(f"{Path.cwd()}/p/*.png") == [f"{Path.cwd()}/p/c.png"]


def test_a_file_whose_name_looks_like_a_pattern_is_a_file() -> None:
    images.write(Path("a[1].png"), Path("a1.png"))
    assert names("a[1].png") == ["a[1].png"]


def test_paths_in_a_table_are_relative_to_its_folder() -> None:
    images.write(Path("t/p/a.png"), Path("t/b.png"))
    absolute = (Path.cwd() / "t/b.png").as_posix()
    Path("t/new.csv").write_text(f"labels,image\ncat dog,p/a.png\n,{absolute}\n")
    assert list(find.images(["t/new.csv"])) == [
        Named("p/a.png", Path("t/p/a.png")),
        Named(absolute, Path(absolute)),
    ]
    pd.DataFrame({"image": ["p/a.png"]}).to_parquet("t/new.parquet")
    assert [image.encoded() for image in find.images(["t/new.parquet"])] == [images.encoded(0)]


def test_a_table_may_hold_encoded_images() -> None:
    content = images.encoded()
    tables.write_images(Path("images.parquet"), ["i1", "i2"], [content] * 2, ["i1.png", "i2.png"])
    assert list(find.images(["images.parquet"])) == [Named("i1", content), Named("i2", content)]
    struct = [{"bytes": content, "path": "x.png"}]
    pd.DataFrame({"image": struct}).to_parquet("hub.parquet")
    assert names("hub.parquet") == ["x.png"]
    pd.DataFrame({"image": [content, content]}).to_parquet("plain.parquet")
    assert names("plain.parquet") == ["1", "2"]


def test_a_table_is_read_a_few_rows_at_a_time() -> None:
    lines = [f"{row}.png" for row in range(2 * ROWS)]
    Path("many.csv").write_text("\n".join(["image", *lines, '"no end']))
    found = find.images(["many.csv"])
    assert [image.name for image in islice(found, 3)] == lines[:3]
    with pytest.raises(InputError, match=r"^many.csv: cannot be read as csv: "):
        list(found)


@pytest.mark.parametrize(
    ("given", "content", "message"),
    [
        ("gone.jpg", None, "gone.jpg: no such file or folder; should be an image, folder or table"),
        ("p/*.jpg", None, "p/*.jpg: matches no file; should be a pattern such as photos/*.jpg"),
        ("a.csv", "file\nx.png\n", "a.csv: column 'image' is missing; its columns are file"),
        ("a.csv", "image,b\n,1\n", "a.csv: row 1: image = '': should be a path"),
        ("a.csv", "", "a.csv: cannot be read as csv: No columns to parse from file"),
        ("a.csv", b"image\n\xff.png\n", "a.csv: cannot be read as csv: 'utf-8' codec can't"),
        ("a.parquet", "PAR1", "a.parquet: cannot be read as parquet: "),
    ],
)
def test_what_cannot_be_found_is_told_in_one_line(
    given: str, content: str | bytes | None, message: str
) -> None:
    if content is not None:
        Path(given).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError) as caught:
        names(given)
    assert str(caught.value).startswith(message)


def test_a_missing_path_is_found_before_any_image_is_read() -> None:
    images.write(Path("a.png"))
    with pytest.raises(InputError, match=r"^gone.png: no such file"):
        find.images(["a.png", "gone.png"])

"""Write the page as one HTML file, with its data in a block that a browser does not execute."""

from pathlib import Path

import numpy as np

from pipeline.artifacts.run import RunTables
from pipeline.core import files
from pipeline.reports import pages
from pipeline.viewer import linked, thumbnails
from pipeline.viewer.data import PageData, evenly_spaced, page_data
from pipeline.viewer.encoding import bits

PAGE, THUMBNAILS = "index.html", "thumbnails"
# The most images that get thumbnails without being asked for; 5,000 photographs take 60 MB.
MOST_THUMBNAILS = 5000
# Joined in this order to one script.
SCRIPTS = [
    f"viewer/{name}.js" for name in ("labels", "classes", "cards", "marks", "dialog", "page")
]


def write(
    folder: Path,
    file: Path,
    tables: RunTables,
    most: int,
    with_thumbnails: bool | None = None,
) -> PageData:
    """Write the page and its thumbnails in one atomic write.

    Args:
        folder: the output folder; it may hold only an older page.
        file: the pseudo-label file; the page shows only its name.
        tables: the tables of the run, with the pseudo-labels of the file.
        most: the number of images to show, at most. They are evenly spaced, so that the pages of
            two pseudo-label files show the same images.
        with_thumbnails: whether the page has thumbnails beside it; if not, it loads each image
            from its file as it comes into view. None: it has, unless there are more than
            MOST_THUMBNAILS images with files.

    Returns:
        The data of the page.

    Raises:
        InputError: the folder holds other files, an image cannot be read, or the tables do not
            belong together.
    """
    files.check_replaceable(folder, {PAGE, THUMBNAILS}, "page")
    shown = evenly_spaced(len(tables.pseudo.image_ids), most)
    data = page_data(file, tables, shown)
    rows = tables.index.rows("train")[shown]
    if with_thumbnails is None:
        has_files = tables.index.paths[rows[0]] is not None
        with_thumbnails = not has_files or len(rows) <= MOST_THUMBNAILS
    with files.atomic_write(folder.resolve()) as temporary:
        temporary.mkdir()
        if with_thumbnails:
            sizes = thumbnails.write(temporary / THUMBNAILS, tables.index, rows)
            data["png"] = bits(sizes.max(axis=1) <= thumbnails.TINY)
        else:
            data["files"] = linked.files(tables.index, rows)
            sizes = linked.sizes(tables.index, rows)
        data["shape"] = round(float(np.median(sizes[:, 1] / sizes[:, 0])), 3)
        (temporary / PAGE).write_text(page(data), encoding="utf-8", newline="\n")
    return data


def page(data: PageData) -> str:
    """Return the HTML of the page; its scripts show the data only as text."""
    return pages.render("viewer/page.html", ["viewer/page.css"], SCRIPTS, data=data)

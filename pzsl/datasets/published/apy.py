"""aPY, whose items are boxes within images rather than whole images.

aPY (Farhadi et al. 2009) joins objects of PASCAL VOC 2008 with images from Yahoo. Its `res101.mat`
lists the image of each object, so that one image occurs up to a dozen times, with several labels,
but no boxes. The boxes are in the publisher's `attribute_data` (`apascal_train.txt`,
`apascal_test.txt`, `ayahoo_test.txt`: image, class, x1 y1 x2 y2, attributes). If these files are
below the root, the n-th object of a class in an image gets the n-th box of that class in that
image, and only the box is encoded, as Xian et al. did; without them, whole images are encoded.
An object's id is the path of its image, with `#2`, `#3`, ... for the image's further objects.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from pzsl.datasets.reading import FileReader
from pzsl.errors import UserError
from pzsl.files import read_text
from pzsl.folders import walk

BOX_FILES = ("apascal_train.txt", "apascal_test.txt", "ayahoo_test.txt")

Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class ObjectReader:
    """Opens the image of an object and cuts out its box, if known.

    Attributes:
        files: opens the images.
        boxes: object id -> left, upper, right, lower edge in pixels from 0.
    """

    files: FileReader
    boxes: Mapping[str, Box]

    def __call__(self, path: str) -> Image.Image:
        """Open an object's image; raises OSError as `FileReader` does."""
        image = self.files(path.partition("#")[0])
        return image.crop(self.boxes[path]) if path in self.boxes else image

    def size_of(self, path: str) -> int:
        """Bytes of an object's image; raises OSError as `FileReader` does."""
        return self.files.size_of(path.partition("#")[0])

    def start_of(self, path: str, count: int) -> bytes:
        """The first bytes of an object's image; raises OSError as `FileReader` does."""
        return self.files.start_of(path.partition("#")[0], count)


def object_ids(paths: Sequence[str]) -> tuple[str, ...]:
    """An id for each object: `a.jpg`, `a.jpg#2`, `a.jpg#3`, ... for objects of one image."""
    times: Counter[str] = Counter()
    ids = []
    for path in paths:
        times[path] += 1
        ids.append(path if times[path] == 1 else f"{path}#{times[path]}")
    return tuple(ids)


def read_boxes(root: Path) -> dict[tuple[str, str], list[Box]] | None:
    """The publisher's boxes by (image name, class), in file order; None if there are no files.

    Raises:
        UserError: a line isn't `image class x1 y1 x2 y2 ...` (its number is named).
    """
    box_files = [parts for parts in walk(root) if parts[-1] in BOX_FILES]
    files = [
        root.joinpath(*parts) for parts in sorted(box_files, key=lambda p: BOX_FILES.index(p[-1]))
    ]
    if not files:
        return None
    boxes: dict[tuple[str, str], list[Box]] = defaultdict(list)
    for file in files:
        for number, line in enumerate(read_text(file).splitlines(), start=1):
            words = line.split()
            try:
                x1, y1, x2, y2 = (int(float(word)) for word in words[2:6])
            except ValueError:
                raise UserError(
                    f"{file}, line {number}: expected 'image class x1 y1 x2 y2 ...', found "
                    f"'{line[:60]}'."
                ) from None
            boxes[words[0], words[1]].append((max(x1 - 1, 0), max(y1 - 1, 0), x2, y2))
    return boxes


def assign_boxes(
    ids: Sequence[str], classes: Sequence[str], boxes: Mapping[tuple[str, str], Sequence[Box]]
) -> dict[str, Box]:
    """The box of each object; empty boxes are left out.

    Args:
        ids: (N,) see `object_ids`.
        classes: (N,) the publisher's class name of each object.
        boxes: see `read_boxes`.
    """
    boxes_used: Counter[tuple[str, str]] = Counter()
    assigned = {}
    for key, name in zip(ids, classes, strict=True):
        place = (key.partition("#")[0].rpartition("/")[2], name)
        object_boxes = boxes.get(place, ())
        if boxes_used[place] < len(object_boxes):
            left, upper, right, lower = object_boxes[boxes_used[place]]
            if left < right and upper < lower:
                assigned[key] = (left, upper, right, lower)
        boxes_used[place] += 1
    return assigned

"""Addresses, sizes and licences of the published data sets.

This is what the publishers state, to our knowledge; it has not been checked against their servers,
and addresses die. An unknown size or checksum is left out rather than guessed: the checksum of the
first download is recorded instead, and later downloads are compared with it.
"""

from __future__ import annotations

from dataclasses import dataclass

CHECKED = "unknown"
"""When the addresses were last checked."""


@dataclass(frozen=True)
class Download:
    """One archive.

    Attributes:
        url: its address; the last part names the file.
        size: as its publisher states it, or 'size unknown'.
        checksum: `md5:...` or `sha256:...` where one is published.
        only: unpack only members whose path starts with this; empty means all.
    """

    url: str
    size: str = "size unknown"
    checksum: str | None = None
    only: str = ""

    @property
    def file(self) -> str:
        """Name of the archive."""
        return self.url.rpartition("/")[2]


@dataclass(frozen=True)
class Publication:
    """A published data set.

    Attributes:
        home: page that leads to the downloads.
        licence: what its publisher says of its use.
        downloads: archives that are unpacked into the root, images first.
        note: what else to know before it is fetched.
    """

    home: str
    licence: str
    downloads: tuple[Download, ...]
    note: str = ""


_MPI = "http://datasets.d2.mpi-inf.mpg.de/xian"


def _splits(name: str, archive: str = "xlsa17") -> Download:
    """The split files of Xian et al.; only the data set's own folder is unpacked."""
    return Download(f"{_MPI}/{archive}.zip", only=f"{archive}/data/{name}/")


PUBLICATIONS: dict[str, Publication] = {
    "sun": Publication(
        home="https://cs.brown.edu/~gmpatter/sunattributes.html",
        licence="none stated; the images belong to their photographers",
        downloads=(
            Download(
                "https://cs.brown.edu/~gmpatter/Attributes/SUNAttributeDB_Images.tar.gz",
                size="about 1.8 GB",
            ),
            _splits("SUN"),
        ),
        note="This is the SUN Attribute data set, not SUN397.",
    ),
    "cub": Publication(
        home="https://www.vision.caltech.edu/datasets/cub_200_2011/",
        licence="none stated with the files; the images are Flickr's, for research",
        downloads=(
            Download(
                "https://data.caltech.edu/records/65de6-vp158/files/CUB_200_2011.tgz",
                size="1,150,585,339 bytes",
                checksum="md5:97eceeb196236b17998738112f37df78",
            ),
            _splits("CUB"),
        ),
    ),
    "awa2": Publication(
        home="https://cvml.ista.ac.at/AwA2/",
        licence="free use and redistribution, the licence of each image is in the archive",
        downloads=(
            Download("https://cvml.ista.ac.at/AwA2/AwA2-data.zip", size="about 13 GB"),
            _splits("AWA2"),
        ),
    ),
    "apy": Publication(
        home="http://vision.cs.uiuc.edu/attributes/",
        licence="none stated; VOC's images are under Flickr's terms of use",
        downloads=(
            Download(
                "http://host.robots.ox.ac.uk/pascal/VOC/voc2008/VOCtrainval_14-Jul-2008.tar",
                size="about 550 MB",
            ),
            Download("http://vision.cs.uiuc.edu/attributes/ayahoo_test_images.tar.gz"),
            Download("http://vision.cs.uiuc.edu/attributes/attribute_data.tar.gz"),
            _splits("APY"),
        ),
        note="The server of aYahoo has been hard to reach for years.",
    ),
    "flo": Publication(
        home="https://www.robots.ox.ac.uk/~vgg/data/flowers/102/",
        licence="none stated",
        downloads=(
            Download(
                "https://www.robots.ox.ac.uk/~vgg/data/flowers/102/102flowers.tgz",
                size="about 330 MB",
                checksum="md5:52808999861908f626f3c1f4e79d11fa",  # as torchvision holds it to
            ),
            _splits("FLO", "cvpr18xian"),
        ),
    ),
}

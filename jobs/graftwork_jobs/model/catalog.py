"""The closed registry of `keras.applications` architectures: what each was trained with, and where its weights lie.

Facts only; building is in `applications.py`, downloading in `weights.py`. No Keras import here, so plans and editors
can list names without loading it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Preprocessing = Literal["none", "zero-to-one", "minus-one-to-one", "imagenet", "caffe"]
"""How RGB 0..255 is scaled; `none`: the backbone does it itself or takes 0..255."""

_HOST = "https://storage.googleapis.com/tensorflow/keras-applications"
_SHA256_DIGITS = 64
# Keras keeps EfficientNet (first version) in a bucket of its own.
_EFFICIENTNET_HOST = "https://storage.googleapis.com/keras-applications"


@dataclass(frozen=True, kw_only=True)
class WeightsFile:
    """A file of ImageNet weights, without the classifier.

    Attributes:
        name: file name in the weights folder, as Keras' own cache calls it.
        url: where it is downloaded from.
        hash: expected MD5 (32 digits) or SHA-256 (64 digits); None where Keras knows none.
    """

    name: str
    url: str
    hash: str | None

    @property
    def hash_algorithm(self) -> Literal["md5", "sha256"]:
        """Which digest `hash` is."""
        return "sha256" if self.hash is not None and len(self.hash) == _SHA256_DIGITS else "md5"


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """One `keras.applications` network.

    Attributes:
        name: its name there.
        family: the `keras.applications` module with its `preprocess_input`.
        preprocessing: the scaling it was trained with, to be put in front.
        image_size: pixels a side it was trained at.
        min_image_size: fewest pixels a side it can take.
        weights: ImageNet weights by pixels a side they were trained at; most have one file for every size.
        has_own_scaling: built with `include_preprocessing`, which can be turned off.
        needs_deviation_fix: EfficientNet's ImageNet weights divide by the deviation once more than its random ones
            (see `applications.py`).
    """

    name: str
    family: str
    preprocessing: Preprocessing
    image_size: int
    min_image_size: int
    weights: Mapping[int, WeightsFile]
    has_own_scaling: bool = False
    needs_deviation_fix: bool = False

    def weights_for(self, image_size: tuple[int, int]) -> WeightsFile:
        """The file whose training size is this size, or else the one trained at the default size."""
        height, width = image_size
        if height == width and height in self.weights:
            return self.weights[height]
        return self.weights[self.image_size]


def _file(url: str, known_hash: str | None = None, *, name: str | None = None) -> WeightsFile:
    return WeightsFile(name=name or url.rpartition("/")[2], url=url, hash=known_hash)


def _convnext(size: str, known_hash: str) -> Architecture:
    return Architecture(
        name=f"ConvNeXt{size}",
        family="convnext",
        preprocessing="none",
        image_size=224,
        min_image_size=32,
        weights={224: _file(f"{_HOST}/convnext/convnext_{size.lower()}_notop.h5", known_hash)},
        has_own_scaling=True,
    )


def _densenet(layers: int, known_hash: str) -> Architecture:
    file = f"densenet{layers}_weights_tf_dim_ordering_tf_kernels_notop.h5"
    return Architecture(
        name=f"DenseNet{layers}",
        family="densenet",
        preprocessing="imagenet",
        image_size=224,
        min_image_size=32,
        weights={224: _file(f"{_HOST}/densenet/{file}", known_hash)},
    )


def _efficientnet(number: int, image_size: int, known_hash: str) -> Architecture:
    return Architecture(
        name=f"EfficientNetB{number}",
        family="efficientnet",
        preprocessing="none",
        image_size=image_size,
        min_image_size=32,
        weights={image_size: _file(f"{_EFFICIENTNET_HOST}/efficientnetb{number}_notop.h5", known_hash)},
        needs_deviation_fix=True,
    )


def _efficientnet_v2(size: str, image_size: int, known_hash: str) -> Architecture:
    return Architecture(
        name=f"EfficientNetV2{size}",
        family="efficientnet_v2",
        preprocessing="none",
        image_size=image_size,
        min_image_size=32,
        weights={image_size: _file(f"{_HOST}/efficientnet_v2/efficientnetv2-{size.lower()}_notop.h5", known_hash)},
        has_own_scaling=True,
    )


def _mobilenet(name: str, stem: str, sizes: tuple[int, ...]) -> Architecture:
    family = "mobilenet" if name == "MobileNet" else "mobilenet_v2"
    return Architecture(
        name=name,
        family=family,
        preprocessing="minus-one-to-one",
        image_size=224,
        min_image_size=32,
        weights={size: _file(f"{_HOST}/{family}/{stem.format(size=size)}") for size in sizes},
    )


def _mobilenet_v3(size: str, known_hash: str) -> Architecture:
    file = f"weights_mobilenet_v3_{size.lower()}_224_1.0_float_no_top_v2.h5"
    return Architecture(
        name=f"MobileNetV3{size}",
        family="mobilenet_v3",
        preprocessing="none",
        image_size=224,
        min_image_size=32,
        weights={224: _file(f"{_HOST}/mobilenet_v3/{file}", known_hash)},
        has_own_scaling=True,
    )


def _nasnet(size: str, image_size: int, known_hash: str) -> Architecture:
    url = f"{_HOST}/nasnet/NASNet-{size.lower()}-no-top.h5"
    return Architecture(
        name=f"NASNet{size}",
        family="nasnet",
        preprocessing="minus-one-to-one",
        image_size=image_size,
        min_image_size=32,
        weights={image_size: _file(url, known_hash, name=f"nasnet_{size.lower()}_no_top.h5")},
    )


def _plain(
    name: str,
    family: str,
    preprocessing: Preprocessing,
    known_hash: str,
    *,
    folder: str | None = None,
    image_size: int = 224,
    min_image_size: int = 32,
) -> Architecture:
    """Architectures whose file is called `<name>_weights_tf_dim_ordering_tf_kernels_notop.h5`."""
    stem = {"InceptionV3": "inception_v3", "InceptionResNetV2": "inception_resnet_v2"}.get(name, name.lower())
    url = f"{_HOST}/{folder or family}/{stem}_weights_tf_dim_ordering_tf_kernels_notop.h5"
    return Architecture(
        name=name,
        family=family,
        preprocessing=preprocessing,
        image_size=image_size,
        min_image_size=min_image_size,
        weights={image_size: _file(url, known_hash)},
    )


# Source: keras 3.15.1, keras/src/applications; tests/unit/jobs/model/test_catalog.py compares every entry with it.
_ALL = (
    _convnext("Tiny", "d547c096cabd03329d7be5562c5e14798aa39ed24b474157cef5e85ab9e49ef1"),
    _convnext("Small", "6fc8009faa2f00c1c1dfce59feea9b0745eb260a7dd11bee65c8e20843da6eab"),
    _convnext("Base", "40a20c5548a5e9202f69735ecc06c990e6b7c9d2de39f0361e27baeb24cb7c45"),
    _convnext("Large", "96f02b6f0753d4f543261bc9d09bed650f24dd6bc02ddde3066135b63d23a1cd"),
    _convnext("XLarge", "de3f8a54174130e0cecdc71583354753d557fcf1f4487331558e2a16ba0cfe05"),
    _densenet(121, "30ee3e1110167f948a6b9946edeeb738"),
    _densenet(169, "b8c4d4c20dd625c148057b9ff1c1176b"),
    _densenet(201, "c13680b51ded0fb44dff2d8f86ac8bb1"),
    _efficientnet(0, 224, "50bc09e76180e00e4465e1a485ddc09d"),
    _efficientnet(1, 240, "74c4e6b3e1f6a1eea24c589628592432"),
    _efficientnet(2, 260, "111f8e2ac8aa800a7a99e3239f7bfb39"),
    _efficientnet(3, 300, "af6d107764bb5b1abb91932881670226"),
    _efficientnet(4, 380, "ebc24e6d6c33eaebbd558eafbeedf1ba"),
    _efficientnet(5, 456, "38879255a25d3c92d5e44e04ae6cec6f"),
    _efficientnet(6, 528, "9ecce42647a20130c1f39a5d4cb75743"),
    _efficientnet(7, 600, "cbcfe4450ddf6f3ad90b1b398090fe4a"),
    _efficientnet_v2("B0", 224, "893217f2bb855e2983157299931e43ff"),
    _efficientnet_v2("B1", 240, "0e80663031ca32d657f9caa404b6ec37"),
    _efficientnet_v2("B2", 260, "1dfe2e7a5d45b6632553a8961ea609eb"),
    _efficientnet_v2("B3", 300, "f6abf7b5849ac99a89b50dd3fd532856"),
    _efficientnet_v2("S", 384, "af0682fb74e8c54910f2d4393339c070"),
    _efficientnet_v2("M", 480, "1b8dc055df72dde80d614482840fe342"),
    _efficientnet_v2("L", 480, "b0b66b5c863aef5b46e8608fe1711615"),
    _plain(
        "InceptionResNetV2",
        "inception_resnet_v2",
        "minus-one-to-one",
        "d19885ff4a710c122648d3b5c3b684e4",
        image_size=299,
        min_image_size=75,
    ),
    _plain(
        "InceptionV3",
        "inception_v3",
        "minus-one-to-one",
        "bcbd6486424b2319ff4ef7d526e38f63",
        image_size=299,
        min_image_size=75,
    ),
    _mobilenet("MobileNet", "mobilenet_1_0_{size}_tf_no_top.h5", (128, 160, 192, 224)),
    _mobilenet(
        "MobileNetV2",
        "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_{size}_no_top.h5",
        (96, 128, 160, 192, 224),
    ),
    _mobilenet_v3("Large", "07fb09a5933dd0c8eaafa16978110389"),
    _mobilenet_v3("Small", "d3e8ec802a04aa4fc771ee12a9a9b836"),
    _nasnet("Large", 331, "d81d89dc07e6e56530c4e77faddd61b5"),
    _nasnet("Mobile", 224, "1ed92395b5b598bdda52abe5c0dbfd63"),
    _plain("ResNet50", "resnet", "caffe", "4d473c1dd8becc155b73f8504c6f6626"),
    _plain("ResNet101", "resnet", "caffe", "88cf7a10940856eca736dc7b7e228a21"),
    _plain("ResNet152", "resnet", "caffe", "ee4c566cf9a93f14d82f913c2dc6dd0c"),
    _plain("ResNet50V2", "resnet_v2", "minus-one-to-one", "fac2f116257151a9d068a22e544a4917", folder="resnet"),
    _plain("ResNet101V2", "resnet_v2", "minus-one-to-one", "c0ed64b8031c3730f411d2eb4eea35b5", folder="resnet"),
    _plain("ResNet152V2", "resnet_v2", "minus-one-to-one", "ed17cf2e0169df9d443503ef94b23b33", folder="resnet"),
    _plain("VGG16", "vgg16", "caffe", "6d6bbae143d832006294945121d1f1fc"),
    _plain("VGG19", "vgg19", "caffe", "253f8cb515780f3b799900260a226db6"),
    _plain(
        "Xception",
        "xception",
        "minus-one-to-one",
        "b0042744bf5b25fce3cb969f33bebb97",
        image_size=299,
        min_image_size=71,
    ),
)

ARCHITECTURES: Mapping[str, Architecture] = {architecture.name: architecture for architecture in _ALL}
"""All of them by name."""

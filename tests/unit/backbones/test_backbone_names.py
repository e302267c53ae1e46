"""Names become specs, and mistakes are told with what to type."""

from __future__ import annotations

import subprocess
import sys

import pytest

from bodh.backbones import _names
from bodh.errors import ConfigError, UnknownName

SHAPE = (3, 32, 32)


def test_own_names_and_members():
    assert _names.spec_for("cnn", shape=SHAPE).arguments == {"shape": [3, 32, 32]}
    spec = _names.spec_for("resnet18", shape=SHAPE)
    assert (spec.name, spec.arguments["model"]) == ("timm", "resnet18")
    spec = _names.spec_for("torchvision:resnet18", shape=SHAPE)
    assert (spec.name, spec.arguments["model"]) == ("torchvision", "resnet18")
    assert _names.spec_for("squeezenet1_1", shape=SHAPE).name == "torchvision"
    assert _names.spec_for("mlp", shape=(7,), arguments={"width": 8}).arguments == {"shape": [7], "width": 8}


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("resnet81", "'resnet81'.*did you mean 'resnet"),
        ("smal", "did you mean 'small'"),
        ("timm:convnext_atoo", "did you mean 'convnext_atto"),
        ("torchvison:resnet18", "did you mean 'torchvision'"),
    ],
)
def test_unknown_names_suggest(name, told):
    with pytest.raises(UnknownName, match=told):
        _names.spec_for(name, shape=SHAPE)


def test_family_alone_and_unknown_argument():
    with pytest.raises(ConfigError, match="timm:resnet18"):
        _names.spec_for("timm", shape=SHAPE)
    with pytest.raises(ConfigError, match=r"'dropuot'.*did you mean 'dropout'"):
        _names.spec_for("cnn", shape=SHAPE, arguments={"dropuot": 0.1})


def test_listing_and_own_names_import_no_timm():
    code = (
        "import sys; from bodh import _catalog; from bodh.backbones import _names;"
        "assert 'small' in _catalog.names('backbones');"
        "_names.spec_for('small', shape=(3, 32, 32)); _names.spec_for('cnn', shape=(3, 32, 32));"
        "assert 'timm' not in sys.modules and 'torchvision' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

"""The space that the sample stage leaves is the one the later stages read, and is this network's."""

import json

import pytest

from eyas.config import SampleParams
from eyas.errors import CheckpointError, PlanError
from eyas.networks.saved_network import Network
from models import build
from tasks.search_space import read_space, trace_network
from tasks.stage import write_json


def network(width=8, image_size=8, **arguments):
    arguments = {"name": "resnet8", "num_classes": 10, "width": width, "in_channels": 1, **arguments}
    return Network(build(**arguments), "models:build", arguments, (1, image_size, image_size))


@pytest.fixture
def artifacts(tmp_path):
    (tmp_path / "sample").mkdir()
    params = SampleParams.model_validate({"round_to": 4, "min_width": 4, "ignore": ["conv1"]})
    write_json(tmp_path / "sample/space.json", trace_network(network(), params).to_json())
    return tmp_path


def test_the_limits_of_sample_are_those_that_later_stages_read(artifacts):
    space = read_space(artifacts, network())
    assert [group.name for group in space.frozen if group.reason == "ignored"] == ["conv1"]
    assert {int(space.legal_widths(group)[0]) for group in space.groups} == {4}


def test_before_sample_has_run_it_says_so(tmp_path):
    with pytest.raises(CheckpointError, match=r"space\.json is missing: run the sample stage first"):
        read_space(tmp_path, network())


def test_the_space_of_another_network_or_of_nobody_is_refused(artifacts):
    with pytest.raises(CheckpointError, match="is not the architecture that was traced"):
        read_space(artifacts, network(width=12))
    path = artifacts / "sample/space.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"min_width": 1}))
    with pytest.raises(PlanError, match="was changed after it was written"):
        read_space(artifacts, network())


def test_the_space_of_another_image_size_is_refused(artifacts):
    message = r"traced for images of shape \(1, 8, 8\), this network takes \(1, 16, 16\): run the sample stage again"
    with pytest.raises(CheckpointError, match=message):
        read_space(artifacts, network(image_size=16))

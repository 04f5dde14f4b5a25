"""A version's network as adapt and watch load it."""

from pathlib import Path

import pytest

from eyas.config import parse_params
from eyas.errors import DataError
from eyas.networks.saved_network import Network, save_network
from tasks.registered_network import load_as_named
from tests.tasks.several_outputs import build

FACTORY = "tests.tasks.several_outputs:build"


@pytest.mark.parametrize(("kind", "output"), [("tuple", "1"), ("namedtuple", "classes"), ("training", None)])
def test_several_outputs_are_refused_by_the_field_that_chose_one(kind: str, output: str | None, tmp_path: Path) -> None:
    arguments = {"num_classes": 10, "kind": kind}
    save_network(Network(build(10, kind).eval(), FACTORY, arguments, (1, 8, 8), output=output), tmp_path)
    params = parse_params({"baseline": {"architecture": FACTORY, "arguments": {"kind": kind}}})
    if output is None:  # another answer in training alone
        assert load_as_named(tmp_path, params, "net version 1").output is None
        return
    with pytest.raises(
        DataError, match=f"^net version 1 answers with several outputs, of which baseline.output '{output}'"
    ):
        load_as_named(tmp_path, params, "net version 1")

"""Components: defining one registers it; a duplicate or unknown kind is named."""

from typing import Literal

import pytest
from pydantic import ValidationError

from eyas.component import Component
from eyas.errors import ParameterError


class Sauce(Component):
    """A family made up for these tests."""


class Mild(Sauce):
    """A member with an option."""

    kind: Literal["mild"] = "mild"
    spoons: int = 1
    """How much of it."""


def test_a_member_is_parsed_from_its_kind_a_mapping_or_itself() -> None:
    assert Sauce.parse("mild") == Mild()
    assert Sauce.parse({"kind": "mild", "spoons": 2}) == Mild(spoons=2)
    member = Mild(spoons=5)
    assert Sauce.parse(member) is member


def test_a_member_knows_its_kind_and_describes_its_options() -> None:
    assert (Mild().kind, Sauce().kind) == ("mild", "")
    assert Mild.model_fields["spoons"].description == "How much of it."
    assert Sauce.members() == {"mild": Mild}


@pytest.mark.parametrize("value", ["hot", {"kind": "hot"}, {"kind": ["mild"]}, {}, 3, None])
def test_an_unknown_kind_lists_what_is_available(value: object) -> None:
    with pytest.raises(ParameterError, match="available: mild"):
        Sauce.parse(value)


def test_a_second_class_of_the_same_kind_is_refused() -> None:
    with pytest.raises(TypeError, match="'mild' is defined twice"):

        class Other(Sauce):
            kind: Literal["mild"] = "mild"


COPY = {"__module__": "copied", "__qualname__": "Mild"}


def test_a_copy_of_a_member_in_another_file_is_refused() -> None:
    with pytest.raises(TypeError, match=r"'mild' is defined twice: tests\.test_component and copied"):
        type(
            "Mild",
            (Sauce,),
            {
                "__module__": "copied",
                "__qualname__": "Mild",
                "__annotations__": dict(Mild.__annotations__),
                "kind": "mild",
            },
        )
    assert Sauce.members() == {"mild": Mild}


def test_members_are_frozen_and_closed() -> None:
    with pytest.raises(ValidationError):
        Mild(salt=1)  # type: ignore[call-arg]
    with pytest.raises(ValidationError):
        Mild().spoons = 3  # type: ignore[misc]


def test_families_do_not_share_members() -> None:
    class Bread(Component):
        pass

    assert "mild" in Sauce.registry
    assert Bread.registry == {}

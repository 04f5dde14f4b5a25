"""An error of the library, in the words of params.yaml."""

import pytest

from eyas.errors import DataError, StorageError
from tasks.field_names import as_fields


@as_fields({"max_images": "fetch.max_images", "mean": "fetch.mean"})
def stage(error: Exception) -> None:
    raise error


def test_arguments_become_fields_and_all_else_stays() -> None:
    with pytest.raises(DataError) as caught:
        stage(DataError("class 'mean' of `label` lacks max_images: a larger `max_images`, or another `mean`"))
    expected = "class 'mean' of `label` lacks max_images: a larger fetch.max_images, or another fetch.mean"
    assert str(caught.value) == expected


def test_the_error_itself_is_raised_again_with_its_status_and_cause() -> None:
    error = StorageError("`mean`")
    error.__cause__ = OSError("gone")
    with pytest.raises(StorageError, match=r"^fetch\.mean$") as caught:
        stage(error)
    assert caught.value is error
    assert isinstance(caught.value.__cause__, OSError)


def test_a_fault_of_the_program_keeps_its_words() -> None:
    with pytest.raises(KeyError, match="`mean`"):
        stage(KeyError("`mean`"))

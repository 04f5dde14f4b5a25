"""Nothing secret is shown, by whichever way it came into a text, and nothing else is lost."""

import pytest

from eyas.storage import holds_secret, redact, redacted

SECRETS = {
    "MLFLOW_TRACKING_PASSWORD": "hunter2secret",
    "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG",
    "EYAS_GITHUB_TOKEN": "ghp_0123456789",
    "some_api_key": "abcdefgh",
    "EYAS_S3_SSE_CUSTOMER_KEY": "MDEyMzQ1Njc4OWFiY2RlZg==",
    "SHORT_TOKEN": "the",
    "EYAS_DATA": "/data/images",
}

DATABASE = "postgresql+psycopg2://{}127.0.0.1:5433/mlflow"
CASES = {
    "password and signature of an address": ("https://u:p@host/a?X-Amz-Signature=1#f", "https://host/a"),
    "an address within a sentence": ("see https://host/a?b=c for more", "see https://host/a for more"),
    "an address in quotes": ("GET 'http://u:p@host/a?b' failed", "GET 'http://host/a' failed"),
    "two addresses": ("http://u:p@a/x and s3://key@b/y", "http://a/x and s3://b/y"),
    "a database": (DATABASE.format("eyas:pw@"), DATABASE.format("")),
    "a key of S3": ("s3://bucket/key?with#signs", "s3://bucket/key?with#signs"),
    "an address that cannot be read": ("http://[half/x", "(an address that cannot be read)"),
    "a token without its address": ("X-Amz-Security-Token=abc&x=1", "X-Amz-Security-Token=***&x=1"),
    "a signature without its address": ("/d.bin?sig=abc&x=1", "/d.bin?sig=***&x=1"),
    "an access key": ("AWSAccessKeyId=AKIA1 aws_secret_access_key=x", "AWSAccessKeyId=*** aws_secret_access_key=***"),
    "a path with a query of its own": ("/a/path?not=secret", "/a/path?not=secret"),
    "a password of the environment": ("login as ann:hunter2secret refused", "login as ann:*** refused"),
    "a key of the environment": ("bad key wJalrXUtnFEMI/K7MDENG", "bad key ***"),
    "a token of the environment, twice": ("ghp_0123456789 ghp_0123456789", "*** ***"),
    "a variable in small letters": ("abcdefgh", "***"),
    "the customer's own key": ("SSE with MDEyMzQ1Njc4OWFiY2RlZg==", "SSE with ***"),
    "a short value tears no word apart": ("the others", "the others"),
    "a variable of another kind": ("/data/images is empty", "/data/images is empty"),
}


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize(("text", "shown"), CASES.values(), ids=CASES.keys())
def test_what_is_secret_is_not_shown(text: str, shown: str) -> None:
    assert redact(text) == shown
    assert redact(shown) == shown


def test_every_text_of_a_structure_is_redacted() -> None:
    value = {"a": ["https://u:p@host/x", 1, None], "b": ("hunter2secret", True)}
    assert redacted(value) == {"a": ["https://host/x", 1, None], "b": ["***", True]}


@pytest.mark.parametrize(
    ("address", "secret"),
    [
        ("https://u:p@host/a", True),
        ("https://u:$PASSWORD@host/a", False),
        ("https://host/a?sig=1", True),
        ("https://host/a?x=1&X-Amz-Signature=$SIGNATURE", False),
        ("https://host/a?page=1", False),
        ("s3://bucket/key?token=1", False),
        ("/a/path?token=1", False),
    ],
)
def test_an_address_that_holds_a_secret_is_told(address: str, secret: bool) -> None:
    assert holds_secret(address) is secret


@pytest.mark.parametrize("address", ["sqlite:///a.db", "sqlite:////tmp/mlflow.db", "file:///data/train"])
def test_an_address_without_a_host_stays_the_address_that_it_is(address: str) -> None:
    assert redact(f"in {address}") == f"in {address}"
    assert redact(f"{address}?password=x") == address

"""How remote storage is reached: typed, with defaults from the environment.

Credentials are no settings: they come from boto3's own chain (environment, profile, instance role) and are never
written anywhere.
"""

import os
from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import Field, ValidationError

from eyas.component import Options
from eyas.errors import ParameterError
from eyas.storage.retry import Retry

_ENVIRONMENT = {
    "endpoint_url": ("EYAS_S3_ENDPOINT", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"),
    "region": ("AWS_REGION", "AWS_DEFAULT_REGION"),
    "profile": ("AWS_PROFILE",),
    "path_style": ("EYAS_S3_PATH_STYLE",),
    "anonymous": ("EYAS_S3_ANONYMOUS",),
    "etag_is_md5": ("EYAS_S3_ETAG_IS_MD5",),
    "ca_bundle": ("AWS_CA_BUNDLE",),
}
_KIB, _MIB = 2**10, 2**20


class StorageSettings(Options):
    """How remotes are reached; a field that is left out comes from the environment."""

    endpoint_url: str | None = None
    """Address of an S3 service other than Amazon's; ``EYAS_S3_ENDPOINT`` or ``AWS_ENDPOINT_URL_S3``."""
    region: str | None = None
    """``AWS_REGION`` or ``AWS_DEFAULT_REGION``; without any ``us-east-1``."""
    profile: str | None = None
    """Section of the credentials file; ``AWS_PROFILE``."""
    path_style: bool | None = None
    """Bucket in the path instead of the host name; by default where an endpoint is given. ``EYAS_S3_PATH_STYLE``."""
    anonymous: bool = False
    """Requests without signature, for public buckets; ``EYAS_S3_ANONYMOUS``."""
    etag_is_md5: bool = True
    """Compare unencrypted objects with their ETags, as S3 defines them; off for services whose ETags are something
    else. ``EYAS_S3_ETAG_IS_MD5``."""
    ca_bundle: str | None = None
    """Certificates to trust instead of the system's; ``AWS_CA_BUNDLE``."""
    connect_timeout: Annotated[float, Field(gt=0)] = 10
    """Seconds to reach a host."""
    read_timeout: Annotated[float, Field(gt=0)] = 60
    """Seconds without a byte."""
    attempts: Annotated[int, Field(ge=1)] = 6
    """Tries in a row that bring nothing, before giving up."""
    backoff: Annotated[float, Field(ge=0)] = 0.5
    """Upper bound of the first pause in seconds; it doubles with every try, and the pause is drawn below it."""
    backoff_cap: Annotated[float, Field(ge=0)] = 30
    """Upper bound of any pause in seconds."""
    part_size: Annotated[int, Field(ge=64 * _KIB)] = 16 * _MIB
    """Bytes per part of a large object."""
    concurrency: Annotated[int, Field(ge=1)] = 8
    """Requests at the same time."""

    @property
    def retry(self) -> Retry:
        """How to try again."""
        return Retry(self.attempts, self.backoff, self.backoff_cap)

    @classmethod
    def from_environment(cls, settings: Self | None = None, environment: Mapping[str, str] | None = None) -> Self:
        """``settings``, completed by the environment.

        Raises:
            ParameterError: a variable holds what its setting does not allow.
        """
        environment = os.environ if environment is None else environment
        values: dict[str, Any] = {}
        names: dict[str, str] = {}
        for field, variables in _ENVIRONMENT.items():
            for variable in reversed(variables):
                if environment.get(variable):
                    values[field], names[field] = environment[variable], variable
        if settings is not None:
            values.update(settings.model_dump(exclude_unset=True))
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            first = error.errors()[0]
            msg = f"{names[str(first['loc'][0])]}: {first['msg']}; given: {first['input']!r}"
            raise ParameterError(msg) from error

"""How remote storage is reached: typed, with defaults from the environment.

Credentials are no settings: they come from boto3's own chain (environment, profile, instance role) and are never
written anywhere.
"""

import os
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from eyas.errors import ParameterError

_ENVIRONMENT = {
    "endpoint_url": ("EYAS_S3_ENDPOINT", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"),
    "region": ("AWS_REGION", "AWS_DEFAULT_REGION"),
    "profile": ("AWS_PROFILE",),
    "path_style": ("EYAS_S3_PATH_STYLE",),
    "anonymous": ("EYAS_S3_ANONYMOUS",),
    "sse": ("EYAS_S3_SSE",),
    "sse_kms_key": ("EYAS_S3_SSE_KMS_KEY",),
    "checksums": ("EYAS_S3_CHECKSUMS",),
    "etag_is_md5": ("EYAS_S3_ETAG_IS_MD5",),
    "ca_bundle": ("AWS_CA_BUNDLE",),
}
_MIB = 2**20


class StorageSettings(BaseModel):
    """Settings of ``runtime.storage``; a field that is not given comes from the environment."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

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
    sse: Literal["AES256", "aws:kms", "aws:kms:dsse"] | None = None
    """Server-side encryption of what is written; ``EYAS_S3_SSE``."""
    sse_kms_key: str | None = None
    """Key id for ``aws:kms``; ``EYAS_S3_SSE_KMS_KEY``."""
    checksums: bool = True
    """Send SHA-256 checksums, which S3 and recent services verify; without, Content-MD5. ``EYAS_S3_CHECKSUMS``."""
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
    part_size: Annotated[int, Field(ge=5 * _MIB)] = 16 * _MIB
    """Bytes per part of a large object, up and down."""
    concurrency: Annotated[int, Field(ge=1)] = 8
    """Requests at the same time."""

    @classmethod
    def from_environment(cls, given: Self | None = None, environment: Mapping[str, str] | None = None) -> Self:
        """``given``, completed by the environment.

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
        if given is not None:
            values.update(given.model_dump(exclude_unset=True))
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            first = error.errors()[0]
            field = str(first["loc"][0])
            msg = f"{names.get(field, f'runtime.storage.{field}')}: {first['msg']}; given: {first['input']!r}"
            raise ParameterError(msg) from error

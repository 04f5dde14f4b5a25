"""Whether grey images of 16 bits use them: files of 16 bits often hold the 8 or 12 bits of a camera, nearly black."""

from collections.abc import Mapping

from eyas.errors import DataError

LEAST_PEAK = 2**12
"""What no value of a whole set reaches was not measured in 16 bits."""


def check_depth(peaks: Mapping[str, int]) -> None:
    """Refuse a part of the data whose images of 16 bits would come out black, or nearly so.

    Args:
        peaks: by the name of the part (``train``, ``test``), the largest value in all its grey images of 16 bits.

    Raises:
        DataError: it is that of 8 to 12 bits.
    """
    for part, peak in peaks.items():
        if peak < LEAST_PEAK:
            bits = max(peak.bit_length(), 8)
            msg = (
                f"the grey images of 16 bits in `{part}` hold no value above {peak}, where white is 65535: they would "
                f"be read as black or nearly so. Rescale them to the full range (if they hold {bits} bits, times "
                f"{65535 // (2**bits - 1)}), or save them as images of 8 bits"
            )
            raise DataError(msg)

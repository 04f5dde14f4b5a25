"""The tables of ``benchmarks.drift``."""

import itertools
from typing import Any

from benchmarks.common import publish, table

CANARY = 512
SEVERITIES = (1, 3, 5)
LABELS = (0, 16, 32, 64, 128)
POINTS = 100.0
DEFAULT_DETECTOR = "distributions"


def report(rows: list[dict[str, Any]]) -> None:
    """The tables of what is there."""
    parts: dict[str, list[dict[str, Any]]] = {
        part: [row for row in rows if row["part"] == part]
        for part in ("alarms", "power", "rule", "validation", "labels")
    }
    detectors = dict.fromkeys(map(detector_of, parts["power"]))
    powers = [
        f"\n**{name}**\n\n{power_table([r for r in parts['power'] if detector_of(r) == name])}" for name in detectors
    ]
    body = [
        *("## False alarms\n", alarm_table(parts["alarms"])),
        *("\n## Power", *powers),
        *("\n## The revert rule, networks that its limits were set on", rule_tables(parts["rule"])),
        *("\n## The revert rule, others", rule_tables(parts["validation"])),
        *("\n## The rule with labels of some of the images", label_tables(parts["labels"])),
    ]
    publish("drift", "Drift, its false alarms, and the rule that takes an adaptation back", NOTES, "\n".join(body))


NOTES = (
    "JPEG copies of CIFAR-10; alarms and power: the adapted ResNet-20, the first 5,000 test images are the reference "
    "(train: 5,000 training images instead), windows come from the other 5,000; allowed false alarms 0.1 % of the "
    "windows",
    "power: share of ten windows of 64 and five of 128 images that are called drift; the word is the first one told, "
    "most often",
    "rule: adapters follow 256 images, the rule judges on 128 others, accuracy is that of 400 more, in points; its "
    "standard error is about 2 for one condition",
    f"the canary are {CANARY} clean images; and the advice: no adaptation where the drift report of the judged images "
    "expects no help",
    "harm: conditions with more than one point less than no adaptation; best: by the adapter that labels would choose",
)


def detector_of(row: dict[str, Any]) -> str:
    """Whose alarms they are; rows of the default do not say it."""
    return str(row.get("detector", DEFAULT_DETECTOR))


def alarm_table(rows: list[dict[str, Any]]) -> str:
    """A line per detector, reference and size."""
    body = []
    for key in dict.fromkeys((detector_of(row), row["reference"], row["images"]) for row in rows):
        own = [row for row in rows if (detector_of(row), row["reference"], row["images"]) == key]
        windows, count = (sum(row[what] for row in own) for what in ("windows", "alarms"))
        body.append((*key, windows, count, f"{POINTS * count / windows:.1f}"))
    return table(("detector", "reference", "images", "windows", "alarms", "rate (%)"), body)


def power_table(rows: list[dict[str, Any]]) -> str:
    """Detected share by severity and size, and the word."""
    shares = {(row["what"], row["severity"], row["images"]): row["drifted"] / row["windows"] for row in rows}
    words = {(row["what"], row["severity"], row["images"]): next(iter(row["words"]), "") for row in rows}
    columns = list(itertools.product(SEVERITIES, (64, 128)))
    body = []
    for what in dict.fromkeys(row["what"] for row in rows if row["severity"]):
        told = [f"{POINTS * shares[key]:.0f}" if (key := (what, *column)) in shares else "" for column in columns]
        body.append((what, *told, words.get((what, 5, 128), words.get((what, 3, 128), ""))))
    header = ("corruption", *(f"severity {severity}, {size} images" for severity, size in columns), "called")
    return table(header, body)


def rule_tables(rows: list[dict[str, Any]]) -> str:
    """One of each network."""
    networks = dict.fromkeys(row["network"] for row in rows)
    return "\n".join(f"\n**{name}**\n\n{rule_table([r for r in rows if r['network'] == name])}" for name in networks)


def rule_table(rows: list[dict[str, Any]]) -> str:
    """What each adapter gains without the rule and with it, and how often it harms."""
    body = []
    for stream in dict.fromkeys(row["stream"] for row in rows):
        own = [row for row in rows if row["stream"] == stream]
        best: dict[tuple[str, int], float] = {}
        for row in own:
            place = row["what"], row["severity"]
            best[place] = max(best.get(place, 0.0), gain(row))
        for adapter in dict.fromkeys(row["adapter"] for row in own):
            mine = [row for row in own if row["adapter"] == adapter]
            kept = [gain(row) if row["keep"] else 0.0 for row in mine]
            both = [value if row["adapt"] else 0.0 for row, value in zip(mine, kept, strict=True)]
            gains = mean(gain(row) for row in mine), mean(best.values()), mean(kept), mean(both)
            harm = harms(map(gain, mine)), harms(kept), harms(both)
            worst = f"{min(kept):+.1f}", f"{min(both):+.1f}"
            body.append((stream, adapter, len(mine), sum(row["keep"] for row in mine), *gains, *harm, *worst))
    header = ("stream", "adapter", "conditions", "kept", "gain", "best", "by the rule", "and the advice",
              "harm", "by the rule", "and the advice", "worst by the rule", "and the advice")  # fmt: skip
    return f"{table(header, body)}\n\n{clean_again(rows)}"


def label_tables(rows: list[dict[str, Any]]) -> str:
    """What labels of a few images add to the rule: one table per network."""
    tables = []
    for network in dict.fromkeys(row["network"] for row in rows):
        body = []
        for stream in dict.fromkeys(row["stream"] for row in rows):
            for count in LABELS:
                own = [r for r in rows if (r["network"], r["stream"], r["labels"]) == (network, stream, count)]
                kept = [gain(row) if row["keep"] else 0.0 for row in own]
                asked = [value if row["adapt"] or "better" in row["told"] else 0.0
                         for row, value in zip(own, kept, strict=True)]  # fmt: skip
                best = [max(gain(row), 0.0) for row in own]
                if own:
                    numbers = mean(map(gain, own)), mean(best), mean(kept), mean(asked)
                    harm = harms(map(gain, own)), harms(kept), harms(asked)
                    body.append((stream, count, len(own), *numbers, *harm, f"{min(asked):+.1f}"))
        header = ("stream", "labels", "conditions", "gain", "best", "by the rule",
                  "and the advice where labels do not decide", "harm", "by the rule", "and the advice",
                  "worst of these")  # fmt: skip
        tables.append(f"\n**{network}**\n\n{table(header, body)}")
    return "\n".join(tables)


def clean_again(rows: list[dict[str, Any]]) -> str:
    """What becomes of adaptations when the field is clean again."""
    body = []
    for adapter in dict.fromkeys(row["adapter"] for row in rows):
        own = [row["clean_again"] for row in rows if row["adapter"] == adapter and "clean_again" in row]
        gains = [POINTS * (one["after"] - one["before"]) for one in own]
        kept = [value for one, value in zip(own, gains, strict=True) if one["keep"]]
        worst = f"{min(kept):+.1f}" if kept else "none kept"
        body.append((adapter, len(own), mean(gains), sum(not one["keep"] for one in own), worst))
    return table(("adapter, clean again", "conditions", "gain", "reverted", "worst that is kept"), body)


def gain(row: dict[str, Any]) -> float:
    """In points."""
    return POINTS * float(row["after"] - row["before"])


def harms(gains: Any) -> int:
    """How many lose more than a point."""
    return sum(value < -1 for value in gains)


def mean(values: Any) -> str:
    """Signed, of some."""
    listed = list(values)
    return f"{sum(listed) / max(len(listed), 1):+.1f}"

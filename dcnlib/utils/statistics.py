"""How sure a count of wrong answers is, and a difference between two."""

import math
from dataclasses import asdict, dataclass

from dcnlib.utils.records import Record


def mcnemar_p_value(b: int, c: int) -> float:
    """Exact two-sided p value of McNemar's test: that b + c fair coins fall at least as unevenly as b to c."""
    n = b + c
    tail = sum(math.comb(n, heads) for heads in range(min(b, c) + 1))
    return min(1.0, 2 * tail / 2**n)


@dataclass(frozen=True)
class ErrorRate:
    """Wrong answers among so many, with the 95 % interval that this many images allow."""

    errors: int
    count: int

    @property
    def fraction(self) -> float:
        return self.errors / self.count

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % score interval of the fraction."""
        z, n, p = 1.959964, self.count, self.fraction
        center = (p + z * z / (2 * n)) / (1 + z * z / n)
        half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
        return max(0.0, center - half), min(1.0, center + half)

    def __str__(self) -> str:
        low, high = self.interval
        return f"{100 * self.fraction:.2f} % ({100 * low:.2f}..{100 * high:.2f})"

    def as_record(self) -> Record:
        return {**asdict(self), "error": self.fraction, "interval_95": list(self.interval)}

    @classmethod
    def from_record(cls, record: Record) -> "ErrorRate":
        return cls(record["errors"], record["count"])

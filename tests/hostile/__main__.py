"""The long run: `PYTHONPATH=tests python -m hostile --cases 10000 --seed 1`; see the Makefile's `hostile`.

With --kind and --seed of one case, and --write, leaves its file to look at.
"""

import argparse
import json
import sys
import time
from pathlib import Path

from hostile import harness


def main() -> int:
    parser = argparse.ArgumentParser(prog="hostile", description=__doc__)
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=int(time.time()), help="the first case's (default: the time)")
    parser.add_argument("--kind", help="of this kind only")
    parser.add_argument("--attacks", action="store_true", help="the attacks made by hand, and no mutations")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="end after so long")
    parser.add_argument("--write", type=Path, help="write one case's file here, and read nothing")
    args = parser.parse_args()

    from hostile.kinds import KINDS

    if args.write:
        args.write.write_bytes(KINDS[args.kind].mutated(args.seed)[0])
        return 0
    if args.attacks:
        from hostile.attacks import ATTACKS

        cases = iter([{"attack": name} for name in ATTACKS if args.kind in (None, ATTACKS[name].kind.name)])
    else:
        cases = harness.mutated_cases(args.cases, args.seed, KINDS if args.kind is None else [args.kind])
    print(f"seed {args.seed}", flush=True)
    ended, begun = [], time.monotonic()
    for one in harness.run(cases):
        ended.append(one)
        if not one.fine:
            print(json.dumps(one.case), one.ended, one.told, sep="\n  ", flush=True)
        if time.monotonic() - begun > args.seconds:
            break
    print(harness.table(ended), f"{len(ended)} cases in {time.monotonic() - begun:.0f} s", sep="\n")
    return 0 if all(one.fine for one in ended) else 1


if __name__ == "__main__":
    sys.exit(main())

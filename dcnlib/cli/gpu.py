"""`python -m dcnlib.cli.gpu`: everything for a few minutes of a machine with a GPU, each part in a process of its own.

Beside the other commands, because such a machine may lack what they need: this needs torch, torchvision, numpy, scipy,
safetensors, pillow and tqdm. What else it needs, `--pack FOLDER` copies into a folder to bring along (`--data FOLDER`).
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import IO

GRACE = 15  # seconds from asking a part to stop to ending it


def main(arguments: list[str] | None = None) -> int:
    """Run the parts, each in its time; what one leaves of it, the last may use. The status is 1 if a part failed."""
    parser = argparse.ArgumentParser(prog="dcnlib.cli.gpu", description=main.__doc__, allow_abbrev=False)
    parser.add_argument("--device", default="auto", help="auto, cuda or cpu")
    parser.add_argument("--quick", action="store_true", help="a little of everything, as a rehearsal")
    parser.add_argument("--workers", type=int, default=8, help="processes that draw training images")
    parser.add_argument("--folder", type=Path, default=Path("runs") / "gpu", help="keeps a JSON file of each part")
    parser.add_argument("--data", type=Path, help="what --pack made")
    parser.add_argument("--pack", type=Path, metavar="FOLDER", help="only copy what such a machine lacks")
    parser.add_argument("--part", help=argparse.SUPPRESS)  # one part, in this process
    args = parser.parse_args(arguments)
    if args.data is not None and args.part is None:
        sys.path.insert(0, str(args.data / "site"))
    from dcnlib.paper.gpu import PARTS, GpuSettings, pack, run_part, unpacked

    if args.pack is not None:
        for path in pack(args.pack):
            print(path)
        return 0
    if args.part is not None:
        run_part(args.part, GpuSettings(args.device, args.workers, args.quick), args.folder)
        return 0
    environment = os.environ | (unpacked(args.data.absolute()) if args.data is not None else {})
    status, left = 0, 0.0
    args.folder.mkdir(parents=True, exist_ok=True)
    for part, (_, budget) in PARTS.items():
        seconds = budget + (left if part == "table" else 0)
        started = time.perf_counter()
        command = [sys.executable, "-m", "dcnlib.cli.gpu", "--part", part, "--device", args.device]
        command += ["--workers", str(args.workers), "--folder", str(args.folder), *(["--quick"] if args.quick else [])]
        with open(args.folder / f"{part}.log", "w") as log:
            ended = run_for(seconds, command, environment, log)
        took = time.perf_counter() - started
        left += budget - took
        print(f"== {part}: {ended}, {took:.0f} of {seconds:.0f} s", flush=True)
        status |= ended.startswith("failed")
        result = args.folder / f"{part}.json"
        if result.is_file():
            found = json.loads(result.read_text())
            print(json.dumps({key: found[key] for key in found if key not in ("created", "versions", "machine")}))
        if ended.startswith("failed"):
            print("\n".join((args.folder / f"{part}.log").read_text().splitlines()[-15:]))
    return status


def run_for(seconds: float, command: list[str], environment: dict[str, str], log: IO[str]) -> str:
    """Run a part and say how it ended. At the end of its time it is asked to stop, and a training then keeps its state;
    one that doesn't in `GRACE` seconds is ended."""
    process = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
    try:
        code = process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.terminate()
        try:
            process.wait(GRACE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        return "stopped at its time"
    return "done" if code == 0 else f"failed with status {code}"


if __name__ == "__main__":
    sys.exit(main())

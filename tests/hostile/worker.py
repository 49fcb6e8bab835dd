"""A process that reads damaged files, one after another, and says how each ended.

It has limits of memory and time, so that what exceeds them, or crashes the interpreter, ends this process and no other;
`harness.py` sees that, counts it, and starts another. Cases come as lines of JSON, and go back the same way.
"""

import json
import os
import resource
import shutil
import sys
import tempfile
import traceback
import warnings
from pathlib import Path
from typing import Any

from hostile.attacks import ATTACKS
from hostile.faults import FAULTS
from hostile.kinds import KINDS
from hostile.kinds.kind import DOCUMENTED, Kind
from hostile.watch import Watch, peak_memory, reset_peak_memory

from dcnlib.utils import records

BYTES = 1_000_000_000  # more than before, for a case
ROOM = 3_000_000_000  # more address space than before: what touches none of it may reserve that much


def main() -> None:
    records._git = lambda *_: None  # a run's record asks git, of its own accord
    seconds = int(sys.argv[1])
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a reader prints is no answer
    warnings.simplefilter("ignore")
    folder = Path(tempfile.mkdtemp(prefix="hostile-"))
    try:
        os.chdir(folder)
        pages = int(Path("/proc/self/statm").read_text().split()[0]) if sys.platform == "linux" else 0
        if pages:
            resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + ROOM, resource.RLIM_INFINITY))
        watch = Watch(folder)
        print(json.dumps("ready"), file=answers, flush=True)
        for line in sys.stdin:
            case = json.loads(line)
            try:
                answer = run(case, folder / "case", watch, seconds)
            except Exception:
                answer = {"ended": "the harness failed", "told": traceback.format_exc()[-3000:]}
            print(json.dumps(answer), file=answers, flush=True)
            os.chdir(folder)
            shutil.rmtree(folder / "case", ignore_errors=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def run(case: dict[str, Any], folder: Path, watch: Watch, seconds: int) -> dict[str, str]:
    """How a case ended: "result", "refused", or a fault, with what tells more of it."""
    kind = _kind_of(case)
    kind.read_good(folder.parent / "good")  # once, so that imports, and what is made once, count for no case
    folder.mkdir()
    good, must_refuse = None, False
    if "attack" in case:
        attack = ATTACKS[case["attack"]]
        must_refuse = attack.must_refuse
        path = kind.place(folder, kind.contents[0])
        path = attack.write(path) or path
    elif "fault" in case:
        path = kind.place(folder, kind.contents[0])
    else:
        content, good = kind.mutated(case["seed"])
        path = kind.place(folder, content)

    used = resource.getrusage(resource.RUSAGE_SELF)
    until = int(used.ru_utime + used.ru_stime) + seconds + 1
    resource.setrlimit(resource.RLIMIT_CPU, (until, resource.RLIM_INFINITY))
    before = reset_peak_memory()
    ended = _read(kind, path, watch, good)
    if ended["ended"] == "result" and must_refuse:
        ended = {"ended": "accepted", "told": ended["told"]}
    if watch.seen:
        ended = {"ended": "did something", "told": "; ".join(watch.seen)}
    if (more := peak_memory() - before) > BYTES:
        ended = {"ended": "too much memory", "told": f"{more / 1e6:.0f} MB; {ended}"}
    return ended


def _kind_of(case: dict[str, Any]) -> Kind:
    if "attack" in case:
        return ATTACKS[case["attack"]].kind
    return FAULTS[case["fault"]] if "fault" in case else KINDS[case["kind"]]


def _read(kind: Kind, path: Path, watch: Watch, good: object) -> dict[str, str]:
    try:
        with watch:
            result = kind.read(path)
    except kind.also as error:
        return {"ended": "refused", "told": f"{type(error).__name__}: {error}"[:300]}
    except DOCUMENTED as error:
        told = str(error)
        if kind.names_file and not any(name in told for name in (path.name, str(path.parent))):
            return {"ended": "does not name the file", "told": f"{type(error).__name__}: {told}"[:2000]}
        return {"ended": "refused", "told": f"{type(error).__name__}: {told}"[:300]}
    except BaseException as error:
        return {"ended": "undocumented error", "told": "".join(traceback.format_exception(error))[-3000:]}
    if good is not None and result != good:
        return {"ended": "wrong result", "told": repr(result)[:300]}
    return {"ended": "result", "told": repr(result)[:100]}


if __name__ == "__main__":
    main()

"""The command line: `python -m dcnlib train|evaluate|...`, the same as the library from a terminal."""

import argparse
import sys
from dataclasses import fields
from pathlib import Path

from dcnlib.cluttered import ClutteredMNIST
from dcnlib.digits import load_digits
from dcnlib.pretrained import ModelSpec
from dcnlib.results import save_record
from dcnlib.training import TrainingSettings, evaluate, fit, seed_everything

VALIDATION_SEED, TEST_SEED = 1_000_001, 1_000_002


def main() -> None:
    parser = argparse.ArgumentParser(prog="dcnlib", allow_abbrev=False)
    parser.add_argument("--model", default="dcn")
    parser.add_argument("--name", required=True)
    parser.add_argument("--k", type=int, default=8)
    parser.add_argument("--hint-weight", type=float, default=0.1)
    parser.add_argument("--run-dir", required=True)
    parser.add_argument("--test", action="store_true")
    for option in fields(TrainingSettings):
        kind = {"action": argparse.BooleanOptionalAction} if option.type is bool else {"type": option.type}
        if option.name == "precision":
            kind = {"type": str}
        parser.add_argument(f"--{option.name.replace('_', '-')}", default=option.default, **kind)
    args = parser.parse_args()
    settings = TrainingSettings(**{option.name: getattr(args, option.name) for option in fields(TrainingSettings)})
    spec = ModelSpec(args.model, k=args.k, hint_weight=args.hint_weight)
    seed_everything(settings.seed)
    model = spec.build()
    train = ClutteredMNIST(load_digits("train", source="mnist"), seed=settings.seed, fresh=True)
    validation = ClutteredMNIST(load_digits("validation", source="mnist"), seed=VALIDATION_SEED)
    record = fit(
        model,
        train,
        validation,
        settings,
        name=args.name,
        description=spec.describe(),
        run_dir=args.run_dir,
        on_epoch=lambda figures: print(figures, flush=True),
        progress=sys.stderr.isatty(),
    )
    if args.test:
        test = ClutteredMNIST(load_digits("test", source="mnist"), seed=TEST_SEED)
        result = evaluate(model, test)
        record["data"]["test"] = test.describe()
        record["test"] = result.as_record()
        save_record(Path(args.run_dir) / "record.json", record)
        print(result.rate)


if __name__ == "__main__":
    main()

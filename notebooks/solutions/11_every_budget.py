"""Notebook 11, exercises 2 and 3."""

from torch.utils.data import TensorDataset

from dcnlib import load_cluttered, load_pretrained
from dcnlib.analysis.budgets import thresholds
from dcnlib.analysis.until_sure import collect_answers, evaluate_until_sure, point_of, stops


def some(count):
    return TensorDataset(*load_cluttered("all", source="embedded")[range(count)])


def told(point):
    cost = f"{point.patches:.2f} patches and {point.multiplications / 1e6:.2f} million multiplications"
    return f"{cost} on average, error {point.rate}"


def exercise_2(count: int = 5000) -> str:
    """Fewer rounds up to 16 patches, with the threshold that travels with the weights."""
    dcn, data = load_pretrained("dcn-every-k"), some(count)
    rows, last = [], 0.0
    for rounds in ((1, 2, 4, 8, 16), (4, 16), (16,)):
        point = evaluate_until_sure(dcn, data, max_k=16, rounds=rounds)
        rows.append(f"rounds of {rounds} patches: {told(point)}")
        assert point.patches >= last  # who may stop less often looks at more
        last = point.patches
    return "\n".join(rows)


def exercise_3(count: int = 5000) -> str:
    """Stop when two rounds in a row give the same answer, beside the entropy with a threshold of no higher cost."""
    answers = collect_answers(load_pretrained("dcn-every-k"), some(count), max_k=16)
    said = answers.logits.argmax(-1)  # (N, R)
    agreed = said[:, 1:] == said[:, :-1]
    agreed[:, -1] = True  # whoever never agrees stops at the last round
    agreement = point_of(answers, 1 + agreed.int().argmax(1))

    doubts = answers.doubt
    by_entropy = [point_of(answers, stops(doubts, below), below) for below in thresholds(doubts)]
    entropy = next(point for point in by_entropy if point.multiplications <= agreement.multiplications)
    return f"by agreement: {told(agreement)}\nby entropy: {told(entropy)}"


if __name__ == "__main__":
    print(exercise_2())
    print(exercise_3())

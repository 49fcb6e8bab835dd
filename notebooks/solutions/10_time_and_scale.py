"""Notebook 10, exercises 1 and 4."""

from dcnlib import count_multiplications, load_pretrained


def exercise_1(count: int = 529) -> str:
    """From which k on, of at most so many, updating single windows takes more than convolving the refined map anew."""
    dcn = load_pretrained("dcn-k8-hints")
    anew = count_multiplications(dcn, k=1).top  # one pass through the top layers
    one, two = (count_multiplications(dcn, k=k) for k in (1, 2))
    rows = []
    for what, thrown_away in (("needed products", 0), ("with those that are thrown away", 1)):
        per_cell = two.second_pass - one.second_pass + thrown_away * (two.discarded - one.discarded)
        rest = one.second_pass + thrown_away * one.discarded - per_cell  # the linear layer
        most = (anew - rest) // per_cell  # the last k that pays
        if most < count:
            cost = count_multiplications(dcn, k=most + 1)
            assert cost.second_pass + thrown_away * cost.discarded > anew
        rows.append(f"{what}: {per_cell:,} multiplications a cell, dearer from k = {most + 1} on")
    return "\n".join(rows)


def exercise_4(count: int = 400) -> str:
    """The smallest side, up to so many pixels, at which the DCN takes an eighth of the fine model's multiplications;
    and the ratio at that side if k grows with the pixels."""
    dcn, fine = load_pretrained("dcn-k8-hints"), load_pretrained("fine")

    def ratio(side, k):
        costs = [count_multiplications(model, (1, side, side), k=k).total for model in (fine, dcn)]
        return costs[0] / costs[1]

    low, high = 100, count  # the ratio grows with the image
    while high - low > 4:
        middle = (low + high) // 2
        low, high = (middle, high) if ratio(middle, 8) < 8 else (low, middle)
    grown = ratio(high, round(8 * (high / 100) ** 2))
    assert ratio(100, 8) < ratio(high, 8)
    assert grown < ratio(high, 8)
    return (
        f"{ratio(high, 8):.2f} times at {high} pixels a side; with k in proportion to the pixels {grown:.2f} times, "
        f"as at 100 pixels ({ratio(100, 8):.2f}): nothing is gained by size then"
    )


if __name__ == "__main__":
    print(exercise_1())
    print(exercise_4())

"""What the committed records say beside runs."""

from dcnlib.utils.records import load_record


def multiplications_of(name: str) -> int:
    """How many multiplications the model of an experiment takes for one image, as `count_experiments` counted them."""
    return load_record("multiplications")["models"][name]

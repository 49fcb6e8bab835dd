"""What the explorer shows, without any widget: images and models to choose from, and a game against the gradient."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dcnlib.analysis.cost import count_multiplications, count_rounds
from dcnlib.analysis.looks import PAPERS_POLICY, Answer, Look, answer_of, chance_of, look_at_cells, looks
from dcnlib.core.dcn import DynamicCapacityNetwork
from dcnlib.core.geometry import Geometry
from dcnlib.core.policies import POLICIES, FirstLook, Policy, oracle_scores
from dcnlib.core.saliency import entropy
from dcnlib.data.cluttered_mnist import ClutteredMNIST
from dcnlib.data.pictures import Picture, read_picture
from dcnlib.models.task import Images, Task
from dcnlib.models.tasks import CLUTTERED_MNIST

Source = Literal["validation", "new clutter", "upload"]
SOURCES: tuple[Source, ...] = get_args(Source)
POLICY_NAMES = (*POLICIES, "oracle")


@dataclass(frozen=True, eq=False)
class Subject:
    """An image (C, H, W) in [0, 1] to look at; its class, or those of its positions, and the box (4,) of its digit in
    pixels, where known.

    notes: how it was made of a picture.
    """

    title: str
    image: Tensor
    label: Answer | None = None
    box: Tensor | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Choices:
    """What a user chooses, but for k: all k are looked at together. cells: patches chosen by hand, or None.

    invert: whether an uploaded picture is turned from dark on light to light on dark; None looks at its border.
    entropy_below: in nats, to look until it is sure; None leaves k to the user, and so do patches by hand.
    """

    model: str
    source: Source = "validation"
    index: int = 0
    seed: int = 0
    policy: str = PAPERS_POLICY
    cells: tuple[int, ...] | None = None
    invert: bool | None = None
    entropy_below: float | None = None


@dataclass(frozen=True)
class Reference:
    """Another model on the same image: what it says, with what entropy in nats, and what that costs."""

    name: str
    probabilities: Tensor  # (L,) or (P, L)
    entropy: float
    multiplications: int

    @property
    def answer(self) -> Answer:
        return answer_of(self.probabilities.argmax(-1))


@dataclass(frozen=True)
class Hand:
    """A look with patches chosen by hand, and the entropy gradient's look with as many."""

    look: Look
    gradients: Look
    multiplications: int


@dataclass(frozen=True)
class Sure:
    """What looking until it is sure came to: patches, the entropy that was left, in nats, and what it cost."""

    patches: int
    entropy: float
    multiplications: int


@dataclass(frozen=True)
class Score:
    """How a choice of patches did over images: right answers, means of the truth's probability and of the entropy."""

    right: int
    truth: float
    entropy: float


@dataclass(frozen=True)
class View:
    """Everything that is shown for one choice. looks and multiplications are those at k = 0, 1, ..."""

    choices: Choices
    subject: Subject
    looks: list[Look]
    multiplications: list[int]
    references: list[Reference]
    hand: Hand | None
    sure: Sure | None
    games: int  # images of a known class, with the latest patches that were chosen by hand for each
    your_score: Score
    gradients_score: Score


class Explorer:
    """Answers a user's choices, and keeps the score of the patches that the user chooses by hand.

    dcns, references: models by the names under which they are shown, all for images of one shape. data: the images; if
    they are Cluttered MNIST, their digits are also put in new clutter. task: what makes an uploaded picture an image
    that the models know, and what its classes are called. sources, policies: what may be chosen for these images.
    """

    def __init__(
        self,
        dcns: Mapping[str, DynamicCapacityNetwork],
        data: Images,
        references: Mapping[str, nn.Module],
        *,
        task: Task = CLUTTERED_MNIST,
    ) -> None:
        if not dcns:
            raise ValueError("there is nothing to explore: give at least one DCN")
        self.dcns, self.data, self.references, self.task = dict(dcns), data, dict(references), task
        digits, boxes = isinstance(data, ClutteredMNIST), self._boxes(data) is not None
        self.sources = tuple(source for source in SOURCES if digits or source != "new clutter")
        self.policies = tuple(policy for policy in POLICY_NAMES if boxes or policy != "oracle")
        channels, height, width = data[0][0].shape
        self.image_shape = (channels, height, width)
        self._reference_costs = {
            name: count_multiplications(model, self.image_shape).total for name, model in self.references.items()
        }
        self._uploaded: Picture | None = None
        self._games: dict[
            tuple[str, str], tuple[Answer, Hand]
        ] = {}  # by image and model: the true class, and both looks
        # An image stays the same while models, policies and patches are tried on it.
        self._subject = lru_cache(8)(self._find_subject)
        self._prepared = lru_cache(4)(self._prepare)
        self._looks = lru_cache(16)(self._find_looks)
        self._references = lru_cache(8)(self._ask_references)
        self._multiplications = lru_cache(None)(self._count)
        self._round_costs = lru_cache(None)(self._count_rounds)

    def upload(self, name: str, content: bytes) -> Subject:
        """Make a picture file the image of the source "upload". Raises ValueError if it can't be read."""
        self._uploaded = read_picture(content, name=name)
        return self._prepared(self._uploaded, None)

    def view(self, choices: Choices) -> View:
        """Everything to show. Patches by hand enter the score. Raises ValueError for what can't be chosen."""
        if choices.model not in self.dcns:
            raise ValueError(f"model must be one of {', '.join(self.dcns)}, got {choices.model!r}")
        if choices.policy not in self.policies:
            raise ValueError(f"policy must be one of {', '.join(self.policies)}, got {choices.policy!r}")
        subject = self.subject(choices)
        all_looks = self._looks(choices.model, choices.policy, subject)
        hand = None if choices.cells is None else self._play(choices.model, choices.cells, subject)
        games = self._games.values()
        return View(
            choices=choices,
            subject=subject,
            looks=all_looks,
            multiplications=self._multiplications(choices.model, choices.policy, len(all_looks)),
            references=self._references(subject),
            hand=hand,
            sure=self._until_sure(choices, subject),
            games=len(games),
            your_score=_score([(label, played.look) for label, played in games]),
            gradients_score=_score([(label, played.gradients) for label, played in games]),
        )

    def subject(self, choices: Choices) -> Subject:
        """The image that was chosen. Raises ValueError if there is none such."""
        if choices.source == "upload":
            if self._uploaded is None:
                raise ValueError("no image was uploaded yet: choose a picture file")
            return self._prepared(self._uploaded, choices.invert)
        return self._subject(choices.source, choices.index, choices.seed)

    def text(self, answer: Answer) -> str:
        """What an answer says, in the task's words."""
        return self.task.answer(F.one_hot(torch.tensor(answer), len(self.task.classes)).float())

    def forget_games(self) -> None:
        """Begin a new score."""
        self._games.clear()

    def _find_subject(self, source: Source, index: int, seed: int) -> Subject:
        if source not in self.sources:
            raise ValueError(f"source must be one of {', '.join(self.sources)}, got {source!r}")
        if not 0 <= index < len(self.data):
            raise ValueError(f"there is no image {index}: the numbers are 0..{len(self.data) - 1}")
        data, title = self.data, f"validation image {index}"
        if source == "new clutter" and isinstance(data, ClutteredMNIST):
            data = ClutteredMNIST(data.digits, rules=data.rules, seed=seed)
            title = f"digit {index} in the clutter of seed {seed}"
        image, label = data[index]
        boxes = self._boxes(data)
        return Subject(title, image, answer_of(torch.as_tensor(label)), None if boxes is None else boxes[index])

    @staticmethod
    def _boxes(data: Images) -> Tensor | None:
        """Where each image's digit lies (N, 4), if that is known and it has only one."""
        boxes = getattr(data, "boxes", None)
        return boxes if boxes is not None and boxes.ndim == 2 else None

    def _prepare(self, picture: Picture, invert: bool | None) -> Subject:
        prepared = self.task.preprocess(picture, invert=invert)
        return Subject(f"your image {picture.name}", prepared.image, notes=prepared.notes)

    def _find_looks(self, model: str, policy: str, subject: Subject) -> list[Look]:
        dcn = self.dcns[model]
        return looks(dcn, subject.image, policy=_policy(policy, subject, dcn.geometry))

    def _count(self, model: str, policy: str, numbers: int) -> list[int]:
        """Multiplications at k = 0, 1, ...; an oracle, like a hand, chooses for nothing."""
        chosen = _no_policy if policy == "oracle" else policy
        dcn = self.dcns[model]
        return [count_multiplications(dcn, self.image_shape, k=k, policy=chosen).total for k in range(numbers)]

    def _until_sure(self, choices: Choices, subject: Subject) -> Sure | None:
        if choices.entropy_below is None or choices.cells is not None:
            return None
        dcn = self.dcns[choices.model]
        policy = _policy(choices.policy, subject, dcn.geometry)
        look = dcn.adaptive(subject.image[None], choices.entropy_below, policy=policy)
        patches = int(look.patches_used)
        plan = dcn.plan(look.saliency.numel(), choices.entropy_below)
        rounds = tuple(k for k in plan.rounds if k <= patches)
        return Sure(patches, look.doubt.item(), self._round_costs(choices.model, choices.policy, rounds)[-1])

    def _count_rounds(self, model: str, policy: str, rounds: tuple[int, ...]) -> tuple[int, ...]:
        chosen = _no_policy if policy == "oracle" else policy
        return count_rounds(self.dcns[model], rounds, self.image_shape, policy=chosen)

    @torch.no_grad()
    def _ask_references(self, subject: Subject) -> list[Reference]:
        answers = []
        for name, model in self.references.items():
            logits = model(subject.image[None])
            answers.append(Reference(name, logits[0].softmax(-1), entropy(logits).item(), self._reference_costs[name]))
        return answers

    def _play(self, model: str, cells: tuple[int, ...], subject: Subject) -> Hand:
        gradients = self._looks(model, PAPERS_POLICY, subject)
        if len(set(cells)) != len(cells) or len(cells) >= len(gradients):
            raise ValueError(f"choose 0..{len(gradients) - 1} different patches, got {len(cells)}")
        on_map = gradients[0].saliency.numel()
        if any(not 0 <= cell < on_map for cell in cells):
            raise ValueError(f"cells are numbered 0..{on_map - 1}, got {cells}")
        look = look_at_cells(self.dcns[model], subject.image, torch.tensor(cells, dtype=torch.int64))
        hand = Hand(look, gradients[look.k], self._multiplications(model, "oracle", len(gradients))[look.k])
        if subject.label is not None and look.k:
            self._games[subject.title, model] = (subject.label, hand)
        return hand


def _score(games: list[tuple[Answer, Look]]) -> Score:
    count = max(1, len(games))
    return Score(
        right=sum(look.answer == label for label, look in games),
        truth=sum(chance_of(label, look.after) for label, look in games) / count,
        entropy=sum(look.entropy_after for _, look in games) / count,
    )


def _policy(name: str, subject: Subject, geometry: Geometry) -> Policy:
    """A policy by name for one image: random cells stay the same while you look, and the oracle knows the box."""
    if name == "random":
        return _repeated_random
    if name != "oracle":
        return POLICIES[name]
    if subject.box is None:
        raise ValueError("the oracle knows where generated digits lie, not yours: choose another policy")
    box = subject.box[None]

    def oracle(first: FirstLook) -> Tensor:
        rows, columns = first.coarse_map.shape[2:]
        return oracle_scores(box, geometry, (rows, columns))

    return oracle


def _repeated_random(first: FirstLook) -> Tensor:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return POLICIES["random"](first)


def _no_policy(first: FirstLook) -> Tensor:
    """Any scores that cost nothing."""
    return first.coarse_map[:, 0]

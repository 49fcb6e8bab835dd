"""Beginning with a trained network's weights instead of drawn ones."""

from torch import nn

from dcnlib.core.dcn import DynamicCapacityNetwork
from dcnlib.core.multiscale import MultiScaleNetwork
from dcnlib.core.network import SingleCapacityNetwork
from dcnlib.models.pretrained import Trained
from dcnlib.utils.modules import uncompiled
from dcnlib.utils.records import Record
from dcnlib.utils.weights import digest_of, weights_of


def begin_with(model: nn.Module, trained: Trained) -> Record:
    """Give a new model the weights of a trained one for the same task, and say in a record which.

    A model of the same kind takes all of them. A Dynamic Capacity Network takes fine and top layers from a trained fine
    model, coarse layers from a trained coarse model, and what else it has stays. Raises ValueError for other pairs.
    """
    model = uncompiled(model)
    new, old = (each.network if isinstance(each, MultiScaleNetwork) else each for each in (model, trained.model))
    try:
        if isinstance(new, DynamicCapacityNetwork) and isinstance(old, SingleCapacityNetwork):
            if trained.spec.kind == "coarse":
                new.coarse.load_state_dict(old.layers.state_dict())
                return _told(trained)
            new.fine.load_state_dict(_without_frame(old.layers).state_dict())
            new.top.load_state_dict(old.top.state_dict())
        else:
            model.load_state_dict(trained.model.state_dict())
    except RuntimeError as error:
        raise ValueError(f"a {type(model).__name__} can't begin with {trained.name}: {error}") from error
    return _told(trained)


def _without_frame(layers: nn.Module) -> nn.Module:
    """Fine layers, without the zeros that a fine model puts around the whole image for them."""
    match list(layers.children()):
        case [nn.ZeroPad2d(), nn.Sequential() as fine]:
            return fine
    return layers


def _told(trained: Trained) -> Record:
    return {"name": trained.name, "kind": trained.spec.kind, "weights": digest_of(weights_of(trained.model))}

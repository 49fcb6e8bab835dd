"""Files made by hand to do harm: each known attack on a reader of such files, with what it must not achieve."""

from hostile.attacks import exports, labels, own_pictures, packed, pictures, runs
from hostile.attacks.attack import Attack

ATTACKS: dict[str, Attack] = {
    attack.name: attack for room in (pictures, labels, packed, runs, exports, own_pictures) for attack in room.attacks()
}

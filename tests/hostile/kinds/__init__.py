"""Every kind of file that the library reads, by name."""

from hostile.kinds import data_sets, exports, own_pictures, pictures, runs
from hostile.kinds.kind import Kind

KINDS: dict[str, Kind] = {
    kind.name: kind for room in (runs, data_sets, exports, pictures, own_pictures) for kind in room.KINDS
}

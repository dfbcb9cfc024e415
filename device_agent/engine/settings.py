"""Every limit of the engine, with its unit. The core keeps those of a file too (native/model/format.h)."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSettings:
    """Limits of a model file.

    Attributes:
        file_bytes_max: Bytes of a whole file.
        graph_bytes_max: Bytes of its graph.
        operators_max: Operators in a graph or a part of one.
        depth_max: Parts (loop bodies, branches) inside each other.
        name_bytes_max: Characters of one name.
        rank_max: Axes of a tensor.
        tensor_bytes_max: Bytes of one tensor.
    """

    file_bytes_max: int = 2**31
    graph_bytes_max: int = 2**26
    operators_max: int = 65_536
    depth_max: int = 8
    name_bytes_max: int = 65_535
    rank_max: int = 8
    tensor_bytes_max: int = 2**31


LIMITS = EngineSettings()


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanSettings:
    """Limits of planning.

    Attributes:
        regions_max: Regions of one raster; a transform that would need more reads what the one before it wrote.
        splits_max: Pieces that one region is cut into while two are merged.
        literal_elements_max: Elements of a tensor that the planner computes itself.
        sessions_max: Plans kept for one model, by the shapes of its inputs.
        iterations_max: Rounds of one loop.
        sent_bytes_max: Bytes of a model that goes along with a request to plan it; a larger one is planned where it is.
        trials_max: Timed trials of algorithms for one model, at most; its loader says how many of them.
        trials_s: Time that they may take, in seconds.
        trials_kept_max: Figures of trials that a process keeps.
        pads_max: Elements that a pad by reflection, repetition or wrapping adds to one axis.
    """

    regions_max: int = 256
    splits_max: int = 512
    literal_elements_max: int = 4096
    sessions_max: int = 32
    iterations_max: int = 1 << 20
    pads_max: int = 1 << 16
    sent_bytes_max: int = 1 << 25
    trials_max: int = 256
    trials_s: float = 2.0
    trials_kept_max: int = 4096


PLAN_LIMITS = PlanSettings()

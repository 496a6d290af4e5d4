"""What can be asked of an estimate: a model on devices, how it is split over them, and the load."""

from dataclasses import dataclass, fields
from typing import Annotated, ClassVar

from workbench.core.errors import InvalidSpec
from workbench.core.knobs import knob
from workbench.core.language import gettext
from workbench.core.specs import Spec
from workbench.estimate.knobs import CatalogueDevice, model_knob
from workbench.estimate.machine import Split
from workbench.estimate.prediction import Question


@dataclass(frozen=True, slots=True, kw_only=True)
class EstimateSpec(Question, Spec):
    """A load, and the devices of one kind that serve it."""

    command: ClassVar[str] = "estimate"
    computed_by: ClassVar[str] = "predict_service"

    model: Annotated[str, model_knob("meta-llama/Meta-Llama-3.1-8B")]
    device: CatalogueDevice
    n_devices: int | None = knob(None, "Devices", "Devices of all replicas; one replica if left out.", option="devices")
    tensor: int = knob(1, "Tensor parallel size", "Devices over which every layer is cut.", option="tp")
    pipeline: int = knob(1, "Pipeline stages", "Groups of devices that each hold some layers.", option="pp")
    data: int = knob(
        1, "Data parallel size", "Groups that attend to their own sequences and share experts.", option="dp"
    )
    is_expert_parallel: bool = knob(
        False, "Expert parallel", "Give whole experts to devices, instead of a slice of each.", option="ep"
    )

    def __post_init__(self) -> None:
        Question.__post_init__(self)
        if self.n_devices is not None and (self.n_devices < 1 or self.n_devices % self.split.n_devices):
            raise InvalidSpec(
                gettext("{n} devices cannot be divided into replicas of {each}.").format(
                    n=self.n_devices, each=self.split.n_devices
                ),
                remedy=gettext("Give a multiple of the devices of one replica."),
            )

    @property
    def split(self) -> Split:
        """How the model is cut."""
        return Split(**{f.name: getattr(self, f.name) for f in fields(Split)})

    @property
    def n_replicas(self) -> int:
        """Replicas that fit on all devices."""
        return (self.n_devices or self.split.n_devices) // self.split.n_devices

    @property
    def question(self) -> Question:
        """The load on one replica."""
        load = {f.name: getattr(self, f.name) for f in fields(Question)}
        return Question(**load | {"concurrency": -(-self.concurrency // self.n_replicas)})

"""`--device vendor.com/class=name` and `--gpus`: devices that are asked for by name or by what they can do.

Named ones are the Container Device Interface's. `--gpus` finds those of the kinds nvidia.com/gpu and amd.com/gpu, where a
vendor's tool (`nvidia-ctk cdi generate`) has described them; elsewhere it is refused in Docker's words.
(moby: daemon/devices.go, daemon/cdi.go)
"""

from collections.abc import Sequence

from onggi.engine.container_config import DeviceRequest
from onggi.errors import InvalidParameter, System, Unsupported
from onggi.oci import spec as oci
from onggi.runtime import cdi

_GPU_KINDS = {"nvidia": ("nvidia.com/gpu",), "amd": ("amd.com/gpu",), "": ("nvidia.com/gpu", "amd.com/gpu")}
_ALL = "all"


def inject(spec: oci.Spec, requests: Sequence[DeviceRequest], directories: Sequence[str], *, own: bool) -> oci.Spec:
    """The configuration with all requested devices. `own`: our runtime starts it. Blocks.

    Raises System in Docker's words for what there is not, Unsupported.
    """
    registry = cdi.read(directories)
    names: list[str] = []
    for request in sorted(requests, key=lambda request: request.driver == "cdi"):
        names += (request.device_ids or ()) if request.driver == "cdi" else _gpus(request, registry)
    found = cdi.apply(spec, registry.edits(names))
    if own and found.hooks is not None:
        raise Unsupported(
            "the CDI devices ask for hooks, which Onggi's own runtime does not run in a container of the engine: start it "
            "with --runtime runc"
        )
    return found


def _gpus(request: DeviceRequest, registry: cdi.Registry) -> list[str]:
    wanted = {word for group in request.capabilities or () for word in group}
    for kind in _GPU_KINDS.get(request.driver, ()) if "gpu" in wanted else ():
        known = cdi.kinds(registry.names()).get(kind)
        if not known:
            continue
        if request.device_ids:
            if request.count:
                raise InvalidParameter("cannot set both Count and DeviceIDs on device request")
            chosen: Sequence[str] = request.device_ids
        elif request.count < 0:
            chosen = (_ALL,) if _ALL in known else known
        else:
            single = [name for name in known if name.isdigit()]
            chosen = sorted(single, key=int)[: request.count]
            if len(chosen) < request.count:
                raise System(f"{request.count} GPUs are requested and {len(single)} of {kind} are there")
        return [f"{kind}={name}" for name in chosen]
    groups = " ".join("[" + " ".join(group) + "]" for group in request.capabilities or ())
    raise System(f'could not select device driver "{request.driver}" with capabilities: [{groups}]')

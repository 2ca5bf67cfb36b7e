"""Exec: enter a running container's namespaces and run one more process there.

The same play as `init.spawn`, with a plan by `plan.plan_exec`: the child is born in the container's pid namespace and
in its control group, joins the rest by one setns(2) on the pidfd of the container's init, and closes whatever it held
of the host before anything of the container's is looked at.
"""

from onggi.runtime import init
from onggi.runtime.init import Child

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["spawn"]


def spawn(plan: "list[Any]", files: "dict[str, int]") -> Child:
    """Like `init.spawn`, for a plan of `plan.plan_exec`. `files` must name `pidfd` (the container's init) as well."""
    return init.spawn(plan, files)

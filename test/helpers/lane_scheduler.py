"""Assigns test files to workers; imported only if pytest-xdist runs."""

import lanes
from xdist.scheduler import LoadScopeScheduling


class LaneScheduling(LoadScopeScheduling):
    """LoadScopeScheduling by file, which asks lanes.next_file for a worker's next one."""

    def _split_scope(self, nodeid):
        return nodeid.partition("::")[0]

    def _next(self, node):
        number = int(node.gateway.id.removeprefix("gw"))
        quiet = lanes.is_quiet(number, self.numnodes)
        return lanes.next_file(list(self.workqueue), quiet=quiet)

    def _assign_work_unit(self, node):
        file = self._next(node)
        if file is None:
            node.shutdown()
            return
        self.workqueue.move_to_end(file, last=False)
        super()._assign_work_unit(node)

    def _reschedule(self, node):
        if not node.shutting_down and self._next(node) is None:
            node.shutdown()  # after its current tests
            return
        super()._reschedule(node)

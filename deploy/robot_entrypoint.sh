#!/bin/bash
# `vla up` in the environment of ROS and of this package, as process 1 of a container: signals reach it.
set -e
source "/opt/ros/$ROS_DISTRO/setup.bash"
source /opt/vla_policy/tools/env.sh
exec vla up "$@"

# The nodes of a robot on ROS 2 Jazzy. From the repository's root:
#   docker build -f deploy/robot.Dockerfile -t vla_policy:robot .
#   docker run --rm --net=host --ipc=host --ulimit rtprio=20 vla_policy:robot vx300s --sim
# --net=host and --ipc=host: DDS finds the other nodes and hands pictures over in shared memory; rtprio: docs/performance.md.
ARG ROS_DISTRO=jazzy
FROM ros:${ROS_DISTRO}-ros-base
SHELL ["/bin/bash", "-c"]
WORKDIR /opt/vla_policy
COPY . .
RUN apt-get update && rosdep update --rosdistro "$ROS_DISTRO" \
 && source "/opt/ros/$ROS_DISTRO/setup.bash" && make setup \
 && rm -rf /var/lib/apt/lists/*
ENTRYPOINT ["/opt/vla_policy/deploy/robot_entrypoint.sh"]
CMD ["--help"]

# The environment of the built package: `. tools/env.sh`, from any folder, in sh, bash or zsh.
# Puts the virtual environment, ROS (the sourced installation, else the wheels) and ./install in place.
if [ -n "${BASH_SOURCE:-}" ]; then _vla_file="${BASH_SOURCE[0]}"
elif [ -n "${ZSH_VERSION:-}" ]; then _vla_file="${(%):-%x}"
else _vla_file="${VLA_ROOT:-.}/tools/env.sh"
fi
_vla_root="$(cd "$(dirname "$_vla_file")/.." && pwd)"
if [ -n "${ROS_DISTRO:-}" ] && [ -d "$_vla_root/.venv-$ROS_DISTRO" ]; then
  . "$_vla_root/.venv-$ROS_DISTRO/bin/activate"
elif [ -f "$_vla_root/.venv/bin/activate" ]; then
  . "$_vla_root/.venv/bin/activate"
  AMENT_PREFIX_PATH="$VIRTUAL_ENV"
  CMAKE_PREFIX_PATH="$VIRTUAL_ENV"
  export AMENT_PREFIX_PATH CMAKE_PREFIX_PATH
fi
if [ -f "$_vla_root/install/local_setup.sh" ]; then
  COLCON_CURRENT_PREFIX="$_vla_root/install"
  . "$_vla_root/install/local_setup.sh"
  unset COLCON_CURRENT_PREFIX
  PATH="$_vla_root/install/vla_policy/lib/vla_policy:$PATH"
  export PATH
else
  echo "vla_policy is not built yet: run make setup in $_vla_root" >&2
fi
# Where the built package is missing, the rest of the shell must not see half of it.
unset _vla_file _vla_root

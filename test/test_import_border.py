"""The borders between the parts, read from the import statements alone."""

import ast
from pathlib import Path

import pytest

PACKAGE = "vla_policy"
ROOT = Path(__file__).resolve().parent.parent
ROS = (
    "rclpy",
    "launch",
    "launch_ros",
    "rosidl_runtime_py",
    "ament_index_python",
    "tf2_ros",
    "cv_bridge",
)
NUMPY_ONLY = ("types", "timing", "transforms", "stats", "embodiment", "layout", "spaces", "fields")
# Imported only by a robot that names a model of its bodies, never when a module is loaded.
LAZY = {f"{PACKAGE}.safety.bodies": {"mujoco"}}
FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__"}
FORBIDDEN_MODULES = {"pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {module_name(path): path for path in sorted((ROOT / PACKAGE).rglob("*.py"))}


def imports_of(name: str) -> set[str]:
    """Full names of what a module imports anywhere in it, relative ones resolved."""
    package = name if FILES[name].name == "__init__.py" else name.rpartition(".")[0]
    found: set[str] = set()
    for node in ast.walk(ast.parse(FILES[name].read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*parents, *([node.module] if node.module else [])])
            found.add(base)
            found |= {f"{base}.{alias.name}" for alias in node.names}
    return found


def is_ros(imported: str) -> bool:
    top = imported.split(".")[0]
    messages = top.endswith(("_msgs", "_srvs", "_interfaces"))
    own = imported.startswith((f"{PACKAGE}.msg", f"{PACKAGE}.srv", f"{PACKAGE}.action"))
    return top in ROS or messages or own


def reachable_from(name: str) -> dict[str, str]:
    """Modules of the package that importing name runs -> which module imports each."""
    reached, todo = {name: name}, [name]
    while todo:
        current = todo.pop()
        parents = [".".join(current.split(".")[:k]) for k in range(1, current.count(".") + 1)]
        for imported in [*imports_of(current), *parents]:
            if imported in FILES and imported not in reached:
                reached[imported] = current
                todo.append(imported)
    return reached


def test_the_package_is_found():
    assert {f"{PACKAGE}.types", f"{PACKAGE}.ros.control_node", f"{PACKAGE}.policy"} <= set(FILES)


def test_relative_imports_are_resolved():
    assert f"{PACKAGE}.models.weights" in imports_of(f"{PACKAGE}.policy")


@pytest.mark.parametrize("name", [n for n in FILES if not n.startswith(f"{PACKAGE}.ros")])
def test_only_the_ros_folder_knows_ros(name):
    assert not {i for i in imports_of(name) if is_ros(i)}


def test_the_core_needs_no_ros_folder():
    for name in FILES:
        if name.startswith((f"{PACKAGE}.ros", f"{PACKAGE}.cli")):
            continue
        assert not {i for i in imports_of(name) if i.startswith(f"{PACKAGE}.ros")}, name


@pytest.mark.parametrize("node", ["control_node", "task_node", "web_node", "sim_node"])
def test_torch_stays_in_the_policy_process(node):
    for name, importer in reachable_from(f"{PACKAGE}.ros.{node}").items():
        tops = {i.split(".")[0] for i in imports_of(name)}
        assert "torch" not in tops, f"{name}, imported by {importer}"


@pytest.mark.parametrize(
    "name", [f"{PACKAGE}.{n}" for n in NUMPY_ONLY if f"{PACKAGE}.{n}" in FILES]
)
def test_value_modules_need_numpy_alone(name):
    import sys

    allowed = {*sys.stdlib_module_names, "numpy", "yaml", PACKAGE}
    for reached, importer in reachable_from(name).items():
        tops = {i.split(".")[0] for i in imports_of(reached) if i} - LAZY.get(reached, set())
        assert tops <= allowed, f"{reached}, imported by {importer}: {tops - allowed}"


@pytest.mark.parametrize(
    "name", [n for n in FILES if f"{PACKAGE}.execution" in n or f"{PACKAGE}.safety" in n]
)
def test_execution_and_safety_need_numpy_alone(name):
    test_value_modules_need_numpy_alone(name)


@pytest.mark.parametrize("name", list(FILES))
def test_nothing_runs_text_or_unpickles(name):
    tree = ast.parse(FILES[name].read_text())
    calls = {
        node.func.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    assert not calls & FORBIDDEN_CALLS
    assert not {i.split(".")[0] for i in imports_of(name)} & FORBIDDEN_MODULES


@pytest.mark.parametrize("name", list(FILES))
def test_no_exception_is_swallowed(name):
    for node in ast.walk(ast.parse(FILES[name].read_text())):
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None, f"{name}:{node.lineno}: bare except"
            only_pass = len(node.body) == 1 and isinstance(node.body[0], ast.Pass)
            assert not only_pass, f"{name}:{node.lineno}: except with only pass"


@pytest.mark.parametrize(("name", "lazy"), LAZY.items())
def test_lazy_imports_are_inside_functions(name, lazy):
    for node in ast.parse(FILES[name].read_text()).body:
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            assert node.module not in lazy if isinstance(node, ast.ImportFrom) else True
            assert not {alias.name for alias in node.names} & lazy

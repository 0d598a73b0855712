"""The borders between the parts, read from the import statements alone (tools/import_map.py draws the map)."""

import ast
import importlib.util
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "vla_policy"
ROS = {
    "rclpy",
    "launch",
    "launch_ros",
    "rosidl_runtime_py",
    "ament_index_python",
    "tf2_ros",
    "cv_bridge",
}
# Rooms whose modules compute with arrays alone; yaml is what embodiment/ reads files with.
NUMPY_ROOMS = (
    "parsing",
    "types",
    "timing",
    "paths",
    "geometry",
    "embodiment",
    "execution",
    "safety",
)
NO_TORCH = ("control_node", "task_node", "web_node", "sim_node", "mock_node", "teleop_node")
# Imported only by a robot that names a collision model, never when a module is loaded.
LAZY = {
    "vla_policy.safety.collisions": {"mujoco"},
    "vla_policy.embodiment.forward_kinematics": {"mujoco"},
}
FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__"}
FORBIDDEN_MODULES = {"pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}


def import_map():
    spec = importlib.util.spec_from_file_location("import_map", ROOT / "tools" / "import_map.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


MAP = import_map()
FILES = MAP.modules(ROOT / PACKAGE)
ROOMS = sorted({MAP.room_of(name) for name in FILES})


@cache
def graph() -> dict[str, set[str]]:
    """Module -> modules of the package that it imports."""
    return MAP.import_graph(ROOT / PACKAGE)


def nodes_of(name: str) -> tuple[ast.AST, ...]:
    """Every node of a module's tree."""
    return MAP.nodes(FILES[name])


@cache
def foreign_imports(name: str) -> frozenset[str]:
    """Top-level names of other packages that a module imports anywhere in it."""
    found = set()
    for node in nodes_of(name):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add(node.module.partition(".")[0])
    return frozenset(found - {PACKAGE, *sys.stdlib_module_names})


def of_room(room: str) -> list[str]:
    """The modules of one folder; "": of the root."""
    return [name for name in FILES if MAP.room_of(name) == room]


def names_messages(name: str) -> bool:
    """Whether a module imports the package's own generated messages."""
    return any(
        isinstance(node, ast.ImportFrom)
        and (node.module or "").startswith(
            tuple(f"{PACKAGE}.{k}" for k in ("msg", "srv", "action"))
        )
        for node in nodes_of(name)
    )


def reachable_from(*names: str) -> dict[str, str]:
    """Modules of the package that importing any of names can run -> which module imports each."""
    reached, todo = {name: name for name in names}, list(names)
    while todo:
        current = todo.pop()
        parents = [".".join(current.split(".")[:k]) for k in range(1, current.count(".") + 1)]
        for other in [*graph()[current], *parents]:
            if other not in reached:
                reached[other] = current
                todo.append(other)
    return reached


def test_names_that_these_tests_use_exist():
    assert {*LAZY, *(f"{PACKAGE}.ros.nodes.{node}" for node in NO_TORCH)} <= set(FILES)
    assert {*NUMPY_ROOMS, "ros"} <= {MAP.room_of(name) for name in FILES}


def test_the_root_has_five_modules():
    assert {p.stem for p in (ROOT / PACKAGE).glob("*.py")} == {
        "__init__", "cli", "paths", "policy", "timing", "types"
    }  # fmt: skip


def test_every_room_has_its_floor():
    assert {MAP.room_of(name) for name in FILES} - {""} <= set(MAP.ORDER)


def test_every_arrow_points_down():
    assert MAP.arrows_up(graph()) == []


def test_no_modules_import_each_other_in_a_circle():
    assert MAP.circles(graph()) == []


def test_the_map_finds_arrows_and_circles():
    wrong = {
        f"{PACKAGE}.safety.guard": {f"{PACKAGE}.ros.nodes.task_node"},
        f"{PACKAGE}.ros.nodes.task_node": {f"{PACKAGE}.safety.guard"},
    }
    assert len(MAP.arrows_up(wrong)) == 1
    assert MAP.circles(wrong) == [sorted(wrong)]


@pytest.mark.parametrize("room", [room for room in ROOMS if room != "ros"])
def test_only_the_ros_folder_knows_ros(room):
    for name in of_room(room):
        foreign = foreign_imports(name)
        messages = {top for top in foreign if top.endswith(("_msgs", "_srvs", "_interfaces"))}
        assert not foreign & ROS | messages, name
        assert not names_messages(name), name


@pytest.mark.parametrize("node", NO_TORCH)
def test_torch_stays_in_the_policy_process(node):
    for name, importer in reachable_from(f"{PACKAGE}.ros.nodes.{node}").items():
        assert "torch" not in foreign_imports(name), f"{name}, imported by {importer}"


@pytest.mark.parametrize("room", NUMPY_ROOMS)
def test_the_control_path_needs_numpy_alone(room):
    for reached, importer in reachable_from(*of_room(room)).items():
        foreign = foreign_imports(reached) - LAZY.get(reached, set())
        assert foreign <= {"numpy", "yaml"}, f"{reached}, imported by {importer}: {foreign}"


@pytest.mark.parametrize("room", ROOMS)
def test_nothing_runs_text_or_unpickles(room):
    for name in of_room(room):
        nodes = nodes_of(name)
        calls = {
            node.func.id
            for node in nodes
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        }
        imported = {a.name for n in nodes if isinstance(n, ast.Import) for a in n.names}
        imported |= {n.module for n in nodes if isinstance(n, ast.ImportFrom)}
        assert not calls & FORBIDDEN_CALLS, name
        assert not imported & FORBIDDEN_MODULES, name


@pytest.mark.parametrize("room", ROOMS)
def test_no_exception_is_swallowed(room):
    handlers = (
        (name, node)
        for name in of_room(room)
        for node in nodes_of(name)
        if isinstance(node, ast.ExceptHandler)
    )
    for name, node in handlers:
        assert node.type is not None, f"{name}:{node.lineno}: bare except"
        only_pass = len(node.body) == 1 and isinstance(node.body[0], ast.Pass)
        assert not only_pass, f"{name}:{node.lineno}: except with only pass"


@pytest.mark.parametrize(("name", "lazy"), LAZY.items())
def test_lazy_imports_are_inside_functions(name, lazy):
    for node in MAP.tree(FILES[name]).body:
        if isinstance(node, ast.ImportFrom):
            assert node.module not in lazy
        if isinstance(node, ast.Import):
            assert not {alias.name for alias in node.names} & lazy


@pytest.mark.parametrize("room", ROOMS)
def test_every_module_that_is_imported_exists(room):
    generated = {f"{PACKAGE}.{kind}" for kind in ("msg", "srv", "action")}
    for name in of_room(room):
        named = {
            node.module
            for node in nodes_of(name)
            if isinstance(node, ast.ImportFrom) and not node.level
        }
        own = {module for module in named if module.split(".")[0] == PACKAGE}
        assert own - generated <= {PACKAGE, *FILES}, name

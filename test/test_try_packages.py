"""The fresh environment of tools/try_packages.py has torch and what it needs, and nothing else of another one;
what colcon says of tests that fail is told."""

import try_packages


def environment(folder, **needs):
    """Packages with what each needs, as pip leaves them."""
    place = folder / "lib" / "python3.12" / "site-packages"
    place.mkdir(parents=True)
    for name, needed in needs.items():
        (place / name).mkdir()
        (place / name / "__init__.py").touch()
        info = place / f"{name}-1.0.dist-info"
        info.mkdir()
        lines = [f"Requires-Dist: {one}" for one in needed]
        (info / "METADATA").write_text("\n".join([f"Name: {name}", "Version: 1.0", *lines, ""]))
        (info / "RECORD").write_text(
            f"{name}/__init__.py,,\n{name}-1.0.dist-info/METADATA,,\n../../../bin/{name},,\n"
        )
    return place


def test_torch_is_linked_with_what_it_needs_alone(tmp_path):
    there = environment(
        tmp_path / "there",
        torch=[
            "typing_extensions>=4.10",
            "sympy; python_version >= '3'",
            "optree; extra == 'all'",
        ],
        sympy=["mpmath<1.4"],
        mpmath=[],
        typing_extensions=[],
        optree=[],
        rclpy=[],
    )
    here = environment(tmp_path / "here", pip=[])
    try_packages.link_torch(tmp_path / "there", tmp_path / "here")
    linked = {path.name for path in here.iterdir() if path.is_symlink()}
    names = ("torch", "sympy", "mpmath", "typing_extensions")
    assert linked == {*names, *(f"{name}-1.0.dist-info" for name in names)}
    assert (here / "torch").resolve() == there / "torch"


def test_the_tests_that_fail_are_named():
    text = """build/p/test_results/p/ros.xunit.xml: 2 tests, 0 errors, 1 failure, 0 skipped
- p.test.a test_x
  <<< failure message
    assert 1 == 2
  >>>

Summary: 2 tests, 0 errors, 1 failure, 0 skipped
"""
    summary = "Summary: 2 tests, 0 errors, 1 failure, 0 skipped"
    assert try_packages.read_results(text) == (summary, ["p.test.a test_x"])
    assert try_packages.read_results("") == ("no result", [])

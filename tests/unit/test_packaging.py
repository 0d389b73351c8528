"""The files that describe the project to pip, conda, citation tools and readers tell one story."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
RUNTIME = [Requirement(line) for line in PYPROJECT["project"]["dependencies"]]
DEV = [Requirement(line) for line in PYPROJECT["project"]["optional-dependencies"]["dev"]]

# Where conda calls a package otherwise than pip does.
CONDA_NAMES = {
    "matplotlib": "matplotlib-base",  # without the desktop toolkit
    "pandera": "pandera-pandas",
    "playwright": "playwright-python",  # conda's playwright is the Node program
    "snakemake": "snakemake-minimal",
    "torch": "pytorch",
    "types-PyYAML": "types-pyyaml",
}
# What conda has to bring beside Python packages.
CONDA_ONLY = {"python", "pip", "fonts-conda-forge", "poppler"}

# Written in parts, so that this file does not name what it looks for.
REGISTRY_HOSTS = [
    ".".join(parts)
    for parts in [
        ("pypi", "org"),
        ("files", "pythonhosted", "org"),
        ("download", "pytorch", "org"),
        ("deb", "debian", "org"),
        ("archive", "ubuntu", "com"),
        ("registry", "npmjs", "org"),
        ("conda", "anaconda", "org"),
    ]
]


def conda_dependencies() -> dict[str, SpecifierSet]:
    """environment.yml's packages and their ranges; fails on a pip section."""
    entries = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))["dependencies"]
    pairs = [entry.partition(" ") for entry in entries]
    return {name: SpecifierSet(versions) for name, _, versions in pairs}


def locked_versions() -> dict[str, Version]:
    """Every package pinned in the two lock files, under its normalised name."""
    locks = [ROOT / "requirements.lock", ROOT / "requirements-torch.lock"]
    text = "".join(lock.read_text(encoding="utf-8") for lock in locks)
    pins = re.findall(r"^([A-Za-z0-9._-]+)==([^\s;]+)", text, flags=re.MULTILINE)
    assert len(pins) == len({name for name, _ in pins}), "one version for every Python and platform"
    return {canonicalize_name(name): Version(version) for name, version in pins}


def text_files() -> dict[str, str]:
    """The text of every file that git tracks or would track, by its path."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    try:
        listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout, so nothing says which files are the project's")
    names = [name for name in listed.decode().split("\0") if (ROOT / name).is_file()]
    contents = {name: (ROOT / name).read_bytes() for name in names}
    return {name: data.decode(errors="replace") for name, data in contents.items() if b"\0" not in data}


def test_conda_installs_what_pip_installs() -> None:
    wanted = {CONDA_NAMES.get(requirement.name, requirement.name) for requirement in RUNTIME + DEV}
    assert set(conda_dependencies()) - CONDA_ONLY == wanted


@pytest.mark.parametrize("requirement", RUNTIME + DEV, ids=lambda requirement: requirement.name)
def test_conda_has_the_same_range_as_pip(requirement: Requirement) -> None:
    name = CONDA_NAMES.get(requirement.name, requirement.name)
    assert conda_dependencies()[name] == requirement.specifier


def test_conda_has_the_same_python_as_pip() -> None:
    assert conda_dependencies()["python"] == SpecifierSet(PYPROJECT["project"]["requires-python"])


@pytest.mark.parametrize("requirement", RUNTIME + DEV, ids=lambda requirement: requirement.name)
def test_every_range_is_closed_and_holds_the_locked_version(requirement: Requirement) -> None:
    assert {part.operator for part in requirement.specifier} == {">=", "<"}
    locked = locked_versions()[canonicalize_name(requirement.name)]
    assert locked in requirement.specifier


def test_lock_builds_the_package_with_the_backend_it_names() -> None:
    for line in PYPROJECT["build-system"]["requires"]:
        assert Requirement(line) in DEV


def test_lock_is_hashed_and_leaves_the_choice_of_torch_build_open() -> None:
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    entries = re.split(r"^(?=[A-Za-z0-9])", text, flags=re.MULTILINE)[1:]
    assert [entry.split("==")[0] for entry in entries if "--hash=sha256:" not in entry] == []
    names = {canonicalize_name(entry.split("==")[0]) for entry in entries}
    assert {name for name in names if name.startswith(("torch", "triton", "nvidia", "cuda"))} == set()


def test_one_version_everywhere() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    newest = re.search(r"^## \[(\d[^\]]*)\]", changelog, flags=re.MULTILINE)
    assert newest is not None
    assert newest[1] == citation["version"] == PYPROJECT["project"]["version"]


def test_no_file_names_a_registry_host() -> None:
    found = [
        f"{path}: {host}" for path, text in text_files().items() for host in REGISTRY_HOSTS if host in text.lower()
    ]
    assert found == []

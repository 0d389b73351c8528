#!/usr/bin/env bash
# Makes this checkout ready to use: system libraries, .venv, locked packages, torch, trainatlas itself.
#
#   scripts/setup.sh          what `make report` needs
#   scripts/setup.sh --dev    also what the tests need from the system (poppler, Chromium, SLURM)
#
# Variables: PYTHON (interpreter to build .venv with), TORCH_INDEX_URL (where to take torch from).
# It can be interrupted and started again at any time, and takes a second when nothing is to be done.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
ROOT=$(pwd -P)
VENV=$ROOT/.venv
STAMP=$VENV/.set-up
DEV=no

say() { printf 'set-up: %s\n' "$*"; }
die() {
    printf 'set-up: %s\n' "$*" >&2
    exit 1
}

case "${1-}" in
    '') ;;
    --dev) DEV=yes ;;
    -h | --help)
        sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"
        exit 0
        ;;
    *) die "unknown option '$1'; the only options are --dev and --help" ;;
esac

# ---------------------------------------------------------------- Python

# True for an interpreter that runs and is new enough. Past 3.13 some locked packages have no wheels.
python_fits() { "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; }

find_python() {
    local name
    if [ -n "${PYTHON-}" ]; then
        "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null ||
            die "PYTHON=$PYTHON is not a working Python 3.11 or newer; point PYTHON at one, or unset it"
        command -v "$PYTHON"
        return
    fi
    for name in python3 python3.13 python3.12 python3.11 python; do
        if python_fits "$name"; then
            command -v "$name"
            return
        fi
    done
    die "no Python 3.11 to 3.13 found; install one (Debian 12 and Ubuntu 24.04: apt-get install python3" \
        "python3-venv) or name it: PYTHON=/path/to/python3.12 make setup"
}

# ---------------------------------------------------------------- system packages

# Prints the Debian package of everything that does not load, one a line; asks the loader and fontconfig
# themselves, so it holds whatever the libraries were installed with.
missing_libraries() {
    "$1" - <<'PY'
import ctypes
import ctypes.util
import os
import sys


def load(base, version):
    """The first of a library's usual names that loads, or None."""
    names = [f"lib{base}.so.{version}", f"lib{base}.{version}.dylib", ctypes.util.find_library(base)]
    if sys.platform == "darwin":
        names += [f"{d}/lib{base}.{version}.dylib" for d in ("/opt/homebrew/lib", "/usr/local/lib")]
    for name in names:
        try:
            if name:
                return ctypes.CDLL(name)
        except OSError:
            pass
    return None


def fonts(fontconfig, pattern):
    """How many installed fonts match a fontconfig pattern."""

    class FontSet(ctypes.Structure):
        _fields_ = [("count", ctypes.c_int)]

    for name, result, *arguments in [
        ("FcNameParse", ctypes.c_void_p, ctypes.c_char_p),
        ("FcObjectSetCreate", ctypes.c_void_p),
        ("FcFontList", ctypes.POINTER(FontSet), *[ctypes.c_void_p] * 3),
    ]:
        getattr(fontconfig, name).restype = result
        getattr(fontconfig, name).argtypes = arguments
    found = fontconfig.FcFontList(None, fontconfig.FcNameParse(pattern), fontconfig.FcObjectSetCreate())
    return found.contents.count if found else 0


for package, base, version in [
    ("libpango-1.0-0", "pango-1.0", 0),
    ("libpangoft2-1.0-0", "pangoft2-1.0", 0),
    ("libharfbuzz-subset0", "harfbuzz-subset", 0),
]:
    if load(base, version) is None:
        print(package)
fontconfig = load("fontconfig", 1)
for package, pattern in [("fonts-dejavu-core", b":lang=en:scalable=true"), ("fonts-nanum", b":lang=ko:scalable=true")]:
    if fontconfig is None or not fonts(fontconfig, pattern):
        print(package)
try:
    import ensurepip  # noqa: F401
    import venv  # noqa: F401
except ImportError:
    if not os.path.exists(".venv/bin/pip"):
        print("python{}.{}-venv".format(*sys.version_info))
PY
}

have_browser() {
    local name
    for name in chromium chromium-browser google-chrome google-chrome-stable; do
        if command -v "$name" >/dev/null; then return 0; fi
    done
    return 1
}

# Ubuntu has Chromium only as a snap, which neither installs everywhere nor can be driven.
only_snaps() { grep -qsi '^ID=ubuntu' /etc/os-release; }

# Prints what only the tests use, as Debian packages.
missing_test_tools() {
    command -v pdftoppm >/dev/null || echo poppler-utils
    have_browser || only_snaps || echo chromium
    if command -v apt-get >/dev/null && ! [ -d /usr/share/datasets/fashion-mnist ]; then echo dataset-fashion-mnist; fi
    missing_slurm
}

# SLURM is for tests/cluster, which start their own and need root for it. On a machine that belongs to a cluster it is left alone.
missing_slurm() {
    if ! command -v apt-get >/dev/null || [ -e /etc/slurm/slurm.conf ]; then return; fi
    PATH=$PATH:/usr/sbin
    command -v slurmctld >/dev/null && command -v sbatch >/dev/null || echo slurm-wlm
    command -v munged >/dev/null || echo munge
    command -v slurmdbd >/dev/null || echo slurmdbd
    command -v mariadbd >/dev/null || echo mariadb-server
}

# Debian's package names in the words of the package manager at hand, with its install command before them.
install_command() {
    local manager=apt-get words="$*"
    if command -v apt-get >/dev/null; then
        :
    elif command -v dnf >/dev/null; then
        manager=dnf
        words=$(sed -E 's/libpango(ft2)?-1\.0-0/pango/g; s/libharfbuzz-subset0/harfbuzz/; s/fonts-dejavu-core/dejavu-sans-fonts/
            s/fonts-nanum/naver-nanum-gothic-fonts/; s/python3\.[0-9]+-venv/python3/' <<<"$words")
    elif command -v brew >/dev/null; then
        manager=brew
        words=$(sed -E 's/libpango(ft2)?-1\.0-0/pango/g; s/libharfbuzz-subset0/harfbuzz/; s/fonts-dejavu-core/font-dejavu/
            s/fonts-nanum/font-nanum-gothic/; s/poppler-utils/poppler/; s/python3\.[0-9]+-venv/python3/' <<<"$words")
    else
        printf 'install with your package manager what Debian calls %s' "$words"
        return
    fi
    printf '%s install %s' "$manager" "$(tr ' ' '\n' <<<"$words" | sort -u | paste -sd ' ' -)"
}

can_install() { command -v apt-get >/dev/null && { [ "$(id -u)" -eq 0 ] || sudo -n true 2>/dev/null; }; }

# Installs Debian packages, telling what it does; what comes of it is for the caller to look at.
apt_install() {
    # RUNLEVEL=1: services of packages need not be started
    local apt=(env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get -qq -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0)
    if [ "$(id -u)" -ne 0 ]; then apt=(sudo -n "${apt[@]}"); fi
    say "installing system packages: $*"
    if [ -z "${APT_UPDATED-}" ]; then
        "${apt[@]}" update >/dev/null 2>&1 || true # one broken source must not stop the others
        APT_UPDATED=yes
    fi
    "${apt[@]}" install -y --no-install-recommends "$@" </dev/null >"$APT_LOG" 2>&1 || true
}

# A new font is seen by matplotlib only after its list of fonts is gone.
forget_fonts() {
    rm -f "${MPLCONFIGDIR:-${XDG_CACHE_HOME:-${HOME-/nonexistent}/.cache}/matplotlib}"/fontlist-*.json
}

# The report needs these; without one of them there is no going on (but for Korean, which only costs glyphs).
# system_packages PYTHON CURRENT: CURRENT=yes leaves out what was said when .venv was made.
system_packages() {
    local missing
    missing=$(missing_libraries "$1")
    if [ -z "$missing" ]; then return; fi
    # shellcheck disable=SC2086 # in this function and the next: one word a package
    if can_install; then
        apt_install $missing
        case "$missing" in *fonts-*) forget_fonts ;; esac
        missing=$(missing_libraries "$1")
    fi
    if [ -n "$missing" ] && [ "$missing" != fonts-nanum ]; then
        tail -n 3 "$APT_LOG" >&2
        # shellcheck disable=SC2086
        die "missing system packages that cannot be installed from here; as an administrator:" \
            "$(install_command $missing)"
    fi
    if [ -n "$missing" ] && [ "$2" = no ]; then
        say "note: no Korean font, so reports with Korean text cannot be printed; to mend: $(install_command fonts-nanum)"
    fi
}

# Tests that miss these are skipped, so their absence is told and no more.
test_tools() {
    local missing
    missing=$(missing_test_tools)
    # shellcheck disable=SC2086
    if [ -n "$missing" ] && can_install; then
        apt_install $missing
        missing=$(missing_test_tools)
    fi
    if [ -n "$missing" ]; then
        # shellcheck disable=SC2086
        say "note: some tests are skipped for want of system packages; to have them run: $(install_command $missing)"
    fi
    if only_snaps && ! have_browser; then
        say "note: the browser tests are skipped, because Ubuntu packages Chromium only as a snap"
    fi
}

# ---------------------------------------------------------------- .venv

in_venv() { "$VENV/bin/python" "$@"; }

pip_install() {
    in_venv -m pip install -qq --disable-pip-version-check --no-input --no-warn-script-location "$@"
}

# Everything that an installed .venv depends on. A checkout that was moved counts as changed.
fingerprint() {
    cat requirements.lock requirements-torch.lock pyproject.toml scripts/setup.sh |
        in_venv -c 'import hashlib, sys; print(sys.argv[1:], hashlib.sha256(sys.stdin.buffer.read()).hexdigest())' \
            "$ROOT" "${TORCH_INDEX_URL-}"
}

# True if .venv was finished by `venv`, belongs to this place and runs on the Python asked for.
venv_is_sound() {
    [ -x "$VENV/bin/python" ] && grep -qsF "$VENV/bin/python" "$VENV/bin/pip" || return 1
    in_venv -c 'import pip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || return 1
    [ -z "${PYTHON-}" ] || [ "$(minor_version "$PYTHON")" = "$(minor_version "$VENV/bin/python")" ]
}

minor_version() { "$1" -c 'import sys; print(*sys.version_info[:2])'; }

# An interrupted pip can leave a package that looks installed and lacks files. Forgetting such a package's
# metadata makes pip install it again.
forget_half_installed() {
    in_venv - <<'PY'
import shutil
import sys
from importlib.metadata import distributions
from pathlib import Path

site = Path(next(p for p in sys.path if p.endswith("site-packages")))
for leftover in site.glob("~*"):
    shutil.rmtree(leftover, ignore_errors=True)
for dist in distributions(path=[str(site)]):
    folder = Path(str(dist._path))
    if folder.suffix != ".dist-info" or dist.name == "pip":
        continue
    whole = dist.files and all(file.locate().exists() for file in dist.files if file.suffix != ".pyc")
    if not whole:
        shutil.rmtree(folder, ignore_errors=True)
PY
}

# ---------------------------------------------------------------- torch

torch_wanted() { grep -E '^torch==' requirements-torch.lock; }

# The installed torch, as 2.13.0+cpu; nothing if there is none.
torch_installed() { in_venv -c 'from importlib.metadata import version; print(version("torch"))' 2>/dev/null || true; }

have_gpu() { command -v nvidia-smi >/dev/null && nvidia-smi -L 2>/dev/null | grep -q '^GPU '; }

# The CUDA build only where a GPU can use it; else the CPU build, a tenth of the size: from pip's own
# configuration if that has one at hand, else through uv, which knows where PyTorch keeps it.
install_torch() {
    local torch version installed
    torch=$(torch_wanted)
    version=${torch#torch==}
    installed=$(torch_installed)
    if [ -n "${TORCH_INDEX_URL-}" ]; then
        say "installing $torch from TORCH_INDEX_URL"
        if ! pip_install --force-reinstall --no-deps --index-url "$TORCH_INDEX_URL" "$torch" ||
            ! pip_install --index-url "$TORCH_INDEX_URL" "$torch"; then
            die "could not install $torch from TORCH_INDEX_URL; check that address, or unset it for the usual choice"
        fi
    elif have_gpu; then
        if [ "$installed" = "$version" ]; then return; fi
        say "installing $torch with CUDA, for the GPU of this machine (several gigabytes)"
        # === takes the version to the letter: not 2.13.0+cpu, should pip know of one
        pip_install "torch===$version" || die "could not install $torch; check the network and start again"
    elif [ "${installed%%+*}" != "$version" ]; then
        say "installing $torch, CPU build (about 200 MB)"
        if [ "$(uname -s)" != Linux ]; then # elsewhere the ordinary build is the CPU build
            pip_install "$torch" || die "could not install $torch; check the network and start again"
        elif ! pip_install --no-index --no-deps "$torch" 2>/dev/null && ! cpu_torch_through_uv "$torch"; then
            say "warning: no CPU build of torch within reach; taking the CUDA build, several gigabytes"
            pip_install "$torch" || die "could not install $torch; check the network and start again"
        fi
    fi
}

cpu_torch_through_uv() { uv_install --no-deps --torch-backend cpu "$1" 2>/dev/null; }

# ---------------------------------------------------------------- packages

uv_install() {
    UV_HTTP_TIMEOUT=${UV_HTTP_TIMEOUT-30} in_venv -m uv --quiet pip install --python "$VENV/bin/python" "$@"
}

# uv, as it stands in the lock with its checksums, takes seconds for what takes pip minutes. Where it cannot reach the packages,
# since an index is set for pip alone, pip installs them.
install_locked() {
    local entry=$VENV/uv.lock
    awk '/^uv==/ { inside = 1 } inside { print; if (!/\\$/) exit }' requirements.lock >"$entry"
    if pip_install --no-deps --require-hashes -r "$entry" && uv_install --no-deps --require-hashes -r requirements.lock 2>/dev/null; then
        return
    fi
    pip_install --no-deps --use-pep517 --require-hashes -r requirements.lock
}

# Also compiles what is imported, once and for all processes to come, whatever PYTHONDONTWRITEBYTECODE says outside: uv leaves that
# undone, and each process would take some seconds to do it again.
try_imports() {
    env -u PYTHONDONTWRITEBYTECODE "$VENV/bin/python" - <<'PY'
import optuna, seaborn, sklearn.datasets, snakemake.cli, torch, weasyprint
import trainatlas.claims.judge, trainatlas.cli, trainatlas.report.render, trainatlas.train.pack
PY
}

# ---------------------------------------------------------------- all of it, in order

main() {
    local python fresh=no current=no
    APT_LOG=$(mktemp)
    trap 'rm -f "$APT_LOG"' EXIT
    # Two set-ups at once would undo each other's work.
    exec 9<"scripts/setup.sh"
    if command -v flock >/dev/null && ! flock -n 9; then
        say "waiting for another set-up of this checkout to end"
        flock 9
    fi

    if [ -z "${PYTHON-}" ] && venv_is_sound; then python=$VENV/bin/python; else python=$(find_python); fi
    if venv_is_sound && [ -f "$STAMP" ] && [ "$(cat "$STAMP")" = "$(fingerprint)" ]; then current=yes; fi
    system_packages "$python" "$current"
    if [ "$DEV" = yes ]; then test_tools; fi
    if [ "$current" = yes ]; then return; fi

    if ! venv_is_sound; then
        if [ -e "$VENV" ]; then say "making .venv anew: the present one is unfinished, was moved or runs another Python"; fi
        rm -rf "$VENV"
        say "making .venv with $("$python" --version)"
        "$python" -m venv "$VENV" || die "$python could not make .venv; see above"
        fresh=yes
    fi
    rm -f "$STAMP"
    forget_half_installed
    if [ "$fresh" = yes ]; then
        say "installing locked packages (up to 2 minutes)"
    else
        say "bringing .venv up to date with the lock (up to 2 minutes)"
    fi
    install_locked ||
        die "could not install the packages of requirements.lock; check the network and start again"
    install_torch
    say "installing trainatlas"
    pip_install --no-deps --no-build-isolation -e . || die "could not install trainatlas itself; see above"
    try_imports || die "torch or WeasyPrint does not load; see above"
    fingerprint >"$STAMP"
    say "done"
}

main

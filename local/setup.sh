#!/bin/sh
# Makes a fresh machine ready: Python 3.13, the locked dependencies in .venv, PostgreSQL with PostGIS, and what tests of
# the status page and of poolers need. What it can't install it names, in one line. Quick when nothing is missing.
# Writes nothing outside this folder and uv's cache but Debian's packages.
set -eu
cd "$(dirname "$0")/.."

uv_version=0.13.9
tools=.cache/tools
stamp=.cache/ready

fail() {
    echo "setup: $*" >&2
    exit 1
}

# apt_install PACKAGE...: fails quietly when this user may not, or the packages are not to be had.
apt_install() {
    command -v apt-get >/dev/null || return 1
    sudo=
    if [ "$(id -u)" != 0 ]; then
        sudo -n true 2>/dev/null || return 1
        sudo="sudo -n"
    fi
    echo "setup: installing $*" >&2
    $sudo apt-get update >.cache/apt.log 2>&1 || true
    $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@" >>.cache/apt.log 2>&1
}

make_tools() {
    "$tools/bin/uv" --version 2>/dev/null | grep -q "^uv $uv_version\b" && return
    command -v python3 >/dev/null || fail "Python 3 is missing: apt-get install python3 python3-venv"
    rm -rf "$tools"
    # Debian's python3 can make no environment without this package.
    python3 -c 'import ensurepip' 2>/dev/null || apt_install python3-venv ||
        fail "Python's venv module is missing: apt-get install python3-venv"
    python3 -m venv "$tools"
    "$tools/bin/pip" install --no-cache-dir "uv==$uv_version" >.cache/pip.log 2>&1 ||
        fail "uv could not be installed: pip must be able to reach PyPI"
}

# A name on PATH may be a pyenv shim that runs nothing, or another version: ask it.
find_python() {
    for candidate in python3.13 "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.13*/bin/python3.13; do
        "$candidate" -c 'import sys; print(sys.executable)' 2>/dev/null && return
    done
    export UV_PYTHON_INSTALL_DIR="$PWD/.cache/python"
    "$tools/bin/uv" python install --quiet --no-bin 3.13 2>/dev/null && "$tools/bin/uv" python find 3.13
}

sync() {
    wanted=$(cat uv.lock pyproject.toml local/setup.sh | sha256sum)
    [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ] && .venv/bin/python -c '' 2>/dev/null && return
    make_tools
    python=$(find_python) || fail "Python 3.13 is missing: install it so that python3.13 is on PATH, or with pyenv"
    echo "setup: installing the locked dependencies" >&2
    UV_PROJECT_ENVIRONMENT=.venv "$tools/bin/uv" sync --quiet --frozen --all-groups \
        --no-group terraform --no-group bench --python "$python" ||
        fail "uv could not install the dependencies: it says why above (it needs PyPI)"
    # Half a minute, once: else the first statement that the emulated BigQuery is sent would wait for it.
    .venv/bin/python -m local.googlesql
    echo "$wanted" >"$stamp"
}

# unpack FOLDER SUITE PROGRAMS PACKAGE...: from another release of Debian, without installing anything.
unpack() {
    echo "setup: unpacking $4 of Debian's $2 into .cache/$1" >&2
    folder=.cache/$1
    shift
    ./local/unpack.sh "$folder" "$@" 2>.cache/unpack.log
}

# PostgreSQL as it is asked for: of the release of Debian that has this version, else of the machine's own.
postgres() {
    in=usr/lib/postgresql/${POSTGRES:-}/bin
    case ${POSTGRES:-} in
    15) unpack postgresql-15 bookworm "$in" postgresql-15 postgresql-15-postgis-3 ;;
    17) unpack postgresql-17 trixie "$in" postgresql-17 postgresql-17-postgis-3 postgresql-17-pgvector ;;
    18) unpack postgresql-18 forky "$in" postgresql-18 postgresql-18-postgis-3 postgresql-18-pgvector ;;
    "") apt_install postgresql postgresql-postgis ;;
    esac
}

mkdir -p .cache
sync
.venv/bin/python -m local.prerequisites postgres 2>/dev/null || postgres || true
.venv/bin/python -m local.prerequisites chromium 2>/dev/null || apt_install chromium || true
.venv/bin/python -m local.prerequisites pgbouncer 2>/dev/null || unpack pgbouncer trixie usr/sbin pgbouncer || true
.venv/bin/python -m local.prerequisites

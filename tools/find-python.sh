#!/bin/sh
# Print the path of a Python >= 3.12 that can make virtual environments, or say in one sentence what to install.
# Order: $PYTHON, the version in .python-version, newer and older named ones, python3, pyenv's versions, uv's.
set -u

works() {
    "$1" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 12))' >/dev/null 2>&1
}

recent() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 12))' >/dev/null 2>&1
}

# pyenv's shims and wrappers hide the real interpreter; the virtual environment should link to that one.
found() {
    "$1" -c 'import sys; print(sys.executable)'
    exit 0
}

if [ -n "${PYTHON:-}" ]; then
    works "$PYTHON" && found "$PYTHON"
    echo "PYTHON=$PYTHON is not a Python 3.12 or newer with the venv module: correct it, or leave PYTHON unset." >&2
    exit 1
fi

wanted=$(cat .python-version 2>/dev/null)
without_venv=
for name in "python$wanted" python3.12 python3.13 python3.14 python3; do
    works "$name" && found "$name"
    if [ -z "$without_venv" ] && recent "$name"; then without_venv=$name; fi
done

for python in "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.1[2-9]*/bin/python3; do
    works "$python" && found "$python"
done

if command -v uv >/dev/null 2>&1; then
    python=$(uv python find --no-project '>=3.12' 2>/dev/null) && works "$python" && found "$python"
    echo "sciopt needs Python 3.12 or newer and none was found: run 'uv python install 3.12' and try again." >&2
elif [ -n "$without_venv" ]; then
    echo "$without_venv is new enough but cannot make virtual environments: install its venv module" \
        "('apt install python3-venv' on Debian and Ubuntu) and try again." >&2
elif command -v pyenv >/dev/null 2>&1; then
    echo "sciopt needs Python 3.12 or newer and none was found: run 'pyenv install 3.12' and try again." >&2
else
    echo "sciopt needs Python 3.12 or newer and none was found: install it ('apt install python3.12 python3.12-venv'," \
        "'brew install python@3.12', or from https://www.python.org/downloads/) and try again," \
        "or name one with 'make PYTHON=/path/to/python3.12 ...'." >&2
fi
exit 1

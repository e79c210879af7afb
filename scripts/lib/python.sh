# Sourced by scripts/setup: the virtual environment, from the hashed lock files.

python=${PYTHON:-python3}

need_python() {
    local found
    command -v "$python" >/dev/null || fail "no $python" "install Python 3.11 or later, or set PYTHON"
    found=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2]); sys.exit(sys.version_info < (3, 11))') ||
        fail "$python is $found" "Python 3.11 or later is needed: install it, or set PYTHON"
}

# The stamp lies inside .venv, so that it goes when .venv goes. One made for the tests serves `run` as well.
stamp_of() { digest_of "$1" pyproject.toml; }

need_venv() {
    local wanted=run lock=requirements.lock
    case $1 in test | all) wanted=dev ;; esac
    if [ -x .venv/bin/python ] && .venv/bin/python -c '' 2>/dev/null; then
        if [ "$(cat .venv/.callcenter-dev 2>/dev/null)" = "$(stamp_of requirements-dev.lock)" ]; then return; fi
        # once the tools of the tests are in, they are kept up to date and never taken out
        if [ -e .venv/.callcenter-dev ] || [ -x .venv/bin/pytest ]; then wanted=dev; fi
        if [ $wanted = run ] && [ "$(cat .venv/.callcenter-run 2>/dev/null)" = "$(stamp_of $lock)" ]; then return; fi
    else
        make_venv
    fi
    if [ $wanted = dev ]; then lock=requirements-dev.lock; fi
    say "installing the Python packages of $lock"
    quietly var/pip.log .venv/bin/python -m pip install --disable-pip-version-check --require-hashes -r $lock ||
        fail "pip could not install $lock (var/pip.log)" "see that a package registry can be reached"
    quietly var/pip.log .venv/bin/python -m pip install --disable-pip-version-check --no-deps -e . ||
        fail "pip could not install the project itself (var/pip.log)" "see pyproject.toml"
    stamp_of $lock >.venv/.callcenter-$wanted
}

make_venv() {
    if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        local package
        package=python$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')-venv
        if command -v apt-get >/dev/null; then
            install "$package"
        else
            fail "$python cannot make virtual environments" "install its venv and ensurepip modules"
        fi
    fi
    say "making .venv with $("$python" --version)"
    rm -rf .venv
    quietly var/pip.log "$python" -m venv .venv || fail "$python -m venv failed (var/pip.log)" "install its venv module"
}

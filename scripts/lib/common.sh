# Sourced by scripts/setup: how it talks and how it gives up.

say() { printf 'setup: %s\n' "$*" >&2; }

# fail WHAT MEND: one line that names what is missing and how to mend it
fail() {
    printf 'setup: %s: %s\n' "$1" "$2" >&2
    exit 1
}

# quietly LOG COMMAND…: run it, its output going to LOG; on failure the last lines of that are shown
quietly() {
    local log=$1
    shift
    if ! "$@" >"$log" 2>&1; then
        tail -n 15 "$log" >&2
        return 1
    fi
}

digest_of() { sha256sum "$@" | sha256sum | cut -c1-16; }

# Sourced by scripts/setup: Debian packages, only those that are missing.

# One need a line: part, then the package; with "a|b" any of them will do and the last is the one installed.
# libatomic1: vosk's library is linked to it. tzdata: Asia/Shanghai. debian-archive-keyring, xz-utils: the private Asterisk.
packages_of() {
    case $1 in
        run) echo espeak-ng libatomic1 tzdata xz-utils debian-archive-keyring ;;
        demo) echo sip-tester ;;
        test)
            echo "baresip|baresip-core redis-server postgresql chromium chromium-driver faketime" \
                "fonts-noto-cjk|fonts-wqy-zenhei|fonts-wqy-microhei iproute2"
            ;;
    esac
}

installed() { [ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }

# missing NEED…: the packages to install for those needs that nothing installed meets
missing() {
    local need package met
    local have
    have=$(dpkg-query -W -f='${Package} ${db:Status-Status}\n' 2>/dev/null | awk '$2 == "installed" {print $1}')
    for need in "$@"; do
        met=
        for package in ${need//|/ }; do
            if grep -qxF -- "$package" <<<"$have"; then
                met=yes
                break
            fi
        done
        [ -n "$met" ] || echo "${need##*|}"
    done
}

may_install() { [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; }

policy=/usr/sbin/policy-rc.d
kept=/usr/sbin/policy-rc.d.kept-by-callcenter-setup
mark='callcenter scripts/setup: no service is started while packages are installed'

# Debian starts a server as soon as it is installed; ours are started by tests, on ports of their own.
guard_services() {
    unguard_services # left by a setup that was killed
    if [ -e $policy ] || [ -L $policy ]; then mv $policy $kept; fi
    printf '#!/bin/sh\n# %s\nexit 101\n' "$mark" >$policy
    chmod 755 $policy
}

unguard_services() {
    if grep -qsF "$mark" $policy; then rm -f $policy; fi
    if [ ! -e $policy ] && { [ -e $kept ] || [ -L $kept ]; }; then mv $kept $policy; fi
}

# install PACKAGE…: apt-get, with a look at the lists only if they do not know a package
install() {
    local log=var/apt.log
    may_install || fail "missing Debian packages: $*" "as root: apt-get install $*"
    say "installing $*"
    export DEBIAN_FRONTEND=noninteractive
    trap unguard_services EXIT
    guard_services
    if ! apt-get install -y --no-install-recommends "$@" >$log 2>&1; then
        quietly $log apt-get update || fail "apt-get update failed (var/apt.log)" "mend the machine's apt sources"
        quietly $log apt-get install -y --no-install-recommends "$@" ||
            fail "apt-get could not install $* (var/apt.log)" "apt-get install $*"
    fi
    unguard_services
    trap - EXIT
}

need_packages() {
    local parts needs absent
    case $1 in
        run) parts="run" ;;
        demo) parts="run demo" ;;
        *) parts="run demo test" ;;
    esac
    if ! command -v dpkg-query >/dev/null; then
        need_programs "$1"
        return
    fi
    needs=
    for part in $parts; do needs="$needs $(packages_of "$part")"; done
    # shellcheck disable=SC2086
    absent=$(missing $needs)
    # shellcheck disable=SC2086
    if [ -n "$absent" ]; then install $absent; fi
}

# Not Debian: the programs must be there
need_programs() {
    local program absent=
    for program in espeak-ng xz $([ "$1" = run ] || echo sipp) \
        $([ "$1" = run ] || [ "$1" = demo ] || echo baresip redis-server chromium chromedriver ip faketime); do
        command -v "$program" >/dev/null || absent="$absent $program"
    done
    [ -z "$absent" ] || fail "missing programs:$absent" "install them; this is no Debian, so setup cannot"
}

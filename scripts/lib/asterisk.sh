# Sourced by scripts/setup: an Asterisk of our own in var/asterisk/<version>, `current` pointing at it.
#
# No stable Debian carries Asterisk, its development suite does. What it needs is resolved and downloaded into a private apt
# root (the machine's own packages stay as they are), cut down to the modules that dialplans/own/modules.conf names and the
# libraries they use, and run through its own dynamic loader. That suite moves on, so the result is kept in the cache.

modules_wanted() { sed -n 's/^load = \([a-z0-9_]*\.so\)$/\1/p' dialplans/own/modules.conf; }

# has_modules FOLDER: whether it has every module that is loaded
has_modules() {
    local module
    for module in $(modules_wanted); do [ -f "$1/modules/$module" ] || return 1; done
}

need_asterisk() {
    local arch tarball
    # an unpacked one that was not tried out has no such mark
    if [ -e var/asterisk/current/.tried ] && has_modules var/asterisk/current; then return; fi
    mkdir -p var/asterisk
    arch=$(uname -m)
    for tarball in $(find "$cache" -maxdepth 1 -name "asterisk-*-$arch.tar.xz" 2>/dev/null | sort -rV); do
        if use_tarball "$tarball"; then return; fi
    done
    build_asterisk "$arch"
}

# use_tarball FILE: unpack it, try it out, make it current
use_tarball() {
    local version folder
    version=$(basename "$1" | sed 's/^asterisk-\(.*\)-[^-]*\.tar\.xz$/\1/')
    folder=var/asterisk/$version
    rm -rf "$folder.new"
    mkdir -p "$folder.new"
    if ! tar -xJf "$1" -C "$folder.new"; then
        say "$1 is damaged, leaving it"
        rm -rf "$folder.new"
        return 1
    fi
    if ! has_modules "$folder.new"; then
        say "$1 lacks modules that are wanted now, leaving it"
        rm -rf "$folder.new"
        return 1
    fi
    rm -rf "$folder"
    mv "$folder.new" "$folder"
    try_asterisk "$version" || return 1
    say "Asterisk $version is in var/asterisk"
}

# try_asterisk VERSION: start it with everything it loads, ask it for its version, end it; then make it current
try_asterisk() {
    need_prompts
    rm -rf var/asterisk/trying
    mkdir -p var/asterisk/trying
    ln -sfn "../$1" var/asterisk/trying/current
    if ! .venv/bin/python -m callcenter.telephony.asterisk smoke --asterisk-dir "$here/var/asterisk/trying" >var/asterisk.log 2>&1; then
        tail -n 5 var/asterisk.log >&2
        rm -rf var/asterisk/trying
        return 1
    fi
    rm -rf var/asterisk/trying
    touch "var/asterisk/$1/.tried"
    ln -sfn "$1" var/asterisk/current.new
    mv -T var/asterisk/current.new var/asterisk/current
}

# mirrors: the Debian mirrors this machine already uses, its own release's first; deb822 and one-line sources
mirrors() {
    local codename file
    codename=$(. /etc/os-release 2>/dev/null && echo "${VERSION_CODENAME:-}")
    {
        for file in /etc/apt/sources.list.d/*.sources; do
            [ -e "$file" ] || continue
            # one source a paragraph; comment lines may stand anywhere
            awk -v codename="$codename" '
                function flush(  n, i, parts, uri) {
                    if (types ~ /(^| )deb( |$)/ && components ~ /(^| )main( |$)/ && enabled !~ /no/) {
                        n = split(uris, parts, " ")
                        for (i = 1; i <= n; i++) print (index(" " suites " ", " " codename " ") ? 0 : 1), parts[i]
                    }
                    types = uris = suites = components = enabled = key = ""
                }
                /^#/ { next }
                /^[ \t]*$/ { flush(); next }
                /^[A-Za-z-]+:/ { key = tolower($1); sub(/^[^:]*:[ \t]*/, "") }
                key == "types:" { types = types " " $0 }
                key == "uris:" { uris = uris " " $0 }
                key == "suites:" { suites = suites " " $0 }
                key == "components:" { components = components " " $0 }
                key == "enabled:" { enabled = $0 }
                END { flush() }' "$file"
        done
        for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
            [ -e "$file" ] || continue
            sed -n 's/#.*//; s/^[ \t]*deb[ \t]\{1,\}\(\[[^]]*\][ \t]*\)\{0,1\}//p' "$file" |
                awk -v codename="$codename" '/ main( |$)/ { print ($2 == codename ? 0 : 1), $1 }'
        done
    } | sort -s -n -k1,1 | awk '$2 ~ /^(https?|file|copy):/ && $2 !~ /security/ && !seen[$2]++ { print $2 }'
}

build_asterisk() {
    local arch=$1 work=$here/var/asterisk/building version
    command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null ||
        fail "no apt to fetch Asterisk with" "put asterisk-<version>-$arch.tar.xz from another machine into $cache, or set CALLCENTER_ASTERISK=external (docs/asterisk.md)"
    rm -rf "$work"
    mkdir -p "$work"/{lists/partial,cache/archives/partial,etc,root}
    : >"$work/status"
    fetch_asterisk "$work"
    say "unpacking Asterisk"
    for deb in "$work"/cache/archives/*.deb; do
        dpkg-deb -x "$deb" "$work/root" || fail "cannot unpack $deb" "is the disk full?"
    done
    version=$(dpkg-deb -f "$work"/cache/archives/asterisk_*.deb Version | sed 's/^[0-9]*://; s/[+~-].*//')
    case $version in 22.*) ;; *) say "note: $suite carries Asterisk $version; this was made for 22" ;; esac
    slim_asterisk "$work/root" "$work/slim"
    echo "$version" >"$work/slim/VERSION"
    tar -C "$work/slim" --owner=0 --group=0 --sort=name -cf - . | xz -T0 -6 >"$work/slim.tar.xz"
    mv "$work/slim.tar.xz" "$cache/asterisk-$version-$arch.tar.xz"
    rm -rf "$work"
    use_tarball "$cache/asterisk-$version-$arch.tar.xz" ||
        fail "the Asterisk $version of $suite does not run here (var/asterisk.log)" "set CALLCENTER_ASTERISK_SUITE to another suite, or CALLCENTER_ASTERISK=external (docs/asterisk.md)"
}

# fetch_asterisk WORK: from the first of the machine's mirrors that has it, checked against Debian's keys
fetch_asterisk() {
    local work=$1 keyring=/usr/share/keyrings/debian-archive-keyring.gpg mirror found=
    local options=(-o "Dir::State::lists=$work/lists" -o "Dir::State::status=$work/status" -o "Dir::Cache=$work/cache"
        -o "Dir::Etc::sourcelist=$work/etc/sources.list" -o Dir::Etc::sourceparts=/dev/null
        -o Dir::Etc::preferences=/dev/null -o Dir::Etc::preferencesparts=/dev/null
        -o "APT::Architecture=$(dpkg --print-architecture)" -o "APT::Architectures::=$(dpkg --print-architecture)"
        -o Debug::NoLocking=1 -o APT::Install-Recommends=0 -o APT::Install-Suggests=0 -o Acquire::Languages=none
        -o "APT::Sandbox::User=$(id -un)" -o Acquire::Retries=3)
    [ -f $keyring ] || fail "no $keyring" "apt-get install debian-archive-keyring"
    for mirror in $(mirrors); do
        found=yes
        echo "deb [signed-by=$keyring] $mirror $suite main" >"$work/etc/sources.list"
        say "fetching Asterisk from the suite $suite of the machine's Debian mirror"
        if quietly var/asterisk-apt.log apt-get "${options[@]}" -o APT::Update::Error-Mode=any update &&
            quietly var/asterisk-apt.log apt-get "${options[@]}" install -y --download-only asterisk; then
            return
        fi
        rm -rf "$work/lists"
        mkdir -p "$work/lists/partial"
    done
    [ -n "$found" ] || fail "no Debian mirror in this machine's apt sources" "add one (deb … main) to /etc/apt/sources.list"
    fail "no mirror of this machine gave Asterisk from $suite (var/asterisk-apt.log)" "check the network, or put asterisk-<version>-$(uname -m).tar.xz from another machine into $cache"
}

# slim_asterisk ROOT DEST: the program, the wanted modules, the libraries they need, the loader, and the documentation,
# without which Asterisk knows none of its own options
slim_asterisk() {
    local root=$1 dest=$2 lib loader module binary
    lib=$(dirname "$(dirname "$(find "$root/usr/lib" -type d -path '*/asterisk/modules')")")
    loader=$(find "$root" -name 'ld-linux*.so.*' \( -type f -o -type l \) | head -n 1)
    [ -n "$loader" ] || fail "no dynamic loader in the packages of $suite" "set CALLCENTER_ASTERISK_SUITE to another suite"
    mkdir -p "$dest"/{bin,lib,modules,documentation}
    cp "$root/usr/sbin/asterisk" "$dest/bin/"
    cp "$root"/usr/share/asterisk/documentation/*.{xml,dtd} "$dest/documentation/"
    for module in $(modules_wanted); do
        cp "$lib/asterisk/modules/$module" "$dest/modules/" || fail "Asterisk of $suite has no $module" "take it out of dialplans/own/modules.conf"
    done
    for binary in "$dest/bin/asterisk" "$dest"/modules/*.so; do
        "$loader" --library-path "$lib" --list "$binary" || true
    done | awk '/=> \//{print $3}' | sort -u | while read -r library; do
        # one of this machine's own would not fit the loader that comes along
        case $library in "$root"/*) cp -L "$library" "$dest/lib/" ;; *) fail "$library is not of $suite" "report this" ;; esac
    done
    cp -L "$loader" "$dest/lib/ld.so"
    chmod -R u+rwX,go+rX "$dest"
}

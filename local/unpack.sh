#!/bin/sh
# unpack.sh FOLDER SUITE PROGRAMS PACKAGE...: programs of another release of Debian, for this project alone.
#
#   unpack.sh .cache/postgresql-17 trixie usr/lib/postgresql/17/bin postgresql-17
#
# Unpacks the packages, and all that they need down to the C library, into FOLDER. Nothing is installed, and no root is
# needed. Each program in FOLDER/PROGRAMS becomes a line of shell that runs it with that release's own libraries.
set -eu

folder=$1 suite=$2 programs=$3
shift 3
keys=/usr/share/keyrings/debian-archive-keyring.gpg
command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null && [ -r "$keys" ] ||
    { echo "unpack: this needs Debian's apt-get, and its keys" >&2 && exit 1; }

place=$(mkdir -p "${folder%/*}" && cd "${folder%/*}" && pwd)/${folder##*/}
# What is interrupted is left here, and never taken for complete.
part=$(mktemp -d "$place.XXXXXX")
trap 'rm -rf "$part"' EXIT
trap 'exit 1' HUP INT TERM
apt=$part/apt root=$part/root
mkdir -p "$root" "$apt/lists/partial" "$apt/archives/partial"

# Where this machine has its packages from.
mirror=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources 2>/dev/null |
    sed -nE 's/^URIs: *(\S+).*/\1/p; s/^deb +(\[[^]]*\] +)?(\S+).*/\2/p' | grep '/debian/\?$' | head -1)
echo "deb [signed-by=$keys] ${mirror:-http://deb.debian.org/debian} $suite main" >"$apt/sources.list"
: >"$apt/status" # as if nothing were installed: apt then takes everything, and of that release
ask() {
    apt-get -qq -o Dir::Etc::sourcelist="$apt/sources.list" -o Dir::Etc::sourceparts=/dev/null \
        -o Dir::Etc::preferencesparts=/dev/null -o Dir::State::status="$apt/status" -o Dir::State::lists="$apt/lists" \
        -o Dir::Cache="$apt" -o Dir::Cache::archives="$apt/archives" -o APT::Install-Recommends=false \
        -o APT::Sandbox::User= -o Debug::NoLocking=true -o Acquire::Languages=none -o Acquire::http::Timeout=20 \
        -o APT::Keep-Downloaded-Packages=true -o DPkg::Post-Invoke= -o APT::Update::Post-Invoke= "$@"
}
ask update
ask install --download-only -y "$@" >/dev/null

for package in "$apt"/archives/*.deb; do
    case ${package##*/} in perl-* | libperl* | systemd* | dpkg_* | apt_*) continue ;; esac
    dpkg-deb --fsys-tarfile "$package" | tar -x -C "$root" --no-same-owner --keep-directory-symlink \
        --exclude='./usr/share/doc/*' --exclude='./usr/share/man/*' --exclude='./dev/*'
done
# Which PostGIS is meant is said by Debian's alternatives, which are no part of a package.
for control in "$root"/usr/share/postgresql/*/extension/postgis*-3.control; do
    [ ! -e "$control" ] || cp "$control" "${control%-3.control}.control"
done

cd "$root"
loader=$(find . -name 'ld-linux-*.so.*' -print -quit)
libraries=$(find lib usr/lib -name '*.so.*' -not -path '*/gconv/*' -not -path '*/postgresql/*' -printf '%h\n' 2>/dev/null |
    sort -u | sed "s|^|$place/|" | paste -sd:)
mv "$programs" "$programs.real"
mkdir "$programs"
for program in "$programs.real"/*; do
    # The program looks beside its own name for its siblings and its data: that name is the script's.
    cat >"$programs/${program##*/}" <<SCRIPT
#!/bin/sh
PROJ_DATA="$place/usr/share/proj" exec "$place/$loader" --library-path "$libraries" --argv0 "\$0" "$place/$program" "\$@"
SCRIPT
    chmod 755 "$programs/${program##*/}"
done
chmod -R a+rX .
rm -rf "$place"
mv "$root" "$place"

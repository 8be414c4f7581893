#!/bin/sh
# Put BIRD, FRR, GoBGP, nginx, NSD and Prometheus, which only the lab and its tests use, under .tools/ as plain files: `apt-get
# download` and `dpkg-deb -x`, so that no package is installed, no user made and no service known to the system, let alone started.
# Only shared libraries that they lack are installed. A second run does nothing. DRY=1 prints what would be done.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
tools=$root/.tools

say() { printf '%s\n' "$*"; }

do_or_say() {
	if [ -n "${DRY:-}" ]; then say "would run: $*"; else "$@"; fi
}

# download DIRECTORY PACKAGE...
download() {
	(cd "$1" && shift && apt-get download -qq -o APT::Sandbox::User=root "$@")
}

# fetch DIRECTORY PROGRAM PACKAGE...: the packages' files under .tools/DIRECTORY, unless the program is there already
fetch() {
	directory=$1 program=$2
	shift 2
	[ -x "$tools/$directory/$program" ] && return 0
	if ! command -v apt-get >/dev/null 2>&1; then
		command -v "${program##*/}" >/dev/null 2>&1 && return 0
		say "the lab needs ${program##*/}: install it (package $1 or like it) and see that it is on PATH"
		return 1
	fi
	if [ -n "${DRY:-}" ]; then
		say "would unpack the Debian package $* into .tools/$directory (not installed, no service)"
		return 0
	fi
	work=$(mktemp -d)
	chmod 755 "$work" # apt downloads as its own user where it may
	download "$work" "$@" || { apt-get update -qq && download "$work" "$@"; } # the lists may be old, or not there at all
	rm -rf "${tools:?}/$directory"
	mkdir -p "$tools/$directory"
	for package in "$work"/*.deb; do dpkg-deb -x "$package" "$tools/$directory"; done
	rm -rf "$work"
	say "unpacked $* into .tools/$directory"
}

# library_of SONAME: the Debian package that has it
library_of() {
	case $1 in
	libssh-gcrypt.so.4) echo libssh-gcrypt-4 ;;
	libpcre2-8.so.0) echo libpcre2-8-0 ;;
	libssl.so.3 | libcrypto.so.3) echo libssl3 ;;
	libcrypt.so.1) echo libcrypt1 ;;
	libz.so.1) echo zlib1g ;;
	libevent-2.1.so.7) echo libevent-2.1-7 ;;
	libfstrm.so.0) echo libfstrm0 ;;
	libprotobuf-c.so.1) echo libprotobuf-c1 ;;
	libsystemd.so.0) echo libsystemd0 ;;
	libreadline.so.8) echo libreadline8 ;;
	libtinfo.so.6) echo libtinfo6 ;;
	libjson-c.so.5) echo libjson-c5 ;;
	libcap.so.2) echo libcap2 ;;
	libpam.so.0 | libpam_misc.so.0) echo libpam0g ;;
	*) say "no package known for the library $1" >&2 && return 1 ;;
	esac
}

libraries() {
	packages=
	for program in bird/usr/sbin/bird bird/usr/sbin/birdc nginx/usr/sbin/nginx nsd/usr/sbin/nsd \
		frr/usr/lib/frr/zebra frr/usr/lib/frr/bgpd frr/usr/bin/vtysh; do
		[ -x "$tools/$program" ] || continue
		for soname in $(LD_LIBRARY_PATH=$frr_libraries ldd "$tools/$program" | awk '/not found/ { print $1 }'); do
			packages="$packages $(library_of "$soname")"
		done
	done
	# shellcheck disable=SC2086 # a list of words
	[ -z "$packages" ] || do_or_say apt-get install -qq -y --no-install-recommends $packages
}

# FRR's own libraries, and two that nothing else here uses, are unpacked beside it: whoever runs it sets LD_LIBRARY_PATH
there=$tools/frr/usr/lib/$(uname -m)-linux-gnu
frr_libraries=$there/frr:$there

fetch bird usr/sbin/bird bird2
fetch frr usr/lib/frr/bgpd frr libyang2 libc-ares2
fetch gobgp usr/bin/gobgpd gobgpd
fetch nginx usr/sbin/nginx nginx
fetch nsd usr/sbin/nsd nsd
fetch prometheus usr/bin/promtool prometheus
libraries

#!/bin/sh
# Put BIRD, nginx and NSD, which only the lab and its tests use, under .tools/ as plain files: `apt-get download` and `dpkg-deb -x`, so
# that no package is installed, no user made and no service known to the system, let alone started. Only shared libraries that they lack
# are installed. A second run does nothing. DRY=1 prints what would be done.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
tools=$root/.tools

say() { printf '%s\n' "$*"; }

do_or_say() {
	if [ -n "${DRY:-}" ]; then say "would run: $*"; else "$@"; fi
}

# download DIRECTORY PACKAGE
download() {
	(cd "$1" && apt-get download -qq -o APT::Sandbox::User=root "$2")
}

# fetch DIRECTORY PACKAGE PROGRAM: the package's files under .tools/DIRECTORY, unless its program is there already
fetch() {
	[ -x "$tools/$1/$3" ] && return 0
	if ! command -v apt-get >/dev/null 2>&1; then
		command -v "${3##*/}" >/dev/null 2>&1 && return 0
		say "the lab needs ${3##*/}: install it (package $2 or like it) and see that it is on PATH"
		return 1
	fi
	if [ -n "${DRY:-}" ]; then
		say "would unpack the Debian package $2 into .tools/$1 (not installed, no service)"
		return 0
	fi
	work=$(mktemp -d)
	chmod 755 "$work" # apt downloads as its own user where it may
	download "$work" "$2" || { apt-get update -qq && download "$work" "$2"; } # the lists may be old, or not there at all
	rm -rf "${tools:?}/$1"
	mkdir -p "$tools/$1"
	dpkg-deb -x "$work/$2"_*.deb "$tools/$1"
	rm -rf "$work"
	say "unpacked $2 into .tools/$1"
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
	*) say "no package known for the library $1" >&2 && return 1 ;;
	esac
}

libraries() {
	packages=
	for program in bird/usr/sbin/bird bird/usr/sbin/birdc nginx/usr/sbin/nginx nsd/usr/sbin/nsd; do
		[ -x "$tools/$program" ] || continue
		for soname in $(ldd "$tools/$program" | awk '/not found/ { print $1 }'); do
			packages="$packages $(library_of "$soname")"
		done
	done
	# shellcheck disable=SC2086 # a list of words
	[ -z "$packages" ] || do_or_say apt-get install -qq -y --no-install-recommends $packages
}

fetch bird bird2 usr/sbin/bird
fetch nginx nginx usr/sbin/nginx
fetch nsd nsd usr/sbin/nsd
libraries

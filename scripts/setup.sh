#!/bin/bash
# What `make setup` stands on. Each part looks first and does only what is missing, so that a second run changes nothing.
#
#   setup.sh packages   install the Debian packages that are missing, by name; start and enable no service
#   setup.sh venv       make .venv and install the pinned requirements, checked against their hashes
#   setup.sh kernels    fetch what tests/kernels boots: QEMU, and Debian kernels unpacked into .tools/kernels
#   setup.sh dry        say what the other parts would do; change nothing
#
# No package here brings a service that its installation starts or enables (tests/repo/test_setup.py reads their scripts); what does,
# BIRD, FRR, GoBGP, nginx, NSD and Prometheus for the lab, is unpacked privately into .tools by scripts/tools.sh and never installed.
set -euo pipefail
cd "$(dirname "$0")/.."

VENV=.venv
PACKAGES=(
	clang-19 llvm-19 clang-format-19 libclang-rt-19-dev # the BPF objects, how C is laid out, what make coverage links
	gcc libc6-dev make pkg-config libbpf-dev libelf-dev # the extension
	iproute2 ethtool nftables # what the tests compare before and after; the lab
	iputils-ping tcpdump curl bpftool # to look at it with
	mandoc zsh # which read the manual pages and the completion, in the tests
)
KERNEL_PACKAGES=(qemu-system-x86 file) # installed; the rest is unpacked into .tools/kernels
# The versions to boot, oldest first: on Debian 12 its own, 6.1, and the backport of Debian 13's, 6.12. Packages that name the present
# build of each; Debian 13 knows the first alone, and there it is 6.12.
KERNELS=(linux-image-amd64 linux-image-6.12-amd64)

say() { echo "setup: $*"; }
refuse() { echo "setup: $*" >&2; exit 1; }

# Those of the arguments that dpkg does not have installed, one per line. "arch:" suffixes and virtual packages do not occur here.
missing() {
	local package
	for package in "$@"; do
		[ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | head -c 9)" = installed ] || echo "$package"
	done
}

# A Python that is new enough, can make environments and has its headers (for the extension). Prints its path, or nothing.
find_python() {
	local name
	for name in ${PYTHON:-} python3 python3.14 python3.13 python3.12 python3.11; do
		command -v "$name" >/dev/null || continue
		"$name" - <<-'PYTHON' 2>/dev/null && return
			import ensurepip, os, sys, sysconfig, venv
			assert sys.version_info >= (3, 11)
			assert os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h"))
			print(os.path.realpath(sys.executable))
		PYTHON
	done
	return 0
}

# What apt must bring for Python on top: nothing if there is a good one.
python_packages() {
	[ -x "$VENV/bin/python" ] || [ -n "$(find_python)" ] || echo "python3 python3-venv python3-dev"
}

# On a system without apt: what is missing by the names of its commands and headers, one per line.
missing_without_apt() {
	local command header
	for command in "${CLANG:-clang-19}" "${LLVM_STRIP:-llvm-strip-19}" cc make pkg-config ip ethtool nft ping curl; do
		command -v "$command" >/dev/null || echo "the command $command"
	done
	for header in bpf/libbpf.h bpf/bpf_helpers.h gelf.h; do
		[ -e "/usr/include/$header" ] || echo "the header $header"
	done
	[ -x "$VENV/bin/python" ] || [ -n "$(find_python)" ] || echo "Python 3.11 or newer with venv and its headers"
}

install_packages() {
	local wanted=("$@")
	[ "$(id -u)" = 0 ] || refuse "missing packages, and only root can install them: apt-get install ${wanted[*]}"
	say "installing ${wanted[*]}"
	# Suspended, so that needrestart, where it is installed, does not restart what happens to use a library that came along.
	export DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1
	apt-get update -qq </dev/null
	# --no-remove: rather stop than take something away from a machine that has other work.
	apt-get install -y -qq --no-install-recommends --no-remove --no-upgrade -o Dpkg::Use-Pty=0 "${wanted[@]}" </dev/null >/dev/null
}

packages() {
	local wanted
	if ! command -v apt-get >/dev/null; then
		wanted=$(missing_without_apt)
		[ -z "$wanted" ] || refuse "this system has no apt; install these by its own means, then run make setup again:"$'\n'"$wanted"
		return
	fi
	mapfile -t wanted < <(missing "${PACKAGES[@]}" $(python_packages))
	[ ${#wanted[@]} -eq 0 ] || install_packages "${wanted[@]}"
	[ -x "$VENV/bin/python" ] || [ -n "$(find_python)" ] || refuse "no Python 3.11 or newer with venv and its headers: set PYTHON=/path/to/python3"
}

make_venv() {
	[ -x "$VENV/bin/python" ] || "$(find_python)" -m venv "$VENV"
	"$VENV/bin/python" -m pip install -qq --disable-pip-version-check --require-hashes -r requirements.txt -r requirements-dev.txt </dev/null
}

kernel_version() { apt-cache depends "$1" | awk '/Depends: linux-image-[0-9]/ { print $2; exit }'; }

# Unpack a package into a directory without installing it: download where only we look, then dpkg-deb -x.
unpack() {
	local package=$1 directory=$2 scratch
	scratch=$(mktemp -d)
	(cd "$scratch" && apt-get download -qq -o APT::Sandbox::User=root "$package" </dev/null && dpkg-deb -x ./*.deb "$scratch/tree")
	mkdir -p "$directory"
	cp -a "$scratch/tree/." "$directory"
	rm -rf "$scratch"
}

kernels() {
	local wanted name image found=
	command -v apt-get >/dev/null || refuse "without apt there is no Debian kernel to fetch"
	mapfile -t wanted < <(missing "${KERNEL_PACKAGES[@]}")
	[ ${#wanted[@]} -eq 0 ] || install_packages "${wanted[@]}"
	# busybox-static would push busybox off the system and kmod brings an init script: both are unpacked, not installed.
	[ -x .tools/kernels/host/bin/busybox ] || unpack busybox-static .tools/kernels/host
	[ -x .tools/kernels/host/bin/kmod ] || unpack kmod .tools/kernels/host
	for name in depmod modprobe insmod; do ln -sf kmod ".tools/kernels/host/bin/$name"; done # the package's own links are absolute
	for name in "${KERNELS[@]}"; do
		image=$(kernel_version "$name")
		[ -n "$image" ] || { say "apt does not know $name: that kernel is left out"; continue; }
		found=yes
		[ -e ".tools/kernels/$image/.complete" ] && continue
		say "fetching $image"
		unpack "$image" ".tools/kernels/$image"
		touch ".tools/kernels/$image/.complete"
	done
	[ -n "$found" ] || refuse "apt knows none of ${KERNELS[*]}"
}

# What apt would do for these packages, dependencies and all: "name" for a new one, "name (upgrade)" for one that would be renewed.
simulate() {
	[ $# -gt 0 ] || { echo none; return; }
	apt-get install -s --no-install-recommends --no-remove --no-upgrade "$@" 2>&1 </dev/null |
		awk '/^Inst / { printf "%s%s ", $2, ($3 ~ /^\[/ ? " (upgrade)" : "") } /^E: / { print; exit 1 }'
	echo
}

dry() {
	local wanted python
	if command -v apt-get >/dev/null; then
		mapfile -t wanted < <(missing "${PACKAGES[@]}" $(python_packages))
		say "packages to install: $(simulate "${wanted[@]}")"
		mapfile -t wanted < <(missing "${KERNEL_PACKAGES[@]}")
		say "packages to install for make test, which boots other kernels: $(simulate "${wanted[@]}")"
	else
		wanted=$(missing_without_apt)
		say "no apt here; missing: ${wanted:-nothing}"
	fi
	python=$(find_python)
	if [ -x "$VENV/bin/python" ]; then
		say "virtual environment: $VENV is there"
	else
		say "virtual environment: $VENV, of ${python:-the python3 that the packages bring}"
	fi
	say "Python packages, into $VENV only: $(sed -nE 's/^([A-Za-z0-9_.-]+==[^ ]+) .*/\1/p' requirements.txt requirements-dev.txt | sort -fu | paste -sd ' ')"
	say "unpacked into .tools, not installed: BIRD, FRR, GoBGP, nginx, NSD and Prometheus for the lab; busybox, kmod and Debian kernels for make test"
	[ ! -x scripts/tools.sh ] || DRY=1 scripts/tools.sh
	say "no service is started or enabled, no setting of the system is changed"
}

case ${1:-} in
packages) packages ;;
venv) make_venv ;;
kernels) kernels ;;
dry) dry ;;
*) refuse "one of: packages venv kernels dry" ;;
esac

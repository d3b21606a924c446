#!/bin/sh
# SPDX-License-Identifier: MIT
# Makes ./configure from a git checkout. A release tarball has it already.
set -e
cd "$(dirname "$0")"
for tool in autoreconf automake libtoolize pkg-config; do
	command -v "$tool" >/dev/null && continue
	echo "autogen.sh: $tool is missing (Debian packages: autoconf automake libtool pkg-config)" >&2
	exit 1
done
exec autoreconf -fi

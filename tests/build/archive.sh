# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# Where this machine gets Debian's packages from, for what needs another release's.

# The archive that apt's configuration names, or nothing.
debian_archive() {
	apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Label: Debian' 'Component: main' 2>/dev/null | head -n 1
}

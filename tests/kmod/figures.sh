# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# make bench-kmod [KERNEL=6.1]: tests/kmod/figures in a guest with that kernel, 6.12 if nothing is said.
module_programs=figures
library_programs=
. "$(dirname "$0")/run.sh"
run_on "${KERNEL:-6.12}"

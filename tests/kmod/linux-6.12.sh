# SPDX-License-Identifier: MIT
# The kernel module on Debian's Linux 6.12.
. "$(dirname "$0")/run.sh"
run_on 6.12

# SPDX-License-Identifier: MIT
# The kernel module on Debian's Linux 6.1.
. "$(dirname "$0")/run.sh"
run_on 6.1

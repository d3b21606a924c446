#!/bin/bash
# SPDX-License-Identifier: MIT
# lib/ is a house of floors: a folder includes only what is below it. The order is that in which lib/Makefile.inc lists the
# folders, from the ground up; libraries of their own (their folder has a Makefile.inc) stand on top. What calls upwards does so
# by a table that lib/process/wiring.cpp fills in.
. "$(dirname "$0")/common.sh"
command -v python3 >/dev/null || skip "there is no python3"

python3 - "$top_srcdir/lib" <<'END' || fail "a folder of lib/ includes one above it"
import glob, os, re, sys

most_mutual, most_upward = 0, 0

os.chdir(sys.argv[1])
with open('Makefile.inc') as f:
    floors = list(dict.fromkeys(re.findall(r'\blib/(\w+)/\w+\.\w+', f.read())))
floors += sorted(d for d in os.listdir('.') if os.path.isdir(d) and d not in floors)
height = {folder: i for i, folder in enumerate(floors)}
pairs, upward = set(), []
for source in sorted(glob.glob('*/*.[ch]*')):
    here = source.split('/')[0]
    with open(source) as f:
        for header in re.findall(r'^\s*#\s*include\s*"(\w+/[^"]+)"', f.read(), re.M):
            there = header.split('/')[0]
            if there in height and there != here:
                pairs.add((here, there))
                if height[there] > height[here]:
                    upward.append(f'{source} includes {header}')
mutual = sorted(p for p in pairs if p[0] < p[1] and p[::-1] in pairs)
print('from the ground up:', ' '.join(floors))
print(len(mutual), 'pairs of folders include each other:', ', '.join(a + ' and ' + b for a, b in mutual))
print(len(upward), 'includes go up:')
print(*upward, sep='\n')
for what, is_, most in ('pairs', len(mutual), most_mutual), ('upward includes', len(upward), most_upward):
    if is_ < most:
        print(f'{what}: there are {is_} now; write that number into this test')
sys.exit(len(mutual) > most_mutual or len(upward) > most_upward)
END

# Errors travel as -errno. errno is set where a program calls, and by what stands in for a system call (base, stats_folder.hpp);
# anywhere else it is only put back to what it was.
set_errno=$(cd "$top_srcdir/lib" && grep -nE '\berrno = ' -r --include='*.[ch]' --include='*.[ch]pp' . |
	grep -vE '^\./(api|base|libaio|glue)/|^\./fabric/api\.cpp:|^\./runtime/stats_folder\.hpp:|\berrno = saved_?;|= errno' || :)
[ -z "$set_errno" ] || fail "errno is set outside lib/api: $set_errno"
finish

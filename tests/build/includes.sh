#!/bin/bash
# SPDX-License-Identifier: MIT
# A source that uses a name of the C++ library includes its header, itself or by the project's own headers. With one version of
# the library it is often there by chance: gcc 14's headers include fewer others than those of gcc 12.
. "$(dirname "$0")/common.sh"
command -v python3 >/dev/null || skip "there is no python3"

python3 - "$top_srcdir" <<'END' || fail "headers are missing"
import glob, os, re, sys

lists = ('initializer_list', 'utility', 'string', 'vector', 'algorithm', 'array', 'map', 'set', 'deque', 'functional', 'span')
used = [
    (r'for \([^;()]*: \{|std::initializer_list\b', lists),
    (r'(?<![:.>\w])(malloc|calloc|realloc|free|abort|getenv|secure_getenv|qsort|strtoull?|strtol|atoi)\(', ('cstdlib', 'stdlib.h')),
    (r'(?<![:.>\w])(memset|memcpy|memmove|memcmp|memchr|strn?len|strn?cmp|strr?chr|strn?cpy|strstr|strerror)\(', ('cstring', 'string.h')),
    (r'(?<![:.>\w])(snprintf|fopen|sscanf|printf|fprintf|fflush|dprintf|perror)\(', ('cstdio', 'stdio.h')),
    (r'\berrno\b', ('cerrno', 'errno.h')),
    (r'\bstd::(atomic|memory_order)', ('atomic',)),
    (r'\bu?int(8|16|32|64)_t\b|\bu?intptr_t\b', ('cstdint', 'stdint.h')),
    (r'\b(U?INT|U?LONG|SSIZE|IOV|PATH)_MAX\b', ('climits', 'limits.h')),
    (r'\bstd::(min|max|clamp|sort|find_if|any_of|all_of|none_of|equal|copy|fill)\(', ('algorithm',)),
    (r'\bstd::(move|forward|exchange|swap|make_pair)\(|\bstd::pair\b', ('utility', 'algorithm', 'map')),
    (r'\bstd::(countr_zero|countl_zero|bit_width|bit_ceil|has_single_bit|popcount|bit_cast)\b', ('bit',)),
    (r'\bstd::string\b', ('string',)),
    (r'\bstd::vector\b', ('vector',)),
]
root = sys.argv[1]
where = ['lib', 'lib/glue', 'include', 'include/sigevec/system', 'compat', 'tools', '.']


def find(name, source):
    for folder in [os.path.dirname(source)] + [os.path.join(root, w) for w in where]:
        path = os.path.normpath(os.path.join(folder, name))
        if os.path.isfile(path):
            return path


def included(source, seen):
    names = set()
    if source not in seen:
        seen.add(source)
        with open(source) as f:
            for m in re.finditer(r'^\s*#\s*include(?:_next)?\s*[<"]([^>"]+)[>"]', f.read(), re.M):
                names.add(m[1])
                if path := find(m[1], source):
                    names |= included(path, seen)
    return names


missing = 0
for folder in 'lib', 'compat', 'tools':
    sources = sorted(glob.glob(os.path.join(root, folder, '**', '*.[ch]pp'), recursive=True))
    for source in sources:
        with open(source) as f:
            code = re.sub(r'//[^\n]*|/\*.*?\*/|^\s*#\s*include[^\n]*|"(\\.|[^"\\\n])*"', '', f.read(), flags=re.S | re.M)
        headers = included(source, set())
        for pattern, will_do in used:
            if (m := re.search(pattern, code)) and not headers.intersection(will_do):
                missing += 1
                print(f'{os.path.relpath(source, root)}: {m[0]} without <{will_do[0]}>')
sys.exit(missing != 0)
END
finish

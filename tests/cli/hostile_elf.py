# SPDX-License-Identifier: MIT
"""hostile_elf.py FOLDER: ELF files whose numbers are as large as they can be, for check-hostile.sh."""
import struct
import sys

folder = sys.argv[1]
INTERPRETER = b'/lib64/ld-linux-x86-64.so.2\0'
TOP = 0xffffffffffffffff


def write(name, tags=(), data=b'', size=None, phnum=3, phentsize=56, phoff=64):
    """An x86-64 program with these dynamic tags, and data at 8192."""
    dynamic, interpreter, at = 512, 4096, 8192
    tags = list(tags) + [(0, 0)]
    b = bytearray(max(at + len(data), dynamic + 16 * len(tags)))
    b[0:64] = struct.pack('<16sHHIQQQIHHHHHH', b'\x7fELF\x02\x01\x01', 3, 62, 1, 0, phoff, 0, 0, 64, phentsize, phnum, 0, 0, 0)
    for i, (kind, offset, length) in enumerate([(3, interpreter, len(INTERPRETER)), (1, 0, TOP), (2, dynamic, TOP)]):
        b[64 + 56 * i:120 + 56 * i] = struct.pack('<IIQQQQQQ', kind, 6, offset, offset, offset, length, length, 4096)
    for i, (tag, value) in enumerate(tags):
        b[dynamic + 16 * i:dynamic + 16 * i + 16] = struct.pack('<QQ', tag, value)
    b[interpreter:interpreter + len(INTERPRETER)] = INTERPRETER
    b[at:at + len(data)] = data
    with open(folder + '/elf-' + name, 'wb') as f:
        f.write(b)
        if size is not None:
            f.truncate(size)


NEEDED, HASH, STRTAB, SYMTAB, STRSZ, GNU_HASH, VERSYM, VERNEED, VERNEEDNUM, RPATH, RUNPATH = \
    1, 4, 5, 6, 10, 0x6ffffef5, 0x6ffffff0, 0x6ffffffe, 0x6fffffff, 15, 29
AT = 8192

# Every symbol has the one name, of 20 MB.
symbols = struct.pack('<IBBHQQ', 0, 0x12, 0, 0, 0, 0) * 50000
write('strings', [(STRTAB, AT + 16 + len(symbols)), (SYMTAB, AT + 16), (HASH, AT), (STRSZ, TOP)],
      struct.pack('<IIII', 1, 50000, 0, 0) + symbols + b'A' * (20 << 20) + b'\0')
# Every symbol is aio_read, and there are 500000.
symbols = struct.pack('<IBBHQQ', 1, 0x12, 0, 0, 0, 0) * 500000
write('same', [(STRTAB, AT + 16 + len(symbols)), (SYMTAB, AT + 16), (HASH, AT), (STRSZ, 100)],
      struct.pack('<IIII', 1, 0xffffffff, 0, 0) + symbols + b'\0zzzzzzzz\0')
# Lengths that nothing has, in a file of holes.
for name, header in (('hash', (0xffffffff,) * 4), ('buckets', (0xffffffff, 0, 0, 0)), ('bloom', (1, 0, 0xffffffff, 0))):
    for tag in (HASH, GNU_HASH):
        write('%s-%x' % (name, tag), [(STRTAB, AT), (SYMTAB, AT), (tag, AT), (STRSZ, TOP), (VERSYM, AT), (VERNEED, AT), (VERNEEDNUM, TOP)],
              struct.pack('<IIII', *header), 1 << 36)
# Versions that come after themselves.
loop = struct.pack('<HHIII', 1, 0xffff, 0, 0, 0xffffffff) + struct.pack('<HHIII', 1, 0xffff, 0, 16, 1)
write('versions', [(STRTAB, AT), (VERNEED, AT), (VERNEEDNUM, TOP), (STRSZ, TOP)], loop * 60000)
# More libraries than there are, from more folders.
names = b''.join(b'lib%d.so\0' % i for i in range(60000))
write('needed', [(STRTAB, AT), (STRSZ, TOP)] + [(NEEDED, i * 8) for i in range(450)], names)
folders = b'\0' + b':'.join([b'$ORIGIN' * 500] * 900) + b'\0'
for tag in (RPATH, RUNPATH):
    write('folders-%d' % tag, [(STRTAB, AT), (STRSZ, TOP), (tag, 1)] + [(NEEDED, i * 4 + 1) for i in range(400)], folders)
write('missing', [(STRTAB, AT), (STRSZ, TOP)] + [(NEEDED, i * 4000) for i in range(200)],
      b''.join(b'%03d' % i + b'\033' * 3996 + b'\0' for i in range(200)))
long_name = b'\0' + b'x' * (10 << 20) + b'\0'
write('name', [(STRTAB, AT), (STRSZ, TOP)] + [(NEEDED, i + 1) for i in range(400)], long_name)
# Program headers beyond what there is.
write('segments', phnum=0xffff, size=1 << 30)
write('entry-size', phentsize=1)
write('far', phoff=TOP - 10)
# No end of a name.
write('endless', [(STRTAB, AT), (STRSZ, TOP), (NEEDED, 1)], b'a' * (1 << 20))

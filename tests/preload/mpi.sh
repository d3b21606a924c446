#!/bin/sh
# SPDX-License-Identifier: MIT
# MPI-IO of mpich (ROMIO: MPI_File_iwrite is an aio_write with a zeroed sigevent) and of openmpi (ompio, which
# polls aio_error): mpi_iwrite.c on several ranks; it checks what it wrote, here and through plain pread.

. "$(dirname -- "$0")/lib.sh"

ranks=3
blocks=48
make_work

# try FLAVOUR SYMBOL...
try() {
	flavour=$1
	shift
	case $flavour in
		mpich) launch="mpiexec.mpich -n $ranks" ;;
		openmpi) launch="mpiexec.openmpi -n $ranks --oversubscribe --allow-run-as-root" ;;
	esac
	for block in 4096 100000; do
		what="$flavour, blocks of $block"
		rm -f "$work/data"
		run 60 $launch "$work/under" "$work/mpi_iwrite.$flavour" "$work/data" $blocks $block
		grep -q "contents checked by $ranks ranks" "$work/log" || fail "the program did not check the contents"
		proved $((2 * ranks * blocks)) "$@"
	done
}

found=
for flavour in mpich openmpi; do
	if command -v mpicc.$flavour >/dev/null && command -v mpiexec.$flavour >/dev/null; then
		found="$found $flavour"
		what="compiling for $flavour"
		run 60 mpicc.$flavour -O1 -o "$work/mpi_iwrite.$flavour" "$preload_dir/mpi_iwrite.c"
	else
		echo "note: $flavour is not installed"
	fi
done
[ -n "$found" ] || skip "neither mpich nor openmpi is installed"

OMPI_MCA_io=ompio
OMPI_MCA_btl=self,vader
OMPI_MCA_rmaps_base_oversubscribe=1
OMPI_MCA_mpi_yield_when_idle=1
export OMPI_MCA_io OMPI_MCA_btl OMPI_MCA_rmaps_base_oversubscribe OMPI_MCA_mpi_yield_when_idle

for name in $SIGEVEC_ENGINES; do
	with_engine "$name"
	for flavour in $found; do
		try $flavour aio_read aio_write aio_error aio_return
	done
done
finish

# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# What is run in a guest, whatever its kernel.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

# In the environment: only these.
: "${module_programs=pools transfers notify hostile library card}"
: "${library_programs=dma_regions dma_requests dma_receive dma_events dma_pressure}"

make_list() {
	for name in $module_programs; do
		[ -x "$top_builddir/tests/kmod/$name" ] || skip "tests/kmod/$name has not been built: make check does that"
		add_program "$top_builddir/tests/kmod/$name" "$name"
		echo "run $name /tests/$name"
	done
	for name in $library_programs; do
		add_program "$top_builddir/tests/contract/$name" "$name"
		echo "run $name /tests/$name"
	done
}

# The modules that the tests need beside ours, in the order of loading.
add_modules() {
	local name file
	for name in "$@"; do
		file=$(find "$modules" -name "$name.ko*" 2>/dev/null)
		[ -z "$file" ] || {
			case $file in
			*.xz) xz -dc "$file" >"$root/modules/$name.ko" ;;
			*) cp "$file" "$root/modules/" ;;
			esac
			echo "$name.ko"
		}
	done
}

# run_guest MEMORY [FUNCTION]: builds, boots, judges; the function adds to the list of what is run
run_guest() {
	build_module "$scratch/module"
	make_root
	{
		add_modules virtio_ring virtio virtio_pci_modern_dev virtio_pci_legacy_dev virtio_pci virtio_blk configfs null_blk
		cp "$module_source/kmod/sigevec.ko" "$module_source/tests/kmod/module/"sigevec_test*.ko "$root/modules/"
		(cd "$root/modules" && ls sigevec_test*.ko)
		echo sigevec.ko
	} >"$root/modules/order"
	{
		make_list
		"${2:-true}"
	} >"$root/tests/list"
	boot "$1"
	judge
	finish
}

# After everything else: the module goes, comes again with a limit of 0, and goes.
unloaded() {
	cat <<-'END'
		run "the module can be unloaded" sh -c 'rmmod sigevec && ! [ -e /dev/sigevec ]'
		run "a limit of 0 is one" sh -c 'insmod /modules/sigevec.ko user_limit=0 && [ "$(cat /sys/class/misc/sigevec/user_limit)" = 0 ] && rmmod sigevec'
	END
}

run_on() {
	skip_with_sanitizer "the guests run programs without"
	find_kernel "$1"
	run_guest 1G unloaded
}

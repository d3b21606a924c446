// SPDX-License-Identifier: GPL-2.0-only
/*
 * The file of a pool: an anonymous inode of its own, which has the pool's size. The one that all
 * anonymous files share has size 0, and beyond a file's size Linux maps no huge page.
 */
#include <linux/anon_inodes.h>
#include <linux/fcntl.h>
#include <linux/file.h>
#include <linux/module.h>
#include <linux/mount.h>

#include "sigevec.h"

static struct vfsmount *mount; /* of anonymous inodes; never unmounted */

static const struct file_operations no_ops = {};

/* The mount has no name in the kernel for modules, but each of its files knows it. */
int sv_file_init(void)
{
	struct file *f = anon_inode_getfile("[sigevec]", &no_ops, NULL, O_RDWR);

	if (IS_ERR(f))
		return PTR_ERR(f);
	mount = mntget(f->f_path.mnt);
	fput(f);
	return 0;
}

void sv_file_exit(void)
{
	mntput(mount);
}

struct file *sv_file(struct sv_pool *pool, const struct file_operations *ops)
{
	struct inode *inode = alloc_anon_inode(mount->mnt_sb);
	struct file *f;

	if (IS_ERR(inode))
		return ERR_CAST(inode);
	i_size_write(inode, pool->size);
	f = alloc_file_pseudo(inode, mount, "[sigevec-pool]", O_RDWR, ops);
	if (IS_ERR(f)) {
		iput(inode);
		return f;
	}
	__module_get(THIS_MODULE); /* the end of the file gives it back */
	f->private_data = pool;
	return f;
}

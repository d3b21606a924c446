// SPDX-License-Identifier: GPL-2.0-only
/* The device /dev/sigevec: its ioctls, its attributes in sysfs, the module's parameters. */

#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/sysfs.h>
#include <linux/uaccess.h>

#include "sigevec.h"

#define CREATE_TRACE_POINTS
#include "trace.h"

struct workqueue_struct *sv_works;

static bool dma = true;
module_param(dma, bool, 0644);
MODULE_PARM_DESC(dma, "new pools use a memcpy channel of the DMA engine where there is one");

static bool limit_given; /* 0 is a limit too: nobody gets anything */

static int set_limit(const char *text, const struct kernel_param *kp)
{
	unsigned long long bytes;
	int e = kstrtoull(text, 0, &bytes);

	if (!e) {
		sv_set_user_limit(bytes);
		limit_given = true;
	}
	return e;
}

static int get_limit(char *text, const struct kernel_param *kp)
{
	return sysfs_emit(text, "%llu\n", sv_user_limit());
}

static const struct kernel_param_ops limit_ops = {.set = set_limit, .get = get_limit};
module_param_cb(user_limit, &limit_ops, NULL, 0644);
MODULE_PARM_DESC(user_limit, "bytes that one user may have in pools (an eighth of the memory)");

bool sv_may_use_engine(void)
{
	return READ_ONCE(dma);
}

int sv_get_argument(void *to, size_t size, size_t least, unsigned int cmd, unsigned long arg)
{
	if (_IOC_SIZE(cmd) < least)
		return -EINVAL;
	return copy_struct_from_user(to, size, (void __user *)arg, _IOC_SIZE(cmd));
}

int sv_put_argument(const void *from, size_t size, size_t least, unsigned int cmd,
		    unsigned long arg)
{
	size_t wanted = _IOC_SIZE(cmd);
	char __user *to = (char __user *)arg;

	if (wanted < least)
		return -EINVAL;
	if (copy_to_user(to, from, min(wanted, size)) ||
	    (wanted > size && clear_user(to + size, wanted - size)))
		return -EFAULT;
	return 0;
}

static long device_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	if (sv_is(cmd, SIGEVEC_IOC_DEVICE_INFO)) {
		struct sigevec_device_info info = {
			.version = SIGEVEC_VERSION,
			.user_limit = sv_user_limit(),
			.user_bytes = sv_user_bytes(),
		};

		return sv_put_argument(&info, sizeof(info), sizeof(info), cmd, arg);
	}
	if (sv_is(cmd, SIGEVEC_IOC_POOL_CREATE)) {
		struct sigevec_pool_create c;
		int e = sv_get_argument(&c, sizeof(c), sizeof(c), cmd, arg);

		return e ? e : sv_pool_create(&c);
	}
	return -ENOTTY;
}

static const struct file_operations device_ops = {
	.owner = THIS_MODULE,
	.unlocked_ioctl = device_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.llseek = noop_llseek,
};

static ssize_t user_limit_show(struct device *d, struct device_attribute *a, char *text)
{
	return sysfs_emit(text, "%llu\n", sv_user_limit());
}

static ssize_t user_limit_store(struct device *d, struct device_attribute *a, const char *text,
				size_t n)
{
	int e = set_limit(text, NULL);

	return e ? e : n;
}
static DEVICE_ATTR_RW(user_limit);

static ssize_t bytes_show(struct device *d, struct device_attribute *a, char *text)
{
	return sysfs_emit(text, "%llu\n", sv_total_bytes());
}
static DEVICE_ATTR_RO(bytes);

static struct attribute *device_attrs[] = {&dev_attr_user_limit.attr, &dev_attr_bytes.attr, NULL};
ATTRIBUTE_GROUPS(device);

static struct miscdevice device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "sigevec",
	.fops = &device_ops,
	.groups = device_groups,
};

static int __init sv_init(void)
{
	int e;

	if (!limit_given)
		sv_set_user_limit((u64)totalram_pages() * PAGE_SIZE / 8);
	sv_works = alloc_workqueue("sigevec", WQ_UNBOUND, 0);
	if (!sv_works)
		return -ENOMEM;
	e = sv_file_init();
	if (e)
		goto no_file;
	e = misc_register(&device);
	if (!e)
		return 0;
	sv_file_exit();
no_file:
	destroy_workqueue(sv_works);
	return e;
}

static void __exit sv_exit(void)
{
	misc_deregister(&device);
	/* Whoever dropped the last reference to a pool within a work is waited for here. */
	destroy_workqueue(sv_works);
	sv_linger_exit();
	sv_file_exit();
}

module_init(sv_init);
module_exit(sv_exit);

MODULE_DESCRIPTION("Pools of memory for DMA, with asynchronous transfers");
MODULE_LICENSE("GPL");
MODULE_VERSION("0.1.0");
SV_IMPORT_NS(DMA_BUF);

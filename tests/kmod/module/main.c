// SPDX-License-Identifier: GPL-2.0-only
#include <linux/dma-mapping.h>
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/platform_device.h>
#include <linux/uaccess.h>

#include "compat.h"
#include "test.h"

static struct platform_device *platform;

static long test_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	struct test_import t;
	int e;

	if (cmd != TEST_IMPORT)
		return -ENOTTY;
	if (copy_from_user(&t, (void __user *)arg, sizeof(t)))
		return -EFAULT;
	e = test_import(&platform->dev, &t);
	return e ? e : copy_to_user((void __user *)arg, &t, sizeof(t)) ? -EFAULT : 0;
}

static const struct file_operations ops = {
	.owner = THIS_MODULE,
	.unlocked_ioctl = test_ioctl,
};

static struct miscdevice device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "sigevec_test",
	.fops = &ops,
	.mode = 0666,
};

/* The DMA engine's core wants a device with a driver. */
static struct platform_driver driver = {.driver.name = "sigevec_test"};

static int probe(struct platform_device *p)
{
	return 0;
}

static int __init test_init(void)
{
	int e;

	platform = platform_create_bundle(&driver, probe, NULL, 0, NULL, 0);
	if (IS_ERR(platform))
		return PTR_ERR(platform);
	e = dma_coerce_mask_and_coherent(&platform->dev, DMA_BIT_MASK(64));
	if (!e)
		e = test_engine_init(&platform->dev);
	if (e)
		goto no_engine;
	e = misc_register(&device);
	if (!e)
		return 0;
	test_engine_exit();
no_engine:
	platform_device_unregister(platform);
	platform_driver_unregister(&driver);
	return e;
}

static void __exit test_exit(void)
{
	misc_deregister(&device);
	test_engine_exit();
	platform_device_unregister(platform);
	platform_driver_unregister(&driver);
}

module_init(test_init);
module_exit(test_exit);
MODULE_DESCRIPTION("What the tests of sigevec need in the kernel");
MODULE_LICENSE("GPL");
SV_IMPORT_NS(DMA_BUF);

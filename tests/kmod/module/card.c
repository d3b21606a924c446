// SPDX-License-Identifier: GPL-2.0-only
/*
 * A network device for the tests, "card0", whose one queue reads and writes the memory of an AF_XDP
 * socket itself (zero-copy), as the drivers of real cards have it done by their hardware; and an
 * ordinary one, "cable0", at the other end of its cable. What the hardware would do this module
 * does, in NAPI's poll. In /sys/module/sigevec_test_card/parameters: hold, by which the device does
 * not read what is to be sent.
 */
#include <linux/bpf.h>
#include <linux/bpf_trace.h>
#include <linux/dma-mapping.h>
#include <linux/etherdevice.h>
#include <linux/filter.h>
#include <linux/module.h>
#include <linux/netdevice.h>
#include <linux/platform_device.h>
#include <net/xdp_sock_drv.h>

enum { most_arriving = 1024 };

struct card {
	struct napi_struct napi;
	struct sk_buff_head arriving;
	struct bpf_prog __rcu *prog;
	struct xsk_buff_pool *pool; /* changed while NAPI is off */
	struct xdp_rxq_info rxq;
};

static struct platform_device *platform;
static struct net_device *card, *cable;
static bool hold;

static void look(void)
{
	struct card *c = netdev_priv(card);

	local_bh_disable();
	if (netif_running(card))
		napi_schedule(&c->napi);
	local_bh_enable();
}

static int set_hold(const char *value, const struct kernel_param *p)
{
	int e = param_set_bool(value, p);

	if (!e && card)
		look();
	return e;
}

static const struct kernel_param_ops hold_ops = {.set = set_hold, .get = param_get_bool};
module_param_cb(hold, &hold_ops, &hold, 0644);

/* By the kernel's own ways; with a program, to a socket that has its frames copied. */
static void into_stack(struct sk_buff *skb, struct bpf_prog *prog)
{
	skb->protocol = eth_type_trans(skb, card);
	skb_reset_network_header(skb);
	if (prog && do_xdp_generic(prog, &skb) != XDP_PASS)
		return;
	netif_receive_skb(skb);
}

/* NULL: the socket has given the device no memory, or it is too small. */
static struct xdp_buff *into_memory(struct card *c, const struct sk_buff *skb)
{
	struct xdp_buff *x = xsk_buff_alloc(c->pool);

	if (!x) {
		if (xsk_uses_need_wakeup(c->pool))
			xsk_set_rx_need_wakeup(c->pool);
		return NULL;
	}
	if (xsk_uses_need_wakeup(c->pool))
		xsk_clear_rx_need_wakeup(c->pool);
	if (skb->len > xsk_pool_get_rx_frame_size(c->pool) ||
	    skb_copy_bits(skb, 0, x->data, skb->len)) {
		xsk_buff_free(x);
		return NULL;
	}
	xsk_buff_set_size(x, skb->len);
	xsk_buff_dma_sync_for_cpu(x);
	return x;
}

static void into_socket(struct card *c, struct sk_buff *skb, struct bpf_prog *prog)
{
	struct xdp_buff *x = into_memory(c, skb);
	u32 act;

	if (!x) {
		DEV_STATS_INC(card, rx_dropped);
		kfree_skb(skb);
		return;
	}
	act = prog ? bpf_prog_run_xdp(prog, x) : XDP_PASS;
	if (act == XDP_REDIRECT && xdp_do_redirect(card, x, prog) == 0) {
		consume_skb(skb);
		return;
	}
	xsk_buff_free(x);
	if (act == XDP_PASS)
		into_stack(skb, NULL);
	else
		kfree_skb(skb);
}

static int receive(struct card *c, int budget)
{
	struct bpf_prog *prog = rcu_dereference_bh(c->prog);
	struct sk_buff *skb;
	int n = 0;

	while (n < budget && (skb = skb_dequeue(&c->arriving))) {
		n++;
		if (c->pool)
			into_socket(c, skb, prog);
		else
			into_stack(skb, prog);
	}
	if (n > 0)
		xdp_do_flush();
	return n;
}

/* Whether there may be more to send. */
static bool transmit(struct card *c, int budget)
{
	struct xdp_desc d;
	int n = 0;

	if (!c->pool)
		return false;
	while (!READ_ONCE(hold) && n < budget && xsk_tx_peek_desc(c->pool, &d)) {
		struct sk_buff *skb = netdev_alloc_skb(cable, d.len);

		n++;
		if (!skb)
			continue;
		memcpy(skb_put(skb, d.len), xsk_buff_raw_get_data(c->pool, d.addr), d.len);
		skb->protocol = eth_type_trans(skb, cable);
		netif_rx(skb);
	}
	if (n > 0) {
		xsk_tx_release(c->pool);
		xsk_tx_completed(c->pool, n);
	}
	if (xsk_uses_need_wakeup(c->pool))
		xsk_set_tx_need_wakeup(c->pool);
	return n == budget;
}

static int poll(struct napi_struct *napi, int budget)
{
	struct card *c = container_of(napi, struct card, napi);
	int n = receive(c, budget);

	if (budget > 0 && transmit(c, budget))
		return budget;
	if (n < budget)
		napi_complete_done(napi, n);
	return n;
}

static int card_open(struct net_device *dev)
{
	struct card *c = netdev_priv(dev);

	napi_enable(&c->napi);
	netif_carrier_on(dev);
	netif_start_queue(dev);
	return 0;
}

static int card_stop(struct net_device *dev)
{
	struct card *c = netdev_priv(dev);

	netif_stop_queue(dev);
	napi_disable(&c->napi);
	skb_queue_purge(&c->arriving);
	return 0;
}

static netdev_tx_t card_xmit(struct sk_buff *skb, struct net_device *dev)
{
	dev_forward_skb(cable, skb);
	return NETDEV_TX_OK;
}

static netdev_tx_t cable_xmit(struct sk_buff *skb, struct net_device *dev)
{
	struct card *c = netdev_priv(card);

	if (!netif_running(card) || skb_queue_len(&c->arriving) >= most_arriving) {
		kfree_skb(skb);
		return NETDEV_TX_OK;
	}
	skb_orphan(skb);
	skb_queue_tail(&c->arriving, skb);
	napi_schedule(&c->napi);
	return NETDEV_TX_OK;
}

static int card_wakeup(struct net_device *dev, u32 queue, u32 flags)
{
	if (!netif_running(dev))
		return -ENETDOWN;
	look();
	return 0;
}

static int change_memory(struct card *c, struct xsk_buff_pool *pool)
{
	int e;

	xdp_rxq_info_unreg_mem_model(&c->rxq);
	if (!pool) {
		xsk_pool_dma_unmap(c->pool, 0);
		c->pool = NULL;
		return xdp_rxq_info_reg_mem_model(&c->rxq, MEM_TYPE_PAGE_SHARED, NULL);
	}
	e = xsk_pool_dma_map(pool, &platform->dev, 0);
	if (e)
		return e;
	e = xdp_rxq_info_reg_mem_model(&c->rxq, MEM_TYPE_XSK_BUFF_POOL, NULL);
	if (e) {
		xsk_pool_dma_unmap(pool, 0);
		return e;
	}
	xsk_pool_set_rxq_info(pool, &c->rxq);
	c->pool = pool;
	return 0;
}

static int card_bpf(struct net_device *dev, struct netdev_bpf *b)
{
	struct card *c = netdev_priv(dev);
	struct bpf_prog *old;
	int e;

	switch (b->command) {
	case XDP_SETUP_PROG:
		old = rtnl_dereference(c->prog);
		rcu_assign_pointer(c->prog, b->prog);
		if (old)
			bpf_prog_put(old);
		return 0;
	case XDP_SETUP_XSK_POOL:
		if (netif_running(dev))
			napi_disable(&c->napi);
		e = change_memory(c, b->xsk.pool);
		if (netif_running(dev)) {
			napi_enable(&c->napi);
			look();
		}
		return e;
	default:
		return -EINVAL;
	}
}

static const struct net_device_ops card_ops = {
	.ndo_open = card_open,
	.ndo_stop = card_stop,
	.ndo_start_xmit = card_xmit,
	.ndo_bpf = card_bpf,
	.ndo_xsk_wakeup = card_wakeup,
	.ndo_set_mac_address = eth_mac_addr,
};

static const struct net_device_ops cable_ops = {
	.ndo_start_xmit = cable_xmit,
	.ndo_set_mac_address = eth_mac_addr,
};

static struct net_device *make(const char *name, const struct net_device_ops *ops)
{
	struct net_device *dev = alloc_etherdev(sizeof(struct card));

	if (!dev)
		return NULL;
	SET_NETDEV_DEV(dev, &platform->dev);
	strscpy(dev->name, name, sizeof(dev->name));
	dev->netdev_ops = ops;
	dev->flags |= IFF_NOARP;
	eth_hw_addr_random(dev);
	return dev;
}

static int add_card(void)
{
	struct card *c = netdev_priv(card);
	int e;

	skb_queue_head_init(&c->arriving);
	netif_napi_add(card, &c->napi, poll);
	card->xdp_features =
		NETDEV_XDP_ACT_BASIC | NETDEV_XDP_ACT_REDIRECT | NETDEV_XDP_ACT_XSK_ZEROCOPY;
	e = xdp_rxq_info_reg(&c->rxq, card, 0, 0);
	if (e)
		return e;
	e = xdp_rxq_info_reg_mem_model(&c->rxq, MEM_TYPE_PAGE_SHARED, NULL);
	if (!e)
		e = register_netdev(card);
	if (e)
		xdp_rxq_info_unreg(&c->rxq);
	return e;
}

static void remove_card(void)
{
	struct card *c = netdev_priv(card);

	unregister_netdev(card);
	xdp_rxq_info_unreg(&c->rxq);
}

static int __init card_init(void)
{
	int e;

	platform =
		platform_device_register_simple("sigevec_test_card", PLATFORM_DEVID_NONE, NULL, 0);
	if (IS_ERR(platform))
		return PTR_ERR(platform);
	e = dma_coerce_mask_and_coherent(&platform->dev, DMA_BIT_MASK(64));
	if (e)
		goto no_devices;
	e = -ENOMEM;
	card = make("card0", &card_ops);
	cable = make("cable0", &cable_ops);
	if (!card || !cable)
		goto no_devices;
	e = add_card();
	if (e)
		goto no_devices;
	e = register_netdev(cable);
	if (!e)
		return 0;
	remove_card();
no_devices:
	if (cable)
		free_netdev(cable);
	if (card)
		free_netdev(card);
	platform_device_unregister(platform);
	return e;
}

static void __exit card_exit(void)
{
	unregister_netdev(cable);
	remove_card();
	free_netdev(cable);
	free_netdev(card);
	platform_device_unregister(platform);
}

module_init(card_init);
module_exit(card_exit);
MODULE_DESCRIPTION("A network device whose queue an AF_XDP socket can have without copies, for the "
		   "tests of sigevec");
MODULE_LICENSE("GPL");

// SPDX-License-Identifier: GPL-2.0-only
/*
 * What each user has in pools. A user is one of the initial user namespace: whoever makes
 * namespaces of his own, and users in them, pays for them. The limit is this module's own:
 * RLIMIT_MEMLOCK has no say, so that an unprivileged user gets memory by the administrator's rule
 * for the device alone. Memory is the creator's until it is free, whoever has it then.
 */
#include <linux/cred.h>
#include <linux/slab.h>
#include <linux/user_namespace.h>

#include "sigevec.h"

static LIST_HEAD(users);
static DEFINE_MUTEX(users_lock);
static u64 limit;
static u64 total;

u64 sv_user_limit(void)
{
	return READ_ONCE(limit);
}

void sv_set_user_limit(u64 bytes)
{
	WRITE_ONCE(limit, bytes);
}

/*
 * In a namespace the owner of the outermost one below the initial one. With a range of subordinate
 * users (/etc/subuid) he would otherwise have the limit once for each of them. The caller's
 * credentials hold the namespace, and that its parents.
 */
static kuid_t payer(void)
{
	const struct user_namespace *ns = current_user_ns();

	if (ns == &init_user_ns)
		return current_euid();
	while (ns->parent != &init_user_ns)
		ns = ns->parent;
	return ns->owner;
}

static struct sv_user *find(kuid_t uid)
{
	struct sv_user *u;

	list_for_each_entry(u, &users, link)
		if (uid_eq(u->uid, uid))
			return u;
	return NULL;
}

u64 sv_user_bytes(void)
{
	struct sv_user *u;
	u64 n;

	mutex_lock(&users_lock);
	u = find(payer());
	n = u ? u->bytes : 0;
	mutex_unlock(&users_lock);
	return n;
}

u64 sv_total_bytes(void)
{
	u64 n;

	mutex_lock(&users_lock);
	n = total;
	mutex_unlock(&users_lock);
	return n;
}

/* With users_lock held. */
static int add(struct sv_user *u, u64 bytes)
{
	u64 most = sv_user_limit();

	if (bytes > most || u->bytes > most - bytes)
		return -EDQUOT;
	u->bytes += bytes;
	total += bytes;
	return 0;
}

struct sv_user *sv_charge(u64 bytes)
{
	struct sv_user *fresh = kzalloc(sizeof(*fresh), GFP_KERNEL_ACCOUNT);
	struct sv_user *u;
	int e;

	if (!fresh)
		return ERR_PTR(-ENOMEM);
	mutex_lock(&users_lock);
	u = find(payer());
	if (!u) {
		u = fresh;
		u->uid = payer();
	}
	e = add(u, bytes);
	if (!e && u == fresh) {
		list_add(&u->link, &users);
		fresh = NULL;
	}
	mutex_unlock(&users_lock);
	kfree(fresh);
	return e ? ERR_PTR(e) : u;
}

/* The caller has something charged already, so the user stays. */
int sv_charge_more(struct sv_user *user, u64 bytes)
{
	int e;

	mutex_lock(&users_lock);
	e = add(user, bytes);
	mutex_unlock(&users_lock);
	return e;
}

void sv_uncharge(struct sv_user *user, u64 bytes)
{
	mutex_lock(&users_lock);
	user->bytes -= bytes;
	total -= bytes;
	if (user->bytes)
		user = NULL;
	else
		list_del(&user->link);
	mutex_unlock(&users_lock);
	kfree(user);
}

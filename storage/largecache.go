package storage

import "sync"

const (
	cachedManifests = 16
	cachedManifest  = 256 << 10 // bytes; a thousand segments of ordinary names
)

// manifests remembers a few manifests that were read lately, so that who reads
// a large object in many small stretches, as players of films do, does not have
// all of its manifest read for each.
type manifests struct {
	mu   sync.Mutex
	read map[manifestKey]*manifest
}

// A manifestKey names bytes that never change: equal versions of a path mean
// equal content.
type manifestKey struct {
	path    Path
	version uint64
}

func (c *manifests) get(in *Info) *manifest {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.read[manifestKey{in.Path, in.Version}]
}

// add remembers the manifest that in is stored as.
func (c *manifests) add(in *Info, m *manifest) {
	if in.Size > cachedManifest {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.read == nil || len(c.read) == cachedManifests {
		c.read = make(map[manifestKey]*manifest, cachedManifests)
	}
	c.read[manifestKey{in.Path, in.Version}] = m
}

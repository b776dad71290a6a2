package main

import (
	"context"
	"errors"
	"io/fs"
	"sync"
	"time"

	"memstore.dev/memstore/auth"
	"memstore.dev/memstore/cdn"
	"memstore.dev/memstore/gateway"
	"memstore.dev/memstore/storage"
)

// sites are the containers as edges know them, read from the Store whenever
// they are asked for.
type sites struct {
	store  *storage.Store
	realm  *auth.Realm
	ttl    int64  // seconds, of containers that say nothing
	domain string // with a port, if there must be one
	secure bool   // HTTPS is spoken there

	secureDomain string // as domain, for HTTPS

	mu     sync.Mutex
	labels map[string]labelled // by account
}

var _ cdn.Directory = (*sites)(nil)

// labelled are the containers of an account that have made-up labels.
type labelled struct {
	at    time.Time
	names map[string]string // of labels
}

// Site is the site that ref means.
func (s *sites) Site(ctx context.Context, ref cdn.Ref) (cdn.Site, error) {
	account := ref.Account
	if account == "" {
		var ok bool
		if account, ok = s.realm.CDNAccount(ref.ID); !ok {
			return cdn.Site{}, fs.ErrNotExist
		}
	}
	if s.store.Gone(account) {
		return cdn.Site{}, fs.ErrNotExist
	}
	ctx = own(ctx)
	p := storage.Path{Account: account, Container: ref.Container}
	in, err := s.store.Stat(ctx, p)
	if errors.Is(err, fs.ErrNotExist) && cdn.Hashed(ref.Container) {
		if p.Container, err = s.name(ctx, account, ref.Container); err == nil {
			in, err = s.store.Stat(ctx, p)
		}
	}
	if errors.Is(err, fs.ErrPermission) { // of an account that nobody can have
		err = fs.ErrNotExist
	}
	if err != nil {
		return cdn.Site{}, err
	}
	of, err := s.store.Stat(ctx, storage.Path{Account: account})
	if err != nil {
		return cdn.Site{}, err
	}
	if of.Meta[storage.MetaDeleted] != "" {
		return cdn.Site{}, fs.ErrNotExist
	}
	keys := gateway.KeysOf(of.Meta, in.Meta)
	site := cdn.Site{Keys: cdn.Keys(keys), Account: account, Container: p.Container, ID: ref.ID, Version: in.Version, TTL: s.ttl}
	return cdn.ReadSite(site, in.Meta), nil
}

// relabel is how often the containers of an account may be looked through for
// labels that strangers make up.
const relabel = time.Second

// name finds the container that has a made-up label.
func (s *sites) name(ctx context.Context, account, label string) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	known := s.labels[account]
	if name, ok := known.names[label]; ok {
		return name, nil
	}
	if time.Since(known.at) < relabel {
		return "", fs.ErrNotExist
	}
	known = labelled{at: time.Now(), names: make(map[string]string)}
	for in, err := range s.store.List(ctx, storage.Path{Account: account}, storage.Query{}) {
		if err != nil {
			return "", err
		}
		if l := cdn.Label(account, in.Path.Container); l != in.Path.Container {
			known.names[l] = in.Path.Container
		}
	}
	if s.labels == nil || len(s.labels) >= 1000 {
		s.labels = make(map[string]labelled)
	}
	s.labels[account] = known
	name, ok := known.names[label]
	if !ok {
		return "", fs.ErrNotExist
	}
	return name, nil
}

// urls are the addresses of a container at the edge.
func (s *sites) urls(ctx context.Context, account, container string) (plain, single string, err error) {
	id, err := s.realm.CDNID(ctx, account)
	if err != nil {
		return "", "", err
	}
	label := cdn.Label(account, container)
	plain = "http://" + label + "." + id + "." + s.domain
	if s.secure {
		return plain, "https://" + label + "-" + id + "." + s.secureDomain, nil
	}
	return plain, "http://" + label + "-" + id + "." + s.domain, nil
}

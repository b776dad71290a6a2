package main

import (
	"context"
	"fmt"
)

// files compares what a door for files shows with the objects that were found,
// and with what was left unfinished: that is to be seen as long as it was kept,
// and may be gone on with from there.
func (v *verifier) files(ctx context.Context, dial dialer) error {
	d, err := dial(ctx)
	if err != nil {
		return err
	}
	defer d.close()
	infos, err := d.list(filed)
	if err != nil {
		return fmt.Errorf("listing %q by a door for files: %w", filed, err)
	}
	parts := map[string]*key{}
	for _, k := range v.w.parts {
		parts[k.object] = k
	}
	listed := map[string]int64{}
	for _, in := range infos {
		name, size := in.Name(), in.Size()
		if _, twice := listed[name]; twice {
			v.complain("listing", name, "a door for files lists it twice")
		}
		listed[name] = size
		if s, ok := v.found[filed][name]; ok {
			if int64(s.body.size) != size {
				v.complain("listing", name, "a door for files lists it with %d bytes, but it is %v", size, s)
			}
			continue
		}
		var rest *left
		if k := parts[name]; k != nil {
			rest = k.leftover()
		}
		switch {
		case rest == nil:
			v.complain("orphan", name, "%d bytes of a file that nobody has left unfinished", size)
		case rest.sure && size < rest.size:
			v.complain("lost", name, "%d bytes are left of %d that were kept of an unfinished upload", size, rest.size)
		case size > rest.size:
			v.complain("alien", name, "%d bytes are kept of an upload of which %d came", size, rest.size)
		}
	}
	for name := range v.found[filed] {
		if _, ok := listed[name]; !ok {
			v.complain("listing", name, "it is there, but a door for files does not list it")
		}
	}
	for name, k := range parts {
		rest := k.leftover()
		if rest == nil {
			continue
		}
		size, ok := listed[name]
		_, whole := v.found[filed][name]
		switch {
		case whole:
			k.setLeft(nil)
		case ok:
			k.setLeft(&left{body: rest.body, size: size, sure: true})
		default:
			if rest.sure {
				v.complain("lost", name, "an unfinished upload of which %d bytes were kept is gone", rest.size)
			}
			k.setLeft(nil)
		}
	}
	return nil
}

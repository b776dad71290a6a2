package gateway

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"slices"
	"strings"
	"sync"

	"memstore.dev/memstore/storage"
)

// deleteManifest removes a static large object with all of its segments, and
// reports.
func (c *call) deleteManifest() error {
	if v, _ := param(c.r.URL.RawQuery, "async"); truth(v) {
		return c.deleteAsync()
	}
	r := c.newBulkReport("delete", http.StatusOK, "Number Deleted", "Number Not Found")
	var err error
	if r.ok {
		var d deletion
		err = c.deleteAll(&d, r.tick)
		d.tell(r)
	}
	if err != nil {
		answer := c.answerTo(err)
		r.status, r.body = answer.status, answer.text
	}
	return errors.Join(c.internal(err), r.send())
}

// A deletion counts what became of many deletes.
type deletion struct {
	mu            sync.Mutex
	gone, missing int
	failed        []failure
	broken        bool // one failed by our own fault
}

type failure struct {
	index     int // of what was to be deleted
	what, how string
}

func (d *deletion) fail(index int, p storage.Path, how string) {
	d.failed = append(d.failed, failure{index, quote("/" + p.Container + "/" + p.Object), how})
}

// note counts what became of one.
func (d *deletion) note(c *call, index int, p storage.Path, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case err == nil:
		d.gone++
	case errors.Is(err, fs.ErrNotExist):
		d.missing++
	default:
		status := c.answerTo(err).status
		d.broken = d.broken || status >= 500
		d.fail(index, p, statusLine(status))
	}
}

// tell says so in a report.
func (d *deletion) tell(r *bulkReport) {
	switch {
	case len(d.failed) > 0 && d.broken:
		r.status = http.StatusBadGateway
	case len(d.failed) > 0:
		r.status = http.StatusBadRequest
	case d.gone+d.missing == 0:
		r.status, r.body = http.StatusBadRequest, "Invalid bulk delete."
	}
	r.counts[0].value, r.counts[1].value = d.gone, d.missing
	slices.SortStableFunc(d.failed, func(a, b failure) int { return a.index - b.index })
	for _, f := range d.failed {
		r.fail(f.what, f.how)
	}
}

const (
	// maxDeletes is how many segments one request deletes, in all manifests
	// within each other.
	maxDeletes = 10 * storage.MaxSegments

	// deleters is how many deletes are under way at once, so that they share
	// what makes them durable.
	deleters = 16
)

// deleteAll removes the segments of a large object, and those of the large
// objects among them, and then the manifests, the innermost first.
func (c *call) deleteAll(d *deletion, each func()) error {
	manifests, leaves := []storage.Path{c.path}, []storage.Path(nil)
	for i := 0; i < len(manifests); i++ {
		each()
		ctx := c.ctx
		if i == 0 {
			ctx = storage.OfVersion(ctx, c.versionParam())
		}
		segments, _, err := c.g.Store.Manifest(ctx, manifests[i])
		if err != nil {
			c.noManifest(d, i, manifests[i], err)
			manifests[i] = storage.Path{}
			continue
		}
		for j := range segments {
			switch g := &segments[j]; {
			case g.Data != nil:
			case g.Static:
				manifests = append(manifests, g.Path)
			default:
				leaves = append(leaves, g.Path)
			}
		}
		if len(manifests)+len(leaves) > maxDeletes {
			return badRequest("Too many buffered slo segments to delete.")
		}
	}
	c.removeEach(d, leaves, each)
	slices.Reverse(manifests)
	c.removeEach(d, slices.DeleteFunc(manifests, func(p storage.Path) bool { return p == storage.Path{} }), each)
	return c.ctx.Err()
}

// noManifest tells why there is nothing to delete with what should be a large
// object.
func (c *call) noManifest(d *deletion, index int, p storage.Path, err error) {
	how := "Unable to load SLO manifest or segment."
	switch {
	case errors.Is(err, storage.ErrNoManifest):
		how = "Not an SLO manifest"
	case errors.Is(err, fs.ErrNotExist):
		d.missing++
		return
	case errors.Is(err, fs.ErrPermission) && c.id.Stranger():
		how = "401 Unauthorized"
	}
	d.fail(index, p, how)
}

// removeEach removes objects, several at a time.
func (c *call) removeEach(d *deletion, list []storage.Path, each func()) {
	var wg sync.WaitGroup
	next := make(chan int)
	for range min(deleters, len(list)) {
		wg.Go(func() {
			for i := range next {
				d.note(c, i, list[i], c.remove(list[i]))
			}
		})
	}
	for i := range list {
		each()
		next <- i
	}
	close(next)
	wg.Wait()
}

// remove removes an object, or only one version of it if the request is about
// just that.
func (c *call) remove(p storage.Path) error {
	if id := c.versionParam(); id != "" && p == c.path {
		_, err := c.g.Store.DeleteVersion(c.vouched(), p, id)
		return err
	}
	return c.g.Store.Remove(c.ctx, p, storage.Cond{})
}

// deleteAsync removes a static large object and leaves its segments to be
// removed by and by. As removing takes no time here it is done at once.
func (c *call) deleteAsync() error {
	segments, _, err := c.g.Store.Manifest(storage.OfVersion(c.ctx, c.versionParam()), c.path)
	switch {
	case errors.Is(err, storage.ErrNoManifest):
		return c.unlessForbidden(&refusal{status: http.StatusBadRequest, text: "Not an SLO manifest"})
	case errors.Is(err, fs.ErrNotExist):
		return c.unlessForbidden(&refusal{status: http.StatusNotFound, text: "SLO manifest not found"})
	case err != nil:
		return err
	}
	var containers []string
	var list []storage.Path
	for i := range segments {
		g := &segments[i]
		if g.Data != nil {
			continue
		}
		if !slices.Contains(containers, g.Path.Container) {
			containers = append(containers, g.Path.Container)
		}
		list = append(list, g.Path)
	}
	if len(containers) > 1 {
		for i, name := range containers {
			containers[i] = `"` + quote(name) + `"`
		}
		return c.unlessForbidden(&refusal{
			status: http.StatusBadRequest,
			text:   "All segments must be in one container. Found segments in " + strings.Join(containers, ", "),
		})
	}
	if slices.ContainsFunc(segments, func(g storage.Segment) bool { return g.Static }) {
		return c.unlessForbidden(&refusal{status: http.StatusBadRequest, text: "No segments may be large objects."})
	}
	if err := c.unlessForbidden(nil); err != nil {
		return err
	}
	var d deletion
	c.removeEach(&d, list, func() {})
	if len(d.failed) > 0 {
		return fmt.Errorf("%w: a segment cannot be removed", fs.ErrPermission)
	}
	return c.removeObject()
}

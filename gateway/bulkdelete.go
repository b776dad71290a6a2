package gateway

import (
	"bufio"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"memstore.dev/memstore/storage"
)

const (
	maxBulkDeletes       = 10000 // of one request
	maxFailedBulkDeletes = 1000  // after which it is given up
	maxBulkName          = 2 * (storage.MaxObjectName + storage.MaxContainerName + 2)

	// bulkDeletes is how many deletions are under way at once: as many as it
	// takes to have the engine commit them together.
	bulkDeletes = 128
)

// bulkDelete removes the objects and then the containers that the lines of the
// body name.
func (c *call) bulkDelete() error {
	r := c.newBulkReport("delete", http.StatusOK, "Number Deleted", "Number Not Found")
	if !r.ok {
		return r.send()
	}
	if kind := c.r.Header.Get("Content-Type"); kind != "" && !strings.HasPrefix(kind, "text/plain") {
		r.status = http.StatusNotAcceptable
		return r.send()
	}
	if c.unframed() {
		r.status = http.StatusLengthRequired
		return r.send()
	}
	names, err := c.bulkNames(r)
	if err != nil {
		return err
	}
	if r.status == http.StatusOK {
		c.deleteNamed(r, names)
	}
	return r.send()
}

// bulkNames reads what is to be deleted.
func (c *call) bulkNames(r *bulkReport) (names []string, err error) {
	in := bufio.NewReaderSize(&c.body, maxBulkName+2)
	for {
		text, err := in.ReadSlice('\n')
		if err == bufio.ErrBufferFull {
			r.status, r.body = http.StatusBadRequest, "Invalid File Name"
			return nil, nil
		}
		if err != nil && err != io.EOF {
			return nil, c.body.err
		}
		if name := unquote(strings.TrimSpace(string(text))); name != "" {
			names = append(names, name)
		} else if err == nil {
			names = append(names, "") // which Swift counts, too
		}
		if len(names) > maxBulkDeletes {
			r.status, r.body = http.StatusRequestEntityTooLarge, "Maximum Bulk Deletes: "+strconv.Itoa(maxBulkDeletes)+" per request"
			return nil, nil
		}
		if err == io.EOF {
			return names, nil
		}
	}
}

// deleteNamed removes what the names say, and reports.
func (c *call) deleteNamed(r *bulkReport, names []string) {
	statuses := make([]int, len(names))
	var failed atomic.Int32
	abort := func() bool { return failed.Load() >= maxFailedBulkDeletes || !c.current() }
	for _, objects := range []bool{true, false} {
		var some []int
		for i, name := range names {
			if name != "" && isObject(name) == objects {
				some = append(some, i)
			}
		}
		todo, done := make(chan int), make(chan struct{}, bulkDeletes)
		var workers sync.WaitGroup
		for range min(bulkDeletes, len(some)) {
			workers.Go(func() {
				for i := range todo {
					if statuses[i] = c.deleteOne(names[i]); statuses[i] != http.StatusNoContent && statuses[i] != http.StatusNotFound {
						failed.Add(1)
					}
					done <- struct{}{}
				}
			})
		}
		go func() {
			for _, i := range some {
				if abort() {
					break
				}
				todo <- i
			}
			close(todo)
			workers.Wait()
			close(done)
		}()
		for range done {
			r.tick()
		}
	}
	bad, gone, missing := http.StatusBadRequest, 0, 0
	for _, objects := range []bool{true, false} {
		for i, status := range statuses {
			switch {
			case status == 0 || isObject(names[i]) != objects: // not tried; or not its turn
			case status == http.StatusNoContent:
				gone++
			case status == http.StatusNotFound:
				missing++
			default:
				if status/100 == 5 {
					bad = http.StatusBadGateway
				}
				r.failed(names[i], status)
			}
		}
	}
	r.counts[0].value, r.counts[1].value = gone, missing
	switch {
	case failed.Load() >= maxFailedBulkDeletes:
		r.status, r.body = http.StatusBadRequest, "Max delete failures exceeded"
	case !c.current():
		r.status = http.StatusUnauthorized
	case len(r.errors) > 0:
		r.status = bad
	case gone+missing == 0:
		r.status, r.body = http.StatusBadRequest, "Invalid bulk delete."
	}
}

// isObject reports whether a name is that of an object, and not of a container.
func isObject(name string) bool { return strings.Contains(strings.Trim(name, "/"), "/") }

// deleteOne removes what a name says, and returns the status that a DELETE of it
// would be answered with.
func (c *call) deleteOne(name string) int {
	p, err := split(c.path.Account + "/" + strings.TrimLeft(name, "/"))
	if err == nil {
		err = c.g.Store.Remove(c.ctx, p, storage.Cond{})
	}
	switch {
	case err == nil:
		return http.StatusNoContent
	case errors.Is(err, fs.ErrNotExist):
		return http.StatusNotFound
	}
	answer := c.answerTo(err)
	if answer.status == http.StatusInternalServerError {
		c.logFault(err)
	}
	return answer.status
}

package ftp

import (
	"context"
	"log/slog"
)

// A task is a command that is under way.
type task struct {
	command
	transfer bool               // NOOP, STAT and ABOR are answered meanwhile
	started  bool               // the client knows that it has begun
	aborted  bool               // by the client
	cancel   context.CancelFunc // of a job; nil if the library has the command
	then     func(last reply)   // may be nil
}

// pass has the library carry out a command, as line. If then is not nil it is
// told the last reply.
func (c *session) pass(cmd command, line string, transfer bool, then func(last reply)) {
	c.task = &task{command: cmd, transfer: transfer, then: then}
	c.mu.Lock()
	c.fault = nil
	c.mu.Unlock()
	if err := c.lib.say(line); err != nil {
		c.Cut("internal error")
	}
}

// start has f carried out beside the conversation; what it returns is replied.
func (c *session) start(cmd command, f func(ctx context.Context) reply) {
	ctx, cancel := context.WithCancel(c.ctx)
	c.task = &task{command: cmd, transfer: true, started: true, cancel: cancel}
	c.mu.Lock()
	c.fault = nil
	c.mu.Unlock()
	replies := c.lib.replies
	c.jobs.Go(func() {
		defer cancel()
		r := reply{errInternal.code, []string{errInternal.text}}
		func() {
			defer c.rescue()
			r = f(ctx)
		}()
		select {
		case replies <- r:
		case <-c.gone:
		}
	})
}

// hearLibrary passes on what the library, or a job, says of the task.
func (c *session) hearLibrary(r reply) {
	t := c.task
	if t == nil {
		c.Log.Warn("ftp: the library spoke out of turn", "code", r.code)
		return
	}
	if !r.final() {
		if t.aborted {
			return
		}
		t.started = true
		text := "here it comes"
		if t.verb == "STOU" {
			text = "FILE: " + t.arg
		} else if t.verb == "STOR" || t.verb == "APPE" {
			text = "send it"
		}
		c.reply(r.code, text)
		return
	}
	c.task = nil
	c.list, c.fresh = nil, false
	if t.cancel == nil && t.transfer {
		c.armed, c.announced = false, -1
	}
	c.judge(t, &r)
	if t.then != nil {
		t.then(r)
	}
	c.reply(r.code, r.text...)
	if t.aborted {
		c.reply(226, "abort successful")
	}
}

// success is what the client hears when a command has succeeded that has nothing
// more to tell.
var success = map[string]string{
	"CWD": "directory changed", "XCWD": "directory changed", "CDUP": "directory changed",
	"DELE": "removed", "RMD": "removed", "RNFR": "and its new name?", "RNTO": "renamed", "REST": "offset noted",
}

// judge puts into our own words what went wrong with a task.
func (c *session) judge(t *task, r *reply) {
	c.mu.Lock()
	fault, data := c.fault, c.data
	c.mu.Unlock()
	set := func(no *refusal) { r.code, r.text = no.code, []string{no.text} }
	if t.cancel != nil {
		if t.aborted && r.code >= 400 {
			set(errAborted)
		}
		return
	}
	var lost error
	if t.transfer && t.started && data != nil {
		_, lost = data.transferred()
	}
	switch {
	case r.code < 400 && lost == nil:
		if text, ok := success[t.verb]; ok {
			r.text = []string{text}
		} else if t.transfer {
			r.text = []string{"transfer complete"}
		}
	case t.aborted:
		set(errAborted)
	case t.transfer && r.code == 425:
		set(errNoData)
	case lost != nil:
		if no, known := toRefusal(lost); known && no == errStalled {
			set(errStalled)
		} else {
			set(errLost)
		}
	case fault != nil:
		no, known := toRefusal(fault)
		if !known && !t.transfer {
			c.Log.LogAttrs(c.ctx, slog.LevelError, "ftp: request failed",
				slog.String("verb", t.verb), slog.String("path", t.arg), slog.String("err", fault.Error()))
		}
		set(no)
	case t.transfer && !t.started:
		set(errPassive)
	case t.transfer:
		set(errLost)
	case t.verb == "PASV" || t.verb == "EPSV":
		set(errNoData)
	case r.code == 500:
		set(errInternal)
	}
}

// note keeps what the filesystem says of the command under way, to answer the
// client from it, where the library would tell him all it knows.
func (c *session) note(err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		c.fault = err
	}
	return err
}

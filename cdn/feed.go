package cdn

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"iter"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// An Event is something that happened at the origin: to an object, to a
// container, or to an account.
type Event struct {
	Seq uint64 `json:"seq"` // its place in the log; 0 for one that is not in any
	At  int64  `json:"at"`  // microseconds since 1970

	Op        string `json:"op"` // one of the Ops
	Account   string `json:"account"`
	Container string `json:"container,omitempty"`
	Object    string `json:"object,omitempty"`
	Tree      bool   `json:"tree,omitempty"` // all whose names begin with Object's
}

// Ops: what can happen.
const (
	OpPut    = "put"    // an object has other bytes, or there is a new container
	OpUpdate = "update" // metadata
	OpRemove = "remove"
	OpStale  = "stale" // nothing happened: whoever may asks edges to ask again
	OpDrop   = "drop"  // or to forget
)

// ErrGap says that a Log does not reach back so far, or has another past.
var ErrGap = errors.New("cdn: the log does not reach back")

// A Log is the durable order of events at the origin.
type Log interface {
	// Latest is the last event there is; the zero Event if there is none.
	Latest(ctx context.Context) (Event, error)

	// After yields the events behind seq, up to the last, or ErrGap. What was
	// told before it was called is among them.
	After(ctx context.Context, seq uint64) iter.Seq2[Event, error]
}

// A Feed is the side of the origin: it serves to edges on other machines the
// events of a Log, in order and as they come, and the records of sites. It is
// an http.Handler for paths that begin with FeedPath.
type Feed struct {
	Log       Log
	Directory Directory

	// Authorize tells which edge a key is of. It is asked again all the time, so
	// that an edge whose key was taken away hears nothing more.
	Authorize func(key string) (edge string, ok bool)

	// Ledger takes what edges tell of themselves. Nil takes nothing.
	Ledger Ledger

	// Logger takes who comes and goes. Nil is slog.Default.
	Logger *slog.Logger

	mu     sync.Mutex
	woken  chan struct{} // closed by Wake; nil while nobody waits
	ending chan struct{} // closed by Stop; nil while nobody follows
	ended  bool
}

// FeedPath is where the Feed is served.
const FeedPath = "/edge/v1/"

const (
	// beat is how often an edge hears that it has missed nothing, and trust how
	// long it relies on that.
	beat  = time.Second
	trust = 10 * time.Second
)

// A message is one line of the stream: an event, a heartbeat, or a gap.
type message struct {
	*Event

	// Head is the cursor of an edge that has heard all before this line.
	Head string `json:"head,omitempty"`

	// Gap says that events were missed which are not to be had any more.
	Gap bool `json:"gap,omitempty"`
}

// cursor names an event together with its time: of another past, such as that
// before a restore, no event has both.
func (e *Event) cursor() string {
	return strconv.FormatUint(e.Seq, 10) + "-" + strconv.FormatInt(e.At, 10)
}

func parseCursor(s string) (e Event, ok bool) {
	seq, at, ok := strings.Cut(s, "-")
	if !ok {
		return e, false
	}
	var err, err2 error
	e.Seq, err = strconv.ParseUint(seq, 10, 64)
	e.At, err2 = strconv.ParseInt(at, 10, 64)
	return e, err == nil && err2 == nil
}

// Wake has the events that are in the log by now sent. It is quick.
func (f *Feed) Wake() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.woken != nil {
		close(f.woken)
		f.woken = nil
	}
}

// Stop ends all streams, and those that begin from now on, so that a server can
// shut down without waiting for them: edges come back by themselves.
func (f *Feed) Stop() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ending != nil && !f.ended {
		close(f.ending)
	}
	f.ended = true
}

// stopped returns what Stop closes; nil if it has been called.
func (f *Feed) stopped() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ended {
		return nil
	}
	if f.ending == nil {
		f.ending = make(chan struct{})
	}
	return f.ending
}

// wait returns what the next Wake closes.
func (f *Feed) wait() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.woken == nil {
		f.woken = make(chan struct{})
	}
	return f.woken
}

func (f *Feed) logger() *slog.Logger {
	if f.Logger == nil {
		return slog.Default()
	}
	return f.Logger
}

// ServeHTTP answers an edge:
//
//	GET /edge/v1/events?after=CURSOR    a line for each event, and one each second
//	GET /edge/v1/site?account=…&id=…&container=…    the record of a site
//	POST /edge/v1/report, POST /edge/v1/log    see told
func (f *Feed) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	key, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	edge, ok := f.Authorize(key)
	switch {
	case !ok:
		w.Header().Set("Www-Authenticate", "Bearer")
		refuse(w, r, http.StatusUnauthorized, "This is for edges that have a key.")
	case r.Method == http.MethodPost && (r.URL.Path == FeedPath+"report" || r.URL.Path == FeedPath+"log"):
		f.told(w, r, edge)
	case r.Method != http.MethodGet:
		refuse(w, r, http.StatusMethodNotAllowed, "This is to be read only.")
	case r.URL.Path == FeedPath+"site":
		f.site(w, r)
	case r.URL.Path == FeedPath+"events" && f.Log != nil:
		f.logger().Info("edge follows", "edge", edge, "from", r.RemoteAddr)
		err := f.events(w, r, key)
		f.logger().Info("edge is gone", "edge", edge, "from", r.RemoteAddr, "reason", err)
	case r.URL.Path == FeedPath+"events":
		refuse(w, r, http.StatusNotImplemented, "This server keeps no journal.")
	default:
		refuse(w, r, http.StatusNotFound, "There is nothing here.")
	}
}

func (f *Feed) site(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	s, err := f.Directory.Site(r.Context(), Ref{Account: q.Get("account"), ID: q.Get("id"), Container: q.Get("container")})
	switch {
	case errors.Is(err, fs.ErrNotExist):
		refuse(w, r, http.StatusNotFound, "There is no such site.")
	case err != nil:
		f.logger().Error("site not read", "error", err)
		refuse(w, r, http.StatusInternalServerError, "The site cannot be read.")
	default:
		s.Keys = s.lent()
		if !s.held() {
			// What is said of it is none of an edge's business.
			s = Site{Account: s.Account, Container: s.Container, ID: s.ID, Version: s.Version}
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		json.NewEncoder(w).Encode(s)
	}
}

// Why a stream ends, if it is not for the edge.
var (
	errEnded   = errors.New("its key is not good any more")
	errStopped = errors.New("the server ends")
)

// events sends what happens until the edge is gone, and returns why.
func (f *Feed) events(w http.ResponseWriter, r *http.Request, key string) error {
	ctx := r.Context()
	stopped := f.stopped()
	if stopped == nil {
		w.WriteHeader(http.StatusServiceUnavailable)
		return errStopped
	}
	s := &stream{feed: f, w: w, out: json.NewEncoder(w), rc: http.NewResponseController(w)}
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.Header().Set("Cache-Control", "no-store")
	if err := s.begin(ctx, r.URL.Query().Get("after")); err != nil {
		return err
	}
	tick := time.NewTicker(beat)
	defer tick.Stop()
	for {
		woken := f.wait() // before the log is read, or what comes meanwhile waits for the next beat
		if err := s.drain(ctx); err != nil {
			return err
		}
		if _, ok := f.Authorize(key); !ok {
			return errEnded
		}
		if err := s.send(message{Head: s.last.cursor()}); err != nil {
			return err
		}
		if err := s.rc.Flush(); err != nil {
			return err
		}
		select {
		case <-woken:
		case <-tick.C:
		case <-stopped:
			return errStopped
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// A stream is one edge that follows.
type stream struct {
	feed *Feed
	w    io.Writer
	out  *json.Encoder
	rc   *http.ResponseController
	last Event // what was sent, or passed over, so far
}

func (s *stream) send(m message) error {
	s.rc.SetWriteDeadline(time.Now().Add(trust)) // unsupported only in tests
	return s.out.Encode(m)
}

// begin finds the place of a cursor in the log, or says that there is a gap.
func (s *stream) begin(ctx context.Context, after string) error {
	if at, ok := parseCursor(after); ok && within(ctx, s.feed.Log, at) {
		s.last = at
		return nil
	}
	return s.gap(ctx)
}

// within reports whether the place of an event is in the log: whether all that
// came behind it can be had, and it was that event which was there.
func within(ctx context.Context, l Log, at Event) bool {
	if at.Seq == 0 {
		return true // and if the log does not begin there, that is a gap
	}
	for e, err := range l.After(ctx, at.Seq-1) {
		return err == nil && e.Seq == at.Seq && e.At == at.At
	}
	return false
}

func (s *stream) gap(ctx context.Context) (err error) {
	if s.last, err = s.feed.Log.Latest(ctx); err != nil {
		return err
	}
	return s.send(message{Gap: true, Head: s.last.cursor()})
}

// drain sends all that is in the log behind what was sent.
func (s *stream) drain(ctx context.Context) error {
	for e, err := range s.feed.Log.After(ctx, s.last.Seq) {
		if errors.Is(err, ErrGap) {
			return s.gap(ctx)
		}
		if err != nil {
			return err
		}
		if s.concerns(ctx, &e) {
			if err := s.send(message{Event: &e}); err != nil {
				return err
			}
		}
		s.last = e
	}
	return nil
}

// concerns reports whether an edge may hold anything that an event is about. Of
// containers that are not had there it holds nothing, and what is in them is none of
// its business; when one opens, or closes, that is an event of its own, which
// ends all that was held of it.
func (s *stream) concerns(ctx context.Context, e *Event) bool {
	if e.Object == "" {
		return true
	}
	site, err := s.feed.Directory.Site(ctx, Ref{Account: e.Account, Container: e.Container})
	return err == nil && site.held() || err != nil && !errors.Is(err, fs.ErrNotExist)
}

// Apply ends what the edge and its cache hold of what an event is about. It
// waits for nothing and nobody.
func (e *Edge) Apply(ev Event) {
	c := e.Cache
	hard := ev.Op != OpStale
	announced := ev.Op == OpStale || ev.Op == OpDrop
	scope := containerScope(ev.Account, ev.Container)
	switch {
	case ev.Container == "":
		e.forget(ev.Account, "")
		if ev.Op == OpRemove {
			c.PurgeScope(ev.Account, true)
		}
	case ev.Object == "" && announced:
		c.PurgeScope(scope, hard)
	case ev.Object == "":
		// All that is held was made by what the container was. Of one that is new
		// nothing is held.
		e.forget(ev.Account, ev.Container)
		if ev.Op != OpPut {
			c.PurgeScope(scope, true)
			// Large objects elsewhere may have had parts in here, which are perhaps not
			// for everybody any more.
			c.PurgeScope(composedScope(ev.Account), true)
		}
	case ev.Tree:
		c.PurgePrefix(scope, keyOf(ev.Account, ev.Container, ev.Object), hard)
		e.purgePages(&ev, hard)
	default:
		c.Purge(keyOf(ev.Account, ev.Container, ev.Object), hard)
		e.purgePages(&ev, hard)
	}
}

// purgePages ends what is made of objects beneath, one of which an event is
// about: the index or the listing of each directory that it is in, and, if it
// is the page for an error, all answers that may show it.
func (e *Edge) purgePages(ev *Event, hard bool) {
	root := keyOf(ev.Account, ev.Container, "")
	e.Cache.Purge(root, hard)
	for i := range len(ev.Object) {
		if ev.Object[i] == '/' && i < len(ev.Object)-1 {
			e.Cache.Purge(root+ev.Object[:i+1], hard)
		}
	}
	if forError(ev.Object[strings.LastIndexByte(ev.Object, '/')+1:]) {
		e.Cache.PurgeScope(containerScope(ev.Account, ev.Container), false)
	}
}

// forError reports whether a name may be that of the page for an error, which
// begins with the status.
func forError(name string) bool {
	return len(name) > 3 && (name[:3] == "404" || name[:3] == "401") && (name[3] < '0' || name[3] > '9')
}

// ApplyGap does what is right when nobody knows what happened: everything is to
// be asked for again before it is used.
func (e *Edge) ApplyGap() {
	e.forgetAll()
	e.Cache.PurgeScope(everything, false)
}

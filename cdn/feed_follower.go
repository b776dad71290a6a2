package cdn

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"memstore.dev/memstore/cdn/store"
)

// A Follower is the side of an edge on another machine: it applies to an Edge
// what a Feed tells, and is the edge's Directory.
type Follower struct {
	// Edge is who is told.
	Edge *Edge

	// Origin is the URL of the Memstore.
	Origin *url.URL

	// Key is what the edge shows there.
	Key string

	// Transport carries the requests. Nil is http.DefaultTransport.
	Transport http.RoundTripper

	// Origins are what Transport asks, if they are several; Together must be set.
	// The one that is in use is followed. When another comes into use nothing is
	// trusted until that is heard, and unless its log has the same past, everything
	// held is asked for again.
	Origins *Origins

	// Store keeps how far the edge has come, beside what it holds.
	Store *store.Store

	// Logger takes what an operator should know. Nil is slog.Default.
	Logger *slog.Logger

	beat  atomic.Pointer[heartbeat] // the last that came
	seq   atomic.Uint64             // of the last event heard of
	once  sync.Once
	heard chan struct{} // closed at the first

	// sure is one more than the last turn of Origins in which the origin has said
	// what was missed; 0 is none yet. It is Run's own.
	sure uint64

	saving sync.Mutex // held while the cursor is kept, so that a later one stays
}

// A heartbeat says that the origin of a turn was heard.
type heartbeat struct {
	at   time.Time // monotonic
	turn uint64
}

var _ Directory = (*Follower)(nil)

// cursorNote is the name under which the store keeps how far the edge is.
const cursorNote = "cursor"

// A progress is how far an edge has come, as it is kept.
type progress struct {
	Cursor string `json:"cursor"`
	Origin string `json:"origin"`

	// Boot tells starts of the machine apart: what was purged is kept from being
	// forgotten by a killed process, and not by a power cut.
	Boot string `json:"boot"`
}

// Live reports whether the edge has missed nothing that happened until at most
// ten seconds ago. It is for Edge.Live.
func (f *Follower) Live() bool {
	t := f.beat.Load()
	return t != nil && time.Since(t.at) < trust && t.turn == f.turn()
}

func (f *Follower) turn() uint64 {
	if f.Origins == nil {
		return 0
	}
	return f.Origins.turn.Load()
}

// Heard is the place in the log up to which the edge has heard of everything.
func (f *Follower) Heard() uint64 { return f.seq.Load() }

// Await returns when all that was missed has been heard, or ctx ends.
func (f *Follower) Await(ctx context.Context) {
	f.init()
	select {
	case <-f.heard:
	case <-ctx.Done():
	}
}

func (f *Follower) init() {
	f.once.Do(func() {
		f.heard = make(chan struct{})
		if f.Origins != nil {
			f.Origins.onSwitch(f.leave)
		}
	})
}

// leave forgets how far the edge had come with the origin that was in use: what
// it is about to hold is another's.
func (f *Follower) leave() {
	f.saving.Lock()
	defer f.saving.Unlock()
	f.keep("")
}

func (f *Follower) logger() *slog.Logger {
	if f.Logger == nil {
		return slog.Default()
	}
	return f.Logger
}

// Run follows the origin until ctx ends.
func (f *Follower) Run(ctx context.Context) {
	f.init()
	cursor := f.load()
	said := ""
	for wait := time.Duration(0); ; {
		begun := time.Now()
		err := f.follow(ctx, &cursor)
		if ctx.Err() != nil {
			f.save(cursor, f.sure)
			return
		}
		if time.Since(begun) > trust {
			wait, said = 0, ""
		}
		if err.Error() != said {
			said = err.Error()
			f.logger().Warn("the origin tells nothing of changes; lifetimes count until it does", "origin", f.Origin.Redacted(), "error", err)
		}
		// Many edges that lost their origin at once come back one by one.
		wait = min(max(2*wait, 50*time.Millisecond), 2*time.Second)
		select {
		case <-time.After(wait/2 + rand.N(wait)):
		case <-ctx.Done():
			f.save(cursor, f.sure)
			return
		}
	}
}

func (f *Follower) request(ctx context.Context, what string, query url.Values) (*http.Request, error) {
	u := *f.Origin
	u.Path, u.RawPath = strings.TrimSuffix(u.Path, "/")+FeedPath+what, ""
	u.RawQuery = query.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+f.Key)
	return req, nil
}

func (f *Follower) send(req *http.Request) (*http.Response, error) {
	t := f.Transport
	if t == nil {
		t = http.DefaultTransport
	}
	return t.RoundTrip(req)
}

// follow hears one stream to its end, which is always for a reason.
func (f *Follower) follow(ctx context.Context, cursor *string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	// A line that is silent is cut: at the other end there may be nobody.
	silence := time.AfterFunc(trust, cancel)
	defer silence.Stop()
	turn := uint64(0)
	if f.Origins != nil {
		var over <-chan struct{}
		turn, over = f.Origins.current()
		var watching sync.WaitGroup
		defer watching.Wait()
		defer cancel()
		watching.Go(func() {
			select {
			case <-over:
				cancel()
			case <-ctx.Done():
			}
		})
		if turn > f.sure {
			// Of the turn before nothing was heard, and what is held of it may be of
			// another past than the cursor.
			*cursor = ""
		}
	}
	req, err := f.request(ctx, "events", url.Values{"after": {*cursor}})
	if err != nil {
		return err
	}
	resp, err := f.send(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 200))
		return fmt.Errorf("%s: %s", resp.Status, strings.TrimSpace(string(text)))
	}
	if f.turn() != turn {
		return errors.New("another origin is in use") // and it is not known which has answered
	}
	lines := bufio.NewReaderSize(resp.Body, 64<<10)
	saved := time.Now()
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return fmt.Errorf("the stream ended: %w", err)
		}
		silence.Reset(trust)
		var m message
		if err := json.Unmarshal(line, &m); err != nil {
			return fmt.Errorf("not a line of a feed: %w", err)
		}
		switch {
		case m.Gap:
			f.logger().Info("changes were missed; everything held is asked for again", "origin", f.Origin.Redacted())
			f.Edge.ApplyGap()
			*cursor, f.sure = m.Head, turn+1
			f.save(*cursor, f.sure)
		case m.Event != nil:
			f.Edge.Apply(*m.Event)
			*cursor = m.Event.cursor()
		case m.Head != "":
			*cursor, f.sure = m.Head, turn+1
			if at, ok := parseCursor(m.Head); ok {
				f.seq.Store(at.Seq)
			}
			if f.beat.Swap(&heartbeat{time.Now(), turn}) == nil {
				f.logger().Info("following", "origin", f.Origin.Redacted())
				close(f.heard)
			}
		}
		if time.Since(saved) > beat {
			saved = time.Now()
			f.save(*cursor, f.sure)
		}
	}
}

// load finds how far the edge had come. Where that cannot be told it begins
// with a gap.
func (f *Follower) load() string {
	var p progress
	note, err := f.Store.Note(cursorNote)
	if err == nil {
		err = json.Unmarshal(note, &p)
	}
	if err != nil || p.Origin != f.Origin.String() || p.Boot != boot() {
		return ""
	}
	return p.Cursor
}

// save keeps how far the edge has come, of which the origin was sure. That of a
// turn which is over is not kept: it is not about all that is held.
func (f *Follower) save(cursor string, sure uint64) {
	f.saving.Lock()
	defer f.saving.Unlock()
	if turn := f.turn(); turn == 0 || sure == turn+1 {
		f.keep(cursor)
	}
}

func (f *Follower) keep(cursor string) {
	data, err := json.Marshal(progress{Cursor: cursor, Origin: f.Origin.String(), Boot: boot()})
	if err == nil {
		err = f.Store.SaveNote(cursorNote, data)
	}
	if err != nil && !errors.Is(err, store.ErrClosed) {
		f.logger().Warn("how far the edge has come is not kept", "error", err)
	}
}

// boot tells this start of the machine from all others.
func boot() string {
	id, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(id))
}

// Site asks the origin for the record of a site.
func (f *Follower) Site(ctx context.Context, ref Ref) (s Site, err error) {
	req, err := f.request(ctx, "site", url.Values{"account": {ref.Account}, "id": {ref.ID}, "container": {ref.Container}})
	if err != nil {
		return s, err
	}
	resp, err := f.send(req)
	if err != nil {
		return s, err
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusOK:
		err = json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&s)
		return s, err
	case http.StatusNotFound:
		return s, fs.ErrNotExist
	}
	return s, fmt.Errorf("cdn: the origin answers %s for a site", resp.Status)
}

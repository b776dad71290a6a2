package cdn

import (
	"context"
	"encoding/json"
	"fmt"

	"memstore.dev/memstore/cdn/store"
)

// Resume makes an edge in the process of its origin ready to serve what its
// store has kept. What happened since Suspend is found in the log. After a crash
// nobody knows what was told, and everything is asked for again before it is
// used, which costs little where there is no network between. l may be nil.
func (e *Edge) Resume(ctx context.Context, l Log, s *store.Store) error {
	var p progress
	note, err := s.Note(cursorNote)
	if err == nil {
		err = json.Unmarshal(note, &p)
	}
	// From here on it is no longer true, whatever happens.
	if err := s.SaveNote(cursorNote, []byte("{}")); err != nil {
		return fmt.Errorf("resume the edge: %w", err)
	}
	at, ok := parseCursor(p.Cursor)
	if err != nil || !ok || l == nil || p.Boot != boot() || !within(ctx, l, at) {
		e.ApplyGap()
		return nil
	}
	for ev, err := range l.After(ctx, at.Seq) {
		if err != nil {
			e.ApplyGap()
			return nil
		}
		e.Apply(ev)
	}
	return nil
}

// Suspend keeps what Resume needs. Nothing may happen at the origin any more,
// and everything that did must have been told.
func (e *Edge) Suspend(ctx context.Context, l Log, s *store.Store) error {
	if l == nil {
		return nil
	}
	last, err := l.Latest(ctx)
	if err != nil {
		return fmt.Errorf("suspend the edge: %w", err)
	}
	data, err := json.Marshal(progress{Cursor: last.cursor(), Boot: boot()})
	if err != nil {
		return err
	}
	return s.SaveNote(cursorNote, data)
}

package auth

import (
	"context"
	"database/sql"
	"net/netip"
	"time"
)

// keepBan writes a ban down, or strikes it out, so that bans outlive the
// process and are seen by the others. If that fails it is still a ban here.
func (r *Realm) keepBan(b Ban, over bool) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if over {
		r.log.Info("ban lifted", "source", b.Source)
	} else {
		r.log.Warn("address banned", "source", b.Source, "until", b.Until, "times", b.Times)
	}
	err := r.change(ctx, partBans, func(tx *sql.Tx) error {
		if over {
			_, err := tx.ExecContext(ctx, `DELETE FROM bans WHERE source = $1`, b.Source.String())
			return err
		}
		_, err := tx.ExecContext(ctx, `
			INSERT INTO bans (source, since, until, times) VALUES ($1, $2, $3, $4)
			ON CONFLICT (source) DO UPDATE SET since = excluded.since, until = excluded.until, times = excluded.times`,
			b.Source.String(), micros(b.Since), micros(b.Until), b.Times)
		return err
	}, func() {}) // the defender knows
	if err != nil {
		r.log.Error("ban not written down", "source", b.Source, "err", err)
	}
}

// loadBans reads the bans, those that are over as well: the next one of the
// same source is longer for them.
func (r *Realm) loadBans(ctx context.Context) ([]Ban, error) {
	rows, err := r.db.QueryContext(ctx, `SELECT source, since, until, times FROM bans WHERE until > $1 ORDER BY until DESC LIMIT $2`,
		micros(time.Now().Add(-r.defender.o.MaxBan)), r.defender.o.Sources)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var bans []Ban
	for rows.Next() {
		var text string
		var since, until int64
		var b Ban
		if err := rows.Scan(&text, &since, &until, &b.Times); err != nil {
			return nil, err
		}
		if b.Source, err = netip.ParsePrefix(text); err != nil {
			return nil, err
		}
		b.Since, b.Until = fromMicros(since), fromMicros(until)
		bans = append(bans, b)
	}
	return bans, rows.Err()
}

package disk

import (
	"encoding/binary"

	"memstore.dev/memstore/storage"
)

// The index is one ordered map. The first byte of a key is its table, numbers
// follow big-endian, and a name comes last, raw, so that the order of keys is
// the order of listings and nothing needs escaping. docs/format.md says it to
// the world; change both or neither.
const (
	tableAccount         = 'a' // name → record
	tableAccountTotals   = 'S' // account id → totals
	tableContainer       = 'c' // account id, name → record
	tableContainerTotals = 's' // account id, name → totals
	tableRow             = 'o' // container id, name → row
	tableBlob            = 'b' // blob id → blob
	tableInline          = 'd' // blob id → checksum and bytes
	tableExpiry          = 'x' // second, container id, name → account and container
	tableReclaim         = 'g' // blob id → what is to be unlinked
	tableJournal         = 'l' // version → change
	tableStage           = 'u' // key → what was kept of an upload
	tableRelocation      = 'r' // version → a tree that is being moved
	tableMeta            = 'm' // what → the engine's own notes
)

var (
	keyState = []byte("mstate")
	keyScrub = []byte("mscrub")
)

func idKey(table byte, id uint64) []byte {
	return binary.BigEndian.AppendUint64(append(make([]byte, 0, 9), table), id)
}

func nameKey(table byte, id uint64, name string) []byte {
	k := append(make([]byte, 0, 9+len(name)), table)
	return append(binary.BigEndian.AppendUint64(k, id), name...)
}

func accountKey(name string) []byte {
	return append([]byte{tableAccount}, name...)
}

func rowKey(container uint64, name string) []byte { return nameKey(tableRow, container, name) }

// expiryKey orders by time; the flipped sign bit puts times before 1970 first.
func expiryKey(second int64, container uint64, name string) []byte {
	k := append(make([]byte, 0, 17+len(name)), tableExpiry)
	k = binary.BigEndian.AppendUint64(k, uint64(second)^1<<63)
	k = binary.BigEndian.AppendUint64(k, container)
	return append(k, name...)
}

// splitID takes an idKey apart.
func splitID(k []byte) (id uint64, ok bool) {
	if len(k) != 9 {
		return 0, false
	}
	return binary.BigEndian.Uint64(k[1:]), true
}

// splitName takes a nameKey apart.
func splitName(k []byte) (id uint64, name string, ok bool) {
	if len(k) < 10 {
		return 0, "", false
	}
	return binary.BigEndian.Uint64(k[1:]), string(k[9:]), true
}

// splitExpiry takes an expiryKey apart.
func splitExpiry(k []byte) (second int64, container uint64, name string, ok bool) {
	if len(k) < 18 {
		return 0, 0, "", false
	}
	return int64(binary.BigEndian.Uint64(k[1:]) ^ 1<<63), binary.BigEndian.Uint64(k[9:]), string(k[17:]), true
}

// after is the least key greater than all that begin with k. Tables are not
// 0xff, so there always is one.
func after(k []byte) []byte {
	end := append([]byte(nil), k...)
	for i := len(end) - 1; ; i-- {
		if end[i]++; end[i] != 0 {
			return end[:i+1]
		}
	}
}

// A place is an account or a container: what has a record and totals.
func placeKeys(p storage.Path, account, id uint64) (record, totals []byte) {
	if p.IsAccount() {
		return accountKey(p.Account), idKey(tableAccountTotals, id)
	}
	return nameKey(tableContainer, account, p.Container), nameKey(tableContainerTotals, account, p.Container)
}

//go:build race

package disk

func init() { raceEnabled = true }

//go:build !amd64

package md5lanes

const hasLanes = false

func blocks(*[4][lanes]uint32, *[lanes]*byte, int) { panic("md5lanes: there are no lanes here") }
